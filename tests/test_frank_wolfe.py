"""The active-set solver beyond the laws: what it reports, its certificate, its errors, its lifetime."""

from __future__ import annotations

import copy
import gc
import pickle

import numpy as np
import pytest
import torch

import sstricks as sst
from brute_force import scaled, to_numpy
from cases import PAIR_CASES, RESPONSES, Case
from graphs import complete, random_connected
from hull_optimum import HullOptimum
from laws import assert_near
from problems import tree_problem
from sstricks.solvers import look_up
from test_errors import check

ITERATIVE = pytest.mark.parametrize("case", [case for case in PAIR_CASES if case.iterative], ids=str)
SEPARABLE = [sst.Euclidean(), sst.CategoricalEntropy(), sst.BinaryEntropy()]


@ITERATIVE
def test_solution_is_a_mixture_of_vertices_with_its_gap(case: Case):
    u = case.utilities(3, 2)
    found = sst.FrankWolfe().solve(case.structure, case.regularizer, u)
    assert found.gap.shape == found.steps.shape == (3, 2)
    assert found.gap.max() <= 1e-12
    assert (found.weights >= 0).all()
    assert_near(found.weights.sum(-1), torch.ones(3, 2), 1e-14)
    assert_near((found.weights.unsqueeze(-1) * found.vertices).sum(-2), found.point, 1e-14)
    assert case.structure.contains(found.vertices[found.weights > 0]).all()
    # By itself to the last bits; two methods that end at gaps of 1e-12 may differ by √(2 · gap), and agree far better.
    iteration = look_up(type(case.structure), type(case.regularizer)).iteration
    assert_near(found.point, case.softmax(u, 1.0), 1e-12 if iteration == "interior point" else 1e-14)


@ITERATIVE
def test_no_problems_have_no_solutions(case: Case):
    found = sst.FrankWolfe().solve(case.structure, case.regularizer, case.utilities(0, 2))
    size = case.problem.size
    assert [x.shape for x in found] == [(0, 2, size), (0, 2), (0, 2), (0, 2, 1, size), (0, 2, 1)]


@ITERATIVE
def test_gap_bounds_what_is_missing(case: Case):
    """Also where it stops early, and says so."""
    u = case.utilities(4)
    best = case.softmax(u, 1.0)
    assert callable(case.regularizer)
    for steps in (1, 2, 3):
        with pytest.warns(sst.ConvergenceWarning, match="gap of"):
            found = sst.FrankWolfe(max_steps=steps).solve(case.structure, case.regularizer, 0.1 * u)
        best = case.softmax(0.1 * u, 1.0)
        missing = ((best - found.point) * 0.1 * u).sum(-1) - case.regularizer(best) + case.regularizer(found.point)
        assert (missing <= found.gap + 1e-12).all()
        assert (found.steps <= steps).all()
        assert case.problem.outside(found.point.numpy()) <= 1e-9


@ITERATIVE
def test_a_coarse_tolerance_takes_fewer_steps_and_a_short_solver_warns(case: Case):
    u = 0.1 * case.utilities(4)
    fine, coarse = (sst.FrankWolfe(tol=tol).solve(case.structure, case.regularizer, u) for tol in (1e-13, 1e-1))
    assert coarse.steps.sum() < fine.steps.sum()
    assert coarse.gap.max() <= 1e-1
    with pytest.warns(sst.ConvergenceWarning, match="after 1 steps"):
        case.structure.softmax(u, 1.0, case.regularizer, solver=sst.FrankWolfe(max_steps=1))


@pytest.mark.parametrize("regularizer", SEPARABLE, ids=repr)
@pytest.mark.parametrize("edges", [complete(5), random_connected(7, 4, seed=2)], ids=["K5", "random"])
def test_hot_and_cold_equal_the_hull(edges, regularizer: sst.Regularizer):
    case = Case(tree_problem(edges), regularizer)
    truth = HullOptimum(case.problem.vertices, RESPONSES[type(regularizer)])
    for u, t in zip(case.utilities(4), (0.15, 0.4, 2.0, 100.0), strict=True):
        assert_near(case.softmax(u, t), torch.from_numpy(to_numpy(truth.value(scaled(u, t)))), 1e-9)


