"""Exact samples of subsets: one walk over the items, each chosen with its probability given those before it.

The probabilities come from the recursions over the items that follow (`sstricks.ops.k_subset`, `sstricks.ops.chain`),
in terms of how many are left to choose and, on a chain, whether the item before was chosen. Rows that are repeated
along a dimension, as when many samples of one law are drawn, go through the recursion once.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from sstricks.ops import chain, k_subset


def k_subset_sample(u: Tensor, k: int, uniform: Tensor) -> Tensor:
    """The k-subset with p(x) ∝ exp(uᵀx) that independent uniforms lead to, shape (*batch, n).

    Args:
        u: Natural parameters, shape (*batch, n), at least k of them above −∞.
        k: The size of the subsets, 1 ≤ k ≤ n.
        uniform: Numbers in [0, 1), shape (*batch, n).
    """
    p, q = k_subset.coins(_once(u), k)
    heads = pad(torch.ones_like(p[..., :1]), (0, k))  # P(j heads among the items after this one)
    share = []
    for i in range(u.shape[-1] - 1, -1, -1):
        take = p[..., i : i + 1] * pad(heads[..., :-1], (1, 0))
        heads = q[..., i : i + 1] * heads + take
        share.append(take / torch.where(heads > 0, heads, 1.0))
    return _walk([c.unsqueeze(-2) for c in reversed(share)], k, uniform)


def chain_sample(u: Tensor, k: int, uniform: Tensor) -> Tensor:
    """As `k_subset_sample` for correlated k-subsets, shape (*batch, 2n − 1).

    Args:
        u: Natural parameters, shape (*batch, 2n − 1).
        k: The size of the subsets, 1 ≤ k ≤ n.
        uniform: Numbers in [0, 1), shape (*batch, n).

    Raises:
        ValueError: Some row has no vertex.
    """
    share, total = chain.shares(_once(u), k)
    chain.check_feasible((total.mantissa > 0).flatten(), k)
    items = _walk(share, k, uniform)
    return torch.cat([items, items[..., 1:] * items[..., :-1]], -1)


def _once(u: Tensor) -> Tensor:
    """The rows of u, with size one along the batch dimensions in which they are merely repeated."""
    for dim in range(u.dim() - 1):
        if u.stride(dim) == 0 and u.shape[dim] > 1:
            u = u.narrow(dim, 0, 1)
    return u


def _walk(share: list[Tensor], k: int, uniform: Tensor) -> Tensor:
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
