"""Orders of 1, …, n beside what is known of them without the library: a formula for the blocks of the optimum."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import sstricks as sst
from brute_force import MP, Vector
from exact_optimum import STEP
from problems import Mask, Problem


@dataclass(frozen=True)
class PermutahedronProblem(Problem):
    n: int

    @property
    def size(self) -> int:
        return self.n

    @property
    def count(self) -> int:
        return math.factorial(self.n)

    def build(self, mask: Mask = None) -> sst.Permutahedron:
        return sst.Permutahedron(self.n, mask=mask)

    def restrict(self, keep: np.ndarray) -> PermutahedronProblem:
        return PermutahedronProblem(int(keep.sum()))

    def feasible(self, keep: np.ndarray) -> bool:
        return bool(keep.any())

    def list_vertices(self) -> np.ndarray:
        return np.array(list(itertools.permutations(range(1, self.n + 1))), dtype=np.int8)

    def outside(self, x: np.ndarray) -> float:
        """No k coordinates have more than the k largest values, and all have as much as all values (Rado)."""
        excess = np.sort(x, -1)[..., ::-1].cumsum(-1) - np.arange(self.n, 0, -1).cumsum()
        return float(max(excess.max(initial=0.0), np.abs(excess[..., -1]).max(initial=0.0)))

    def argmax(self, u: np.ndarray) -> np.ndarray:
        x = np.zeros(self.n, dtype=np.int8)
        order = [i for i in np.argsort(-u, kind="stable") if u[i] > -math.inf]
        x[order] = np.arange(len(order), 0, -1)
        return x


def mean_of_differences(s: Vector, w: Vector) -> Any:
    """v of a block for ½x²."""
    return MP.fsum(a - b for a, b in zip(s, w, strict=True)) / len(s)


def log_of_quotient(s: Vector, w: Vector) -> Any:
    """v of a block for x log x - x."""
    return MP.log(MP.fsum(MP.exp(a - s[0]) for a in s) / MP.fsum(w)) + s[0]


@dataclass(frozen=True)
class PermutahedronOptimum:
    """v_i = min_{j ≤ i} max_{k ≥ i} v(j..k) in descending order of s, and x = (h')⁻¹(s - v)."""

    level: Callable[[Vector, Vector], Any]
    response: Callable[[Any], Any]

    def value(self, s: Vector) -> Vector:
        order = sorted((i for i, v in enumerate(s) if v > MP.ninf), key=lambda i: -s[i])
        top = [s[i] for i in order]
        m = len(order)
        w = [MP.mpf(m - p) for p in range(m)]
        x = [MP.zero] * len(s)
        for p, i in enumerate(order):
            v = min(max(self.level(top[j : k + 1], w[j : k + 1]) for k in range(p, m)) for j in range(p + 1))
            x[i] = self.response(s[i] - v)
        return x

    def slopes(self, s: Vector, g: Vector) -> tuple[Vector, Vector]:
        here = self.value(s)
        found = []
        for step in (-STEP, STEP):
            there = self.value([a + step * b if a > MP.ninf else a for a, b in zip(s, g, strict=True)])
            found.append([(a - b) / step for a, b in zip(there, here, strict=True)])
        return found[0], found[1]


EUCLIDEAN = PermutahedronOptimum(mean_of_differences, lambda y: y)
CATEGORICAL = PermutahedronOptimum(log_of_quotient, MP.exp)
