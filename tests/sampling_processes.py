"""The laws that Gumbel utilities induce, by enumerating the orders in which the elements can be drawn."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from brute_force import is_forest, k_subset_vertices, spanning_tree_vertices
from graphs import Edges


def plackett_luce(order: tuple[int, ...], weights: np.ndarray) -> float:
    """The probability that sampling without replacement begins with these indices."""
    left, p = weights.sum(), 1.0
    for i in order:
        p *= weights[i] / left
        left -= weights[i]
    return p


def k_subset_probabilities(loc: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    vertices, weights = k_subset_vertices(len(loc), k), np.exp(loc.double().numpy())
    probabilities = [
        sum(plackett_luce(order, weights) for order in itertools.permutations(np.flatnonzero(row))) for row in vertices
    ]
    return vertices, np.array(probabilities)


def kruskal_probabilities(edges: Edges, num_nodes: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """App. B.7: draw edges without replacement in proportion to their weights, keep those that close no cycle.

    An edge that would close a cycle may be skipped silently, so each step draws among the admissible edges.
    """
    vertices = spanning_tree_vertices(edges, frozenset(range(num_nodes)))
    totals = {tuple(np.flatnonzero(row)): 0.0 for row in vertices}

    def grow(chosen: tuple[int, ...], p: float) -> None:
        if len(chosen) == num_nodes - 1:
            totals[tuple(sorted(chosen))] += p
            return
        rest = [e for e in range(len(edges)) if e not in chosen]
        admissible = [e for e in rest if is_forest([edges[c] for c in (*chosen, e)])]
        total = weights[admissible].sum()
        for e in admissible:
            grow((*chosen, e), p * weights[e] / total)

    grow((), 1.0)
    return vertices, np.array(list(totals.values()))
