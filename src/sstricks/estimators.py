"""Score-function estimators: surrogates whose gradient estimates that of an expected loss (App. C.1)."""

import torch
from torch import Tensor, nn


class MovingAverage(nn.Module):
    r"""The exponential moving average of the losses seen before, corrected for its start at zero.

    .. math:: \bar\ell_k = \frac{1 - \alpha}{1 - \alpha^k} \sum_{i \le k} \alpha^{k - i} \ell_i

    It never contains the loss that it is subtracted from, so that a score-function estimator stays unbiased.

    Args:
        decay: :math:`\alpha`, in [0, 1).

    Raises:
        ValueError: If the decay is outside [0, 1).
    """

    total: Tensor
    weight: Tensor

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}, expected a number in [0, 1): 0.99 averages about 100 losses.")
        self.decay = decay
        self.register_buffer("total", torch.zeros(()))
        self.register_buffer("weight", torch.zeros(()))

    @property
    def value(self) -> Tensor:
        """The average (), zero before the first update."""
        return self.total / self.weight.clamp(min=torch.finfo(self.weight.dtype).tiny)

    @torch.no_grad()
    def update(self, loss: Tensor) -> None:
        """Take the mean of a batch of losses, of any shape, into the average."""
        self.total.mul_(self.decay).add_(loss.mean() * (1 - self.decay))
        self.weight.mul_(self.decay).add_(1 - self.decay)


class Reinforce(nn.Module):
    r"""REINFORCE with a moving-average baseline (App. C.1).

    .. math:: \nabla \, \mathbb{E}[\ell] \approx \nabla \ell + (\ell - \bar\ell) \, \nabla \log p

    Args:
        decay: The moving average's, in [0, 1).

    Example:
        >>> loc = torch.zeros(2, requires_grad=True)
        >>> p = torch.distributions.Bernoulli(logits=loc)
        >>> Reinforce()(p.log_prob(torch.ones(2)), loss=torch.tensor([1.0, 3.0])).backward()
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
        _check(log_prob, loss)
        advantage = (loss - self.average.value).detach()
        if self.training:
            self.average.update(loss.detach())
        return (loss + advantage * log_prob).mean()


class NVIL(nn.Module):
    r"""Neural variational inference and learning: REINFORCE with an input-dependent baseline (App. C.1).

    .. math:: \nabla \, \mathbb{E}[\ell] \approx \nabla \ell + (\ell - \bar\ell - b(h)) \, \nabla \log p,
        \qquad b \text{ fits } \ell - \bar\ell \text{ by least squares}

    Args:
        baseline: :math:`b`, a module from features (B, ...) to (B,) or (B, 1).
        decay: The moving average's, in [0, 1).
        weight: The weight of the least-squares loss in the surrogate.
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
            ValueError: If the shapes differ.
        """
        _check(log_prob, loss)
        residual = (loss - self.average.value).detach() - self.baseline(features).reshape(loss.shape)
        if self.training:
            self.average.update(loss.detach())
        return (loss + residual.detach() * log_prob + self.weight * residual.square()).mean()


def _check(log_prob: Tensor, loss: Tensor) -> None:
    if log_prob.shape != loss.shape:
        raise ValueError(
            f"loss has shape {tuple(loss.shape)}, expected log_prob's {tuple(log_prob.shape)}: "
            "sum both over everything but the batch."
        )
