"""Matchings as tables: larger ones beside scipy's, padding, transposition, optimality by the gap, warnings, errors."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment

import sstricks as sst
from sstricks.errors import ConvergenceWarning
from sstricks.ops import matching as ops

REGULARIZERS = pytest.mark.parametrize(
    "f", [sst.Euclidean(), sst.CategoricalEntropy(), sst.BinaryEntropy()], ids=lambda f: type(f).__name__
)


def utilities(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n", "m"), [(20, 20), (60, 60), (15, 40), (40, 15)])
def test_argmax_is_scipys(n: int, m: int):
    u = utilities(5, n, m)
    x = sst.Matching(n, m).argmax(u)
    assert sst.Matching(n, m).contains(x).all()
    for table, found in zip(u, x, strict=True):
        rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
        assert math.isclose((table * found).sum().item(), table.numpy()[rows, columns].sum(), abs_tol=1e-10)


@pytest.mark.parametrize(("n", "m"), [(8, 8), (5, 9), (9, 5)])
def test_partial_argmax_is_scipys_with_a_place_aside_for_everyone(n: int, m: int):
    u = utilities(20, n, m) - 0.5
    x = sst.Matching(n, m, partial=True).argmax(u)
    for table, found in zip(u, x, strict=True):
        rows, columns = linear_sum_assignment(table.clamp(min=0).numpy(), maximize=True)
        assert math.isclose(
            (table * found).sum().item(), table.clamp(min=0).numpy()[rows, columns].sum(), abs_tol=1e-12
        )


@REGULARIZERS
@pytest.mark.parametrize(
    ("n", "m", "partial"), [(6, 6, False), (4, 7, False), (7, 4, False), (5, 5, True), (4, 6, True)]
)
def test_no_vertex_is_uphill(f: sst.SeparableRegularizer, n: int, m: int, partial: bool):
    """The gap max_v ∇ᵀ(v − x) of a concave objective bounds what is lost, where the slopes are finite."""
    structure = sst.Matching(n, m, partial=partial)
    u = 2 * utilities(10, n, m)
    x = structure.softmax(u, 0.7, f)
    point = x.detach().clamp(1e-300, 1 - 1e-16).requires_grad_()
    value = (u * point).sum() - 0.7 * f(point.flatten(-2)).sum()
    (slope,) = torch.autograd.grad(value, point)
    gap = (slope * (structure.argmax(slope) - x)).sum((-1, -2))
    assert gap.abs().max() < 1e-9


@REGULARIZERS
def test_padded_tables_and_transposes(f: sst.Regularizer):
    u, sizes = utilities(3, 5, 5), torch.tensor([2, 4, 5])
    here = torch.arange(5) < sizes[:, None]
    padded = sst.Matching(5, mask=here.unsqueeze(-1) & here.unsqueeze(-2))
    x, vertices = padded.softmax(u, 0.5, f), padded.argmax(u)
    for k, n in enumerate(sizes.tolist()):
        torch.testing.assert_close(x[k, :n, :n], sst.Matching(n).softmax(u[k, :n, :n], 0.5, f), atol=1e-12, rtol=0)
        assert torch.equal(vertices[k, :n, :n], sst.Matching(n).argmax(u[k, :n, :n]))
    wide, tall = sst.Matching(3, 5), sst.Matching(5, 3)
    torch.testing.assert_close(wide.softmax(u[:, :3], 0.5, f), tall.softmax(u[:, :3].mT, 0.5, f).mT)


def test_stopping_short_warns_with_the_gap_and_stays_in_the_hull(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ops, "_STEPS", 1)
    matching = sst.Matching(6)
    with pytest.warns(ConvergenceWarning, match="gap") as caught:
        x = matching.softmax(8 * utilities(4, 6, 6), 0.5, sst.BinaryEntropy())
    warning = caught[0].message
    assert isinstance(warning, ConvergenceWarning)
    assert warning.gap > warning.tolerance
    torch.testing.assert_close(x.sum(-1), torch.ones(4, 6, dtype=torch.float64))
    torch.testing.assert_close(x.sum(-2), torch.ones(4, 6, dtype=torch.float64))


def test_the_exponential_family_is_said_to_be_intractable():
    matching = sst.Matching(3)
    for call in (matching.log_partition, matching.entropy, matching.sample):
        with pytest.raises(sst.NoSolverError, match="#P-hard"):
            call(torch.zeros(3, 3))
    with pytest.raises(sst.NoSolverError, match="#P-hard"):
        matching.softmax(torch.zeros(3, 3), 1.0, sst.ExponentialFamilyEntropy())


def test_errors():
    with pytest.raises(ValueError, match="n: found 0, expected an integer >= 1"):
        sst.Matching(0)
    with pytest.raises(ValueError, match="mask: found a table without a matching"):
        sst.Matching(2, mask=torch.tensor([[True, True], [False, False]]))
    with pytest.raises(ValueError, match="u: found a table without a matching"):
        sst.Matching(2).argmax(torch.tensor([[0.0, -math.inf], [0.0, -math.inf]]))
    with pytest.raises(ValueError, match="u: found a table without a matching"):
        sst.Matching(2).softmax(torch.tensor([[0.0, -math.inf], [0.0, -math.inf]]), 1.0, sst.Euclidean())
