"""Separable regularizers Σh(xᵢ) as the active-set method needs them."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sstricks.ops.density import UNIT, Domain, density_of, ends, in_batch
from sstricks.ops.operator import Sizes

# A weight below exp(−BARELY) is nothing beside one.
BARELY = 33.0
# A curvature that is so many times that in the middle is infinite for Newton's method.
_STEEP = 1e6
# A slope at 0 that is so far below that in the middle, in units of the curvature there, is as good as infinite.
_FAR = 1.5


class Cost(NamedTuple):
    """One h. Functions of (x, 1 − x), since near 1 the second cannot be had from the first."""

    slope: Callable[[Tensor, Tensor], Tensor]
    """h'(x)."""
    curvature: Callable[[Tensor, Tensor], Tensor]
    """h''(x)."""
    steep_below: bool
    """Whether coordinates must begin, and stay, above 0, since h' is infinite there."""
    steep_above: bool
    """Whether h'' at 1 is infinite."""
    quadratic: bool
    """Whether h'' is constant, so that Newton steps need no line search."""
    reach: float
    """What slopes are within, on coordinates that are not nothing beside one, nor one beside nothing."""
    domain: Domain
    """Where h is strictly convex."""


EUCLIDEAN, CATEGORICAL, BINARY = range(3)
COSTS = (
    Cost(
        lambda x, rest: x,
        lambda x, rest: torch.ones_like(x),
        steep_below=False,
        steep_above=False,
        quadratic=True,
        reach=1.0,
        domain=(-math.inf, math.inf),
    ),
    Cost(
        lambda x, rest: x.log(),
        lambda x, rest: 1 / x,
        steep_below=True,
        steep_above=False,
        quadratic=False,
        reach=BARELY,
        domain=(0.0, math.inf),
    ),
    Cost(
        lambda x, rest: x.log() - rest.log(),
        lambda x, rest: 1 / x + 1 / rest,
        steep_below=True,
        steep_above=True,
        quadratic=False,
        reach=BARELY,
        domain=UNIT,
    ),
)


def cost_of(code: int, u: Tensor, batch: Sizes, binary: bool = True) -> Callable[[Tensor, Tensor], Cost]:
    """What gives the cost of some rows, from their indices and duality gaps.

    Args:
        code: Which of `COSTS` h is, or the handle of a regularizer.
        u: Scaled utilities, shape (rows, n).
        batch: The batch shape of the rows, which the parameters of h may have.
        binary: Whether all vertices are of zeros and ones, so that h is needed on [0, 1] only.

    Raises:
        ValueError: h is not strictly convex.
    """
    if code < len(COSTS):
        return lambda here, gap: COSTS[code]
    f = density_of(code, in_batch(u, batch))
    rows = len(u)
    middle = torch.full_like(u, 0.5)
    alike = f.density(middle[:1]).shape == middle[:1].shape  # for all rows, which need not be there together then

    def on_rows(function: Callable[[Tensor], Tensor], x: Tensor, here: Tensor) -> Tensor:
        if alike:
            return function(x)
        every = x.new_full((rows, *x.shape[1:]), 0.5).index_copy(0, here, x)
        parts = every.reshape(rows, -1, u.shape[-1]).unbind(1)
        values = torch.stack([function(in_batch(part, batch)).reshape(part.shape) for part in parts], 1)
        return values.reshape(every.shape)[here]

    every = torch.arange(rows, device=u.device)
    domain = UNIT if binary else f.domain
    (first, last), (least, most) = ends(u), ends(u, domain)
    points = (0.5, first, math.exp(-BARELY), 1 - math.exp(-BARELY))
    slope, at_zero, *others = (on_rows(f.slope, torch.full_like(u, x), every) for x in points)
    curvature, at_end = (on_rows(f.curvature, torch.full_like(u, x), every) for x in (0.5, last))
    steep_above = domain[1] == 1 and bool((at_end > _STEEP * curvature).any())
    steep_below = domain[0] == 0 and (steep_above or bool((slope - at_zero > _FAR * curvature).any()))
    reach = float(torch.stack(others).abs().max()) if rows else 0.0

    def of_rows(here: Tensor, gap: Tensor) -> Cost:
        # At 0, h'' may be infinite or 0: instead of there it is taken where a coordinate may go from there.
        ahead = torch.full_like(u[here], domain[0])
        if domain[0] == 0 and not steep_below:
            ahead = on_rows(f.inverse_slope, torch.minimum(at_zero[here] + gap.unsqueeze(-1), slope[here]), here)
        return Cost(
            lambda x, rest: on_rows(f.slope, x.clamp(least, most), here),
            lambda x, rest: on_rows(f.curvature, torch.maximum(x, ahead).clamp(least, most), here),
            steep_below=steep_below,
            steep_above=steep_above,
            quadratic=False,
            reach=reach,
            domain=domain,
        )

    return of_rows
