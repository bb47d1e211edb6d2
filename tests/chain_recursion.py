"""Correlated k-subsets too many to enumerate: sums over paths, forwards from the first item, states (last, count)."""

from __future__ import annotations

from itertools import pairwise

import mpmath
import numpy as np
import torch

from brute_force import MP, Vector

STEP = MP.mpf(10) ** -18


def path_weight(w: Vector, k: int, forced: frozenset[int] = frozenset()) -> mpmath.mpf:
    """The total weight of all k-subsets that contain the forced items; w are the 2n - 1 factors."""
    n = (len(w) + 1) // 2
    out, taken = [MP.one] + [MP.zero] * k, [MP.zero] * (k + 1)  # by count; the last item left out, or taken
    for i in range(n):
        pair = w[n + i - 1] if i else MP.zero
        ahead = [MP.zero] + [w[i] * (a + pair * b) for a, b in zip(out[:-1], taken[:-1], strict=True)]
        behind = [a + b for a, b in zip(out, taken, strict=True)]
        out, taken = ([MP.zero] * (k + 1) if i in forced else behind), ahead
    return out[k] + taken[k]


def chain_probability(s: Vector, k: int, c: int) -> mpmath.mpf:
    """P(x_c = 1)."""
    n = (len(s) + 1) // 2
    w = [MP.exp(v) for v in s]
    forced = frozenset([c]) if c < n else frozenset([c - n, c - n + 1])
    return path_weight(w, k, forced) / path_weight(w, k)


def chain_slope(s: Vector, g: Vector, k: int, c: int) -> mpmath.mpf:
    """t·(J g)_c by a central difference quotient."""
    ahead = chain_probability([v + STEP * d for v, d in zip(s, g, strict=True)], k, c)
    behind = chain_probability([v - STEP * d for v, d in zip(s, g, strict=True)], k, c)
    return (ahead - behind) / (2 * STEP)


def log_domain(u: torch.Tensor, k: int) -> torch.Tensor:
    """Log Z by the textbook program in float64 logarithms, for autograd; good to epsilon times the range."""
    n = (u.shape[-1] + 1) // 2
    never = torch.full((*u.shape[:-1], 1), -1e30, dtype=u.dtype)
    out = torch.cat([torch.zeros_like(never), never.expand(*never.shape[:-1], k)], -1)
    taken = never.expand(out.shape)
    for i in range(n):
        pair = u[..., n + i - 1, None] if i else torch.zeros_like(never)
        moved = _either(out, taken + pair)[..., :-1] + u[..., i, None]
        out, taken = _either(out, taken), torch.cat([never, moved], -1)
    return _either(out[..., k], taken[..., k])


def _either(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Its second derivatives, unlike those of torch.logaddexp, survive a very unlikely side."""
    return torch.stack(torch.broadcast_tensors(a, b)).logsumexp(0)


def best_path(u: np.ndarray, k: int) -> float:
    """The largest uᵀx."""
    n = (len(u) + 1) // 2
    best = {(0, 0): 0.0}
    for i in range(n):
        grown: dict[tuple[int, int], float] = {}
        for (last, count), value in best.items():
            for state, more in (
                ((0, count), 0.0),
                ((1, count + 1), u[i] + (u[n + i - 1] if last else 0.0)),
            ):
                if state[1] <= k:
                    grown[state] = max(grown.get(state, -np.inf), value + more)
        best = grown
    return max(value for (_, count), value in best.items() if count == k)


def with_pairs(items: list[int]) -> list[int]:
    return items + [a * b for a, b in pairwise(items)]
