"""Projective trees beside what is known of them without the library."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

import sstricks as sst
from listed import Listed, first_of_the_best
from problems import Mask, Problem
from projective_trees import Edges, ordered_pairs, projective_vertices


@dataclass(frozen=True)
class ProjectiveArborescenceProblem(Problem):
    """All edges between ``nodes`` nodes that do not lead into node 0, each as often as there are labels."""

    nodes: int
    single_root: bool = False
    labels: int = 1

    @property
    def edges(self) -> Edges:
        return tuple(edge for edge in ordered_pairs(self.nodes) for _ in range(self.labels))

    @property
    def size(self) -> int:
        return (self.nodes - 1) ** 2 * self.labels

    @property
    def count(self) -> int:
        """Ternary trees, OEIS A001764; with one child of the root, pairs of them, OEIS A006013."""
        m = self.nodes - 1
        trees = math.comb(3 * m - 2, m - 1) // m if self.single_root else math.comb(3 * m, m) // (2 * m + 1)
        return trees * self.labels**m

    def build(self, mask: Mask = None) -> sst.Structure:
        settings = {"single_root": self.single_root, "num_labels": self.labels}
        return sst.ProjectiveArborescence(self.nodes, mask=mask, **settings)

    def restrict(self, keep: np.ndarray) -> Problem:
        kept = tuple(edge for edge, k in zip(self.edges, keep, strict=True) if k)
        return SomeEdgesProblem(0, self.single_root, 1, kept)

    def feasible(self, keep: np.ndarray) -> bool:
        return bool(keep.any()) and self.restrict(keep).count > 0

    def list_vertices(self) -> np.ndarray:
        rows = projective_vertices(self.edges)
        children = rows[:, [a == 0 for a, _ in self.edges]].sum(-1)
        return rows[children == 1] if self.single_root else rows

    def outside(self, x: np.ndarray) -> float:
        """The distance from the nearest mixture of the vertices, and more where x has a negative coordinate."""
        system = np.vstack([self.vertices.T, np.ones(len(self.vertices))])
        return max(nnls(system, np.append(row, 1.0))[1] for row in np.atleast_2d(x))

    def argmax(self, u: np.ndarray) -> np.ndarray:
        return first_of_the_best(self.vertices, u)


@dataclass(frozen=True)
class SomeEdgesProblem(ProjectiveArborescenceProblem):
    """What a mask leaves; no structure of the library has just these coordinates, so all vertices are listed."""

    kept: Edges = ()

    @property
    def edges(self) -> Edges:
        return self.kept

    @property
    def size(self) -> int:
        return len(self.kept)

    @property
    def count(self) -> int:
        return len(self.vertices)

    def build(self, mask: Mask = None) -> sst.Structure:
        if mask is not None:
            raise ValueError("mask the whole problem instead")
        return Listed(self.vertices)
