"""log_prob is exact where it exists, and says what to use instead where it does not."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Gumbel, Normal

import sstricks as sst
from cases import PAIR_CASES, Case
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


@pytest.mark.parametrize("case", PAIR_CASES, ids=str)
def test_log_prob_where_there_is_none_says_what_to_use(case: Case):
    utility = Gumbel(case.utilities(3), 1.0)
    relaxed = sst.StochasticSoftmaxTrick(case.structure, utility, 0.5, case.regularizer)
    with pytest.raises((NotImplementedError, ValueError), match=r"(?s)utility.*kl_divergence|kl_divergence.*utility"):
        relaxed.log_prob(relaxed.sample())


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


def test_log_prob_of_what_is_no_vertex_is_minus_infinity_or_an_error():
    hard = sst.StochasticArgmaxTrick(sst.OneHot(3), Gumbel(torch.zeros(3), 1.0))
    try:
        found = hard.log_prob(torch.tensor([1.0, 1.0, 0.0]))
    except ValueError:
        return
    assert found == -math.inf
