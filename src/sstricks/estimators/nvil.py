from torch import Tensor, nn

from sstricks.errors import invalid
from sstricks.estimators.moving_average import MovingAverage
from sstricks.estimators.reinforce import check_losses


class NVIL(nn.Module):
    r"""Neural variational inference and learning: REINFORCE with an input-dependent baseline (App. C.1).

    .. math:: \nabla \, \mathbb{E}[\ell] \approx \nabla \ell + (\ell - \bar\ell - b(h)) \, \nabla \log p,
        \qquad b \text{ fits } \ell - \bar\ell \text{ by least squares}

    Args:
        baseline: :math:`b`, a module from features (B, ...) to (B,) or (B, 1).
        decay: The moving average's, in [0, 1).
        weight: The weight of the least-squares loss in the surrogate.

    Raises:
        ValueError: If the decay is outside [0, 1).

    Example:
        >>> loc = torch.zeros(2, requires_grad=True)
        >>> p, features = torch.distributions.Bernoulli(logits=loc), torch.ones(2, 3)
        >>> nvil = sst.estimators.NVIL(torch.nn.Linear(3, 1))
        >>> nvil(p.log_prob(torch.ones(2)), torch.tensor([1.0, 3.0]), features).backward()
        >>> nvil.baseline.bias.grad.shape
        torch.Size([1])
    """

    def __init__(self, baseline: nn.Module, decay: float = 0.99, weight: float = 1.0) -> None:
        super().__init__()
        self.baseline = baseline
        self.average = MovingAverage(decay)
        self.weight = weight

    def forward(self, log_prob: Tensor, loss: Tensor, features: Tensor) -> Tensor:
        """A scalar whose gradient is the estimator plus that of the baseline's own fit.

        Args:
            log_prob: (B,), of the action that was drawn, differentiable in the distribution's parameters.
            loss: (B,), of that action; its own gradient passes through.
            features: What the baseline sees, (B, ...); it must not depend on the action. Detach it to keep the
                baseline's fit from training what computed it.

        Returns:
            The surrogate, ().

        Raises:
            ValueError: If the shapes differ, or the baseline does not return one number for each example.
        """
        check_losses(log_prob, loss)
        baseline = self.baseline(features)
        if baseline.shape not in (loss.shape, (*loss.shape, 1)):
            raise invalid(
                "baseline",
                f"shape {tuple(baseline.shape)} for a loss of shape {tuple(loss.shape)}",
                "one number for each loss",
                "Its last layer has one output, and features has the examples of the loss.",
            )
        residual = (loss - self.average.value).detach() - baseline.reshape(loss.shape)
        if self.training:
            self.average.update(loss.detach())
        return (loss + residual.detach() * log_prob + self.weight * residual.square()).mean()
