from contextlib import suppress
from functools import reduce
from typing import Self

import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence, register_kl
from torch.distributions.constraints import Constraint
from torch.types import _size as Shape

from sstricks.distributions.base import BaseDistribution
from sstricks.errors import check_distribution, check_tensor, invalid, joint_shape
from sstricks.utilities.utility import known, reparameterised


class _WhereMasked(Constraint):
    """A constraint on what is present, and none on what is masked."""

    def __init__(self, base: Constraint, mask: Tensor) -> None:
        self.base = base
        self.mask = mask
        self.is_discrete = base.is_discrete
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        return self.base.check(value) | ~self.mask


class Masked(BaseDistribution):
    """A utility of which some coordinates are absent: they are −∞, and their densities and divergences do not count.

    Args:
        base: The utility, with event_shape ().
        mask: True where a coordinate is present; broadcasts with the batch shape of `base`.

    Example:
        >>> from torch.distributions import Normal
        >>> u = sst.Masked(Normal(torch.zeros(2), 1.0), torch.tensor([True, False]))
        >>> u.sample().isinf()
        tensor([False,  True])
    """

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        """What the parameters must satisfy."""
        return {}

    @property
    def support(self) -> Constraint:
        """That of the base, and anything where masked."""
        return _WhereMasked(self.base.support, self.mask)

    def __init__(self, base: Distribution, mask: Tensor, *, validate_args: bool | None = None) -> None:
        if check_distribution("base", base).event_shape:
            raise invalid(
                "base", f"event_shape {tuple(base.event_shape)}", "()", "Mask the coordinates before Independent."
            )
        if check_tensor("mask", mask).dtype != torch.bool:
            raise invalid("mask", f"dtype {mask.dtype}", "torch.bool", "Write mask.bool().")
        shape = joint_shape("mask", mask.shape, base.batch_shape, "base")
        self.base = base.expand(shape)
        self.mask = mask.expand(shape)
        super().__init__(shape, validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  torch's own idiom
        """Whether the base has reparameterised samples."""
        return self.base.has_rsample

    @property
    def mean(self) -> Tensor:
        """The base's, −∞ where masked."""
        return known(self.base, "mean").masked_fill(~self.mask, -torch.inf)

    @property
    def mode(self) -> Tensor:
        """The base's, −∞ where masked."""
        return known(self.base, "mode").masked_fill(~self.mask, -torch.inf)

    @property
    def variance(self) -> Tensor:
        """The base's, 0 where masked."""
        return known(self.base, "variance").masked_fill(~self.mask, 0.0)

    def entropy(self) -> Tensor:
        """The base's, 0 where masked."""
        return known(self.base, "entropy").masked_fill(~self.mask, 0.0)

    def expand(self, batch_shape: Shape, _instance: Self | None = None) -> Self:
        """The same law with a larger batch shape."""
        new = self._expanded(Masked, batch_shape, _instance)
        new.base, new.mask = self.base.expand(batch_shape), self.mask.expand(batch_shape)
        return new

    def rsample(self, sample_shape: Shape = torch.Size()) -> Tensor:
        """Samples, −∞ where masked."""
        return reparameterised(self.base, sample_shape).masked_fill(~self.mask, -torch.inf)

    def sample(self, sample_shape: Shape = torch.Size()) -> Tensor:
        """Samples without gradient, −∞ where masked."""
        return self.base.sample(torch.Size(sample_shape)).masked_fill(~self.mask, -torch.inf)

    def log_prob(self, value: Tensor) -> Tensor:
        """The base's, and 0 where masked."""
        inside = torch.where(self.mask, value, _inside(self.base))
        return self.base.log_prob(inside).masked_fill(~self.mask, 0.0)

    def cdf(self, value: Tensor) -> Tensor:
        """The base's, 1 where masked."""
        inside = torch.where(self.mask, value, _inside(self.base))
        return known(self.base, "cdf", inside).masked_fill(~self.mask, 1.0)

    def icdf(self, value: Tensor) -> Tensor:
        """The base's, −∞ where masked."""
        return known(self.base, "icdf", value).masked_fill(~self.mask, -torch.inf)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base}, mask: {tuple(self.mask.shape)})"


def _inside(base: Distribution) -> Tensor:
    """A point inside the support, to stand where none is wanted: the median if it is known, or else mean or mode."""
    with suppress(NotImplementedError):
        return base.icdf(torch.tensor(0.5)).detach()
    points = []
    for point in (lambda: base.mean, lambda: base.mode):  # a mode may lie at the border, a mean be infinite
        with suppress(NotImplementedError):
            points.append(point().detach())
    if not points:
        raise invalid("base", repr(base), "a law with a mean, a mode or an icdf", "Without, its log_prob is not known.")
    return reduce(lambda point, other: torch.where(point.isfinite(), point, other), points)


@register_kl(Masked, Masked)
def _(p: Masked, q: Masked) -> Tensor:
    if not torch.equal(*torch.broadcast_tensors(p.mask, q.mask)):
        raise invalid("mask", "two different masks", "equal masks", "The divergence is infinite where they differ.")
    return kl_divergence(p.base, q.base).masked_fill(~p.mask, 0.0)
