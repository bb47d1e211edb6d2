"""Separable regularizers on spanning trees beyond the laws: ordinary sizes and temperatures, and where blocks meet."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import sstricks as sst
from brute_force import exact, to_numpy
from cases import RESPONSES, Case
from graphs import DOUBLED_TRIANGLE, TRIANGLES_ON_A_BRIDGE, complete, random_connected
from hull_optimum import HullOptimum
from laws import assert_near
from problems import tree_problem
from tree_optimum import TreeOptimum

BUILT_IN = [sst.Euclidean(), sst.CategoricalEntropy(), sst.BinaryEntropy()]
SEPARABLE = [*BUILT_IN, sst.TsallisEntropy(1.5)]
TEMPERATURES = (0.05, 0.2, 1.0, 5.0)


def gumbel(*shape: int) -> torch.Tensor:
    uniform = torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return -uniform.log().neg().log()


@pytest.mark.parametrize("regularizer", BUILT_IN, ids=repr)
@pytest.mark.parametrize(
    "edges", [complete(4), DOUBLED_TRIANGLE, TRIANGLES_ON_A_BRIDGE], ids=["K4", "doubled", "bridge"]
)
def test_oracles_agree(edges, regularizer: sst.SeparableRegularizer):
    """Division by partitions, and vertices with a proof of optimality."""
    response, problem = RESPONSES[type(regularizer)], tree_problem(edges)
    one, other = TreeOptimum(problem.edges, response), HullOptimum(problem.vertices, response)
    for row in Case(problem, regularizer).utilities(3):
        s = exact(2 * row)
        np.testing.assert_allclose(to_numpy(one.value(s)), to_numpy(other.value(s)), rtol=0, atol=1e-30)


@pytest.mark.parametrize("regularizer", SEPARABLE, ids=repr)
@pytest.mark.parametrize(("nodes", "rows"), [(4, 4), (10, 32), (20, 2)])
def test_any_ordinary_temperature_converges(nodes: int, rows: int, regularizer: sst.SeparableRegularizer):
    trees = sst.SpanningTree.complete(nodes)
    u = gumbel(rows, *trees.event_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for t in TEMPERATURES:
            x = trees.softmax(u, t, regularizer)
            assert sst.duality_gap(trees, regularizer, x, u, t).max() <= 1e-8


@pytest.mark.parametrize("regularizer", SEPARABLE, ids=repr)
def test_sparse_graphs_with_parallel_edges_and_masks(regularizer: sst.SeparableRegularizer):
    edges = random_connected(30, 25, seed=1)
    trees = sst.SpanningTree(torch.tensor([*edges, *edges[:10]]).T, 30)
    u = gumbel(6, *trees.event_shape)
    mask = torch.ones_like(u, dtype=torch.bool)
    mask[::2, len(edges) :] = False
    masked = sst.SpanningTree(trees.edges, 30, mask=mask)
    for t in TEMPERATURES:
        x = masked.softmax(u, t, regularizer)
        assert sst.duality_gap(masked, regularizer, x, u, t).max() <= 1e-8
        alone = sst.SpanningTree(trees.edges[:, : len(edges)], 30).softmax(u[:, : len(edges)], t, regularizer)
        assert_near(x[::2, : len(edges)], alone[::2], 1e-12)


@pytest.mark.parametrize("regularizer", SEPARABLE, ids=repr)
def test_parts_that_meet_in_a_node_vary_apart(regularizer: sst.SeparableRegularizer):
    """Where all is symmetric the point does not show that each of two triangles has an edge less than nodes."""
    bow = sst.SpanningTree(torch.tensor([[0, 1, 0, 2, 3, 2], [1, 2, 2, 3, 4, 4]]), 5)
    zero = torch.zeros(6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: bow.softmax(v, 1.0, regularizer), zero)
    assert isinstance(jacobian, torch.Tensor)
    one = torch.eye(3, dtype=torch.float64) - 1 / 3
    spread = 1 / regularizer.curvature(torch.tensor([2 / 3], dtype=torch.float64))
    assert_near(jacobian, spread * torch.block_diag(one, one), 1e-12)


def test_an_edge_that_is_one_parts_what_it_joins():
    """With the diagonal of a square in every tree, the two edges on either side share one unit."""
    square = sst.SpanningTree(torch.tensor([[0, 1, 2, 0, 0], [1, 2, 3, 3, 2]]), 4)
    u = torch.tensor([0.0, 0.0, 0.0, 0.0, 9.0], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: square.softmax(v, 1.0, sst.Euclidean()), u)
    assert isinstance(jacobian, torch.Tensor)
    one = torch.tensor([[0.5, -0.5], [-0.5, 0.5]], dtype=torch.float64)
    assert_near(jacobian, torch.block_diag(one, one, torch.zeros(1, 1).double()), 1e-12)


def test_equals_the_active_set_method():
    trees, u = sst.SpanningTree.complete(9), gumbel(8, 36)
    for t in TEMPERATURES:
        found = trees.softmax(u, t, sst.Euclidean(), solver=sst.FrankWolfe())
        assert_near(found, trees.softmax(u, t, sst.Euclidean()), 1e-12)


@pytest.mark.parametrize(
    "structure", [sst.Arborescence.complete(10), sst.ProjectiveArborescence(8), sst.ChainKSubset(40, 8)], ids=repr
)
def test_nearest_points_of_other_structures_converge(structure: sst.Structure):
    u = gumbel(8, *structure.event_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for t in TEMPERATURES:
            x = structure.softmax(u, t, sst.Euclidean())
            assert sst.duality_gap(structure, sst.Euclidean(), x, u, t).max() <= 1e-10
