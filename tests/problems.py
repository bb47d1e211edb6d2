"""Structures of the library beside what is known of them without it: vertices, hull, argmax, smaller problems."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

import sstricks as sst
from brute_force import (
    is_forest,
    k_subset_vertices,
    one_hot_vertices,
    spanning_tree_vertices,
    subset_vertices,
)
from graphs import Edges, components, connected, touched
from polytopes import outside_cube, outside_hypersimplex, outside_tree_polytope

Mask = torch.Tensor | None


@dataclass(frozen=True)
class Problem(ABC):
    """One instance of a structure; ``restrict`` is what remains of it on the coordinates kept."""

    @property
    @abstractmethod
    def size(self) -> int: ...

    @property
    @abstractmethod
    def count(self) -> int:
        """|X| from a textbook."""

    @abstractmethod
    def build(self, mask: Mask = None) -> sst.Structure: ...

    @abstractmethod
    def restrict(self, keep: np.ndarray) -> Problem: ...

    @abstractmethod
    def feasible(self, keep: np.ndarray) -> bool:
        """Whether any vertex is left on the coordinates kept."""

    @abstractmethod
    def list_vertices(self) -> np.ndarray: ...

    @abstractmethod
    def outside(self, x: np.ndarray) -> float: ...

    @abstractmethod
    def argmax(self, u: np.ndarray) -> np.ndarray:
        """The best vertex; among equals, lower coordinates first."""

    @cached_property
    def vertices(self) -> np.ndarray:
        return self.list_vertices()


@dataclass(frozen=True)
class BoxProblem(Problem):
    """Vertices of the cube, or of its slice Σx = total."""

    n: int

    @property
    def size(self) -> int:
        return self.n

    @property
    @abstractmethod
    def total(self) -> int | None: ...


@dataclass(frozen=True)
class SubsetProblem(BoxProblem):
    @property
    def total(self) -> None:
        return None

    @property
    def count(self) -> int:
        return 2**self.n

    def build(self, mask: Mask = None) -> sst.Subset:
        return sst.Subset(self.n, mask=mask)

    def restrict(self, keep: np.ndarray) -> SubsetProblem:
        return SubsetProblem(int(keep.sum()))

    def feasible(self, keep: np.ndarray) -> bool:
        return bool(keep.any())

    def list_vertices(self) -> np.ndarray:
        return subset_vertices(self.n)

    def outside(self, x: np.ndarray) -> float:
        return outside_cube(x)

    def argmax(self, u: np.ndarray) -> np.ndarray:
        return (u > 0).astype(np.int8)


@dataclass(frozen=True)
class BoundedSubsetProblem(Problem):
    """Vertices of the cube with at least `low` and at most `high` ones."""

    n: int
    low: int
    high: int

    @property
    def size(self) -> int:
        return self.n

    @property
    def count(self) -> int:
        return sum(math.comb(self.n, s) for s in range(self.low, self.high + 1))

    def build(self, mask: Mask = None) -> sst.BoundedSubset:
        return sst.BoundedSubset(self.n, self.low, self.high, mask=mask)

    def restrict(self, keep: np.ndarray) -> BoundedSubsetProblem:
        return BoundedSubsetProblem(int(keep.sum()), self.low, min(self.high, int(keep.sum())))

    def feasible(self, keep: np.ndarray) -> bool:
        return int(keep.sum()) >= max(1, self.low)

    def list_vertices(self) -> np.ndarray:
        every = subset_vertices(self.n)
        return every[(every.sum(-1) >= self.low) & (every.sum(-1) <= self.high)]

    def outside(self, x: np.ndarray) -> float:
        size = x.sum(-1)
        return max(outside_cube(x), float(np.maximum(self.low - size, size - self.high).max(initial=0.0)))

    def argmax(self, u: np.ndarray) -> np.ndarray:
        x = np.zeros(self.n, dtype=np.int8)
        x[np.argsort(-u, kind="stable")[: min(max((u > 0).sum(), self.low), self.high)]] = 1
        return x


@dataclass(frozen=True)
class KSubsetProblem(BoxProblem):
    k: int

    @property
    def total(self) -> int:
        return self.k

    @property
    def count(self) -> int:
        return math.comb(self.n, self.k)

    def build(self, mask: Mask = None) -> sst.Structure:
        return sst.KSubset(self.n, self.k, mask=mask)

    def restrict(self, keep: np.ndarray) -> KSubsetProblem:
        return type(self)(int(keep.sum()), self.k)

    def feasible(self, keep: np.ndarray) -> bool:
        return int(keep.sum()) >= self.k

    def list_vertices(self) -> np.ndarray:
        return k_subset_vertices(self.n, self.k)

    def outside(self, x: np.ndarray) -> float:
        return outside_hypersimplex(x, self.k)

    def argmax(self, u: np.ndarray) -> np.ndarray:
        x = np.zeros(self.n, dtype=np.int8)
        x[np.argsort(-u, kind="stable")[: self.k]] = 1
        return x


@dataclass(frozen=True)
class OneHotProblem(KSubsetProblem):
    k: int = 1

    def build(self, mask: Mask = None) -> sst.OneHot:
        return sst.OneHot(self.n, mask=mask)

    def list_vertices(self) -> np.ndarray:
        return one_hot_vertices(self.n)


@dataclass(frozen=True)
class TreeProblem(Problem):
    """Spanning trees of the nodes that some edge touches (``num_trees`` from the matrix-tree theorem)."""

    edges: tuple[tuple[int, int], ...]
    num_nodes: int

    @property
    def size(self) -> int:
        return len(self.edges)

    @property
    def nodes(self) -> frozenset[int]:
        return touched(list(self.edges))

    @property
    def count(self) -> int:
        order = {v: i for i, v in enumerate(sorted(self.nodes))}
        laplacian = np.zeros((len(order), len(order)))
        for a, b in self.edges:
            i, j = order[a], order[b]
            laplacian[[i, j], [i, j]] += 1
            laplacian[[i, j], [j, i]] -= 1
        return round(np.linalg.det(laplacian[1:, 1:]))

    def build(self, mask: Mask = None) -> sst.SpanningTree:
        return sst.SpanningTree(torch.tensor(self.edges).T.contiguous(), self.num_nodes, mask=mask)

    def restrict(self, keep: np.ndarray) -> TreeProblem:
        kept = [edge for edge, k in zip(self.edges, keep, strict=True) if k]
        order = {v: i for i, v in enumerate(sorted(touched(kept)))}
        return TreeProblem(tuple((order[a], order[b]) for a, b in kept), len(order))

    def feasible(self, keep: np.ndarray) -> bool:
        kept = [edge for edge, k in zip(self.edges, keep, strict=True) if k]
        return connected(kept, touched(kept))

    def list_vertices(self) -> np.ndarray:
        return spanning_tree_vertices(list(self.edges), self.nodes)

    def outside(self, x: np.ndarray) -> float:
        return outside_tree_polytope(x, list(self.edges), self.nodes)

    def argmax(self, u: np.ndarray) -> np.ndarray:
        chosen: list[int] = []
        for e in np.argsort(-u, kind="stable"):
            if is_forest([self.edges[c] for c in [*chosen, e]]):
                chosen.append(int(e))
        x = np.zeros(self.size, dtype=np.int8)
        x[chosen] = 1
        return x


@dataclass(frozen=True)
class ForestProblem(TreeProblem):
    """Spanning forests: a spanning tree of every component."""

    @property
    def parts(self) -> list[Edges]:
        """The edges of each component."""
        return [[(a, b) for a, b, *_ in part] for part in components(list(self.edges))]

    @property
    def count(self) -> int:
        return math.prod(TreeProblem(tuple(part), self.num_nodes).count for part in self.parts)

    def build(self, mask: Mask = None) -> sst.SpanningTree:
        edges = torch.tensor(self.edges, dtype=torch.int64).reshape(-1, 2).T.contiguous()
        return sst.SpanningTree(edges, self.num_nodes, mask=mask, forest=True)

    def restrict(self, keep: np.ndarray) -> ForestProblem:
        smaller = super().restrict(keep)
        return ForestProblem(smaller.edges, smaller.num_nodes)

    def feasible(self, keep: np.ndarray) -> bool:
        return bool(keep.any())

    def list_vertices(self) -> np.ndarray:
        size = len(self.nodes) - len(self.parts)
        chosen = itertools.combinations(range(self.size), size)
        rows = [c for c in chosen if is_forest([self.edges[e] for e in c])]
        return np.array([[e in row for e in range(self.size)] for row in rows], dtype=np.int8)

    def outside(self, x: np.ndarray) -> float:
        parts = [np.array([edge in part for edge in self.edges]) for part in self.parts]
        return max(
            outside_tree_polytope(x[..., here], [e for e, h in zip(self.edges, here, strict=True) if h], touched(part))
            for here, part in zip(parts, self.parts, strict=True)
        )


def forest_problem(edges: Edges) -> ForestProblem:
    return ForestProblem(tuple(edges), len(touched(edges)))


def tree_problem(edges: Edges) -> TreeProblem:
    return TreeProblem(tuple(edges), len(touched(edges)))
