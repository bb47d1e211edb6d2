"""Scaled utilities, from any floating dtype to float64 and back; the mathematics stands in `sstricks.ops.scaled`."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sstricks.ops import precision
from sstricks.ops.cuda.blocks import block, launch, warps

A_LITTLE_MORE = tl.constexpr(precision.A_LITTLE_MORE)
COLDEST = tl.constexpr(precision.COLDEST)
LARGEST = tl.constexpr(precision.LARGEST)
SURE = tl.constexpr(precision.SURE)
INF = tl.constexpr(float("inf"))


@triton.jit
def _divided(u, mask, i, n, t, MASKED: tl.constexpr):
    """The utilities at i, those divided by t, and which are present."""
    x = tl.load(u + i, mask=i < n, other=-INF).to(tl.float64)
    here = x != -INF
    if MASKED:
        here = here & tl.load(mask + i, mask=i < n, other=0).to(tl.int1)
    return x, tl.minimum(tl.maximum(x / t, -LARGEST), LARGEST), here


@triton.jit(do_not_specialize=["n", "at_least"])
def _scaled(u, t, mask, out, n, at_least, MASKED: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    u += row * n
    mask += row * n
    out += row * n
    temperature = tl.load(t + row).to(tl.float64)
    divisor = tl.maximum(temperature, COLDEST)
    total = tl.full((), 0.0, tl.float64)
    present = 0
    nans = 0
    for start in range(0, n, BLOCK):
        x, v, here = _divided(u, mask, start + tl.arange(0, BLOCK), n, divisor, MASKED)
        total += tl.sum(tl.where(here & (x < INF), tl.abs(v), 0.0))
        present += tl.sum(here.to(tl.int32))
        nans += tl.sum((here & (x != x)).to(tl.int32))
    sure = tl.minimum(SURE + total * A_LITTLE_MORE, 2 * LARGEST)
    valid = (present >= at_least) & (nans == 0) & (temperature > 0)
    for start in range(0, n, BLOCK):
        i = start + tl.arange(0, BLOCK)
        x, v, here = _divided(u, mask, i, n, divisor, MASKED)
        v = tl.where(here, tl.where(x == INF, sure, v), -INF)
        tl.store(out + i, tl.where(valid, v, float("nan")), mask=i < n)


@triton.jit(do_not_specialize=["n"])
def _scaled_backward(grad, u, t, mask, out, n, MASKED: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    grad += row * n
    u += row * n
    mask += row * n
    out += row * n
    divisor = tl.maximum(tl.load(t + row).to(tl.float64), COLDEST)
    nans = 0
    for start in range(0, n, BLOCK):
        i = start + tl.arange(0, BLOCK)
        g = tl.load(grad + i, mask=i < n, other=0.0)
        nans += tl.sum((g != g).to(tl.int32))
    for start in range(0, n, BLOCK):
        i = start + tl.arange(0, BLOCK)
        x, _, here = _divided(u, mask, i, n, divisor, MASKED)
        g = tl.load(grad + i, mask=i < n, other=0.0) / divisor
        g = tl.where(here & (tl.abs(x) < INF), g, 0.0)
        g = tl.where(nans > 0, float("nan"), g)
        if out.dtype.element_ty != tl.float64:  # half precision is rounded twice, as torch does
            g = g.to(tl.float32)
        tl.store(out + i, g.to(out.dtype.element_ty), mask=i < n)


def scaled(u: Tensor, t: Tensor, mask: Tensor, at_least: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    out = torch.empty(u.shape, dtype=torch.float64, device=u.device)
    n, size = u.shape[1], block(u.shape[1])
    if out.numel():
        launch(_scaled, len(u), (u, t, mask, out, n, at_least), (mask.shape[1] > 0, size), warps(size))
    return out


def scaled_backward(grad: Tensor, u: Tensor, t: Tensor, mask: Tensor) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    out = torch.empty_like(u)
    n, size = u.shape[1], block(u.shape[1])
    if out.numel():
        launch(_scaled_backward, len(u), (grad, u, t, mask, out, n), (mask.shape[1] > 0, size), warps(size))
    return out
