"""High-precision truths for sizes that cannot be enumerated; sums and products of positive numbers only."""

from __future__ import annotations

import mpmath

from brute_force import MP, Vector
from graphs import Edges

STEP = MP.mpf(10) ** -18


def tree_edge_probability(s: Vector, edges: Edges, num_nodes: int, e: int) -> mpmath.mpf:
    """P(e in T) = w_e / C, with C the effective conductance between the ends of e (Kirchhoff).

    C is what is left between them when every other node is eliminated, each star becoming a mesh.
    """
    w = [[MP.zero] * num_nodes for _ in range(num_nodes)]
    for (a, b), v in zip(edges, s, strict=True):
        w[a][b] = w[b][a] = w[a][b] + MP.exp(v)
    ends = edges[e]
    alive = list(ends) + [v for v in range(num_nodes) if v not in ends]
    while len(alive) > 2:
        v = alive.pop()
        degree = MP.fsum(w[v][i] for i in alive)
        for index, i in enumerate(alive):
            share = w[v][i] / degree
            for j in alive[:index]:
                w[i][j] = w[j][i] = w[i][j] + share * w[v][j]
    return MP.exp(s[e]) / w[ends[0]][ends[1]]


def tree_edge_slope(s: Vector, g: Vector, edges: Edges, num_nodes: int, e: int) -> mpmath.mpf:
    """t·(J g)_e by a central difference quotient."""
    ahead = tree_edge_probability([v + STEP * d for v, d in zip(s, g, strict=True)], edges, num_nodes, e)
    behind = tree_edge_probability([v - STEP * d for v, d in zip(s, g, strict=True)], edges, num_nodes, e)
    return (ahead - behind) / (2 * STEP)


def k_subset_probability(s: Vector, k: int, i: int) -> mpmath.mpf:
    """P(i in S) = w_i e_{k-1}(w without i) / e_k(w), with e_j the elementary symmetric polynomials."""
    w = [MP.exp(v) for v in s]
    others = elementary(w[:i] + w[i + 1 :], k)
    inside, outside = w[i] * others[k - 1], others[k]
    return inside / (inside + outside)


def k_subset_slope(s: Vector, g: Vector, k: int, i: int) -> mpmath.mpf:
    """t·(J g)_i by a central difference quotient."""
    ahead = k_subset_probability([v + STEP * d for v, d in zip(s, g, strict=True)], k, i)
    behind = k_subset_probability([v - STEP * d for v, d in zip(s, g, strict=True)], k, i)
    return (ahead - behind) / (2 * STEP)


def elementary(w: Vector, k: int) -> Vector:
    """e_0, ..., e_k of the numbers w."""
    e = [MP.one] + [MP.zero] * k
    for v in w:
        for j in range(k, 0, -1):
            e[j] += v * e[j - 1]
    return e
