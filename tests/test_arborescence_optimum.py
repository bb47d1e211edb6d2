"""Separable regularizers on arborescences beyond the laws: ordinary sizes and temperatures, odd graphs, gradients."""

from __future__ import annotations

import warnings

import pytest
import torch

import sstricks as sst
from arborescence_problem import CHAIN, ROUNDABOUT, complete_directed
from laws import assert_near
from test_tree_optimum import TEMPERATURES, gumbel

SEPARABLE = pytest.mark.parametrize(
    "regularizer", [sst.CategoricalEntropy(), sst.BinaryEntropy(), sst.TsallisEntropy(1.5)], ids=repr
)


@SEPARABLE
@pytest.mark.parametrize(("nodes", "rows"), [(4, 8), (10, 8), (20, 2)])
def test_ordinary_temperatures_converge(nodes: int, rows: int, regularizer: sst.SeparableRegularizer):
    trees = sst.Arborescence.complete(nodes)
    u = gumbel(rows, *trees.event_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for t in TEMPERATURES:
            x = trees.softmax(u, t, regularizer)
            assert sst.duality_gap(trees, regularizer, x, u, t).max() <= 1e-8
            assert_near(trees.to_adjacency(x).sum(-2)[:, 1:], torch.ones(rows, nodes - 1, dtype=u.dtype), 1e-9)


@SEPARABLE
@pytest.mark.parametrize(("edges", "root"), [(CHAIN, 0), (ROUNDABOUT, 1)], ids=["chain", "roundabout"])
def test_edges_without_a_choice(edges, root: int, regularizer: sst.SeparableRegularizer):
    """Some are in every tree and some in none."""
    trees = sst.Arborescence(torch.tensor(edges).T, 1 + max(map(max, edges)), root)
    u = gumbel(20, *trees.event_shape)
    expected = trees.softmax(u, 0.5, regularizer, solver=sst.FrankWolfe())
    assert_near(trees.softmax(u, 0.5, regularizer), expected, 1e-9)


@SEPARABLE
def test_sparse_graphs_of_different_sizes(regularizer: sst.SeparableRegularizer):
    edges = torch.tensor(complete_directed(8)).T
    mask = torch.rand(6, edges.shape[1], generator=torch.Generator().manual_seed(0)) < 0.4
    mask |= edges[0] == 0  # the root reaches every node
    mask[3:] &= (edges < 6).all(0)
    trees = sst.Arborescence(edges, 8, mask=mask)
    u = gumbel(6, edges.shape[1])
    x = trees.softmax(u, 0.7, regularizer)
    assert_near(x, trees.softmax(u, 0.7, regularizer, solver=sst.FrankWolfe()), 1e-9)
    for row in range(6):
        kept = mask[row]
        alone = sst.Arborescence(edges[:, kept], 8 if row < 3 else 6)
        assert_near(x[row, kept], alone.softmax(u[row, kept], 0.7, regularizer), 1e-9)


@SEPARABLE
@pytest.mark.parametrize("t", [0.2, 1.0])
def test_gradients(regularizer: sst.SeparableRegularizer, t: float):
    trees = sst.Arborescence.complete(5)
    u = gumbel(2, *trees.event_shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: trees.softmax(u, t, regularizer), u, eps=1e-7, atol=1e-4)
