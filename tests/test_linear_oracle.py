"""Structures known by their argmax alone: paths through a small graph, judged by listing them all."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch

import sstricks as sst
from brute_force import exact, scaled, to_numpy
from cases import RESPONSES
from hull_optimum import HullOptimum
from laws import assert_near
from test_errors import check

# Edges of an acyclic graph in topological order, from node 0 to node 4.
EDGES = [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4)]
REGULARIZERS = pytest.mark.parametrize(
    "regularizer", [sst.Euclidean(), sst.CategoricalEntropy(), sst.BinaryEntropy()], ids=repr
)
SOLVER = sst.FrankWolfe()


def longest_paths(u: torch.Tensor) -> torch.Tensor:
    """The best path of each row, by the textbook's recursion over nodes; it meets finite utilities only."""
    assert u.isfinite().all()
    rows = []
    for weights in u.tolist():
        best: list[tuple[float, list[int]]] = [(0.0, [])] + [(-math.inf, [])] * 4
        for e, (a, b) in enumerate(EDGES):
            reached = best[a][0] + weights[e]
            if reached > best[b][0]:
                best[b] = (reached, [*best[a][1], e])
        rows.append([1.0 if e in best[4][1] else 0.0 for e in range(len(EDGES))])
    return torch.tensor(rows, dtype=u.dtype)


def all_paths(node: int = 0) -> list[list[int]]:
    if node == 4:
        return [[]]
    return [[e, *rest] for e, (a, b) in enumerate(EDGES) if a == node for rest in all_paths(b)]


VERTICES = np.array([[int(e in path) for e in range(len(EDGES))] for path in all_paths()])
PATHS = sst.LinearOracle(longest_paths, (len(EDGES),))


