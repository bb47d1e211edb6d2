import torch
from torch import Tensor, nn

from sstricks.errors import check_number, invalid


class MovingAverage(nn.Module):
    r"""The exponential moving average of the losses seen before, corrected for its start at zero.

    .. math:: \bar\ell_k = \frac{1 - \alpha}{1 - \alpha^k} \sum_{i \le k} \alpha^{k - i} \ell_i

    It never contains the loss that it is subtracted from, so that a score-function estimator stays unbiased.

    Args:
        decay: :math:`\alpha`, in [0, 1).

    Raises:
        ValueError: If the decay is outside [0, 1).

    Example:
        >>> average = sst.estimators.MovingAverage(decay=0.5)
        >>> for loss in (4.0, 1.0):
        ...     average.update(torch.tensor(loss))
        >>> average.value
        tensor(2.)
    """

    total: Tensor
    weight: Tensor

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        expected, remedy = "a number in [0, 1)", "0.99 averages about 100 losses."
        self.decay = check_number("decay", decay, expected, remedy)
        if not 0 <= self.decay < 1:
            raise invalid("decay", decay, expected, remedy)
        self.register_buffer("total", torch.zeros(()))
        self.register_buffer("weight", torch.zeros(()))

    @property
    def value(self) -> Tensor:
        """The average (), zero before the first update."""
        return self.total / self.weight.clamp(min=torch.finfo(self.weight.dtype).tiny)

    @torch.no_grad()
    def update(self, loss: Tensor) -> None:
        """Take the mean of a batch of losses, of any shape, into the average; that of none changes nothing."""
        if loss.numel() == 0:
            return
        self.total.mul_(self.decay).add_(loss.mean() * (1 - self.decay))
        self.weight.mul_(self.decay).add_(1 - self.decay)
