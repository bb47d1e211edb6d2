"""Matchings for the law suite, whose events are flat: a list of pairs stands for the table."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import cache, cached_property

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

    def __init__(
        self, n: int, m: int, pairs: Pairs, partial: bool = False, dustbins: bool = False, mask: Mask = None
    ) -> None:
        super().__init__((len(pairs),), mask, at_least=1)
        self.shape = n + dustbins, m + dustbins
        self.index = torch.tensor([i * self.shape[1] + j for i, j in pairs])
        present = torch.ones(len(pairs), dtype=torch.bool) if mask is None else mask
        self.table = sst.Matching(n, m, partial=partial, dustbins=dustbins, mask=self.to_table(present, False))

    def to_table(self, x: torch.Tensor, filler: float) -> torch.Tensor:
        full = x.new_full((*x.shape[:-1], math.prod(self.shape)), filler)
        return full.index_copy(-1, self.index, x).unflatten(-1, self.shape)

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
    """Matchings among the pairs given: of all rows that have any or of all columns, unless partial.

    In a square table it is the fewer of them that must be matched. With dustbins, row n takes the columns that are
    alone and column m the rows.
    """

    n: int
    m: int
    pairs: Pairs
    partial: bool = False
    dustbins: bool = False

    @cached_property
    def core(self) -> Pairs:
        return tuple(pair for pair in self.pairs if pair[0] < self.n and pair[1] < self.m)

    @property
    def more_columns(self) -> int:
        rows, columns = ({pair[side] for pair in self.pairs} for side in (0, 1))
        return self.m - self.n if self.n != self.m else len(columns) - len(rows)

    @property
    def rows_must(self) -> bool:
        return self.dustbins or (self.more_columns >= 0 and not self.partial)

    @property
    def columns_must(self) -> bool:
        return self.dustbins or (self.more_columns <= 0 and not self.partial)

    def nodes(self, side: int) -> list[int]:
        """The rows or columns that have pairs."""
        return sorted({pair[side] for pair in self.pairs} - {(self.n, self.m)[side]})

    @property
    def size(self) -> int:
        return len(self.pairs)

    @property
    def count(self) -> int:
        """Expansion of the permanent by rows; of its rectangular kin, which may leave out what is not required."""
        table = np.zeros((self.n, self.m), dtype=int)
        for pair in self.core:
            table[pair] = 1
        columns = frozenset(np.flatnonzero(table.any(0)))
        rows_must, columns_must = (must and not self.dustbins for must in (self.rows_must, self.columns_must))

        @cache
        def ways(row: int, left: frozenset[int]) -> int:
            if row == self.n:
                return int(not (columns_must and left))
            absent = not table[row].any()
            leave = ways(row + 1, left) if absent or not rows_must else 0
            return leave + sum(ways(row + 1, left - {j}) for j in left if table[row, j])

        return ways(0, columns)

    def build(self, mask: Mask = None) -> FlatMatching:
        return FlatMatching(self.n, self.m, self.pairs, self.partial, self.dustbins, mask)

    def restrict(self, keep: np.ndarray) -> MatchingProblem:
        kept = tuple(pair for pair, k in zip(self.pairs, keep, strict=True) if k)
        return replace(self, pairs=kept)

    def feasible(self, keep: np.ndarray) -> bool:
        left = self.restrict(keep)
        if self.dustbins and not all({(i, self.m), (self.n, j)} <= {*left.pairs} for i, j in left.core):
            return False  # who is in a pair needs a dustbin
        return bool(keep.any()) and left.count > 0

    def list_vertices(self) -> np.ndarray:
        found = []
        rows, columns = {*self.nodes(0)}, {*self.nodes(1)}
        for x in itertools.product((0, 1), repeat=self.size):
            used = [pair for pair, v in zip(self.pairs, x, strict=True) if v]
            of_rows, of_columns = [i for i, _ in used if i < self.n], [j for _, j in used if j < self.m]
            apart = len(set(of_rows)) == len(of_rows) and len(set(of_columns)) == len(of_columns)
            missing = (self.rows_must and rows - set(of_rows)) or (self.columns_must and columns - set(of_columns))
            if apart and not missing:
                found.append(x)
        return np.array(found, dtype=np.int8)

    def outside(self, x: np.ndarray) -> float:
        worst = max(0.0, float((-x).max(initial=0.0)))
        for side, must in ((0, self.rows_must), (1, self.columns_must)):
            for k in self.nodes(side):
                total = x[..., [e for e, pair in enumerate(self.pairs) if pair[side] == k]].sum(-1) - 1
                worst = max(worst, float((np.abs(total) if must else total).max(initial=0.0)))
        return worst

    def argmax(self, u: np.ndarray) -> np.ndarray:
        heights = np.where(self.vertices > 0, u, 0.0).sum(-1)
        return max(self.vertices[heights == heights.max()], key=lambda x: x.tolist())


def matching_problem(n: int, m: int, partial: bool = False) -> MatchingProblem:
    return MatchingProblem(n, m, tuple(itertools.product(range(n), range(m))), partial)


def dustbin_problem(n: int, m: int) -> MatchingProblem:
    pairs = tuple(itertools.product(range(n + 1), range(m + 1)))[:-1]
    return MatchingProblem(n, m, pairs, dustbins=True)


# Two rows have but the same two columns: the third row can only have the third, and its other pairs are in no matching.
FORCED = MatchingProblem(3, 3, ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)))
# More rows than columns in a square table, of which every column must be matched.
TALL = MatchingProblem(3, 3, ((0, 0), (0, 2), (1, 0), (1, 2), (2, 0), (2, 2)))