def utilities(*batch: int) -> torch.Tensor:
    return torch.randn(*batch, len(EDGES), dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def truth(regularizer: sst.Regularizer, vertices: np.ndarray = VERTICES) -> HullOptimum:
    return HullOptimum(vertices, RESPONSES[type(regularizer)])


def test_argmax():
    u = utilities(20)
    found = PATHS.argmax(u).numpy()
    heights = VERTICES @ u.numpy().T
    assert found.tolist() == VERTICES[heights.argmax(0)].tolist()
    assert PATHS.argmax(u.float()).dtype == torch.float32


@REGULARIZERS
def test_relaxation_and_slope_are_those_of_the_hull(regularizer: sst.Regularizer):
    for u, t in zip(utilities(4), (0.3, 0.7, 1.0, 5.0), strict=True):
        u, g = u.requires_grad_(), torch.linspace(-1, 1, len(EDGES), dtype=torch.float64)
        x = PATHS.softmax(u, t, regularizer, solver=SOLVER)
        assert_near(x, torch.from_numpy(to_numpy(truth(regularizer).value(scaled(u, t)))), 1e-9)
        (du,) = torch.autograd.grad((x * g).sum(), u)
        assert_near(du * t, torch.from_numpy(to_numpy(truth(regularizer).slopes(scaled(u, t), exact(g))[0])), 1e-9)


@REGULARIZERS
def test_gradients(regularizer: sst.Regularizer):
    u, t = utilities(2).requires_grad_(), torch.tensor([0.7, 1.3], dtype=torch.float64, requires_grad=True)

    def relaxed(u: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return PATHS.softmax(u, t, regularizer, solver=SOLVER)

    assert torch.autograd.gradcheck(relaxed, (u, t))
    assert torch.autograd.gradgradcheck(relaxed, (u, t))


@REGULARIZERS
def test_masked_coordinates_are_absent(regularizer: sst.Regularizer):
    mask = torch.ones(len(EDGES), dtype=torch.bool)
    mask[3] = False
    paths = sst.LinearOracle(longest_paths, (len(EDGES),), mask=mask)
    u = utilities(3)
    assert torch.count_nonzero(paths.argmax(1e300 * u)[:, 3]) == 0
    x = paths.softmax(u, 0.7, regularizer, solver=SOLVER)
    kept = truth(regularizer, VERTICES[VERTICES[:, 3] == 0])
    for row, found in zip(u, x, strict=True):
        assert_near(found, torch.from_numpy(to_numpy(kept.value(scaled(row, 0.7)))), 1e-9)
        assert found[3] == 0
    assert_near(PATHS.softmax(u.masked_fill(~mask, -math.inf), 0.7, regularizer, solver=SOLVER), x, 1e-12)


def test_matrices_of_coordinates():
    grid = sst.LinearOracle(lambda u: sst.KSubset(6, 2).argmax(u.flatten(-2)).unflatten(-1, (2, 3)), (2, 3))
    u = torch.linspace(-1, 1, 12, dtype=torch.float64).sin().reshape(2, 2, 3).requires_grad_()
    x = grid.softmax(u, 0.5, sst.BinaryEntropy(), solver=SOLVER)
    flat = sst.KSubset(6, 2).softmax(u.flatten(-2), 0.5, sst.BinaryEntropy())
    assert_near(x.flatten(-2), flat, 1e-9)
    g = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(2, 2, 3)
    found, expected = (torch.autograd.grad(y, u, g.reshape(y.shape))[0] for y in (x, flat))
    assert_near(found, expected, 1e-9)


def test_vertices_of_any_size():
    """Where the number of ones differs, a common part of the utilities matters."""
    u = 3 * torch.linspace(-1, 1, 5, dtype=torch.float64) + 0.3
    anything = sst.LinearOracle(sst.Subset(5).argmax, (5,))
    for f in (sst.Euclidean(), sst.CategoricalEntropy(), sst.BinaryEntropy()):
        for shift in (0.0, 2.0, -2.0):
            found = anything.softmax(u + shift, 1.0, f, solver=SOLVER)
            assert_near(found, sst.Subset(5).softmax(u + shift, 1.0, f), 1e-9)


def test_tricks_name_their_solver():
    utility = torch.distributions.Gumbel(torch.zeros(3, len(EDGES), dtype=torch.float64), 1.0)
    trick = sst.StochasticSoftmaxTrick(PATHS, utility, 0.5, sst.CategoricalEntropy(), solver=SOLVER)
    draw = trick.expand((2, 3)).draw((4,))
    assert draw.relaxed.shape == (4, 2, 3, len(EDGES))
    flow = draw.relaxed[..., 0] + draw.relaxed[..., 1]
    assert_near(flow, torch.ones_like(flow), 1e-12)
    assert torch.equal(sst.StraightThrough(trick).rsample((2,)).unique(), torch.tensor([0.0, 1.0]).double())


def test_what_is_not_known_says_so():
    for call in (PATHS.enumerate_support, lambda: PATHS.contains(torch.zeros(len(EDGES)))):
        with pytest.raises(NotImplementedError, match="only the argmax is known"):
            call()
    u = utilities()
    for call in (PATHS.log_partition, PATHS.sample, PATHS.entropy):
        with pytest.raises(sst.NoSolverError, match="LinearOracle"):
            call(u)
    with pytest.raises(sst.NoSolverError, match=r"solver=: sst\.FrankWolfe\(\)"):
        PATHS.softmax(u, 1.0, sst.Euclidean())
    check(
        lambda: PATHS.softmax(u, 1.0, sst.ExponentialFamilyEntropy(), solver=SOLVER),
        "regularizer",
        "ExponentialFamilyEntropy",
        "Euclidean",
    )


def test_errors():
    check(lambda: sst.LinearOracle(longest_paths, ()), "event_shape", "()", "positive")
    check(lambda: sst.LinearOracle(longest_paths, (3, 0)), "event_shape", "(3, 0)", "positive")
    check(lambda: sst.LinearOracle(3, (3,)), "argmax", "3", "function")  # pyright: ignore[reportArgumentType]
    bad = {
        lambda u: u[:, :2].double(): ("shape (2, 2)", "(2, 3)"),
        lambda u: u.tolist(): ("list", "(2, 3)"),
        lambda u: torch.full_like(u, math.nan): ("nan", "zeros and ones"),
        lambda u: u: ("5.0", "zeros and ones"),
    }
    u = torch.full((2, 3), 5.0)
    for argmax, (found, expected) in bad.items():
        check(lambda argmax=argmax: sst.LinearOracle(argmax, (3,)).argmax(u), "argmax", found, expected)
    cut = utilities(2)
    cut[1, :2] = -math.inf
    check(lambda: PATHS.argmax(cut), "u", "row 1", "without")


def shortest_paths(u: torch.Tensor) -> torch.Tensor:
    return longest_paths(-u)


def any_path(u: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(VERTICES).to(u)[torch.randint(len(VERTICES), (len(u),))]


def uses_of(paths: sst.LinearOracle, f: sst.SeparableRegularizer, u: torch.Tensor) -> list[Callable[[], object]]:
    x = torch.from_numpy(VERTICES).double().mean(0)
    return [
        lambda: paths.softmax(u, 1.0, f, solver=SOLVER),
        lambda: SOLVER.solve(paths, f, u),
        lambda: sst.duality_gap(paths, f, x, u),
    ]


@REGULARIZERS
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_an_argmin_is_found_out(regularizer: sst.SeparableRegularizer, scale: float):
    for call in uses_of(sst.LinearOracle(shortest_paths, (len(EDGES),)), regularizer, scale * utilities()):
        check(call, "argmax", "another of its vertices", "largest")


@REGULARIZERS
def test_random_answers_are_found_out(regularizer: sst.SeparableRegularizer):
    """Nearly always: three that are in order by chance cannot be told from right ones."""
    torch.manual_seed(0)
    random = sst.LinearOracle(any_path, (len(EDGES),))
    for call in uses_of(random, regularizer, utilities()):
        passed = 0
        for _ in range(40):
            try:
                call()
                passed += 1
            except ValueError as error:
                assert str(error).startswith("argmax: found a vertex")  # noqa: PT017
        assert passed <= 4


def test_an_argmin_of_several_rows_is_found_out_by_the_argmax_alone():
    check(lambda: sst.LinearOracle(shortest_paths, (len(EDGES),)).argmax(utilities(9)), "argmax", "another", "largest")


@pytest.mark.parametrize("structure", [sst.KSubset(10, 3), sst.SpanningTree.complete(5), sst.Subset(10)], ids=repr)
@pytest.mark.parametrize("regularizer", [sst.Euclidean(), sst.BinaryEntropy(), sst.TsallisEntropy(1.5)], ids=repr)
def test_honest_oracles_are_believed(structure: sst.Structure, regularizer: sst.SeparableRegularizer):
    """At any scale, with ties, with masks, with whatever choice among equals, and if they compute in float32."""

    def in_single_precision(u: torch.Tensor) -> torch.Tensor:
        return structure.argmax(u.float()).to(u)

    def with_a_whim(u: torch.Tensor) -> torch.Tensor:
        return structure.argmax(u + 1e-9 * u.abs().amax(-1, keepdim=True) * torch.rand_like(u))

    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    mask = torch.ones(10, dtype=torch.bool)
    mask[3] = False
    for oracle in (in_single_precision, with_a_whim):
        honest = sst.LinearOracle(oracle, (10,), mask=mask)
        for scale in (1e-6, 1e-3, 1.0, 1e3, 1e6):
            rows = torch.randn(2, 10, dtype=torch.float64, generator=generator), torch.zeros(1, 10).double()
            ties = torch.randint(-1, 2, (2, 10), generator=generator).double()
            for u in (scale * torch.cat([*rows, ties]), scale * rows[0][0], scale + ties):
                honest.argmax(u)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", sst.ConvergenceWarning)  # their vertices may be off by rounding
                    found = sst.FrankWolfe(max_steps=30).solve(honest, regularizer, u)
                sst.duality_gap(honest, regularizer, found.point, u)


class LongestPaths:
    def __call__(self, u: torch.Tensor) -> torch.Tensor:
        return longest_paths(u)


def test_copies_and_pickles_find_the_same_paths():
    u = utilities(2)
    for oracle in (longest_paths, LongestPaths(), sst.Subset(len(EDGES)).argmax):
        paths = sst.LinearOracle(oracle, (len(EDGES),))
        expected = paths.softmax(u, 1.0, sst.Euclidean(), solver=SOLVER)
        for copied in (copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))):
            assert torch.equal(copied(paths).softmax(u, 1.0, sst.Euclidean(), solver=copied(SOLVER)), expected)


def test_functions_without_a_name_do_not_pickle_and_say_why():
    def local(u: torch.Tensor) -> torch.Tensor:
        return longest_paths(u)

    for oracle in (lambda u: longest_paths(u), local):
        paths = sst.LinearOracle(oracle, (len(EDGES),))
        with pytest.raises(pickle.PicklingError, match=r"LinearOracle: found the argmax .*at the top of a module"):
            pickle.dumps(paths)
        for copied in (copy.copy(paths), copy.deepcopy(paths)):
            assert torch.equal(copied.argmax(utilities(2)), PATHS.argmax(utilities(2)))