@pytest.mark.parametrize("regularizer", SEPARABLE, ids=repr)
def test_subsets_whose_optimum_is_known_in_closed_form(regularizer: sst.Regularizer):
    u = torch.randn(6, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    g = torch.randn(6, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for structure in (sst.KSubset(12, 4), sst.OneHot(12), sst.Subset(12)):
        for t in (0.2, 1.0, 10.0):
            direct = structure.softmax(u, t, regularizer)
            found = structure.softmax(u, t, regularizer, solver=sst.FrankWolfe())
            assert_near(found, direct, 1e-9)
            slopes = (t * torch.autograd.grad(x, u, g)[0] for x in (found, direct))
            assert_near(*slopes, 1e-9)


def test_warnings_point_to_the_line_of_the_caller():
    """Whether a gradient is wanted, which goes through torch, or a distribution asks."""
    trees, solver = sst.SpanningTree.complete(5), sst.FrankWolfe(max_steps=1)
    u = torch.randn(10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    utility = sst.Logistic(u)
    for call in (
        lambda: trees.softmax(u, 10.0, sst.Euclidean(), solver=solver),
        lambda: trees.softmax(u.requires_grad_(), 10.0, sst.Euclidean(), solver=solver),
        lambda: sst.StochasticSoftmaxTrick(trees, utility, 10.0, sst.Euclidean(), solver=solver).rsample(),
        lambda: solver.solve(trees, sst.Euclidean(), 0.1 * u),
        lambda: torch.func.vmap(lambda v: trees.softmax(v, 10.0, sst.Euclidean(), solver=solver))(u.expand(2, 10)),
    ):
        with pytest.warns(sst.ConvergenceWarning) as caught:
            call()
        assert {warning.filename for warning in caught} == {__file__}


def test_gradients_outlive_the_structure_and_the_solver():
    u = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    x = sst.SpanningTree.complete(4).softmax(u, 1.0, sst.BinaryEntropy(), solver=sst.FrankWolfe())
    gc.collect()
    (du,) = torch.autograd.grad(x[..., 0].sum(), u, create_graph=True)
    (second,) = torch.autograd.grad(du[..., 1].sum(), u)
    assert second.isfinite().all()


def test_copies_are_solvers_and_structures_of_their_own():
    u = torch.linspace(-1, 1, 6, dtype=torch.float64)
    trees, solver = sst.SpanningTree.complete(4), sst.FrankWolfe()
    expected = trees.softmax(u, 1.0, sst.Euclidean(), solver=solver)
    copies = [(f(trees), f(solver)) for f in (copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)))]
    del trees, solver
    gc.collect()
    for twin, other in copies:
        assert torch.equal(twin.softmax(u, 1.0, sst.Euclidean(), solver=other), expected)


def test_jacobian_counts_vertices_without_weight():
    """At the centre of symmetry few vertices may carry the point, but it can move in all directions of the hull."""
    case = Case(tree_problem(complete(4)), sst.Euclidean())
    jacobian = torch.autograd.functional.jacobian(lambda v: case.softmax(v, 1.0), 1e-3 * case.utilities())
    assert isinstance(jacobian, torch.Tensor)
    np.testing.assert_allclose(jacobian.numpy(), np.eye(6) - 1 / 6, atol=1e-12)


@pytest.mark.parametrize("regularizer", SEPARABLE, ids=repr)
def test_weights_are_differentiable(regularizer: sst.SeparableRegularizer):
    """As functions of u; which vertices are active, and in what order, does not change within a difference quotient."""
    arborescences = sst.Arborescence.complete(4)
    u = torch.randn(2, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()

    def weights(u: torch.Tensor) -> torch.Tensor:
        return sst.FrankWolfe().solve(arborescences, regularizer, u).weights

    assert (weights(u) > 1e-3).sum() > 4
    assert torch.autograd.gradcheck(weights, u)
    assert torch.autograd.gradgradcheck(weights, u)


def test_weights_give_the_gradient_of_the_point_where_all_of_the_face_is_active():
    u = torch.tensor([[1.0, 0.5, 0.0]], dtype=torch.float64, requires_grad=True)
    found = sst.FrankWolfe().solve(sst.OneHot(3), sst.Euclidean(), u)
    assert found.weights.shape == (1, 2)
    (mixed,) = torch.autograd.grad((found.weights.unsqueeze(-1) * found.vertices).sum(-2)[0, 0], u)
    (direct,) = torch.autograd.grad(sst.OneHot(3).softmax(u, 1.0, sst.Euclidean())[0, 0], u)
    assert_near(mixed, direct, 1e-14)


def test_memory_grows_with_the_active_vertices():
    """A cold row takes as many slots as it has vertices, far below one for every coordinate."""
    u = torch.randn(4, 90, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = sst.FrankWolfe().solve(sst.SpanningTree.complete(14), sst.Euclidean(), torch.cat([u, u[:, :1]], -1))
    most = int((found.weights > 0).sum(-1).max())
    assert found.vertices.shape[1] == most < 40


def test_errors():
    check(lambda: sst.FrankWolfe(max_steps=0), "max_steps", "0", ">= 1")
    check(lambda: sst.FrankWolfe(tol=0.0), "tol", "0.0", "> 0")
    u = torch.zeros(6)
    check(
        lambda: sst.FrankWolfe().solve(sst.SpanningTree.complete(4), sst.ExponentialFamilyEntropy(), u),
        "regularizer",
        "ExponentialFamilyEntropy",
        "Euclidean",
    )
