"""How far points are outside a convex hull, from its inequalities: 0 inside, otherwise the worst violation."""

from __future__ import annotations

import itertools

import numpy as np


def outside_cube(x: np.ndarray) -> float:
    return float(np.maximum(np.maximum(-x, x - 1).max(initial=0.0), 0.0))


def outside_hypersimplex(x: np.ndarray, k: int) -> float:
    """{x in [0, 1]^n, Σx = k}; the simplex is k = 1."""
    return max(outside_cube(x), float(np.abs(x.sum(-1) - k).max(initial=0.0)))


def outside_tree_polytope(x: np.ndarray, edges: list[tuple[int, int]], nodes: frozenset[int]) -> float:
    """Edmonds: x ≥ 0, x(E) = |V| - 1 and x(E(S)) ≤ |S| - 1 for every set S of two or more nodes."""
    worst = max(0.0, float((-x).max(initial=0.0)), float(np.abs(x.sum(-1) - (len(nodes) - 1)).max(initial=0.0)))
    for size in range(2, len(nodes)):
        for group in itertools.combinations(sorted(nodes), size):
            worst = max(worst, tree_cut_excess(x, edges, frozenset(group)))
    return worst


def tree_cut_excess(x: np.ndarray, edges: list[tuple[int, int]], group: frozenset[int]) -> float:
    """x(E(S)) - (|S| - 1), the violation of one rank inequality."""
    inner = [e for e, (a, b) in enumerate(edges) if a in group and b in group]
    return float((x[..., inner].sum(-1) - (len(group) - 1)).max(initial=-np.inf))
