r"""Any separable regularizer on Σx = k, 0 ≤ x ≤ 1, or on the cube alone, from h', h'' and (h')⁻¹.

As in `sstricks.ops.separable`, the optimum is :math:`x_i = \varphi_i(u_i + \nu)` with φᵢ = (hᵢ')⁻¹, cut to [0, 1].
Each coordinate may have an h of its own. Where −ν is the k-th largest of uᵢ − hᵢ'(c), all but k − 1 coordinates have
xᵢ ≤ c, and k of them xᵢ ≥ c: with c = 1/n the sum is at most k, with c = 1 at least.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sstricks.ops.density import Density, density_of, differentiable, ends, in_batch, interior
from sstricks.ops.operator import Sizes, operator
from sstricks.ops.separable import kth_largest, meet_sum

_STEPS = 200
# How far a step in log x may lead: where h' is a power of x, not a logarithm, it leads much too far.
_FAR = 16.0


def inverse(derivatives: Callable[[Tensor], tuple[Tensor, Tensor]], y: Tensor, start: Tensor) -> Tensor:
    """The x in [0, 1] with h'(x) = y, by Newton steps in x, else in log x or log(1 − x), else bisection.

    Args:
        derivatives: h' and h'' at once; h' increases on (0, 1).
        y: Any shape.
        start: Where to begin, shape of y.
    """
    first, last = ends(y)
    low, high = torch.full_like(y, first), torch.full_like(y, last)
    is_zero, is_one = y <= derivatives(low)[0], y >= derivatives(high)[0]
    x = start.clamp(first, last)
    for _ in range(_STEPS):
        here, curvature = derivatives(x)
        excess = here - y
        done = is_zero | is_one | (excess.abs() <= 2 * torch.finfo(y.dtype).eps * (here.abs() + y.abs()))
        if done.all():
            break
        step = -excess / curvature
        low, high = torch.where(excess > 0, low, x), torch.where(excess > 0, x, high)
        near_zero = x * (step / x).clamp(-_FAR, _FAR).exp()
        near_one = 1 - (1 - x) * (-step / (1 - x)).clamp(-_FAR, _FAR).exp()
        ahead = (low + high) / 2
        for target in (near_one, near_zero, x + step):
            ahead = torch.where((target > low) & (target < high), target, ahead)
        done = done | ((ahead - x).abs() <= torch.finfo(y.dtype).eps * x)
        x = torch.where(done, x, ahead)
        if done.all():
            break
    return torch.where(is_zero, 0.0, torch.where(is_one, 1.0, x))


def link(f: Density) -> Callable[[Tensor], Tensor]:
    """φ, which where it has no closed form is sought from where it was found last."""
    x = None

    def near_the_last(y: Tensor) -> Tensor:
        nonlocal x
        x = f.inverse_slope_near(torch.full_like(y, 0.5) if x is None else x, y)
        return x

    return near_the_last


def response(f: Density) -> Callable[[Tensor], Tensor]:
    """1/h'' as a function of x, and 0 where x cannot vary."""

    def slope(x: Tensor) -> Tensor:
        inside = interior(x)
        return torch.where(inside, 1 / f.curvature(torch.where(inside, x, 0.5)), 0.0)

    return slope


def bounds(f: Density, y: Tensor, kth: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Between what ν lies.

    Args:
        f: A regularizer.
        y: Scaled utilities, −∞ where a coordinate is absent.
        kth: The k-th largest of such numbers.
    """
    low, high = (-kth(y - f.slope(torch.full_like(y, x))) for x in (1 / y.shape[-1], ends(y)[1]))
    return low, high + 0.01 * (high - low)  # a Newton step onto the end of the bracket would be none


@operator("sstricks::separable_optimum", core=(1,), waits=True)
@differentiable()
def separable_optimum(u: Tensor, regularizer: int, k: int, batch: Sizes) -> Tensor:
    """The maximiser of uᵀx − Σh(xᵢ) on {x ∈ [0, 1]ⁿ : Σx = k}, or on all of [0, 1]ⁿ; shape (*batch, n).

    Args:
        u: Scaled utilities, shape (*batch, n).
        regularizer: The handle of one.
        k: What x sums to; 0 if it may sum to anything.
        batch: The batch shape, which the parameters of h may have.

    Raises:
        ValueError: h is not strictly convex.
    """
    y = in_batch(u, batch)
    f = density_of(regularizer, y)
    if k == 0:
        return f.inverse_slope(y).reshape(u.shape)
    y = y - kth_largest(y, k)
    low, high = bounds(f, y, lambda values: kth_largest(values, k))
    return meet_sum(link(f), response(f), y, k, low, high, slack=8.0).reshape(u.shape)


@separable_optimum.backward
def _(
    needs: tuple[bool, ...], grad: Tensor, x: Tensor, u: Tensor, regularizer: int, k: int, batch: Sizes
) -> tuple[None]:
    return (None,)
