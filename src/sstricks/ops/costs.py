"""Separable regularizers Σh(xᵢ) as the active-set method and its gradient need them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Cost(NamedTuple):
    """One h. Functions of (x, 1 − x), since near 1 the second cannot be had from the first."""

    slope: Callable[[Tensor, Tensor], Tensor]
    """h'(x)."""
    curvature: Callable[[Tensor, Tensor], Tensor]
    """h''(x)."""
    spread: Callable[[Tensor], Tensor]
    """1/h''(x), zero where the slope is infinite, differentiable."""
    steep_below: bool
    """Whether the slope at 0 is infinite."""
    steep_above: bool
    """Whether the slope at 1 is infinite."""


EUCLIDEAN, CATEGORICAL, BINARY = range(3)
COSTS = (
    Cost(
        lambda x, rest: x,
        lambda x, rest: torch.ones_like(x),
        torch.ones_like,
        steep_below=False,
        steep_above=False,
    ),
    Cost(
        lambda x, rest: x.log(),
        lambda x, rest: 1 / x,
        lambda x: x,
        steep_below=True,
        steep_above=False,
    ),
    Cost(
        lambda x, rest: x.log() - rest.log(),
        lambda x, rest: 1 / x + 1 / rest,
        lambda x: x * (1 - x),
        steep_below=True,
        steep_above=True,
    ),
)
