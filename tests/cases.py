"""Enrols every registered (structure, regularizer) pair in the laws, by reading the registry itself."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

import sstricks as sst
from arborescence_problem import (
    CHAIN,
    ROUNDABOUT,
    arborescence_problem,
    complete_directed,
    single_root_problem,
)
from brute_force import ExponentialFamily, Vector
from chain_problem import ChainProblem
from devices import placed
from exact_optimum import (
    BoundedOptimum,
    Separable,
    binary,
    categorical,
    euclidean,
    exponential_cost,
    tsallis_three_halves,
)
from graphs import DOUBLED_TRIANGLE, SQUARE_WITH_DIAGONAL, STAR, TRIANGLE_AND_EDGES, TRIANGLES_ON_A_BRIDGE, complete
from hull_optimum import HullOptimum
from matching_optimum import MatchingOptimum, exponential, positive_part
from matching_problem import FORCED, TALL, FlatMatching, MatchingProblem, dustbin_problem, matching_problem
from own_regularizers import Exponential
from path_problem import DEAD_ENDS, LABELS, ONE_WAY, TOWN, path_problem
from permutahedron_problem import CATEGORICAL, EUCLIDEAN, PermutahedronProblem
from problems import (
    BoundedSubsetProblem,
    BoxProblem,
    KSubsetProblem,
    OneHotProblem,
    Problem,
    SubsetProblem,
    TreeProblem,
    forest_problem,
    tree_problem,
)
from projective_arborescence_problem import ProjectiveArborescenceProblem
from sstricks.solvers import find_solver, look_up, registered_pairs
from tree_optimum import TreeOptimum

SINGLE_ROOT = single_root_problem(complete_directed(4))
SINGLE_PROJECTIVE = ProjectiveArborescenceProblem(4, single_root=True)
LABELLED = ProjectiveArborescenceProblem(3, labels=2)
FOREST = forest_problem(TRIANGLE_AND_EDGES)

# The first problem of each structure is the one that costly laws are tried on.
PROBLEMS: dict[type, tuple[Problem, ...]] = {
    sst.OneHot: (OneHotProblem(5), OneHotProblem(1), OneHotProblem(2)),
    sst.Subset: (SubsetProblem(4), SubsetProblem(1)),
    sst.KSubset: (KSubsetProblem(5, 2), KSubsetProblem(4, 1), KSubsetProblem(6, 5), KSubsetProblem(3, 3)),
    sst.BoundedSubset: tuple(
        BoundedSubsetProblem(n, low, high) for n, low, high in ((5, 2, 3), (4, 0, 1), (4, 3, 4), (1, 0, 1), (3, 2, 2))
    ),
    sst.ChainKSubset: tuple(ChainProblem(n, k) for n, k in ((5, 2), (4, 1), (6, 3), (3, 3), (1, 1), (5, 4))),
    sst.Path: (
        path_problem(TOWN),
        path_problem(DEAD_ENDS, source=1, sink=3),
        path_problem(ONE_WAY, source=1, sink=0),
        path_problem(LABELS),
    ),
    sst.Permutahedron: tuple(PermutahedronProblem(n) for n in (4, 1, 2, 3, 5)),
    sst.ProjectiveArborescence: (
        *(ProjectiveArborescenceProblem(n) for n in (4, 2, 3, 5)),
        SINGLE_PROJECTIVE,
        *(ProjectiveArborescenceProblem(n, single_root=True) for n in (2, 5)),
        LABELLED,
        ProjectiveArborescenceProblem(3, single_root=True, labels=3),
    ),
    sst.Arborescence: (
        arborescence_problem(complete_directed(4)),
        arborescence_problem(complete_directed(2, root=1), root=1),
        arborescence_problem(complete_directed(4, root=2), root=2),
        arborescence_problem(ROUNDABOUT, root=1),
        arborescence_problem(CHAIN),
        SINGLE_ROOT,
        single_root_problem(complete_directed(2)),
        single_root_problem(complete_directed(3, root=2), root=2),
        single_root_problem(ROUNDABOUT, root=1),
        single_root_problem(CHAIN),
    ),
    FlatMatching: (
        *(matching_problem(2, 3), matching_problem(2, 3, partial=True), matching_problem(3, 2)),
        *(dustbin_problem(2, 2), dustbin_problem(1, 2), dustbin_problem(2, 1)),
    ),
    sst.Matching: (matching_problem(3, 3), matching_problem(1, 1), matching_problem(2, 2), FORCED, TALL),
    sst.SpanningTree: (
        tree_problem(complete(4)),
        tree_problem(complete(2)),
        tree_problem(complete(3)),
        tree_problem(complete(5)),
        tree_problem(SQUARE_WITH_DIAGONAL),
        tree_problem(DOUBLED_TRIANGLE),
        tree_problem(TRIANGLES_ON_A_BRIDGE),
        tree_problem(STAR),
        FOREST,
        forest_problem(complete(4)),
    ),
}
# One instance of each class of regularizers; a class of the user's stands for all that have a density alone.
REGULARIZERS: dict[type[sst.Regularizer], sst.Regularizer] = {
    sst.Euclidean: sst.Euclidean(),
    sst.CategoricalEntropy: sst.CategoricalEntropy(),
    sst.BinaryEntropy: sst.BinaryEntropy(),
    sst.TsallisEntropy: sst.TsallisEntropy(1.5),
    sst.SeparableRegularizer: Exponential(),
    sst.ExponentialFamilyEntropy: sst.ExponentialFamilyEntropy(),
}
RESPONSES = {
    sst.Euclidean: euclidean,
    sst.CategoricalEntropy: categorical,
    sst.BinaryEntropy: binary,
    sst.TsallisEntropy: tsallis_three_halves,
    Exponential: exponential_cost,
}
UNCAPPED = {sst.Euclidean: positive_part, sst.CategoricalEntropy: exponential, sst.BinaryEntropy: binary}


class Truth(Protocol):
    """The solution and t times its directional derivative at s = u/t, in many digits."""

    def value(self, s: Vector) -> Vector: ...

    def slopes(self, s: Vector, g: Vector) -> tuple[Vector, Vector]:
        """One from either side; they differ at kinks only."""


@dataclass(frozen=True)
class Case:
    """One problem under one regularizer."""

    problem: Problem
    regularizer: sst.Regularizer
    structure: sst.Structure = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "structure", placed(self.problem.build()))

    def __str__(self) -> str:
        name = type(self.problem).__name__.removesuffix("Problem")
        return f"{name}{self.problem.size}of{self.problem.count}-{type(self.regularizer).__name__}"

    @property
    def truth(self) -> Truth:
        return truth(self.problem, self.regularizer)

    @property
    def has_family(self) -> bool:
        """Whether the exponential family of the structure is tractable: log-partition, entropy, samples."""
        pairs = registered_pairs()
        return any((kind, sst.ExponentialFamilyEntropy) in pairs for kind in type(self.structure).__mro__)

    @property
    def is_of_trees(self) -> bool:
        """Whether a graph without any edge has one node, and one tree: x = 0."""
        return hasattr(self.structure, "edges") and not isinstance(self.structure, sst.Path)

    @property
    def iterative(self) -> bool:
        """Whether the solver uses the active-set method, which may warn instead of being exact at any scale."""
        iteration = look_up(type(self.structure), type(self.regularizer)).iteration
        return iteration in {"active set", "cutting planes", "interior point"}

    def restrict(self, keep: np.ndarray) -> Case:
        return Case(self.problem.restrict(keep), self.regularizer)

    def softmax(self, u: torch.Tensor, temperature: torch.Tensor | float) -> torch.Tensor:
        return self.structure.softmax(u, temperature, self.regularizer)

    def utilities(self, *batch: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
        """Standard normal, the same at every run."""
        generator = torch.Generator().manual_seed(zlib.crc32(str(self).encode()) + seed)
        return torch.randn(*batch, self.problem.size, dtype=torch.float64, generator=generator).to(dtype)


def truth(problem: Problem, regularizer: sst.Regularizer) -> Truth:
    """The oracle for a pair.

    Raises:
        LookupError: If nobody has written one, so that a new cell of the table cannot go untested.
    """
    if isinstance(regularizer, sst.ExponentialFamilyEntropy):
        return ExponentialFamily(problem.vertices)
    if isinstance(problem, PermutahedronProblem):
        return {sst.Euclidean: EUCLIDEAN, sst.CategoricalEntropy: CATEGORICAL}[type(regularizer)]
    if isinstance(problem, BoxProblem) and type(regularizer) in RESPONSES:
        return Separable(RESPONSES[type(regularizer)], problem.total)
    if isinstance(problem, BoundedSubsetProblem) and type(regularizer) in RESPONSES:
        return BoundedOptimum(RESPONSES[type(regularizer)], problem.low, problem.high)
    if isinstance(problem, MatchingProblem) and type(regularizer) in UNCAPPED:
        return MatchingOptimum(UNCAPPED[type(regularizer)], problem)
    if isinstance(problem, TreeProblem):
        return TreeOptimum(problem.edges, RESPONSES[type(regularizer)])
    if type(regularizer) in RESPONSES:
        return HullOptimum(problem.vertices, RESPONSES[type(regularizer)])
    raise LookupError(f"no oracle for {type(problem).__name__} with {type(regularizer).__name__}: write one")


def _enrol() -> Iterator[Case]:
    for structure, regularizer in registered_pairs():
        problems = PROBLEMS.get(structure, ())
        built_in = regularizer in {*UNCAPPED, sst.ExponentialFamilyEntropy}
        if not built_in and not all(isinstance(problem, BoxProblem) for problem in problems):
            problems = problems[:1]  # what solves them knows the others from regularizers that are built in
        for problem in problems:
            yield Case(problem, REGULARIZERS[regularizer])


CASES = tuple(_enrol())
PAIR_CASES = tuple(
    case for case in CASES if case.problem in {problems[0] for problems in PROBLEMS.values()}
)  # one per pair
SOLVER_CASES = tuple(
    {find_solver(case.structure, case.regularizer): case for case in reversed(PAIR_CASES)}.values()
)  # one for each solver: what pairs that share one lead to is the same
OPTION_CASES = tuple(
    case
    for case in CASES
    if case.problem in {SINGLE_ROOT, SINGLE_PROJECTIVE, LABELLED, FOREST}
    and isinstance(case.regularizer, sst.ExponentialFamilyEntropy | sst.BinaryEntropy)
)  # of options that lead to other operators, or to the same with other arguments
