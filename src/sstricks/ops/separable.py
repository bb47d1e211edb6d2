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

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sstricks.ops.costs import BINARY, CATEGORICAL, EUCLIDEAN
from sstricks.ops.gradients import attach_no_gradient
from sstricks.ops.operator import Operator, operator
from sstricks.ops.threads import over_rows

_STEPS = 100
_CLIP_WIDTH = 0.75
# Where φ' is smaller than this near 0 or 1, it is continuous there for all that can be seen.
NO_KINK = 1e-4


def tolerance(x: Tensor, k: Tensor | int) -> Tensor | float:
    """What summing n terms that make k may cost."""
    return torch.finfo(x.dtype).eps * (4 * k + x.shape[-1])


def kth_largest(u: Tensor, k: int) -> Tensor:
    """The k-th largest of each row, shape (*batch, 1)."""
    return u.topk(k, -1).values[..., -1:]


def newton(total: Tensor, slope: Tensor, k: Tensor | int) -> Tensor:
    """The step in ν from where Σx is `total`, with the derivative `slope`, to where it should be k."""
    return (k - total) / slope


def meet_sum(
    link: Callable[[Tensor], Tensor],
    slope: Callable[[Tensor], Tensor],
    y: Tensor,
    k: Tensor | int,
    low: Tensor,
    high: Tensor,
    step: Callable[[Tensor, Tensor, Tensor | int], Tensor] = newton,
    slack: float = 1.0,
    total_of: Callable[[Tensor], Tensor] = lambda x: x.sum(-1, keepdim=True),
) -> Tensor:
    """The x = φ(y + ν) with Σx = k, for a ν from `low` to `high`, by Newton steps that a shrinking bracket keeps safe.

    Args:
        link: φ.
        slope: From x to φ'(y + ν).
        y: Shape (*batch, n), −∞ where a coordinate is absent.
        k: What x sums to.
        low: Where Σx ≤ k, shape (*batch, 1).
        high: Where Σx ≥ k, shape (*batch, 1).
        step: The step towards k.
        slack: How many times the rounding of a sum φ may err.
        total_of: Σ, by default over a row; then k, ν and the bounds are of its shape.
    """
    near, eps = slack * tolerance(y, k), torch.finfo(y.dtype).eps
    nu = (low + high) / 2
    x, wrong = y, torch.ones_like(nu, dtype=torch.bool)
    for _ in range(_STEPS):
        x = link(y + nu)
        total = total_of(x)
        wrong = (total - k).abs() > near
        if not (wrong & (high - low > 2 * eps * (low.abs() + high.abs()))).any():
            break
        low, high = torch.where(total > k, low, nu), torch.where(total > k, nu, high)
        ahead = nu + step(total, total_of(slope(x)), k)
        inside = (ahead > low) & (ahead < high)
        nu = torch.where(wrong, torch.where(inside, ahead, (low + high) / 2), nu)
    if wrong.any():  # φ is so steep that ν has not the digits: x lies between those of two neighbouring ν
        below, above = link(y + low), link(y + high)
        least, most = total_of(below), total_of(above)
        share = ((k - least) / torch.where(most > least, most - least, 1.0)).clamp(0, 1)
        x = torch.where(wrong, below + share * (above - below), x)
    # Within the tolerance of a kink is on it, or its slope would be that of the wrong side.
    kink = slope(x) > NO_KINK
    x = torch.where(kink & (x > 1 - 2 * near), 1.0, torch.where(kink & (x < 2 * near), 0.0, x))
    # Where there is no choice, exactly one, so that the slope at the kink is exactly zero.
    present = (y > -torch.inf).to(y.dtype)
    return torch.where(total_of(present) == k, present, x)


def _flat_slope(x: Tensor) -> Tensor:
    return ((x > 0) & (x < 1)).to(x.dtype)


def _capped_slope(x: Tensor) -> Tensor:
    return torch.where(x < 1, x, 0.0)


def _logistic_slope(x: Tensor) -> Tensor:
    return x * (1 - x)


_SLOPES = (_flat_slope, _capped_slope, _logistic_slope)


def _within(
    width: float, link: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor], y: Tensor, k: int
) -> Tensor:
    """The x = φ(y + ν) with Σx = k, for a ν in [−width, width]."""
    high = torch.full_like(y[..., :1], width)
    return meet_sum(link, slope, y, k, -high, high)


def _log_width(u: Tensor) -> float:
    return math.log(2.0 * u.shape[-1])


@operator("sstricks::top_k", core=(1,))
def top_k(u: Tensor, k: int) -> Tensor:
    """The indicator vector of the k largest coordinates, shape (*batch, n); ties go to the lower index."""
    edge = u.topk(k, -1).values[..., -1:]
    above, tied = u > edge, u == edge
    room = k - above.sum(-1, keepdim=True)
    return (above | (tied & (tied.cumsum(-1) <= room))).to(u.dtype)


attach_no_gradient(top_k)


@operator("sstricks::capped_simplex", core=(1,))
def capped_simplex(u: Tensor, k: int) -> Tensor:
    """The Euclidean projection of u onto {x ∈ [0, 1]ⁿ : Σx = k}, shape (*batch, n); sparsemax for k = 1."""
    # At ν = −u₍ₖ₎ the sum is at most k − 1, at ν = 1 − u₍ₖ₎ at least k. The bracket ends beyond these, since the second
    # is the solution where no other coordinate is near, and a step onto the end of the bracket is none.
    return _within(_CLIP_WIDTH, lambda y: y.clamp(0, 1), _flat_slope, u - kth_largest(u, k) + 0.5, k)


