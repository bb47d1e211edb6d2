"""Correlated k-subsets beside what is known of them without the library, and what is left of them under a mask."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import linprog

import sstricks as sst
from listed import Listed, first_of_the_best
from problems import Mask, Problem


def chain_vertices(n: int, k: int) -> np.ndarray:
    rows = []
    for chosen in itertools.combinations(range(n), k):
        items = [int(i in chosen) for i in range(n)]
        rows.append(items + [a * b for a, b in itertools.pairwise(items)])
    return np.array(rows, dtype=np.int8)


def outside_hull(x: np.ndarray, vertices: np.ndarray) -> float:
    """The least largest deviation of a mixture of the vertices from each of the points, by linear programming."""
    count, size = vertices.shape
    worst = 0.0
    for point in np.atleast_2d(x).reshape(-1, size):
        mixed = np.hstack([vertices.T, -np.ones((size, 1))])
        below = np.hstack([-vertices.T, -np.ones((size, 1))])
        found = linprog(
            np.append(np.zeros(count), 1.0),
            A_ub=np.vstack([mixed, below]),
            b_ub=np.concatenate([point, -point]),
            A_eq=np.append(np.ones(count), 0.0)[None],
            b_eq=[1.0],
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )
        weights = found.x[:count].clip(0)  # exactly feasible, so that its deviation is an upper bound
        worst = max(worst, float(np.abs(weights / weights.sum() @ vertices - point).max()))
    return worst


@dataclass(frozen=True)
class ListedProblem(Problem):
    """What is left on some coordinates: the vertices that are zero on all others. No chain, in general."""

    rows: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        return len(self.rows[0])

    @property
    def count(self) -> int:
        return len(self.rows)

    def build(self, mask: Mask = None) -> sst.Structure:
        assert mask is None
        return Listed(self.vertices)

    def restrict(self, keep: np.ndarray) -> ListedProblem:
        return restricted(self.vertices, keep)

    def feasible(self, keep: np.ndarray) -> bool:
        return bool((self.vertices[:, ~keep] == 0).all(-1).any())

    def list_vertices(self) -> np.ndarray:
        return np.array(self.rows, dtype=np.int8)

    def outside(self, x: np.ndarray) -> float:
        return outside_hull(x, self.vertices)

    def argmax(self, u: np.ndarray) -> np.ndarray:
        return first_of_the_best(self.vertices, u)


def restricted(vertices: np.ndarray, keep: np.ndarray) -> ListedProblem:
    left = vertices[(vertices[:, ~keep] == 0).all(-1)][:, keep]
    return ListedProblem(tuple(tuple(row) for row in left.tolist()))


@dataclass(frozen=True)
class ChainProblem(Problem):
    n: int
    k: int

    @property
    def size(self) -> int:
        return 2 * self.n - 1

    @property
    def count(self) -> int:
        return math.comb(self.n, self.k)

    def build(self, mask: Mask = None) -> sst.Structure:
        return sst.ChainKSubset(self.n, self.k, mask=mask)

    def restrict(self, keep: np.ndarray) -> ListedProblem:
        return restricted(self.vertices, keep)

    def feasible(self, keep: np.ndarray) -> bool:
        return bool((self.vertices[:, ~keep] == 0).all(-1).any())

    def list_vertices(self) -> np.ndarray:
        return chain_vertices(self.n, self.k)

    def outside(self, x: np.ndarray) -> float:
        return outside_hull(x, self._hull)

    def argmax(self, u: np.ndarray) -> np.ndarray:
        return first_of_the_best(self.vertices, u)

    @cached_property
    def _hull(self) -> np.ndarray:
        return self.vertices.astype(float)
