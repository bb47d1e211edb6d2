"""Baselines from other samples: unbiased by enumeration of all samples, and of less variance than none."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.distributions import Bernoulli, Gumbel, Normal

import sstricks as sst
from sstricks.estimators import RLOO, draw_action, leave_one_out

LOSSES = torch.tensor([3.0, -1.0, 4.0, 10.0], dtype=torch.float64)  # of the vertices 00, 01, 10, 11
VERTICES = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64)


def log_probs(logits: torch.Tensor) -> torch.Tensor:
    return Bernoulli(logits=logits).log_prob(VERTICES).sum(-1)


def test_leave_one_out_is_the_mean_of_the_others():
    loss = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for i in range(5):
        others = torch.cat([loss[:i], loss[i + 1 :]])
        torch.testing.assert_close(leave_one_out(loss)[i], loss[i] - others.mean(0))


@pytest.mark.parametrize("count", [2, 3])
def test_rloo_is_unbiased_by_enumeration(count: int):
    """Over all 4^K samples of one example, weighted by their probabilities."""
    logits = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)
    log_p = log_probs(logits)
    expected = torch.autograd.grad((log_p.exp() * LOSSES).sum(), logits, retain_graph=True)[0]
    mean = torch.zeros_like(logits)
    for chosen in map(list, itertools.product(range(4), repeat=count)):
        weight = log_p[chosen].sum().exp().detach()
        mean += weight * torch.autograd.grad(RLOO()(log_p[chosen], LOSSES[chosen]), logits, retain_graph=True)[0]
    torch.testing.assert_close(mean, expected)


def test_the_batch_baseline_is_unbiased_by_enumeration_and_its_own_loss_would_shrink_it():
    """Two examples with laws of their own; the plain mean of the batch gives half of the gradient."""
    logits = torch.tensor([[0.3, -0.7], [1.0, 0.2]], dtype=torch.float64, requires_grad=True)
    log_p = torch.stack([log_probs(row) for row in logits])
    loss = torch.stack([LOSSES, LOSSES.flip(0) * 2])
    expected = torch.autograd.grad((log_p.exp() * loss).sum() / 2, logits, retain_graph=True)[0]
    mean, with_own = torch.zeros_like(logits), torch.zeros_like(logits)
    both = torch.arange(2)
    for chosen in map(torch.tensor, itertools.product(range(4), repeat=2)):
        p, ell = log_p[both, chosen], loss[both, chosen]
        weight = p.sum().exp().detach()
        mean += weight * torch.autograd.grad(RLOO()(p, ell), logits, retain_graph=True)[0]
        plain = (ell + (ell - ell.mean()) * p).mean()
        with_own += weight * torch.autograd.grad(plain, logits, retain_graph=True)[0]
    torch.testing.assert_close(mean, expected)
    torch.testing.assert_close(with_own, expected / 2)


def test_the_loss_s_own_gradient_passes_through():
    parameter = torch.tensor(2.0, requires_grad=True)
    log_prob = torch.zeros(4, requires_grad=True)
    RLOO()(log_prob, parameter * torch.arange(4.0)).backward()
    assert parameter.grad.item() == pytest.approx(1.5)
    torch.testing.assert_close(log_prob.grad, leave_one_out(2 * torch.arange(4.0)) / 4)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="loss: found shape"):
        RLOO()(torch.zeros(3), torch.zeros(3, 2))
    for loss in (torch.zeros(1), torch.zeros(1, 5), torch.tensor(0.0)):
        with pytest.raises(ValueError, match="at least two losses"):
            leave_one_out(loss)
    with pytest.raises(ValueError, match=r"loss: found dtype torch\.int64"):
        RLOO()(torch.zeros(2), torch.tensor([1, 2]))
    trick = sst.StochasticArgmaxTrick(sst.OneHot(3), Gumbel(torch.zeros(3), 1.0))
    with pytest.raises(ValueError, match="sample_shape: found 5, expected a tuple"):
        draw_action(trick, 5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="trick: found a Independent, expected an argmax or softmax trick"):
        draw_action(trick.utility)  # pyright: ignore[reportArgumentType]


TRICKS = {
    "one-hot, Gumbel": (sst.OneHot(4), lambda theta: Gumbel(theta, 1.0)),
    "k-subset, negative exponential": (sst.KSubset(4, 2), lambda theta: sst.NegativeExponential(theta.exp())),
    "subset, logistic": (sst.Subset(4), sst.Logistic),
}


@pytest.mark.parametrize(("structure", "utility"), TRICKS.values(), ids=TRICKS)
def test_the_utility_as_action_has_the_gradient_of_the_vertex(structure: sst.Structure, utility):
    """App. C.1: within four standard errors of enumeration, in every coordinate."""
    theta = torch.tensor([0.4, -0.2, 0.1, 0.9], dtype=torch.float64, requires_grad=True)
    costs = torch.tensor([1.0, 3.0, -2.0, 0.5], dtype=torch.float64)
    trick = sst.StochasticArgmaxTrick(structure, utility(theta))
    support = structure.enumerate_support().double()
    exact = torch.autograd.grad((trick.log_prob(support).exp() * (support @ costs).square()).sum(), theta)[0]
    generator = torch.Generator().manual_seed(5)
    trick = sst.StochasticArgmaxTrick(structure, utility(theta))
    estimates = []
    for _ in range(200):
        action = draw_action(trick, (200,), generator=generator)
        surrogate = RLOO()(action.log_prob, (action.discrete @ costs).square())
        estimates.append(torch.autograd.grad(surrogate, theta, retain_graph=True)[0])
    each = torch.stack(estimates)
    assert ((each.mean(0) - exact).abs() < 4 * each.std(0) / 200**0.5).all()
    assert (each.std(0) / 200**0.5).max() < 0.1 * exact.norm()


def test_an_action_is_without_gradient_but_its_probability():
    loc = torch.zeros(3, requires_grad=True)
    trick = sst.StochasticSoftmaxTrick(sst.OneHot(3), Normal(loc, 1.0), 1.0, sst.Euclidean())
    action = draw_action(trick, (7,), generator=torch.Generator().manual_seed(1))
    assert not action.utility.requires_grad
    assert torch.equal(action.discrete, sst.OneHot(3).argmax(action.utility))
    (gradient,) = torch.autograd.grad(action.log_prob.sum(), loc)
    torch.testing.assert_close(gradient, action.utility.sum(0))


def test_actions_of_batches_and_masks():
    mask = torch.tensor([[True, True, False], [True, True, True]])
    utility = sst.Masked(Gumbel(torch.zeros(2, 3), 1.0), mask)
    action = draw_action(sst.StochasticArgmaxTrick(sst.OneHot(3), utility), (4,))
    assert action.log_prob.shape == (4, 2)
    assert action.log_prob.isfinite().all()
    assert RLOO()(action.log_prob, action.discrete[..., 0]).shape == ()
