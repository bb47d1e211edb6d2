"""What `validate_args` says of invalid rows: an error in words, or NaN in that row alone."""

import warnings

import pytest
import torch
from torch.distributions import Distribution

import sstricks as sst
from cases import PAIR_CASES, Case


def drawn(case: Case, u: torch.Tensor, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """A soft sample, a vertex and a gradient of a trick that looks at no values."""
    torch.manual_seed(seed)
    u = u.clone().requires_grad_()
    utility = sst.Gumbel(u, validate_args=False)
    trick = sst.StochasticSoftmaxTrick(case.structure, utility, 0.7, case.regularizer, validate_args=False)
    draw = trick.draw()
    weights = torch.arange(draw.relaxed.numel(), dtype=u.dtype).reshape(draw.relaxed.shape)
    (grad,) = torch.autograd.grad((draw.relaxed * weights).sum(), u)
    return draw.relaxed, draw.discrete, grad


@pytest.mark.parametrize("case", PAIR_CASES, ids=str)
def test_without_validation_nan_stays_in_its_row(case: Case):
    u = case.utilities(3)
    bad = u.clone()
    bad[1] = torch.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sst.ConvergenceWarning)
        for good, found in zip(drawn(case, u), drawn(case, bad), strict=True):
            assert found[1].isnan().all()
            torch.testing.assert_close(found[::2], good[::2])


# A graph without edges is one without nodes, and has a tree.
@pytest.mark.parametrize("case", [case for case in PAIR_CASES if not case.is_of_trees], ids=str)
def test_without_validation_a_row_without_a_vertex_is_nan(case: Case):
    u = case.utilities(3)
    empty = u.clone()
    empty[1] = -torch.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sst.ConvergenceWarning)
        with pytest.raises(ValueError, match="row 1"):
            case.softmax(empty, 0.7)
        found = drawn(case, empty)
        assert all(x[1].isnan().all() for x in found)
        assert all(x[::2].isfinite().all() for x in found)


def test_a_batch_of_nothing_else_is_nan():
    for structure in (sst.KSubset(4, 2), sst.SpanningTree.complete(4), sst.Matching(3)):
        u = torch.full((2, *structure.event_shape), torch.nan)
        trick = sst.StochasticArgmaxTrick(structure, sst.Gumbel(u, validate_args=False), validate_args=False)
        assert trick.sample((3,)).shape == (3, *u.shape)
        assert trick.sample().isnan().all()


def test_a_graph_in_pieces_is_nan_where_nobody_looks():
    u = torch.zeros(2, 6, dtype=torch.float64)
    u[1, :3] = -torch.inf
    u[1, 3:5] = -torch.inf
    structure = sst.SpanningTree.complete(4)  # edges 01 02 03 12 13 23: 23 alone is left, and 01 comes back
    u[1, 0] = 0.0
    with pytest.raises(ValueError, match="2 components in row 1"):
        structure.argmax(u)
    for f in (sst.ExponentialFamilyEntropy(), sst.Euclidean()):
        utility = sst.Gumbel(u, validate_args=False)
        draw = sst.StochasticSoftmaxTrick(structure, utility, 1.0, f, validate_args=False).draw()
        assert draw.relaxed[1].isnan().all()
        assert draw.discrete[1].isnan().all()
        torch.testing.assert_close(draw.relaxed[0].sum(), torch.tensor(3.0, dtype=torch.float64))


def test_torchs_default_decides_where_nothing_was_said():
    u = torch.tensor([0.0, torch.nan, 1.0])
    trick = sst.StochasticArgmaxTrick(sst.KSubset(3, 1), sst.Gumbel(u, validate_args=False))
    with pytest.raises(ValueError, match="NaN"):
        trick.sample()
    Distribution.set_default_validate_args(False)
    try:
        assert trick.sample().isnan().all()
    finally:
        Distribution.set_default_validate_args(True)


def test_straight_through_follows_its_trick():
    u = torch.tensor([0.0, torch.nan, 1.0])
    utility = sst.Gumbel(u, validate_args=False)
    trick = sst.StochasticSoftmaxTrick(sst.KSubset(3, 1), utility, 1.0, sst.Euclidean(), validate_args=False)
    assert sst.StraightThrough(trick).rsample((2,)).isnan().all()


def test_a_family_has_nan_for_an_invalid_row_where_nobody_looks():
    u = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    u[1, 2] = torch.nan
    with pytest.raises(ValueError, match=r"NaN \(row 1, coordinate 2\)"):
        sst.ExponentialFamily(sst.KSubset(4, 2), u)
    family = sst.ExponentialFamily(sst.KSubset(4, 2), u, validate_args=False)
    vertex = torch.tensor([1.0, 0.0, 1.0, 0.0])
    for found in (family.sample(), family.mean, family.mode, family.entropy(), family.log_prob(vertex)):
        assert found[1].isnan().all()
        assert found[0].isfinite().all()
