"""What is true of a small structure, by listing all its vertices; nothing here touches the library.

Sums over the vertices have positive terms only, so mpmath at ``DIGITS`` digits gives them to about that many digits
whatever the range of the utilities: its exponents are unbounded, and exp(-1e6) is a number like any other.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import mpmath
import numpy as np
import torch

DIGITS = 60
MP = mpmath.MPContext()
MP.dps = DIGITS

Vector = list  # of mpmath numbers: mpmath itself has no public type to write here


def exact(values: torch.Tensor) -> Vector:
    """The very numbers that a one-dimensional tensor holds (every float is a dyadic rational)."""
    return [MP.mpf(v) for v in values.detach().double().tolist()]


def scaled(u: torch.Tensor, temperature: torch.Tensor | float) -> Vector:
    """u/t, divided exactly."""
    return [v / MP.mpf(float(temperature)) for v in exact(u)]


def to_numpy(values: Vector) -> np.ndarray:
    return np.array([float(v) for v in values])


def one_hot_vertices(n: int) -> np.ndarray:
    return np.eye(n, dtype=np.int8)


def subset_vertices(n: int) -> np.ndarray:
    return np.array(list(itertools.product((0, 1), repeat=n)), dtype=np.int8)


def k_subset_vertices(n: int, k: int) -> np.ndarray:
    return _indicators(itertools.combinations(range(n), k), n)


def spanning_tree_vertices(edges: list[tuple[int, int]], nodes: frozenset[int]) -> np.ndarray:
    """Every set of |V| - 1 edges without a cycle, for the nodes given (others must have no edge)."""
    chosen = (
        subset
        for subset in itertools.combinations(range(len(edges)), len(nodes) - 1)
        if is_forest([edges[e] for e in subset])
    )
    return _indicators(chosen, len(edges))


def is_forest(edges: list[tuple[int, int]]) -> bool:
    parent: dict[int, int] = {}

    def find(v: int) -> int:
        while parent.get(v, v) != v:
            v = parent[v]
        return v

    for a, b in edges:
        root_a, root_b = find(a), find(b)
        if root_a == root_b:
            return False
        parent[root_a] = root_b
    return True


def _indicators(subsets: itertools.combinations, n: int) -> np.ndarray:
    rows = [list(subset) for subset in subsets]
    vertices = np.zeros((len(rows), n), dtype=np.int8)
    for row, subset in zip(vertices, rows, strict=True):
        row[subset] = 1
    return vertices


@dataclass(frozen=True, eq=False)
class ExponentialFamily:
    """p(x) ∝ exp(s·x) over the rows of ``vertices``; s = u/t is in mpmath numbers, -inf allowed."""

    vertices: np.ndarray

    @cached_property
    def _members(self) -> list[list[int]]:
        return [np.flatnonzero(row).tolist() for row in self.vertices]

    def _weights(self, s: Vector) -> Vector:
        w = [MP.exp(v) for v in s]
        return [MP.fprod(w[i] for i in members) for members in self._members]

    def log_partition(self, s: Vector) -> mpmath.mpf:
        return MP.log(MP.fsum(self._weights(s)))

    def value(self, s: Vector) -> Vector:
        """The marginals E[x]."""
        return self._moment(self._weights(s))

    def slopes(self, s: Vector, g: Vector) -> tuple[Vector, Vector]:
        """t·J g = Cov(x) g, twice: the function is smooth, so its two one-sided slopes agree."""
        weights = self._weights(s)
        heights = [MP.fsum(g[i] for i in members) for members in self._members]
        mean = MP.fdot(weights, heights) / MP.fsum(weights)
        centred = [w * (h - mean) for w, h in zip(weights, heights, strict=True)]
        total = MP.fsum(weights)
        slope = [m / total for m in self._sum(centred)]
        return slope, slope

    def _moment(self, weights: Vector) -> Vector:
        total = MP.fsum(weights)
        return [m / total for m in self._sum(weights)]

    def _sum(self, weights: Vector) -> Vector:
        sums = [MP.zero] * self.vertices.shape[1]
        for w, members in zip(weights, self._members, strict=True):
            for i in members:
                sums[i] += w
        return sums


def best_value(vertices: np.ndarray, u: np.ndarray) -> float:
    """max over the vertices of u·x, in float64 (masked coordinates may be -inf)."""
    return float((vertices * np.where(vertices != 0, u, 0.0)).sum(-1).max())


def float_marginals(vertices: np.ndarray, s: np.ndarray) -> np.ndarray:
    """E[x] in float64, for ordinary ranges."""
    heights = vertices @ s
    p = np.exp(heights - heights.max())
    return p @ vertices / p.sum()
