"""Paths of acyclic graphs beside what is known of them without the library: all walks, one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

import sstricks as sst
from graphs import Edges, touched
from listed import first_of_the_best
from problems import Mask, Problem


@dataclass(frozen=True)
class PathProblem(Problem):
    edges: tuple[tuple[int, int], ...]
    source: int
    sink: int

    @property
    def size(self) -> int:
        return len(self.edges)

    @property
    def count(self) -> int:
        """The entry of the inverse of I - A, which is the sum of the powers of the adjacency matrix."""
        nodes = max(touched(list(self.edges))) + 1
        matrix = np.eye(nodes)
        for a, b in self.edges:
            matrix[a, b] -= 1
        return round(np.linalg.inv(matrix)[self.source, self.sink])

    def build(self, mask: Mask = None) -> sst.Path:
        return sst.Path(torch.tensor(self.edges).T.contiguous(), self.source, self.sink, mask=mask)

    def restrict(self, keep: np.ndarray) -> PathProblem:
        kept = [edge for edge, k in zip(self.edges, keep, strict=True) if k]
        order = {v: i for i, v in enumerate(sorted(touched(kept)))}
        return path_problem([(order[a], order[b]) for a, b in kept], order[self.source], order[self.sink])

    def feasible(self, keep: np.ndarray) -> bool:
        return bool((self.vertices[:, ~keep] == 0).all(-1).any())

    def list_vertices(self) -> np.ndarray:
        walks = [[e] for e, (a, _) in enumerate(self.edges) if a == self.source]
        rows = []
        while walks:
            walk = walks.pop()
            if self.edges[walk[-1]][1] == self.sink:
                rows.append(np.isin(np.arange(self.size), walk))
            walks += [[*walk, e] for e, (a, _) in enumerate(self.edges) if a == self.edges[walk[-1]][1]]
        return np.array(rows, dtype=np.int8)

    def outside(self, x: np.ndarray) -> float:
        """Flows: x ≥ 0, and what leaves a node is what enters it, but for 1 at the source and -1 at the sink."""
        worst = float(-x.min(initial=0.0))
        for v in touched(list(self.edges)):
            leaving = x[..., [e for e, (a, _) in enumerate(self.edges) if a == v]].sum(-1)
            entering = x[..., [e for e, (_, b) in enumerate(self.edges) if b == v]].sum(-1)
            excess = leaving - entering - (v == self.source) + (v == self.sink)
            worst = max(worst, float(np.abs(excess).max(initial=0.0)))
        return worst

    def argmax(self, u: np.ndarray) -> np.ndarray:
        return first_of_the_best(self.vertices, u)


def path_problem(edges: Edges, source: int = 0, sink: int | None = None) -> PathProblem:
    return PathProblem(tuple(edges), source, max(touched(edges)) if sink is None else sink)


# Two ways round a square, a diagonal, parallel edges, and a shortcut, in no order.
TOWN: Edges = [(1, 3), (0, 1), (2, 3), (0, 2), (1, 2), (0, 3), (2, 3)]
# Edges into the source, out of the sink, and into a dead end.
DEAD_ENDS: Edges = [(4, 1), (1, 2), (2, 3), (1, 3), (3, 0), (2, 5), (4, 0)]
ONE_WAY: Edges = [(2, 0), (1, 2)]
LABELS: Edges = [(0, 1)] * 3
