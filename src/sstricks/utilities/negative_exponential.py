import torch
from torch import Tensor
from torch.distributions import Distribution, Exponential, constraints, kl_divergence, register_kl
from torch.distributions.constraints import Constraint
from torch.types import _size as Shape

from sstricks.randomness import standard_exponential


class NegativeExponential(Distribution):
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
        self._positive = Exponential(rate, validate_args=validate_args)
        self.rate = self._positive.rate
        super().__init__(self.rate.shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: "NegativeExponential | None" = None) -> "NegativeExponential":
        """The same law with a larger batch shape."""
        return NegativeExponential(self.rate.expand(batch_shape), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """−1/λ."""
        return -self._positive.mean

    @property
    def variance(self) -> Tensor:
        """1/λ²."""
        return self._positive.variance

    def rsample(self, sample_shape: Shape = torch.Size()) -> Tensor:
        """Samples, differentiable in λ."""
        return -standard_exponential(self.rate, self._extended_shape(torch.Size(sample_shape))) / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        """Log λ + λ·value, for values ≤ 0."""
        return torch.where(value <= 0, self.rate.log() + self.rate * value, -torch.inf)

    def entropy(self) -> Tensor:
        """1 − log λ."""
        return self._positive.entropy()


@register_kl(NegativeExponential, NegativeExponential)
def _(p: NegativeExponential, q: NegativeExponential) -> Tensor:
    return kl_divergence(p._positive, q._positive)
