r"""The exponential family of subsets of bounded size, p(x) ∝ exp(uᵀx) on a ≤ Σx ≤ b: log Z, marginals and more (B.4).

The k-subsets are those with a = b = k. This is the law of n independent coins, conditioned on the number of heads. The
log-odds of all may be shifted by one ν if s heads are given the weight :math:`c_s = e^{(r - s) \nu}`, for any r. Take ν
= 0 where the coins' own mean :math:`\sum_i \sigma(u_i)` is within the bounds; elsewhere let r be the bound that it is
beyond, and :math:`\sum_i \sigma(u_i + \nu) \approx r`. Then all c_s ≤ 1, and the condition is close to the most likely
event, so that probabilities may be computed as they are, without logarithms: with p = σ(u + ν), q = 1 − p,

.. math:: A_{i+1}(j) = q_i A_i(j) + p_i A_i(j-1), \quad
          B_i(j) = q_i B_{i+1}(j) + p_i B_{i+1}(j+1), \quad
          x_i = p_i \sum_j A_i(j) B_{i+1}(j+1) \,/\, B_0(0)

where A counts the heads before item i and B, from :math:`B_n = c`, is the weight of what can follow them. All terms are
positive. The partition function is :math:`\log Z = \log B_0(0) + \sum_i \log(1 + e^{u_i+\nu}) - r\nu`.

**Derivative** in the direction g: the product rule on every line, with :math:`dp = -dq = pq\,(g - \bar g)`. The mean of
g under the weights pq is taken out, which keeps the terms small, and adds :math:`dc_s = (s - r) \bar g c_s`. The
Jacobian is the covariance matrix, hence symmetric: the backward pass is this derivative in the direction of the
incoming gradient.

**Samples.** One walk over the items, each chosen with its probability given those before it, which depends on how many
there may be still. Rows that are repeated along a dimension, as when many samples of one law are drawn, go through the
recursion once.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from sstricks.ops.gradients import attach_gradients, attach_no_gradient
from sstricks.ops.operator import operator
from sstricks.ops.threads import over_rows


class Coins(NamedTuple):
    """Independent coins of probability p = σ(y) = 1 − q, and the weight of each number of heads, 0 out of bounds."""

    p: Tensor
    q: Tensor
    y: Tensor
    edge: Tensor
    nu: Tensor
    size: Tensor
    weights: Tensor


def coins(u: Tensor, bounds: Tensor, k: int) -> Coins:
    """Coins whose law, weighted, is the exponential family: y = u − edge + ν leads near the size r.

    What the law does not depend on (edge, ν, r and the weights) carries no gradient.
    """
    least, most = bounds[..., :1], bounds[..., 1:]
    mean = u.detach().sigmoid().sum(-1, keepdim=True)
    size = torch.where((mean > most) | (least == most), most, least)
    inside = (least < most) & (mean <= most) & (least <= mean)
    top = u.detach().sort(-1, descending=True).values
    edge = top.gather(-1, (size - 1).clamp(min=0))
    below = torch.cat([top, torch.full_like(edge, -torch.inf)], -1).gather(-1, size)
    nu = (edge - below).clamp(max=2000.0) / 2
    edge = torch.where(inside | (size == 0), 0.0, edge)
    v = u - edge
    reach = math.log(2.0 * u.shape[-1])
    low, high = nu - reach, nu + reach
    for _ in range(24):  # halves [−log 2n, log 2n] to 1e-6
        nu = (low + high) / 2
        over = (v.detach() + nu).sigmoid().sum(-1, keepdim=True) > size
        low, high = torch.where(over, low, nu), torch.where(over, nu, high)
    nu = torch.where(inside, 0.0, torch.where(size == 0, torch.finfo(u.dtype).min / 2, nu))  # of size 0, none
    sizes = torch.arange(k + 1, device=u.device)
    more = size - sizes
    weights = torch.where(more == 0, 1.0, (more * (nu - edge)).exp())
    weights = torch.where((least <= sizes) & (sizes <= most), weights, 0.0)
    y = v + nu
    return Coins(y.sigmoid(), (-y).sigmoid(), y, edge, nu, size, weights)


def _convolve(a: Tensor, b: Tensor, states: int) -> Tensor:
    """The law of a sum from the laws of its two parts, cut to `states` states."""
    size = min(states, a.shape[-1] + b.shape[-1] - 1)
    out = torch.zeros_like(pad(a[..., :1], (0, size - 1)))
    for j in range(min(a.shape[-1], size)):
        width = min(b.shape[-1], size - j)
        out = out + pad(a[..., j : j + 1] * b[..., :width], (j, size - j - width))
    return out


def _correlate(outside: Tensor, sibling: Tensor, states: int) -> Tensor:
    """For each count in one part, the weight of completing it: Σ_j sibling(j) outside(count + j)."""
    padded = pad(outside, (0, max(0, states + sibling.shape[-1] - 1 - outside.shape[-1])))
    return sum(
        (sibling[..., j : j + 1] * padded[..., j : j + states] for j in range(sibling.shape[-1])),
        start=torch.zeros_like(padded[..., :states]),
    )


def _even(level: Tensor, value: float) -> Tensor:
    """The level with one more group, if their number is odd: a group of nobody, zero heads for certain."""
    if level.shape[-2] == 1 or level.shape[-2] % 2 == 0:
        return level
    return torch.cat([level, pad(torch.full_like(level[..., :1, :1], value), (0, level.shape[-1] - 1))], -2)


def _upward(p: Tensor, q: Tensor, k: int) -> list[Tensor]:
    """Laws of the number of heads in ever larger groups of items: level l is (*batch, groups, states)."""
    levels = [_even(torch.stack([q, p], -1), 1.0)]
    while levels[-1].shape[-2] > 1:
        left, right = levels[-1][..., ::2, :], levels[-1][..., 1::2, :]
        levels.append(_even(_convolve(left, right, k + 1), 1.0))
    return levels


def _upward_tangent(levels: list[Tensor], dp: Tensor, k: int) -> list[Tensor]:
    dlevels = [_even(torch.stack([-dp, dp], -1), 0.0)]
    for level in levels[:-1]:
        left, right = level[..., ::2, :], level[..., 1::2, :]
        dleft, dright = dlevels[-1][..., ::2, :], dlevels[-1][..., 1::2, :]
        dlevels.append(_even(_convolve(dleft, right, k + 1) + _convolve(left, dright, k + 1), 0.0))
    return dlevels


def _siblings(level: Tensor) -> Tensor:
    """Each group's partner, in the group's place."""
    return level.unflatten(-2, (-1, 2)).flip(-2).flatten(-3, -2)


def _handed_down(outside: Tensor, level: Tensor) -> Tensor:
    """What a parent hands to its two children, before their siblings are taken into account."""
    return outside[..., : level.shape[-2] // 2, :].repeat_interleave(2, -2)


def _root(top: Tensor, weights: Tensor) -> Tensor:
    return pad(weights, (0, top.shape[-1] - weights.shape[-1])).unsqueeze(-2)


def _marginals(u: Tensor, bounds: Tensor, k: int) -> Tensor:
    """The twin: laws are convolved up a binary tree and weights of completion handed down it, in 2 log₂ n steps."""
    c = coins(u, bounds, k)
    levels = _upward(c.p, c.q, k)
    outside = _root(levels[-1], c.weights)
    for level in reversed(levels[:-1]):
        outside = _correlate(_handed_down(outside, level), _siblings(level), level.shape[-1])
    items = (levels[0] * outside)[..., : u.shape[-1], :]
    return items[..., 1] / items.sum(-1)


def _marginals_jvp(u: Tensor, g: Tensor, bounds: Tensor, k: int) -> Tensor:
    c = coins(u, bounds, k)
    spread = c.p * c.q
    center = (spread * g).sum(-1, keepdim=True) / (spread.sum(-1, keepdim=True) + 1e-300)
    levels = _upward(c.p, c.q, k)
    dlevels = _upward_tangent(levels, spread * (g - center), k)
    outside = _root(levels[-1], c.weights)
    doutside = _root(levels[-1], (torch.arange(k + 1, device=u.device) - c.size) * center * c.weights)
    for level, dlevel in zip(reversed(levels[:-1]), reversed(dlevels[:-1]), strict=True):
        above, dabove, states = _handed_down(outside, level), _handed_down(doutside, level), level.shape[-1]
        doutside = _correlate(dabove, _siblings(level), states) + _correlate(above, _siblings(dlevel), states)
        outside = _correlate(above, _siblings(level), states)
    n = u.shape[-1]
    items = (levels[0] * outside)[..., :n, :]
    ditems = (dlevels[0] * outside + levels[0] * doutside)[..., :n, :]
    total = items.sum(-1)
    return (ditems[..., 1] - items[..., 1] / total * ditems.sum(-1)) / total


def _log_partition(u: Tensor, bounds: Tensor, k: int) -> Tensor:
    c = coins(u, bounds, k)
    law = _upward(c.p, c.q, k)[-1][..., 0, : k + 1]
    # Σ log(1 + exp(u+ν)) − kν, term by term so that large ν cancel in pairs.
    large = c.y > 0
    terms = torch.where(large, u - c.edge, 0.0) + c.y.abs().neg().exp().log1p()
    rest = (large.sum(-1, keepdim=True) - c.size) * c.nu + c.size * c.edge
    return (law * c.weights[..., : law.shape[-1]]).sum(-1).log() + terms.sum(-1) + rest.squeeze(-1)


def _launch(kernel_name: str, out: Tensor, k: int, *rows: Tensor) -> Tensor:
    from sstricks.ops.kernels import k_subset as kernels
    from sstricks.ops.kernels.floats import LANES

    work = (20.0 + 3.0 * k) * rows[0].shape[1]
    over_rows(getattr(kernels, kernel_name), len(out), work, k, *(r.numpy() for r in rows), out.numpy(), step=LANES)
    return out


def exactly(u: Tensor, k: int) -> Tensor:
    """The bounds of k-subsets, for the device of u."""
    return torch.full((2,), k, device=u.device)


@operator("sstricks::k_subset_marginals", core=(1, 1))
def marginals(u: Tensor, bounds: Tensor, k: int) -> Tensor:
    """The marginals P(xᵢ = 1), shape (*batch, n), of the exponential family with parameters u (B.4, eq. 8).

    Args:
        u: Natural parameters, shape (*batch, n), as many of them above −∞ as the lower bound.
        bounds: The smallest and the largest size, integers from 0 to n, shape (*batch, 2).
        k: The largest of the largest sizes.
    """
    return _marginals(u, bounds, k)


@operator("sstricks::k_subset_marginals_jvp", core=(1, 1, 1))
def marginals_jvp(u: Tensor, g: Tensor, bounds: Tensor, k: int) -> Tensor:
    """The derivative of `marginals` in the direction g, shape (*batch, n)."""
    return _marginals_jvp(u, g, bounds, k)


@operator("sstricks::k_subset_log_partition", core=(1, 1), output_core=0)
def log_partition(u: Tensor, bounds: Tensor, k: int) -> Tensor:
    """The log-partition function log Σ exp(uᵀx), shape (*batch)."""
    return _log_partition(u, bounds, k)


@marginals.cpu
def _(u: Tensor, bounds: Tensor, k: int) -> Tensor:
    return _launch("marginals", torch.empty_like(u), k, u, bounds)


@marginals_jvp.cpu
def _(u: Tensor, g: Tensor, bounds: Tensor, k: int) -> Tensor:
    return _launch("marginals_jvp", torch.empty_like(u), k, u, bounds, g)


@log_partition.cpu
def _(u: Tensor, bounds: Tensor, k: int) -> Tensor:
    return _launch("log_partition", u.new_empty(len(u)), k, u, bounds)


@marginals.cuda
def _(u: Tensor, bounds: Tensor, k: int) -> Tensor:
    from sstricks.ops.cuda.k_subset import marginals as launch

    return launch(u, bounds, k)


@marginals_jvp.cuda
def _(u: Tensor, g: Tensor, bounds: Tensor, k: int) -> Tensor:
    from sstricks.ops.cuda.k_subset import marginals_jvp as launch

    return launch(u, g, bounds, k)


@log_partition.cuda
def _(u: Tensor, bounds: Tensor, k: int) -> Tensor:
    from sstricks.ops.cuda.k_subset import log_partition as launch

    return launch(u, bounds, k)


attach_gradients(marginals, marginals_jvp, log_partition, _marginals_jvp)


@operator("sstricks::k_subset_sample", core=(1, 1, 1))
def sample(u: Tensor, uniform: Tensor, bounds: Tensor, k: int) -> Tensor:
    """The subset with p(x) ∝ exp(uᵀx) that independent uniforms lead to, shape (*batch, n).

    Args:
        u: Natural parameters, shape (*batch, n), as many of them above −∞ as the lower bound.
        uniform: Numbers in [0, 1), shape (*batch, n).
        bounds: The smallest and the largest size, integers from 0 to n, shape (*batch, 2).
        k: The largest of the largest sizes.
    """
    c = coins(distinct_rows(u), distinct_rows(bounds), k)
    weight = c.weights.flip(-1)  # of what can follow, by how many there may be still
    share = []
    for i in range(u.shape[-1] - 1, -1, -1):
        take = c.p[..., i : i + 1] * pad(weight[..., :-1], (1, 0))
        weight = c.q[..., i : i + 1] * weight + take
        share.append(take / torch.where(weight > 0, weight, 1.0))
    return walk([c.unsqueeze(-2) for c in reversed(share)], k, uniform)


@sample.cuda
def _(u: Tensor, uniform: Tensor, bounds: Tensor, k: int) -> Tensor:
    from sstricks.ops.cuda.k_subset import sample as launch

    return launch(u, uniform, bounds, k)


attach_no_gradient(sample)


def draw(u: Tensor, bounds: Tensor, k: int, generator: torch.Generator | None) -> Tensor:
    """One exact sample for each row of u; arguments are those of `sample`."""
    uniform = torch.rand(u.shape, dtype=u.dtype, device=u.device, generator=generator)
    # On the CPU, rows that are merely repeated go through the recursion once.
    repeated = u.device.type == "cpu" and distinct_rows(u).shape != u.shape
    return (sample.twin if repeated else sample)(u, uniform, bounds, k)


def distinct_rows(u: Tensor) -> Tensor:
    """The rows of u, with size one along the batch dimensions in which they are merely repeated."""
    for dim in range(u.dim() - 1):
        if u.stride(dim) == 0 and u.shape[dim] > 1:
            u = u.narrow(dim, 0, 1)
    return u


def walk(share: list[Tensor], k: int, uniform: Tensor) -> Tensor:
    """Choose item after item; `share[i]` is (*batch, states of the item before, k + 1)."""
    left = torch.full(uniform.shape[:-1], k, device=uniform.device)
    last = torch.zeros_like(left, dtype=torch.bool)
    chosen = []
    for c, v in zip(share, uniform.unbind(-1), strict=True):
        by_count = torch.where(last.unsqueeze(-1), c[..., -1, :], c[..., 0, :])
        last = v < by_count.gather(-1, left.unsqueeze(-1)).squeeze(-1)
        left = left - last.long()
        chosen.append(last)
    return torch.stack(chosen, -1).to(uniform.dtype)
