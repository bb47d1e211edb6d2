"""Arborescences beside what is known of them without the library: a choice of one edge into every node, checked."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch

import sstricks as sst
from graphs import Edges, touched
from polytopes import outside_cube
from problems import Mask, Problem


@dataclass(frozen=True)
class ArborescenceProblem(Problem):
    """Trees in which paths lead from the root to every node that some edge touches."""

    edges: tuple[tuple[int, int], ...]
    num_nodes: int
    root: int

    @property
    def size(self) -> int:
        return len(self.edges)

    @property
    def nodes(self) -> frozenset[int]:
        return touched(list(self.edges))

    @property
    def count(self) -> int:
        """Tutte's matrix-tree theorem: a minor of the Laplacian of in-degrees."""
        others = sorted(self.nodes - {self.root})
        laplacian = np.zeros((self.num_nodes, self.num_nodes))
        for a, b in self.edges:
            if b != self.root:
                laplacian[b, b] += 1
                laplacian[a, b] -= 1
        return round(np.linalg.det(laplacian[np.ix_(others, others)]))

    def build(self, mask: Mask = None) -> sst.Arborescence:
        return sst.Arborescence(torch.tensor(self.edges).T.contiguous(), self.num_nodes, self.root, mask=mask)

    def restrict(self, keep: np.ndarray) -> ArborescenceProblem:
        kept = [edge for edge, k in zip(self.edges, keep, strict=True) if k]
        order = {v: i for i, v in enumerate(sorted(touched(kept)))}
        return ArborescenceProblem(tuple((order[a], order[b]) for a, b in kept), len(order), order[self.root])

    def feasible(self, keep: np.ndarray) -> bool:
        kept = [edge for edge, k in zip(self.edges, keep, strict=True) if k]
        return bool(kept) and reached(kept, self.root) == touched(kept)

    def list_vertices(self) -> np.ndarray:
        into = {v: [e for e, (_, b) in enumerate(self.edges) if b == v] for v in self.nodes - {self.root}}
        rows = []
        for chosen in itertools.product(*into.values()):
            if reached([self.edges[e] for e in chosen], self.root) == self.nodes:
                rows.append(np.isin(np.arange(self.size), chosen))
        return np.array(rows, dtype=np.int8)

    def outside(self, x: np.ndarray) -> float:
        """Edmonds: x ≥ 0, one edge into every node but the root, and x(into S) ≥ 1 for every set S without the root."""
        others = sorted(self.nodes - {self.root})
        worst = outside_cube(x)
        for size in range(1, len(others) + 1):
            for group in itertools.combinations(others, size):
                into = [e for e, (a, b) in enumerate(self.edges) if b in group and a not in group]
                entering = x[..., into].sum(-1)
                worst = max(worst, float((1 - entering).max(initial=0.0)))
                if size == 1:
                    worst = max(worst, float((entering - 1).max(initial=0.0)))
        rooted = [e for e, (_, b) in enumerate(self.edges) if b == self.root]
        return max(worst, float(np.abs(x[..., rooted]).max(initial=0.0)))

    def argmax(self, u: np.ndarray) -> np.ndarray:
        """In exact arithmetic only: rounding would break ties."""
        values = self.vertices @ u if np.isfinite(u).all() else self.vertices @ (u == np.inf)
        best = self.vertices[values == values.max()]
        return np.array(max(best.tolist()), dtype=np.int8)


@dataclass(frozen=True)
class SingleRootProblem(ArborescenceProblem):
    """Those of them in which one edge leads from the root."""

    @property
    def count(self) -> int:
        """Koo et al. 2007: the Laplacian without the root, with a row of ones and zeros for the edges from it."""
        others = sorted(self.nodes - {self.root})
        total = 0
        for row in others:  # cofactors, along that row
            kept = [v for v in others if v != row]
            laplacian = np.zeros((self.num_nodes, self.num_nodes))
            for a, b in self.edges:
                if a != self.root != b:
                    laplacian[b, b] += 1
                    laplacian[a, b] -= 1
            ways = sum(edge == (self.root, row) for edge in self.edges)
            total += ways * round(np.linalg.det(laplacian[np.ix_(kept, kept)])) if kept else ways
        return total

    @property
    def from_root(self) -> np.ndarray:
        return np.array([a == self.root for a, _ in self.edges])

    def build(self, mask: Mask = None) -> sst.Arborescence:
        edges = torch.tensor(self.edges).T.contiguous()
        return sst.Arborescence(edges, self.num_nodes, self.root, mask=mask, single_root=True)

    def restrict(self, keep: np.ndarray) -> SingleRootProblem:
        smaller = super().restrict(keep)
        return SingleRootProblem(smaller.edges, smaller.num_nodes, smaller.root)

    def feasible(self, keep: np.ndarray) -> bool:
        return super().feasible(keep) and len(self.restrict(keep).vertices) > 0

    def list_vertices(self) -> np.ndarray:
        rows = super().list_vertices()
        return rows[rows[:, self.from_root].sum(-1) == 1]

    def outside(self, x: np.ndarray) -> float:
        """A face of the other hull: an arborescence has one such edge at least."""
        return max(super().outside(x), float(np.abs(x[..., self.from_root].sum(-1) - 1).max(initial=0.0)))


def reached(edges: Edges, root: int) -> frozenset[int]:
    found, frontier = set[int](), [root]
    while frontier:
        v = frontier.pop()
        if v not in found:
            found.add(v)
            frontier += [b for a, b in edges if a == v]
    return frozenset(found)


def complete_directed(n: int, root: int = 0) -> Edges:
    return [(a, b) for a in range(n) for b in range(n) if a != b and b != root]


def arborescence_problem(edges: Edges, root: int = 0) -> ArborescenceProblem:
    return ArborescenceProblem(tuple(edges), len(touched(edges)), root)


def single_root_problem(edges: Edges, root: int = 0) -> SingleRootProblem:
    return SingleRootProblem(tuple(edges), len(touched(edges)), root)


# A cycle, a pair of parallel edges and edges into the root, node 1.
ROUNDABOUT: Edges = [(0, 2), (1, 0), (2, 3), (3, 0), (2, 3), (3, 1), (1, 3), (0, 1)]
CHAIN: Edges = [(0, 1), (1, 2), (2, 3)]  # a single tree
