"""What the numbers of the edge encoder are the parameters of (8.2, App. D.5.2)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution, Gumbel, Normal
from torch.nn import functional as F

import sstricks as sst

# An edge is absent long before, and below, the gradient of its utility, E / λ², leaves float32's range.
_LOWEST = -40.0


def gumbel(theta: Tensor) -> Distribution:
    """Gumbel utilities with these locations and scale 1."""
    return Gumbel(theta, torch.ones_like(theta), validate_args=False)


def normal(theta: Tensor) -> Distribution:
    """Gaussian utilities with these means and scale 1."""
    return Normal(theta, 1.0, validate_args=False)


def negative_exponential(theta: Tensor) -> Distribution:
    """Negative exponential utilities, the softplus of these their rates: a small rate is a low utility."""
    return sst.NegativeExponential(F.softplus(theta.clamp(min=_LOWEST)), validate_args=False)


def gumbel_difference(theta: Tensor) -> Distribution:
    """Of an edge on its own, present if its Gumbel utility exceeds that of its absence: logistic utilities."""
    return sst.Logistic(theta)


UTILITIES: dict[str, Callable[[Tensor], Distribution]] = {
    "gumbel": gumbel,
    "normal": normal,
    "negative-exponential": negative_exponential,
}
"""From a command line's name to the law of the utilities of structures whose edges compete."""

UTILITIES_OF_SINGLE_EDGES: dict[str, Callable[[Tensor], Distribution]] = {
    "gumbel": gumbel_difference,
    "normal": normal,
}
"""The same for edges on their own, which are present if their utility is positive: a negative one never is."""
