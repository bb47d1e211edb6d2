r"""The exponential family of k-subsets, p(x) ∝ exp(uᵀx) on Σx = k: log Z, marginals, and their derivative (B.4).

This is the law of n independent coins, conditioned on k heads. The heads' log-odds may all be shifted by one ν without
changing the conditional law; choose ν with :math:`\sum_i \sigma(u_i + \nu) \approx k`, and the event conditioned on is
close to the most likely one, so that probabilities may be computed as they are, without logarithms: with p = σ(u + ν),
q = 1 − p,

.. math:: A_{i+1}(j) = q_i A_i(j) + p_i A_i(j-1), \quad
          x_i = p_i \sum_j A_i(j) B_{i+1}(k-1-j) \,/\, A_n(k)

where A counts the heads before item i and B those after it. All terms are positive. The partition function is
:math:`\log Z = \log A_n(k) + \sum_i \log(1 + e^{u_i+\nu}) - k\nu`.

**Derivative** in the direction g: the product rule on every line, with :math:`dp = -dq = pq\,(g - \bar g)`. Shifting g
by a constant changes nothing either (Σx is constant); its mean under the weights pq keeps the terms small. The Jacobian
is the covariance matrix, hence symmetric: the backward pass is this derivative in the direction of the incoming
gradient.

**Samples.** One walk over the items, each chosen with its probability given those before it, which depends on how many
are left to choose. Rows that are repeated along a dimension, as when many samples of one law are drawn, go through the
recursion once.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from sstricks.ops.gradients import attach_gradients, attach_no_gradient
from sstricks.ops.operator import operator
from sstricks.ops.threads import over_rows


def _shifted(u: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The y = u − u₍ₖ₎ + ν with Σσ(y) near k, and u₍ₖ₎ and ν, which carry no gradient, since none depends on them."""
    top = u.detach().topk(min(k + 1, u.shape[-1]), -1).values
    edge = top[..., k - 1 : k]
    below = top[..., k:] if k < u.shape[-1] else torch.full_like(edge, -torch.inf)
    v = u - edge
    nu = (edge - below).clamp(max=2000.0) / 2
    reach = math.log(2.0 * u.shape[-1])
    low, high = nu - reach, nu + reach
    for _ in range(24):  # halves [−log 2n, log 2n] to 1e-6
        nu = (low + high) / 2
        over = (v.detach() + nu).sigmoid().sum(-1, keepdim=True) > k
        low, high = torch.where(over, low, nu), torch.where(over, nu, high)
    return v + nu, edge, nu