@operator("sstricks::capped_softmax", core=(1,))
def capped_softmax(u: Tensor, k: int) -> Tensor:
    """The maximiser of uᵀx − Σ(x log x − x) on {x ∈ [0, 1]ⁿ : Σx = k}, shape (*batch, n); softmax for k = 1."""
    # At ν = −u₍ₖ₎ the k largest are capped; log 2n lower, the others sum to less than one.
    half = _log_width(u) / 2
    return _within(half, lambda y: y.clamp(max=0).exp(), _capped_slope, u - kth_largest(u, k) - half, k)


@operator("sstricks::k_subset_sigmoid", core=(1,))
def k_subset_sigmoid(u: Tensor, k: int) -> Tensor:
    """The maximiser of uᵀx − Σ(x log x + (1−x) log(1−x)) on Σx = k, shape (*batch, n): σ(u + ν)."""
    # Seen from the middle of the gap between the k largest and the rest, ν lies within ±log n; a gap wider than 2000
    # cannot be seen across.
    top = kth_largest(u, k)
    below = kth_largest(u, k + 1) if k < u.shape[-1] else torch.full_like(top, -torch.inf)
    half_gap = (top - below).clamp(max=2000.0) / 2
    return _within(_log_width(u), torch.sigmoid, _logistic_slope, u - top + half_gap, k)


@operator("sstricks::separable_projection", core=(1, 1))
def projection(x: Tensor, g: Tensor, link: int) -> Tensor:
    """J g = (diag(s) − s sᵀ/Σs) g at the solution x, shape (*batch, n), for the slope s(x) of a link (by number)."""
    s = _SLOPES[link](x)
    total = s.sum(-1, keepdim=True)
    return s * (g - (s * g).sum(-1, keepdim=True) / torch.where(total > 0, total, 1.0))


def _launch(link: int, u: Tensor, k: int) -> Tensor:
    from sstricks.ops.kernels.separable import solve

    out = torch.empty_like(u)
    over_rows(solve, len(u), 10.0 * u.shape[1], link, k, u.numpy(), out.numpy())
    return out


@capped_simplex.cpu
def _(u: Tensor, k: int) -> Tensor:
    return _launch(EUCLIDEAN, u, k)


@capped_softmax.cpu
def _(u: Tensor, k: int) -> Tensor:
    return _launch(CATEGORICAL, u, k)


@k_subset_sigmoid.cpu
def _(u: Tensor, k: int) -> Tensor:
    return _launch(BINARY, u, k)


@projection.cpu
def _(x: Tensor, g: Tensor, link: int) -> Tensor:
    from sstricks.ops.kernels.separable import projection as kernel

    out = torch.empty_like(x)
    over_rows(kernel, len(x), 1.0 * x.shape[1], link, x.numpy(), g.numpy(), out.numpy())
    return out


def _launch_cuda(link: int, operator: Operator, u: Tensor, k: int) -> Tensor:
    from sstricks.ops.cuda.separable import LONGEST_ROW, solve

    return solve(link, u, k) if u.shape[1] <= LONGEST_ROW else operator.twin(u, k)


@capped_simplex.cuda
def _(u: Tensor, k: int) -> Tensor:
    return _launch_cuda(EUCLIDEAN, capped_simplex, u, k)


@capped_softmax.cuda
def _(u: Tensor, k: int) -> Tensor:
    return _launch_cuda(CATEGORICAL, capped_softmax, u, k)


@k_subset_sigmoid.cuda
def _(u: Tensor, k: int) -> Tensor:
    return _launch_cuda(BINARY, k_subset_sigmoid, u, k)


@top_k.cpu
def _(u: Tensor, k: int) -> Tensor:
    if k == 1:
        at = u.argmax(-1, keepdim=True)  # the first of several
    else:
        values, at = u.topk(min(k + 1, u.shape[-1]), -1)
        if (values[:, k - 1 : k] == values[:, k:]).any():  # torch chose between equals
            return top_k.twin(u, k)
    return torch.zeros_like(u).scatter_(-1, at[:, :k], 1.0)


@top_k.cuda
def _(u: Tensor, k: int) -> Tensor:
    from sstricks.ops.cuda.separable import LONGEST_ROW
    from sstricks.ops.cuda.separable import top_k as launch

    return launch(u, k) if u.shape[1] <= LONGEST_ROW else top_k.twin(u, k)


@projection.cuda
def _(x: Tensor, g: Tensor, link: int) -> Tensor:
    from sstricks.ops.cuda.separable import LONGEST_ROW
    from sstricks.ops.cuda.separable import projection as launch

    return launch(x, g, link) if x.shape[1] <= LONGEST_ROW else projection.twin(x, g, link)


@capped_simplex.symmetric
def _(needs: tuple[bool, ...], grad: Tensor, x: Tensor, u: Tensor, k: int) -> tuple[Tensor]:
    return (projection(x, grad, EUCLIDEAN),)


@capped_softmax.symmetric
def _(needs: tuple[bool, ...], grad: Tensor, x: Tensor, u: Tensor, k: int) -> tuple[Tensor]:
    return (projection(x, grad, CATEGORICAL),)


@k_subset_sigmoid.symmetric
def _(needs: tuple[bool, ...], grad: Tensor, x: Tensor, u: Tensor, k: int) -> tuple[Tensor]:
    return (projection(x, grad, BINARY),)


# J is symmetric, so the gradient in g is J applied to the incoming one; that in x goes through the slope.
@projection.backward
def _(needs: tuple[bool, ...], grad: Tensor, y: Tensor, x: Tensor, g: Tensor, link: int) -> tuple[Tensor, Tensor]:
    pull_back = torch.func.vjp(lambda x: projection.twin(x, g, link), x)[1]
    return pull_back(grad)[0], projection(x, grad, link)
