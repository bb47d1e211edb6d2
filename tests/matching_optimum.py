"""argmax s·x - Σ φ(x_ij) over hulls of matchings, to some thirty digits: Newton's method for every set of full sums.

A guess of which rows and columns are full makes the problem smooth: x_ij = r(s_ij + a_i + b_j) with free multipliers of
the full ones, and none of the others. The guess whose multipliers are ≤ 0 (where a sum need not be full) and whose
other sums are ≤ 1 satisfies the conditions of Karush, Kuhn and Tucker, and its solution is the optimum.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import mpmath
import numpy as np

from brute_force import MP, Vector
from exact_optimum import Response, one_sided_slopes
from matching_problem import MatchingProblem, Pairs

ENOUGH = MP.mpf(10) ** -34  # of what a full sum may miss
STEPS = 250
PATIENCE = 40  # steps after which a sum that still misses a thousandth never will be full


def positive_part(z: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    """φ = x²/2 for x ≥ 0; that x ≤ 1 follows from the sums."""
    return max(MP.zero, z), MP.one if z > 0 else MP.zero


def exponential(z: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    """φ = x log x - x for x ≥ 0."""
    x = MP.exp(z)
    return x, x


@dataclass(frozen=True, eq=False)
class MatchingOptimum:
    """The optimum over the hull of a problem's vertices for one response r."""

    response: Response
    problem: MatchingProblem

    @property
    def pairs(self) -> Pairs:
        return self.problem.pairs

    @cached_property
    def sums(self) -> list[tuple[bool, tuple[int, ...]]]:
        """For each row and column that is present: whether it must be full, and its coordinates."""
        return [
            (must, tuple(e for e, pair in enumerate(self.pairs) if pair[side] == k))
            for side, must in ((0, self.problem.rows_must), (1, self.problem.columns_must))
            for k in self.problem.nodes(side)
        ]

    def value(self, s: Vector) -> Vector:
        return self._on([v != MP.ninf for v in s], self._without_dustbins(s))

    def _without_dustbins(self, s: Vector) -> Vector:
        """A constant added to all pairs of a row or column changes nothing: 0 for the dustbins."""
        own = dict(zip(self.pairs, s, strict=True)) if self.problem.dustbins else {}
        bins = [(own.get((i, self.problem.m), MP.zero), own.get((self.problem.n, j), MP.zero)) for i, j in self.pairs]
        return [v if v == MP.ninf else v - row - column for v, (row, column) in zip(s, bins, strict=True)]

    def _on(self, keep: list[bool], s: Vector) -> Vector:
        """The solution on what is kept, zero elsewhere; what no vertex or every vertex has is settled."""
        if not all(keep):
            smaller = iter(MatchingOptimum(self.response, self.problem.restrict(np.array(keep))).value(
                [v for v, k in zip(s, keep, strict=True) if k]
            ))  # fmt: skip
            return [next(smaller) if k else MP.zero for k in keep]
        chosen = self.problem.vertices.mean(0)
        if not (chosen > 0).all():
            return self._on((chosen > 0).tolist(), s)
        if (chosen == 1).all():
            return [MP.one] * len(s)
        return self._optimum(s)

    def slopes(self, s: Vector, g: Vector) -> tuple[Vector, Vector]:
        """The one-sided derivatives of the solution along g: t·J g."""
        return one_sided_slopes(self.value, s, g)

    def _optimum(self, s: Vector) -> Vector:
        start = self._linear_multipliers(s)
        for full in self._guesses(start):
            multipliers = self._newton(s, full, start)
            if multipliers is None:
                continue
            x = self._point(s, multipliers)[0]
            small = MP.mpf(10) ** -25
            if all(must or multipliers[k] <= small for k, (must, _) in enumerate(self.sums)) and all(
                MP.fsum(x[e] for e in members) <= 1 + small for _, members in self.sums
            ):
                return x
        raise AssertionError("no set of full sums satisfies the optimality conditions")

    def _guesses(self, start: Vector) -> Iterator[frozenset[int]]:
        """First those that differ least from what is full in the linear program."""
        certain = frozenset(k for k, (must, _) in enumerate(self.sums) if must)
        perhaps = [k for k in range(len(self.sums)) if k not in certain]
        bound = frozenset(k for k in perhaps if start[k] < 0)
        for size in range(len(perhaps) + 1):
            for changed in itertools.combinations(perhaps, size):
                yield certain | (bound ^ frozenset(changed))

    def _point(self, s: Vector, multipliers: Vector) -> tuple[Vector, Vector]:
        z = list(s)
        for k, (_, members) in enumerate(self.sums):
            for e in members:
                z[e] += multipliers[k]
        responses = [self.response(v) for v in z]
        return [x for x, _ in responses], [d for _, d in responses]

    def _linear_multipliers(self, s: Vector) -> Vector:
        """Multipliers of the linear program: the least β that satisfies α + β ≥ s, with equality on the best vertex."""
        best = max(self.problem.vertices, key=lambda v: MP.fsum(s[e] for e in np.flatnonzero(v)))
        turned = self.problem.more_columns < 0  # the side that must be full comes first
        pairs = [(j, i) if turned else (i, j) for i, j in self.pairs]
        core = {(j, i) if turned else (i, j) for i, j in self.problem.core}
        partner = dict(pairs[e] for e in np.flatnonzero(best) if pairs[e] in core)
        worth = {pair: v for pair, v in zip(pairs, s, strict=True) if pair in core}
        alpha, beta = (dict.fromkeys(self.problem.nodes(side), MP.zero) for side in (turned, not turned))
        for _ in range(len(beta) + 2):
            for (i, j), v in worth.items():
                if i in partner:
                    alpha[i] = worth[i, partner[i]] - beta[partner[i]]
                beta[j] = max(beta[j], v - alpha[i])
        for i, j in partner.items():
            alpha[i] = worth[i, j] - beta[j]
        sides = [[-v for v in alpha.values()], [-v for v in beta.values()]]
        return sides[turned] + sides[not turned]

    def _newton(self, s: Vector, full: frozenset[int], start: Vector) -> Vector | None:
        """Multipliers that make exactly these sums full, or None."""
        free = sorted(full)
        at = [start[k] if k in full else MP.zero for k in range(len(self.sums))]
        x, d = self._point(s, at)
        lack = self._lack(x, free)
        for step in range(STEPS):
            worst = max((abs(v) for v in lack), default=MP.zero)
            if worst < ENOUGH:
                return at
            if step > PATIENCE and worst > MP.mpf(10) ** -3:
                return None
            matrix = [
                [MP.fsum(d[e] for e in {*self.sums[k][1]} & {*self.sums[o][1]}) + (worst / 1000 if k == o else 0)
                 for o in free] for k in free
            ]  # fmt: skip
            move = _solved(matrix, lack)
            slope = MP.fdot(lack, move)
            length = MP.one
            for _ in range(60):
                trial = list(at)
                for k, v in zip(free, move, strict=True):
                    trial[k] += length * v
                x, d = self._point(s, trial)
                after = self._lack(x, free)
                if max(abs(v) for v in after) < worst / 2 or MP.fdot(after, move) >= -slope / 2:
                    break
                length /= 2
            at, lack = trial, after
        return None

    def _lack(self, x: Vector, free: list[int]) -> Vector:
        return [1 - MP.fsum(x[e] for e in self.sums[k][1]) for k in free]


def _solved(matrix: list[Vector], right: Vector) -> Vector:
    """The solution of a positive definite system, by elimination."""
    a = [[*row, v] for row, v in zip(matrix, right, strict=True)]
    size = len(a)
    for k in range(size):
        for row in a[k + 1 :]:
            factor = row[k] / a[k][k]
            for c in range(k, size + 1):
                row[c] -= factor * a[k][c]
    found = [MP.zero] * size
    for k in reversed(range(size)):
        found[k] = (a[k][size] - MP.fdot(a[k][k + 1 : size], found[k + 1 :])) / a[k][k]
    return found
