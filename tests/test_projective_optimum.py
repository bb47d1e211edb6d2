"""Separable regularizers on projective trees beyond the laws: ordinary sizes and temperatures, odd masks, gradients."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import sstricks as sst
from laws import assert_near
from test_tree_optimum import TEMPERATURES, gumbel

SEPARABLE = pytest.mark.parametrize(
    "regularizer", [sst.CategoricalEntropy(), sst.BinaryEntropy(), sst.TsallisEntropy(1.5)], ids=repr
)


@SEPARABLE
@pytest.mark.parametrize(("nodes", "rows"), [(5, 8), (10, 32), (20, 4)])
def test_ordinary_temperatures_converge(nodes: int, rows: int, regularizer: sst.SeparableRegularizer):
    trees = sst.ProjectiveArborescence(nodes)
    u = gumbel(rows, *trees.event_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for t in TEMPERATURES:
            x = trees.softmax(u, t, regularizer)
            # At 0.05 there are x so near to 1 that their distance has a few digits only.
            assert sst.duality_gap(trees, regularizer, x, u, t).max() <= (1e-5 if t < 0.1 else 1e-6)
            assert_near(trees.to_adjacency(x).sum(-2)[:, 1:], torch.ones(rows, nodes - 1, dtype=u.dtype), 1e-12)


@SEPARABLE
def test_the_optimum_is_a_mixture_of_trees(regularizer: sst.SeparableRegularizer):
    """No direction, near the optimum's own gradient or not, finds a tree behind it."""
    trees = sst.ProjectiveArborescence(12)
    x = trees.softmax(gumbel(4, *trees.event_shape), 0.3, regularizer)
    assert x.min() >= 0
    directions = torch.randn(500, 1, *trees.event_shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    for w in (directions, 0.1 * directions - regularizer.slope(x.clamp(1e-12, 1 - 1e-12))):
        w = w.expand(500, *x.shape)
        assert ((trees.argmax(w) - x) * w).sum(-1).min() >= -1e-10


@SEPARABLE
@pytest.mark.parametrize("t", [0.2, 1.0, 5.0])
def test_equals_the_active_set_method(regularizer: sst.SeparableRegularizer, t: float):
    trees, u = sst.ProjectiveArborescence(7), gumbel(4, 36)
    g = torch.randn(u.shape, dtype=u.dtype, generator=torch.Generator().manual_seed(0))
    found = []
    for solver in (None, sst.FrankWolfe()):
        v = u.clone().requires_grad_()
        x = trees.softmax(v, t, regularizer, solver=solver)
        found.append((x.detach(), *torch.autograd.grad((x * g).sum(), v)))
    for ours, theirs in zip(*found, strict=True):
        assert_near(ours, theirs, 1e-9)


@SEPARABLE
def test_sparse_sentences_of_different_lengths(regularizer: sst.SeparableRegularizer):
    trees = sst.ProjectiveArborescence(7)
    lengths = torch.tensor([7, 7, 5, 4, 2, 1])
    mask = torch.rand(6, 36, generator=torch.Generator().manual_seed(0)) < 0.6
    mask = (mask | (trees.edges[0] == 0)) & (trees.edges < lengths[:, None, None]).all(1)
    u = gumbel(6, 36)
    x = trees.masked(mask).softmax(u, 0.7, regularizer)
    assert_near(x, trees.masked(mask).softmax(u, 0.7, regularizer, solver=sst.FrankWolfe()), 1e-9)
    assert torch.equal(x, trees.softmax(torch.where(mask, u, -torch.inf), 0.7, regularizer))
    assert torch.count_nonzero(x[~mask]) == 0
    for row, length in enumerate(lengths.tolist()):
        if length > 1:
            kept = (trees.edges < length).all(0)
            alone = sst.ProjectiveArborescence(length).masked(mask[row, kept])
            assert_near(x[row, kept], alone.softmax(u[row, kept], 0.7, regularizer), 1e-10)


@SEPARABLE
def test_skipped_nodes(regularizer: sst.SeparableRegularizer):
    trees = sst.ProjectiveArborescence(6)
    kept = ((trees.edges != 2) & (trees.edges != 3)).all(0)
    u = torch.where(kept, gumbel(3, 25), -torch.inf).requires_grad_()
    x = trees.softmax(u, 0.5, regularizer)
    v = u.detach()[:, kept].requires_grad_()
    y = sst.ProjectiveArborescence(4).softmax(v, 0.5, regularizer)
    assert_near(x[:, kept], y, 1e-10)
    g = gumbel(9)
    (du,), (dv,) = torch.autograd.grad((x[:, kept] * g).sum(), u), torch.autograd.grad((y * g).sum(), v)
    assert_near(du[:, kept], dv, 1e-9)


@SEPARABLE
@pytest.mark.parametrize("scale", [1e3, 1e6, 1e290])
def test_giants_are_the_argmax(regularizer: sst.SeparableRegularizer, scale: float):
    trees, u = sst.ProjectiveArborescence(9), gumbel(8, 64)
    assert_near(trees.softmax(scale * u, 1e-3, regularizer), trees.argmax(u), 1e-9)


@SEPARABLE
def test_giants_and_ties(regularizer: sst.SeparableRegularizer):
    """Giants leave a choice between parts of a tree, which is what it would be without them."""
    trees = sst.ProjectiveArborescence(6)
    rng = np.random.default_rng(0)
    u = torch.from_numpy(rng.choice([0.0, -1e6], (16, 25)) + rng.choice([0.0, 1.0], (16, 25)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = trees.softmax(u, 1.0, regularizer)
        assert_near(x, trees.softmax(u, 1.0, regularizer, solver=sst.FrankWolfe()), 1e-7)


def test_tsallis_is_sparse():
    trees, u = sst.ProjectiveArborescence(10), gumbel(8, 81)
    x, y = (trees.softmax(u, 0.5, sst.TsallisEntropy(1.5), solver=solver) for solver in (None, sst.FrankWolfe()))
    assert torch.equal(x > 0, y > 0)


@SEPARABLE
@pytest.mark.parametrize("t", [0.2, 1.0])
def test_gradients(regularizer: sst.SeparableRegularizer, t: float):
    trees = sst.ProjectiveArborescence(5)
    u = gumbel(2, *trees.event_shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: trees.softmax(u, t, regularizer), u, eps=1e-7, atol=1e-4)
    assert torch.autograd.gradgradcheck(lambda u: trees.softmax(u, 1.0, regularizer), u, fast_mode=True)


def test_stopping_short_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sstricks.ops.projective_optimum._STEPS", 3)
    trees = sst.ProjectiveArborescence(5)
    with pytest.warns(sst.ConvergenceWarning, match=r"Interior-point.* in 2 problems after 3 steps"):
        x = trees.softmax(gumbel(2, 16), 1.0, sst.CategoricalEntropy())
    assert_near(trees.to_adjacency(x).sum(-2)[:, 1:], torch.ones(2, 4, dtype=x.dtype), 1e-12)
