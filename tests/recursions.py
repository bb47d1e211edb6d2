"""High-precision truths for sizes that cannot be enumerated; sums and products of positive numbers only."""

from __future__ import annotations

import mpmath
import torch

from brute_force import MP, Vector, exact
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


def projective_weight(w: dict[tuple[int, int], mpmath.mpf], nodes: int) -> mpmath.mpf:
    """The total weight of the projective trees from node 0, by the stretches that a node's subtrees fill.

    ``whole[v, i, j]``: v is the head of everything in i..j-1. ``forest[h, i, j]``: subtrees of dependents of h, outside
    of the stretch, fill i..j-1, the first of them up to some k.
    """
    whole, forest = {}, {}
    for length in range(nodes + 1):
        for i in range(nodes - length + 1):
            j = i + length
            for v in range(i, j):
                whole[v, i, j] = forest[v, i, v] * forest[v, v + 1, j]
            for h in [h for h in range(nodes) if not i <= h < j]:
                forest[h, i, j] = MP.mpf(length == 0) + MP.fsum(
                    w.get((h, v), MP.zero) * whole[v, i, k] * forest[h, k, j]
                    for k in range(i + 1, j + 1)
                    for v in range(i, k)
                )
    return whole[0, 0, nodes]


def projective_total(u: torch.Tensor, edges: tuple[tuple[int, int], ...], nodes: int) -> float:
    """The log-partition function."""
    return float(MP.log(projective_weight(dict(zip(edges, map(MP.exp, exact(u)), strict=True)), nodes)))


def projective_slope(
    u: torch.Tensor, g: torch.Tensor, edges: tuple[tuple[int, int], ...], nodes: int, e: int
) -> tuple[float, float]:
    """P(e in T), as the part of the weight that is gone without e, and its derivative in the direction g."""

    def share(step: mpmath.mpf) -> mpmath.mpf:
        s = [v + step * d for v, d in zip(exact(u), exact(g), strict=True)]
        w = dict(zip(edges, map(MP.exp, s), strict=True))
        into = [edge for edge in edges if edge[1] == edges[e][1]]
        with_e = projective_weight({k: v for k, v in w.items() if k == edges[e] or k not in into}, nodes)
        return with_e / projective_weight(w, nodes)

    return float(share(MP.zero)), float((share(STEP) - share(-STEP)) / (2 * STEP))
