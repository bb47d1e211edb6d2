r"""Separable regularizers on Σx = k, 0 ≤ x ≤ 1: one multiplier, found by Newton's method (B.4).

The optimum of :math:`u^\top x - \sum_i h(x_i)` subject to :math:`\sum_i x_i = k` is :math:`x_i = \varphi(u_i + \nu)`
with an increasing link φ = (h')⁻¹, cut to [0, 1], and the ν that makes the sum k:

=====================  ==========================  ==================
h                      φ(y)                        s = φ'(y), from x
=====================  ==========================  ==================
x²/2                   min(max(y, 0), 1)           1 where 0 < x < 1
x log x − x            min(exp(y), 1)              x where x < 1
x log x + (1−x)log(1−x)  σ(y)                      x (1 − x)
=====================  ==========================  ==================

**Backward.** dx = s (du + dν) and Σ dx = 0 give dν = −sᵀdu/Σs, so J = diag(s) − s sᵀ/Σs, which is symmetric. It is
written with the differentiable s(x), so that it can be differentiated again.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sstricks.ops.operator import operator

_STEPS = 100


def _solve(
    link: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor], y: Tensor, k: int, width: float
) -> Tensor:
    """The x = φ(y+ν) with Σx = k, for a ν in [−width, width], by Newton steps that a shrinking bracket keeps safe."""
    nu = torch.zeros_like(y[..., :1])
    low, high = nu - width, nu + width
    tolerance = 4 * torch.finfo(y.dtype).eps * k
    for _ in range(_STEPS):
        x = link(y + nu)
        excess = x.sum(-1, keepdim=True) - k
        wrong = excess.abs() > tolerance
        if not wrong.any():
            break
        low, high = torch.where(excess > 0, low, nu), torch.where(excess > 0, nu, high)
        step = nu - excess / slope(x).sum(-1, keepdim=True)
        inside = (step > low) & (step < high)
        nu = torch.where(wrong, torch.where(inside, step, (low + high) / 2), nu)
    return link(y + nu)


def _projected(s: Tensor, grad: Tensor) -> Tensor:
    """(diag(s) − s sᵀ/Σs) g."""
    total = s.sum(-1, keepdim=True)
    return s * (grad - (s * grad).sum(-1, keepdim=True) / torch.where(total > 0, total, 1.0))


def _kth(u: Tensor, k: int) -> Tensor:
    return u.topk(k, -1).values[..., -1:]


def _flat_slope(x: Tensor) -> Tensor:
    return ((x > 0) & (x < 1)).to(x.dtype)


def _capped_slope(x: Tensor) -> Tensor:
    return torch.where(x < 1, x, 0.0)


def _logistic_slope(x: Tensor) -> Tensor:
    return x * (1 - x)


@operator("sstricks::capped_simplex", core=(1,))
def capped_simplex(u: Tensor, k: int) -> Tensor:
    """The Euclidean projection of u onto {x ∈ [0, 1]ⁿ : Σx = k}, shape (*batch, n); sparsemax for k = 1."""
    # At ν = −u₍ₖ₎ the sum is at most k − 1, at ν = 1 − u₍ₖ₎ at least k.
    return _solve(lambda y: y.clamp(0, 1), _flat_slope, u - _kth(u, k) + 0.5, k, 0.5)


@operator("sstricks::capped_softmax", core=(1,))
def capped_softmax(u: Tensor, k: int) -> Tensor:
    """The maximiser of uᵀx − Σ(x log x − x) on {x ∈ [0, 1]ⁿ : Σx = k}, shape (*batch, n); softmax for k = 1."""
    # At ν = −u₍ₖ₎ the k largest are capped; log n lower, the others sum to less than one.
    half = 0.5 * torch.log(torch.tensor(2.0 * u.shape[-1])).item()
    return _solve(lambda y: y.clamp(max=0).exp(), _capped_slope, u - _kth(u, k) - half, k, half)


@operator("sstricks::k_subset_sigmoid", core=(1,))
def k_subset_sigmoid(u: Tensor, k: int) -> Tensor:
    """The maximiser of uᵀx − Σ(x log x + (1−x) log(1−x)) on Σx = k, shape (*batch, n): σ(u + ν)."""
    # Seen from the middle of the gap between the k largest and the rest, ν lies within ±log n; a gap wider than 2000
    # cannot be seen across.
    top = _kth(u, k)
    below = _kth(u, k + 1) if k < u.shape[-1] else torch.full_like(top, -torch.inf)
    middle = (top + torch.maximum(below, top - 2000.0)) / 2
    width = torch.log(torch.tensor(2.0 * u.shape[-1])).item()
    return _solve(torch.sigmoid, _logistic_slope, u - middle, k, width)


@capped_simplex.backward
def _(grad: Tensor, x: Tensor, u: Tensor, k: int) -> tuple[Tensor]:
    return (_projected(_flat_slope(x), grad),)


@capped_softmax.backward
def _(grad: Tensor, x: Tensor, u: Tensor, k: int) -> tuple[Tensor]:
    return (_projected(_capped_slope(x), grad),)


@k_subset_sigmoid.backward
def _(grad: Tensor, x: Tensor, u: Tensor, k: int) -> tuple[Tensor]:
    return (_projected(_logistic_slope(x), grad),)
