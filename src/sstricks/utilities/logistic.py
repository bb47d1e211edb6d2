from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints, register_kl
from torch.distributions.constraints import Constraint
from torch.nn.functional import softplus
from torch.types import _size as Shape

from sstricks.distributions.base import BaseDistribution
from sstricks.errors import invalid
from sstricks.ops.noise import standard_exponential
from sstricks.utilities.utility import location_and_scale


class Logistic(BaseDistribution):
    r"""The logistic distribution: the difference of two Gumbels of the same scale (App. B.3).

    .. math:: U = \mu + s (\log V - \log(1 - V)), \quad V \sim \mathrm{uniform}(0, 1)

    As a utility on `Subset` it makes every coordinate an independent coin, P(xᵢ = 1) = σ(μᵢ/s).

    Args:
        loc: μ, any shape.
        scale: s > 0, broadcasts with `loc`.

    Example:
        >>> sst.Logistic(torch.zeros(3)).mean
        tensor([0., 0., 0.])
    """

    has_rsample = True

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        """What the parameters must satisfy."""
        return {"loc": constraints.real, "scale": constraints.positive}

    @property
    def support(self) -> Constraint:
        """Where the density is positive."""
        return constraints.real

    def __init__(self, loc: Tensor | float, scale: Tensor | float = 1.0, *, validate_args: bool | None = None) -> None:
        self.loc, self.scale = location_and_scale(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: Self | None = None) -> Self:
        """The same law with a larger batch shape."""
        new = self._expanded(Logistic, batch_shape, _instance)
        new.loc, new.scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        return new

    @property
    def mean(self) -> Tensor:
        """μ."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """μ."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """s² π² / 3."""
        return self.scale.square() * (torch.pi**2 / 3)

    def rsample(self, sample_shape: Shape = torch.Size()) -> Tensor:
        """Samples, differentiable in μ and s."""
        shape = self._extended_shape(sample_shape)
        # The difference of two exponentials' logarithms: unlike log V − log(1−V) it has both tails in full.
        top, bottom = (standard_exponential(self.loc, shape) for _ in "ab")
        return (self.loc + self.scale * (top.log() - bottom.log())).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """−z − 2 log(1 + e^−z) − log s, with z = (value − μ)/s."""
        if self._validate_args:
            self._validate_sample(value)
        z = (value - self.loc) / self.scale
        return -z.abs() - 2 * softplus(-z.abs()) - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        """σ((value − μ)/s)."""
        return ((value - self.loc) / self.scale).sigmoid()

    def icdf(self, value: Tensor) -> Tensor:
        """μ + s log(value / (1 − value))."""
        return self.loc + self.scale * value.logit()

    def entropy(self) -> Tensor:
        """Log s + 2."""
        return self.scale.log() + 2


@register_kl(Logistic, Logistic)
def _(p: Logistic, q: Logistic) -> Tensor:
    """With δ = (μ_p − μ_q)/s: δ coth(δ/2) − 2, which is known for equal scales only.

    Its derivative in s_p/s_q is known there too, δ²/(4 sinh²(δ/2)) − 1; without it, scales that are learnt would get
    the gradient of another function.
    """
    if not torch.equal(*torch.broadcast_tensors(p.scale, q.scale)):
        raise invalid(
            "scale",
            "two Logistic utilities with different scales",
            "equal scales",
            "Only then is the divergence known; else average p.log_prob(u) - q.log_prob(u) over samples u of p.",
        )
    delta = ((p.loc - q.loc) / q.scale).abs()
    small = delta < 1e-2
    square = torch.where(small, delta, 0.0).square()
    large = torch.where(small, 1.0, delta)
    near = large.clamp(max=200.0)  # beyond, its exponential is nothing beside one
    decay, rest = (-near).exp(), -torch.expm1(-near)
    # coth(δ/2) = 1 + 2/(e^δ − 1); near zero the differences cancel and the series take over.
    value = torch.where(small, square / 6 * (1 - square / 60), large - 2 + 2 * near * decay / rest)
    slope = torch.where(small, square / 12 * (square / 20 - 1), near.square() * decay / rest.square() - 1)
    return value + (p.scale / q.scale - 1) * slope
