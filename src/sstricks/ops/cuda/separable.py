"""The multiplier of a separable regularizer in one launch; the mathematics stands in `sstricks.ops.separable`."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sstricks.ops import costs
from sstricks.ops.cuda.blocks import LONGEST_ROW, launch, power_of_two, warps
from sstricks.ops.cuda.order import INF, kth_largest

__all__ = ["LONGEST_ROW", "projection", "solve", "top_k"]

EUCLIDEAN = tl.constexpr(costs.EUCLIDEAN)
CATEGORICAL = tl.constexpr(costs.CATEGORICAL)
_EPSILON = tl.constexpr(2.220446049250313e-16)
_STEPS = tl.constexpr(100)


@triton.jit
def _link(y, LINK: tl.constexpr):
    """The response x and its slope dx/dy."""
    if LINK == EUCLIDEAN:
        x = tl.minimum(tl.maximum(y, 0.0), 1.0)
        slope = ((x > 0.0) & (x < 1.0)).to(tl.float64)
    elif LINK == CATEGORICAL:
        x = tl.exp(tl.minimum(y, 0.0))
        slope = tl.where(x < 1.0, x, 0.0)
    else:
        z = tl.exp(-tl.abs(y))
        x = tl.where(y > 0.0, 1.0, z) / (1.0 + z)
        slope = z / ((1.0 + z) * (1.0 + z))
    return x, slope


@triton.jit(do_not_specialize=["n", "k"])
def _solve(u, out, n, k, LINK: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    v = tl.load(u + row * n + i, mask=i < n, other=-INF)
    edge, below = kth_largest(v, k)
    reach = tl.log(2.0 * n.to(tl.float64))
    # The edge is taken off first and what is added is small, which costs no digits.
    if LINK == EUCLIDEAN:
        width = 0.0 * reach + 0.75
        y = v - edge + 0.5
    elif LINK == CATEGORICAL:
        width = 0.5 * reach
        y = v - edge - width
    else:
        width = reach
        y = v - edge + 0.5 * tl.minimum(edge - below, 2000.0)
    wanted = k.to(tl.float64)
    tolerance = _EPSILON * (4.0 * wanted + n.to(tl.float64))
    nu = 0.0 * width
    low = -width
    high = width
    x, slope = _link(y + nu, LINK)
    excess = tl.sum(x) - wanted
    steps = 0
    while (tl.abs(excess) > tolerance) & (steps < _STEPS):
        low = tl.where(excess > 0.0, low, nu)
        high = tl.where(excess > 0.0, nu, high)
        newton = nu - excess / tl.sum(slope)
        nu = tl.where((newton > low) & (newton < high), newton, 0.5 * (low + high))
        x, slope = _link(y + nu, LINK)
        excess = tl.sum(x) - wanted
        steps += 1
    # Within the tolerance of a kink is on it, or its slope would be that of the wrong side.
    if LINK <= CATEGORICAL:
        x = tl.where(x > 1.0 - 2.0 * tolerance, 1.0, x)
    if LINK == EUCLIDEAN:
        x = tl.where(x < 2.0 * tolerance, 0.0, x)
    present = (v > -INF).to(tl.float64)
    x = tl.where(tl.sum(present) == wanted, present, x)  # no choice: exactly one
    x = tl.where(tl.sum((v != v).to(tl.int32)) > 0, float("nan"), x)
    tl.store(out + row * n + i, x, mask=i < n)


@triton.jit(do_not_specialize=["n"])
def _projection(x, g, out, n, LINK: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    point = tl.load(x + row * n + i, mask=i < n, other=0.0)
    pull = tl.load(g + row * n + i, mask=i < n, other=0.0)
    if LINK == EUCLIDEAN:
        slope = ((point > 0.0) & (point < 1.0)).to(tl.float64)
    elif LINK == CATEGORICAL:
        slope = tl.where(point < 1.0, point, 0.0)
    else:
        slope = point * (1.0 - point)
    slope += point - point  # NaN if it is
    total = tl.sum(slope)
    mean = tl.sum(slope * pull) / tl.where(total == 0.0, 1.0, total)
    tl.store(out + row * n + i, slope * (pull - mean), mask=i < n)


@triton.jit(do_not_specialize=["n", "k"])
def _top_k(u, out, n, k, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    v = tl.load(u + row * n + i, mask=i < n, other=-INF).to(tl.float64)
    edge, _ = kth_largest(v, k)
    tied = (v == edge) & (i < n)
    room = k - tl.sum((v > edge).to(tl.int32))
    chosen = (v > edge) | (tied & (tl.cumsum(tied.to(tl.int32), 0) <= room))
    x = tl.where(tl.sum((v != v).to(tl.int32)) > 0, float("nan"), chosen.to(tl.float32))
    tl.store(out + row * n + i, x.to(out.dtype.element_ty), mask=i < n)


def solve(link: int, u: Tensor, k: int) -> Tensor:
    """Launch for the regularizer of this number; for arguments see the operators."""
    out = torch.empty_like(u)
    n, size = u.shape[1], power_of_two(u.shape[1])
    if len(u):
        launch(_solve, len(u), (u, out, n, k), (link, size), warps(size))
    return out


def projection(x: Tensor, g: Tensor, link: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    out = torch.empty_like(x)
    n, size = x.shape[1], power_of_two(x.shape[1])
    if len(x):
        launch(_projection, len(x), (x, g, out, n), (link, size), warps(size))
    return out


def top_k(u: Tensor, k: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    out = torch.empty_like(u)
    n, size = u.shape[1], power_of_two(u.shape[1])
    if len(u):
        launch(_top_k, len(u), (u, out, n, k), (size,), warps(size))
    return out
