from torch import Tensor, nn

from sstricks.errors import check_floating, check_tensor, invalid
from sstricks.estimators.moving_average import MovingAverage


class Reinforce(nn.Module):
    r"""REINFORCE with a moving-average baseline (App. C.1).

    .. math:: \nabla \, \mathbb{E}[\ell] \approx \nabla \ell + (\ell - \bar\ell) \, \nabla \log p

    Args:
        decay: The moving average's, in [0, 1).

    Raises:
        ValueError: If the decay is outside [0, 1).

    Example:
        >>> loc = torch.zeros(2, requires_grad=True)
        >>> p = torch.distributions.Bernoulli(logits=loc)
        >>> sst.estimators.Reinforce()(p.log_prob(torch.ones(2)), loss=torch.tensor([1.0, 3.0])).backward()
        >>> loc.grad
        tensor([0.2500, 0.7500])
    """

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        self.average = MovingAverage(decay)

    def forward(self, log_prob: Tensor, loss: Tensor) -> Tensor:
        """A scalar whose gradient is the estimator; in training mode the average then takes in these losses.

        Args:
            log_prob: (B,), of the action that was drawn, differentiable in the distribution's parameters.
            loss: (B,), of that action; its own gradient passes through.

        Returns:
            The surrogate, ().

        Raises:
            ValueError: If the shapes differ.
        """
        check_losses(log_prob, loss)
        advantage = (loss - self.average.value).detach()
        if self.training:
            self.average.update(loss.detach())
        return (loss + advantage * log_prob).mean()


def check_losses(log_prob: Tensor, loss: Tensor) -> None:
    """Raise unless the losses are floating numbers, one for each log-probability."""
    if check_tensor("log_prob", log_prob).shape != check_floating("loss", loss).shape:
        raise invalid(
            "loss",
            f"shape {tuple(loss.shape)}",
            f"that of log_prob, {tuple(log_prob.shape)}",
            "Sum both over everything but the batch.",
        )
