from typing import Self

import torch
from torch import Tensor
from torch.distributions import Exponential, constraints, kl_divergence, register_kl
from torch.distributions.constraints import Constraint
from torch.distributions.utils import broadcast_all
from torch.types import _size as Shape

from sstricks.distributions.base import BaseDistribution
from sstricks.ops.noise import standard_exponential


class NegativeExponential(BaseDistribution):
    r"""The utility −U ~ Exp(λ) (App. B.8).

    .. math:: U = \log(V) / \lambda, \quad V \sim \mathrm{uniform}(0, 1)

    Args:
        rate: λ > 0, any shape.

    Example:
        >>> sst.NegativeExponential(torch.tensor([1.0, 2.0])).mean
        tensor([-1.0000, -0.5000])
    """

    has_rsample = True

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        """What the parameters must satisfy."""
        return {"rate": constraints.positive}

    @property
    def support(self) -> Constraint:
        """Where the density is positive."""
        return constraints.interval(-torch.inf, 0.0)

    def __init__(self, rate: Tensor | float, *, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: Self | None = None) -> Self:
        """The same law with a larger batch shape."""
        new = self._expanded(NegativeExponential, batch_shape, _instance)
        new.rate = self.rate.expand(batch_shape)
        return new

    @property
    def mean(self) -> Tensor:
        """−1/λ."""
        return -self.rate.reciprocal()

    @property
    def mode(self) -> Tensor:
        """0."""
        return torch.zeros_like(self.rate)

    @property
    def variance(self) -> Tensor:
        """1/λ²."""
        return self.rate.pow(-2)

    def rsample(self, sample_shape: Shape = torch.Size()) -> Tensor:
        """Samples, differentiable in λ."""
        noise = standard_exponential(self.rate, self._extended_shape(sample_shape))
        return (-noise / self.rate).to(self.rate.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log λ + λ·value, for values ≤ 0."""
        if self._validate_args:
            self._validate_sample(value)
        return torch.where(value <= 0, self.rate.log() + self.rate * value, -torch.inf)

    def cdf(self, value: Tensor) -> Tensor:
        """exp(λ·value), and 1 above 0."""
        return (self.rate * value).clamp(max=0).exp()

    def icdf(self, value: Tensor) -> Tensor:
        """Log(value) / λ."""
        return value.log() / self.rate

    def entropy(self) -> Tensor:
        """1 − log λ."""
        return 1 - self.rate.log()


@register_kl(NegativeExponential, NegativeExponential)
def _(p: NegativeExponential, q: NegativeExponential) -> Tensor:
    return kl_divergence(Exponential(p.rate, validate_args=False), Exponential(q.rate, validate_args=False))
