"""log_prob is exact where it exists, and says what to use instead where it does not."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Gumbel, Normal

import sstricks as sst
from sampling_processes import k_subset_probabilities


def test_log_prob_of_one_hot():
    loc = torch.tensor([0.0, 1.0, -1.0, 0.5], dtype=torch.float64, requires_grad=True)
    hard = sst.StochasticArgmaxTrick(sst.OneHot(4), Gumbel(loc, 1.0))
    torch.testing.assert_close(hard.log_prob(torch.eye(4, dtype=torch.float64)), torch.log_softmax(loc, -1))
    (gradient,) = torch.autograd.grad(hard.log_prob(torch.eye(4, dtype=torch.float64)[1]), loc)
    torch.testing.assert_close(gradient, torch.eye(4, dtype=torch.float64)[1] - torch.softmax(loc.detach(), -1))


def test_log_prob_of_one_hot_with_scaled_gumbels():
    """Gumbel(loc, β) has the argmax of Gumbel(loc/β, 1) when β is shared; otherwise there is no formula."""
    loc = torch.tensor([0.0, 1.0, -1.0, 0.5], dtype=torch.float64)
    shared = sst.StochasticArgmaxTrick(sst.OneHot(4), Gumbel(loc, torch.tensor(2.0, dtype=torch.float64)))
    torch.testing.assert_close(shared.log_prob(torch.eye(4, dtype=torch.float64)), torch.log_softmax(loc / 2, -1))
    mixed = sst.StochasticArgmaxTrick(sst.OneHot(4), Gumbel(loc, torch.linspace(1, 2, 4, dtype=torch.float64)))
    with pytest.raises((NotImplementedError, ValueError)):
        mixed.log_prob(torch.eye(4, dtype=torch.float64))


def test_log_prob_of_masked_one_hot():
    loc, mask = torch.zeros(2, 3), torch.tensor([[True, True, False], [True, True, True]])
    hard = sst.StochasticArgmaxTrick(sst.OneHot(3, mask=mask), Gumbel(loc, 1.0))
    found = hard.log_prob(torch.tensor([1.0, 0.0, 0.0]).expand(2, 3))
    torch.testing.assert_close(found, torch.tensor([1 / 2, 1 / 3]).log())


def test_log_prob_of_subsets():
    loc = torch.tensor([0.3, -1.0, 1.0], dtype=torch.float64)
    hard = sst.StochasticArgmaxTrick(sst.Subset(3), sst.Logistic(loc, 2.0))
    x = hard.structure.enumerate_support().double()
    expected = torch.distributions.Bernoulli(logits=loc / 2).log_prob(x).sum(-1)
    torch.testing.assert_close(hard.log_prob(x), expected)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_log_prob_of_k_subsets(k: int):
    loc = torch.tensor([0.0, 1.0, -1.0, 0.5, 0.2], dtype=torch.float64)
    vertices, probabilities = k_subset_probabilities(loc, k)
    hard = sst.StochasticArgmaxTrick(sst.KSubset(5, k), Gumbel(loc, 1.0))
    found = hard.log_prob(torch.from_numpy(vertices).double())
    torch.testing.assert_close(found, torch.from_numpy(probabilities).log())
    leaf = loc.clone().requires_grad_()
    x = torch.from_numpy(vertices[0]).double()
    assert torch.autograd.gradcheck(
        lambda v: sst.StochasticArgmaxTrick(sst.KSubset(5, k), Gumbel(v, 1.0)).log_prob(x), leaf
    )


def test_log_prob_at_a_large_range_is_finite():
    loc = torch.tensor([0.0, 500.0, -500.0, 0.5], dtype=torch.float64)
    hard = sst.StochasticArgmaxTrick(sst.KSubset(4, 2), Gumbel(loc, 1.0))
    found = hard.log_prob(torch.tensor([[0, 1.0, 0, 1], [1, 0, 1, 0]], dtype=torch.float64))
    torch.testing.assert_close(found[0].exp(), torch.sigmoid(torch.tensor(0.5, dtype=torch.float64)))
    assert math.isclose(found[1].item(), -1500 + math.log(2), abs_tol=1e-9)  # either order: e^-500 e^-1000


def test_log_prob_of_trees_and_of_other_utilities_is_refused():
    trees = sst.SpanningTree.complete(3)
    for hard in (
        sst.StochasticArgmaxTrick(trees, Gumbel(torch.zeros(3), 1.0)),
        sst.StochasticArgmaxTrick(sst.OneHot(3), Normal(torch.zeros(3), 1.0)),
        sst.StochasticArgmaxTrick(sst.Subset(3), Gumbel(torch.zeros(3), 1.0)),
        sst.StochasticArgmaxTrick(sst.KSubset(40, 20), Gumbel(torch.zeros(40), 1.0)),
    ):
        with pytest.raises((NotImplementedError, ValueError), match="utility"):
            hard.log_prob(hard.sample())


def test_log_prob_of_what_is_no_vertex():
    """An error where arguments are validated, as torch does unless told otherwise, and else no mass."""
    utility = Gumbel(torch.zeros(3), 1.0)
    outside = torch.tensor([[1.0, 1.0, 0.0], [0.5, 0.5, 0.0], [math.nan, 0.0, 1.0]])
    for validate_args in (None, True):
        hard = sst.StochasticArgmaxTrick(sst.OneHot(3), utility, validate_args=validate_args)
        for value in outside:
            with pytest.raises(ValueError, match=r"value: found a point outside of X, expected .*OneHot\(3\)"):
                hard.log_prob(value)
    unchecked = sst.StochasticArgmaxTrick(sst.OneHot(3), utility, validate_args=False)
    assert unchecked.log_prob(outside).tolist() == [-math.inf] * 3
    assert unchecked.expand((2,)).log_prob(outside[0]).tolist() == [-math.inf] * 2
    soft = sst.StochasticSoftmaxTrick(sst.OneHot(3), utility, 1.0, sst.CategoricalEntropy(), validate_args=False)
    assert sst.StraightThrough(soft).log_prob(outside[0]) == -math.inf


MASKED = {
    "subset": (sst.Subset, sst.Logistic),
    "one-hot": (sst.OneHot, Gumbel),
    "2-subset": (lambda n, mask=None: sst.KSubset(n, 2, mask), Gumbel),
}


@pytest.mark.parametrize(("build", "law"), MASKED.values(), ids=MASKED)
def test_a_mask_of_the_utility_is_one_of_the_structure(build, law):
    """What is never drawn has probability 0 and gradient 0, and the rest has the law of the masked structure."""
    mask = torch.tensor([True, False, True, True])
    loc = torch.tensor([0.3, 5.0, -1.0, 0.6], dtype=torch.float64, requires_grad=True)
    support = build(4).enumerate_support().double()
    never = support[:, 1] == 1
    found = sst.StochasticArgmaxTrick(build(4), sst.Masked(law(loc, 1.0), mask)).log_prob(support)
    assert (found[never] == -math.inf).all()
    expected = sst.StochasticArgmaxTrick(build(4, mask=mask), law(loc, 1.0)).log_prob(support[~never])
    torch.testing.assert_close(found[~never], expected)
    torch.testing.assert_close(found.exp().sum(), torch.ones((), dtype=torch.float64))
    weights = torch.linspace(-1, 1, len(support), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * found.exp()).sum(), loc, retain_graph=True)
    (without,) = torch.autograd.grad((weights[~never] * expected.exp()).sum(), loc)
    torch.testing.assert_close(gradient, without)
    assert gradient[1] == 0
    for row in found[never]:
        assert torch.equal(torch.autograd.grad(row.exp(), loc, retain_graph=True)[0], torch.zeros_like(loc))


@pytest.mark.parametrize(("build", "law"), MASKED.values(), ids=MASKED)
def test_an_infinitely_low_location_is_an_absent_coordinate(build, law):
    mask = torch.tensor([True, False, True])
    loc = torch.tensor([0.3, -math.inf, -1.0], requires_grad=True)
    support = build(3).enumerate_support()
    found = sst.StochasticArgmaxTrick(build(3), law(loc, 1.0)).log_prob(support)
    expected = sst.StochasticArgmaxTrick(
        build(3), sst.Masked(law(torch.zeros(3) + loc.detach().nan_to_num(), 1.0), mask)
    )
    torch.testing.assert_close(found, expected.log_prob(support))
    assert torch.autograd.grad(found.exp()[:-1].sum(), loc)[0].isfinite().all()


def test_too_few_coordinates_that_the_mask_of_the_utility_leaves():
    """Is refused in the words in which samples of it are."""
    none, one = torch.tensor([False, False, False]), torch.tensor([False, True, False])
    for structure, utility in (
        (sst.KSubset(3, 2), sst.Masked(Gumbel(torch.zeros(3), 1.0), one)),
        (sst.OneHot(3), sst.Masked(Gumbel(torch.zeros(3), 1.0), none)),
        (sst.Subset(3), sst.Masked(sst.Logistic(torch.zeros(3)), none)),
    ):
        hard = sst.StochasticArgmaxTrick(structure, utility)
        with pytest.raises(ValueError) as of_sample:
            hard.sample()
        with pytest.raises(ValueError) as of_log_prob:
            hard.log_prob(structure.enumerate_support()[0])
        assert str(of_log_prob.value) == str(of_sample.value)


INTEGRAL = {
    "subset": (sst.Subset(3), sst.Logistic(torch.tensor([0.3, -1.0, 1.0]))),
    "2-subset": (sst.KSubset(3, 2), Gumbel(torch.tensor([0.3, -1.0, 1.0]), 1.0)),
    "matching": (sst.Matching(3), sst.Sorting(torch.tensor([0.3, -1.0, 1.0]))),
}


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float16])
@pytest.mark.parametrize(("structure", "utility"), INTEGRAL.values(), ids=INTEGRAL)
def test_vertices_of_any_dtype(structure: sst.Structure, utility, dtype: torch.dtype):
    hard, support = sst.StochasticArgmaxTrick(structure, utility), structure.enumerate_support()
    found = hard.log_prob(support.to(dtype))
    torch.testing.assert_close(found, hard.log_prob(support))


@pytest.mark.parametrize(("structure", "utility"), INTEGRAL.values(), ids=INTEGRAL)
def test_values_that_do_not_fit_the_batch(structure: sst.Structure, utility):
    hard = sst.StochasticArgmaxTrick(structure, utility).expand((2,))
    vertex = structure.enumerate_support()[0]
    assert hard.log_prob(vertex).shape == (2,)
    assert hard.log_prob(vertex.expand(4, 1, *vertex.shape)).shape == (4, 2)
    with pytest.raises(ValueError, match=r"value: found shape \(3, .*expected .*\(2,\)"):
        hard.log_prob(vertex.expand(3, *vertex.shape))
    with pytest.raises(ValueError, match=r"value: found shape"):
        hard.log_prob(vertex[..., :-1])


def test_a_mask_that_leaves_everything_does_not_hide_the_law_of_matchings():
    scores = torch.tensor([0.3, -1.0, 1.0])
    whole = sst.StochasticArgmaxTrick(sst.Matching(3), sst.Sorting(scores))
    masked = sst.StochasticArgmaxTrick(sst.Matching(3, mask=torch.ones(3, 3, dtype=torch.bool)), sst.Sorting(scores))
    support = sst.Matching(3).enumerate_support()
    torch.testing.assert_close(masked.log_prob(support), whole.log_prob(support))
    gap = torch.ones(3, 3, dtype=torch.bool)
    gap[0, 0] = False
    with pytest.raises(NotImplementedError):
        sst.StochasticArgmaxTrick(sst.Matching(3, mask=gap), sst.Sorting(scores)).log_prob(support)