def coins(u: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The probabilities p and 1 − p of independent coins whose law, given k heads, is the exponential family."""
    y = _shifted(u, k)[0]
    return y.sigmoid(), (-y).sigmoid()


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


def _root(top: Tensor, k: int) -> Tensor:
    return pad(torch.ones_like(top[..., :1]), (k, top.shape[-1] - 1 - k))


def _marginals(u: Tensor, k: int) -> Tensor:
    """The twin: laws are convolved up a binary tree and weights of completion handed down it, in 2 log₂ n steps."""
    levels = _upward(*coins(u, k), k)
    outside = _root(levels[-1], k)
    for level in reversed(levels[:-1]):
        outside = _correlate(_handed_down(outside, level), _siblings(level), level.shape[-1])
    items = (levels[0] * outside)[..., : u.shape[-1], :]
    return items[..., 1] / items.sum(-1)


def _marginals_jvp(u: Tensor, g: Tensor, k: int) -> Tensor:
    p, q = coins(u, k)
    spread = p * q
    center = (spread * g).sum(-1, keepdim=True) / (spread.sum(-1, keepdim=True) + 1e-300)
    levels = _upward(p, q, k)
    dlevels = _upward_tangent(levels, spread * (g - center), k)
    outside = _root(levels[-1], k)
    doutside = torch.zeros_like(outside)
    for level, dlevel in zip(reversed(levels[:-1]), reversed(dlevels[:-1]), strict=True):
        above, dabove, states = _handed_down(outside, level), _handed_down(doutside, level), level.shape[-1]
        doutside = _correlate(dabove, _siblings(level), states) + _correlate(above, _siblings(dlevel), states)
        outside = _correlate(above, _siblings(level), states)
    n = u.shape[-1]
    items = (levels[0] * outside)[..., :n, :]
    ditems = (dlevels[0] * outside + levels[0] * doutside)[..., :n, :]
    total = items.sum(-1)
    return (ditems[..., 1] - items[..., 1] / total * ditems.sum(-1)) / total


def _log_partition(u: Tensor, k: int) -> Tensor:
    y, edge, nu = _shifted(u, k)
    law = _upward(y.sigmoid(), (-y).sigmoid(), k)[-1]
    # Σ log(1 + exp(u+ν)) − kν, term by term so that large ν cancel in pairs.
    large = y > 0
    terms = torch.where(large, u - edge, 0.0) + y.abs().neg().exp().log1p()
    rest = (large.sum(-1, keepdim=True) - k) * nu + k * edge
    return law[..., 0, k].log() + terms.sum(-1) + rest.squeeze(-1)


def _launch(kernel_name: str, out: Tensor, k: int, *rows: Tensor) -> Tensor:
    from sstricks.ops.kernels import k_subset as kernels
    from sstricks.ops.kernels.floats import LANES

    work = (20.0 + 3.0 * k) * rows[0].shape[1]
    over_rows(getattr(kernels, kernel_name), len(out), work, k, *(r.numpy() for r in rows), out.numpy(), step=LANES)
    return out


@operator("sstricks::k_subset_marginals", core=(1,))
def marginals(u: Tensor, k: int) -> Tensor:
    """The marginals P(xᵢ = 1), shape (*batch, n), of the exponential family with parameters u (B.4, eq. 8).

    Args:
        u: Natural parameters, shape (*batch, n), at least k of them above −∞.
        k: The size of the subsets, 1 ≤ k ≤ n.
    """
    return _marginals(u, k)


@operator("sstricks::k_subset_marginals_jvp", core=(1, 1))
def marginals_jvp(u: Tensor, g: Tensor, k: int) -> Tensor:
    """The derivative of `marginals` in the direction g, shape (*batch, n)."""
    return _marginals_jvp(u, g, k)


@operator("sstricks::k_subset_log_partition", core=(1,), output_core=0)
def log_partition(u: Tensor, k: int) -> Tensor:
    """The log-partition function log Σ_{Σx=k} exp(uᵀx), shape (*batch)."""
    return _log_partition(u, k)


@marginals.cpu
def _(u: Tensor, k: int) -> Tensor:
    return _launch("marginals", torch.empty_like(u), k, u)


@marginals_jvp.cpu
def _(u: Tensor, g: Tensor, k: int) -> Tensor:
    return _launch("marginals_jvp", torch.empty_like(u), k, u, g)


@log_partition.cpu
def _(u: Tensor, k: int) -> Tensor:
    return _launch("log_partition", u.new_empty(len(u)), k, u)


@marginals.cuda
def _(u: Tensor, k: int) -> Tensor:
    from sstricks.ops.cuda.k_subset import marginals as launch

    return launch(u, k)


@marginals_jvp.cuda
def _(u: Tensor, g: Tensor, k: int) -> Tensor:
    from sstricks.ops.cuda.k_subset import marginals_jvp as launch

    return launch(u, g, k)


@log_partition.cuda
def _(u: Tensor, k: int) -> Tensor:
    from sstricks.ops.cuda.k_subset import log_partition as launch

    return launch(u, k)


attach_gradients(marginals, marginals_jvp, log_partition, _marginals_jvp)


@operator("sstricks::k_subset_sample", core=(1, 1))
def sample(u: Tensor, uniform: Tensor, k: int) -> Tensor:
    """The k-subset with p(x) ∝ exp(uᵀx) that independent uniforms lead to, shape (*batch, n).

    Args:
        u: Natural parameters, shape (*batch, n), at least k of them above −∞.
        uniform: Numbers in [0, 1), shape (*batch, n).
        k: The size of the subsets, 1 ≤ k ≤ n.
    """
    p, q = coins(distinct_rows(u), k)
    heads = pad(torch.ones_like(p[..., :1]), (0, k))  # P(j heads among the items after this one)
    share = []
    for i in range(u.shape[-1] - 1, -1, -1):
        take = p[..., i : i + 1] * pad(heads[..., :-1], (1, 0))
        heads = q[..., i : i + 1] * heads + take
        share.append(take / torch.where(heads > 0, heads, 1.0))
    return walk([c.unsqueeze(-2) for c in reversed(share)], k, uniform)


@sample.cuda
def _(u: Tensor, uniform: Tensor, k: int) -> Tensor:
    from sstricks.ops.cuda.k_subset import sample as launch

    return launch(u, uniform, k)


attach_no_gradient(sample)


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
