"""Matchings for the law suite, whose events are flat: a list of pairs stands for the table."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

import sstricks as sst
from problems import Mask, Problem
from sstricks.regularizers import Regularizer
from sstricks.solvers import find_solver, register_frank_wolfe
from sstricks.solvers.registry import declare_intractable, register_solver

Pairs = tuple[tuple[int, int], ...]


class FlatMatching(sst.Structure):
    """`sst.Matching` with the listed pairs as coordinates; all others are absent."""

    def __init__(self, n: int, m: int, pairs: Pairs, partial: bool, mask: Mask = None) -> None:
        super().__init__((len(pairs),), mask, at_least=1)
        self.index = torch.tensor([i * m + j for i, j in pairs])
        self.n, self.m = n, m
        present = torch.ones(len(pairs), dtype=torch.bool) if mask is None else mask
        self.table = sst.Matching(n, m, partial=partial, mask=self.to_table(present, False))

    def to_table(self, x: torch.Tensor, filler: float) -> torch.Tensor:
        full = x.new_full((*x.shape[:-1], self.n * self.m), filler)
        return full.index_copy(-1, self.index, x).unflatten(-1, (self.n, self.m))

    def from_table(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(-2).index_select(-1, self.index)

    def _argmax(self, u: torch.Tensor) -> torch.Tensor:
        return self.from_table(self.table._argmax(self.to_table(u, -torch.inf)))

    def _contains(self, x: torch.Tensor) -> torch.Tensor:
        return self.table._contains(self.to_table(x, 0.0))

    def _candidates(self) -> int:
        return self.table._candidates()

    def _support(self) -> torch.Tensor:
        return self.from_table(self.table.enumerate_support())


def _solve(flat: FlatMatching, f: Regularizer, u: torch.Tensor) -> torch.Tensor:
    return flat.from_table(find_solver(flat.table, f)(flat.table, f, flat.to_table(u, -torch.inf)))


for regularizer in (sst.Euclidean, sst.CategoricalEntropy, sst.BinaryEntropy):
    register_solver(FlatMatching, regularizer)(_solve)
register_frank_wolfe(FlatMatching)
declare_intractable(FlatMatching, sst.ExponentialFamilyEntropy, "permanents")


@dataclass(frozen=True)
class MatchingProblem(Problem):
    """Matchings among the pairs given: of all rows that have any if n ≤ m, of all columns if n ≥ m, unless partial."""

    n: int
    m: int
    pairs: Pairs
    partial: bool = False

    @property
    def rows_must(self) -> bool:
        return self.n <= self.m and not self.partial

    @property
    def columns_must(self) -> bool:
        return self.n >= self.m and not self.partial

    @property
    def size(self) -> int:
        return len(self.pairs)

    @property
    def count(self) -> int:
        """Expansion of the permanent by rows; of its rectangular kin, which may leave out what is not required."""
        table = np.zeros((self.n, self.m), dtype=int)
        for pair in self.pairs:
            table[pair] = 1
        columns = frozenset(np.flatnonzero(table.any(0)))

        @cache
        def ways(row: int, left: frozenset[int]) -> int:
            if row == self.n:
                return int(not (self.columns_must and left))
            absent = not table[row].any()
            leave = ways(row + 1, left) if absent or not self.rows_must else 0
            return leave + sum(ways(row + 1, left - {j}) for j in left if table[row, j])

        return ways(0, columns)

    def build(self, mask: Mask = None) -> FlatMatching:
        return FlatMatching(self.n, self.m, self.pairs, self.partial, mask)

    def restrict(self, keep: np.ndarray) -> MatchingProblem:
        kept = tuple(pair for pair, k in zip(self.pairs, keep, strict=True) if k)
        return MatchingProblem(self.n, self.m, kept, self.partial)

    def feasible(self, keep: np.ndarray) -> bool:
        return bool(keep.any()) and self.restrict(keep).count > 0

    def list_vertices(self) -> np.ndarray:
        found = []
        rows, columns = {i for i, _ in self.pairs}, {j for _, j in self.pairs}
        for x in itertools.product((0, 1), repeat=self.size):
            used = [pair for pair, v in zip(self.pairs, x, strict=True) if v]
            of_rows, of_columns = [i for i, _ in used], [j for _, j in used]
            apart = len(set(of_rows)) == len(set(of_columns)) == len(used)
            missing = (self.rows_must and rows - set(of_rows)) or (self.columns_must and columns - set(of_columns))
            if apart and not missing:
                found.append(x)
        return np.array(found, dtype=np.int8)

    def outside(self, x: np.ndarray) -> float:
        worst = max(0.0, float((-x).max(initial=0.0)))
        for side, must in ((0, self.rows_must), (1, self.columns_must)):
            for k in {pair[side] for pair in self.pairs}:
                total = x[..., [e for e, pair in enumerate(self.pairs) if pair[side] == k]].sum(-1) - 1
                worst = max(worst, float((np.abs(total) if must else total).max(initial=0.0)))
        return worst

    def argmax(self, u: np.ndarray) -> np.ndarray:
        heights = np.where(self.vertices > 0, u, 0.0).sum(-1)
        return max(self.vertices[heights == heights.max()], key=lambda x: x.tolist())


def matching_problem(n: int, m: int, partial: bool = False) -> MatchingProblem:
    return MatchingProblem(n, m, tuple(itertools.product(range(n), range(m))), partial)


# Two rows have but the same two columns: the third row can only have the third, and its other pairs are in no matching.
FORCED = MatchingProblem(3, 3, ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)))
