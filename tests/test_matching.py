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
    "structure",
    [
        *(sst.Matching(6), sst.Matching(4, 7), sst.Matching(7, 4), sst.Matching(5, partial=True)),
        *(sst.Matching(4, 6, partial=True), sst.Matching(5, dustbins=True), sst.Matching(6, 4, dustbins=True)),
    ],
    ids=str,
)
def test_no_vertex_is_uphill(f: sst.SeparableRegularizer, structure: sst.Matching):
    """The gap max_v ∇ᵀ(v − x) of a concave objective bounds what is lost, where the slopes are finite."""
    u = 2 * utilities(10, *structure.event_shape)
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
        sst.Matching(3, mask=LONGING == 0)
    with pytest.raises(ValueError, match="u: found a table without a matching"):
        sst.Matching(3).argmax(LONGING)
    with pytest.raises(ValueError, match="u: found a table without a matching"):
        sst.Matching(3).softmax(LONGING, 1.0, sst.Euclidean())
    with pytest.raises(ValueError, match="dustbins: found True, and partial=True, expected one of them"):
        sst.Matching(2, partial=True, dustbins=True)
    with pytest.raises(ValueError, match=r"u: found shape \(2, 2\), expected \(\*batch, 3, 3\)"):
        sst.Matching(2, dustbins=True).argmax(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="dustbins: found True, and u of shape"):
        sst.functional.sinkhorn(torch.zeros(1, 3), dustbins=True)
    lost = torch.tensor([[0.0, -math.inf], [0.0, 0.0]])
    with pytest.raises(ValueError, match="u: found a pair whose row or column has no dustbin"):
        sst.Matching(1, dustbins=True).argmax(lost)
    with pytest.raises(ValueError, match="mask: found a pair whose row or column has no dustbin"):
        sst.Matching(1, dustbins=True, mask=lost == 0)
    nothing = sst.StochasticArgmaxTrick(
        sst.Matching(1, dustbins=True), sst.Gumbel(lost, validate_args=False), validate_args=False
    )
    assert nothing.sample().isnan().any()


# Two rows that want the same column, and one that has two to itself.
LONGING = torch.tensor([[0.0, -math.inf, -math.inf], [0.0, -math.inf, -math.inf], [-math.inf, 0.0, 0.0]])


@REGULARIZERS
def test_square_tables_hold_rectangles_of_any_shape(f: sst.Regularizer):
    sizes, index, weight = torch.tensor([[2, 4], [4, 1], [3, 3], [4, 3]]), torch.arange(4), utilities(4, 4)
    mask = (index < sizes[:, :1]).unsqueeze(-1) & (index < sizes[:, 1:]).unsqueeze(-2)
    padded, u = sst.Matching(4, mask=mask), utilities(4, 4, 4, seed=1).requires_grad_()
    x, vertices = padded.softmax(u, 0.5, f), padded.argmax(u)
    (slope,) = torch.autograd.grad((x * weight).sum(), u)
    assert padded.contains(vertices).all()
    for k, (n, m) in enumerate(sizes.tolist()):
        alone = u[k, :n, :m].detach().requires_grad_()
        expected = sst.Matching(n, m).softmax(alone, 0.5, f)
        torch.testing.assert_close(x[k, :n, :m], expected, atol=1e-12, rtol=0)
        (same,) = torch.autograd.grad((expected * weight[:n, :m]).sum(), alone)
        torch.testing.assert_close(slope[k, :n, :m], same, atol=1e-9, rtol=0)
        assert torch.equal(vertices[k, :n, :m], sst.Matching(n, m).argmax(alone))


@REGULARIZERS
def test_dustbins_take_what_is_not_worth_matching(f: sst.Regularizer):
    u = utilities(6, 4, 6)
    table = torch.nn.functional.pad(u, (0, 1, 0, 1))
    bins, partial = sst.Matching(4, 6, dustbins=True), sst.Matching(4, 6, partial=True)
    assert torch.equal(bins.argmax(table)[..., :-1, :-1], partial.argmax(u))
    x = bins.softmax(table, 0.5, f)
    torch.testing.assert_close(x[..., :-1, :].sum(-1), torch.ones(6, 4, dtype=torch.float64))
    torch.testing.assert_close(x[..., :-1].sum(-2), torch.ones(6, 6, dtype=torch.float64))
    assert not x[..., -1, -1].any()
    low = torch.full((6, 5, 7), -50.0, dtype=torch.float64)
    low[..., :-1, :-1] = utilities(6, 4, 6)
    # Where nobody may stay alone, n = m has every pair of the square.
    square = sst.Matching(4, dustbins=True).softmax(low[..., :5, [0, 1, 2, 3, 6]], 0.5, f)[..., :-1, :-1]
    torch.testing.assert_close(square, sst.Matching(4).softmax(low[..., :4, :4], 0.5, f), atol=1e-8, rtol=0)


def test_dustbins_show_whether_a_row_should_be_matched():
    """The gradient that a partial matching lacks where the sum of the row is one (SuperGlue's)."""
    u = torch.tensor([[0.2]], dtype=torch.float64, requires_grad=True)
    alone = torch.zeros((), dtype=torch.float64, requires_grad=True)
    for f in (sst.Euclidean(), sst.CategoricalEntropy(), sst.BinaryEntropy()):
        table = torch.nn.functional.pad(u, (0, 1, 0, 1)) + alone * torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        matched = sst.Matching(1, dustbins=True).softmax(table, 1.0, f)[..., 0, 0]
        to_pairs, to_bins = torch.autograd.grad(matched, (u, alone))
        assert to_pairs > 0
        assert to_bins < 0
