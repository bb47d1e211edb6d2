"""Sorting utilities: the permutations they choose follow Plackett–Luce, by enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch.distributions import Gumbel, kl_divergence

import sstricks as sst
from test_samples import assert_distributed, draw

SCORES = torch.tensor([0.0, 1.0, -1.0, 0.5], dtype=torch.float64)


def plackett_luce(scores: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Every permutation matrix, and its probability: the next place goes to an item in proportion to its weight."""
    w = np.exp(scores.numpy())
    n = len(w)
    orders = list(itertools.permutations(range(n)))
    vertices = np.stack([np.eye(n, dtype=int)[list(order)] for order in orders])
    return vertices, np.array([math.prod(w[o[i]] / w[list(o[i:])].sum() for i in range(n)) for o in orders])


def test_argmax_follows_plackett_luce():
    vertices, probabilities = plackett_luce(SCORES)
    samples = draw(sst.Matching(4), sst.Sorting(SCORES), seed=4)
    assert_distributed(samples.flatten(-2), vertices.reshape(len(vertices), -1), probabilities)


def test_log_prob_is_that_of_plackett_luce():
    vertices, probabilities = plackett_luce(SCORES)
    leaf = SCORES.clone().requires_grad_()
    x = torch.from_numpy(vertices).double()
    found = sst.StochasticArgmaxTrick(sst.Matching(4), sst.Sorting(leaf)).log_prob(x)
    torch.testing.assert_close(found, torch.from_numpy(probabilities).log())
    assert torch.autograd.gradcheck(
        lambda v: sst.StochasticArgmaxTrick(sst.Matching(4), sst.Sorting(v)).log_prob(x[5]), leaf
    )


def test_log_prob_of_other_matchings_is_refused():
    for structure in (sst.Matching(4, partial=True), sst.Matching(4, mask=~torch.eye(4, dtype=torch.bool))):
        hard = sst.StochasticArgmaxTrick(structure, sst.Sorting(SCORES))
        with pytest.raises(NotImplementedError, match="utility"):
            hard.log_prob(hard.sample())
    with pytest.raises(NotImplementedError, match="utility"):
        sst.StochasticArgmaxTrick(sst.Matching(2), Gumbel(torch.zeros(2, 2), 1.0)).log_prob(torch.eye(2))


def test_the_relaxation_is_reparameterised():
    leaf = SCORES.clone().requires_grad_()
    relaxed = sst.StochasticSoftmaxTrick(sst.Matching(4), sst.Sorting(leaf), 0.5, sst.CategoricalEntropy())
    x = relaxed.rsample((3,), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(x.sum(-1), torch.ones(3, 4, dtype=torch.float64))
    torch.testing.assert_close(x.sum(-2), torch.ones(3, 4, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(x[:, 0].square().sum(), leaf)
    assert gradient.isfinite().all()
    assert torch.count_nonzero(gradient) == 4


def test_shapes_moments_and_divergence():
    p, q = sst.Sorting(SCORES.expand(2, 4)), sst.Sorting(torch.zeros(2, 4, dtype=torch.float64))
    assert p.batch_shape == (2,)
    assert p.event_shape == (4, 4)
    assert p.expand((3, 2)).rsample((5,)).shape == (5, 3, 2, 4, 4)
    expected = kl_divergence(Gumbel(p.scores, 1.0), Gumbel(q.scores, 1.0)).sum(-1)
    torch.testing.assert_close(kl_divergence(p, q), expected)
    torch.manual_seed(0)
    samples = p.sample((100_000,))
    torch.testing.assert_close(samples.mean(0), p.mean, atol=0.05, rtol=0.02)
    torch.testing.assert_close(samples.var(0), p.variance, atol=0.05, rtol=0.05)
    with pytest.raises(ValueError, match="scores: found a scalar, expected shape"):
        sst.Sorting(torch.tensor(1.0))


def test_density_of_the_scores():
    theta = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    utility = sst.Sorting(theta)
    u = utility.sample((3,))
    scores = u[..., 0, :] / 4
    assert torch.allclose(utility.log_prob(u), torch.distributions.Gumbel(theta, 1.0).log_prob(scores).sum(-1))
    assert (utility.log_prob(u + torch.eye(4)) == -torch.inf).all()
    action = sst.estimators.draw_action(sst.StochasticArgmaxTrick(sst.Matching(4), utility), (5,))
    (slope,) = torch.autograd.grad(action.log_prob.sum(), theta)
    assert slope.isfinite().all()
    assert (slope != 0).any()


def test_the_first_places_follow_plackett_luce():
    """Of full rankings, those that begin alike are one."""
    orders, probabilities = plackett_luce(SCORES)
    vertices, index = np.unique(orders[:, :2].reshape(len(orders), -1), axis=0, return_inverse=True)
    expected = np.bincount(index, probabilities)
    structure, leaf = sst.Matching(2, 4), SCORES.clone().requires_grad_()
    trick = sst.StochasticArgmaxTrick(structure, sst.Sorting(leaf, places=2))
    x = torch.from_numpy(vertices).double().unflatten(-1, (2, 4))
    torch.testing.assert_close(trick.log_prob(x).exp(), torch.from_numpy(expected))
    assert_distributed(draw(structure, sst.Sorting(SCORES, places=2), seed=1).flatten(-2), vertices, expected)
    assert torch.autograd.gradcheck(
        lambda v: sst.StochasticArgmaxTrick(structure, sst.Sorting(v, places=2)).log_prob(x[5]), leaf
    )
    law = trick.log_prob(x).exp()
    torch.testing.assert_close(trick.mean, (law[:, None, None] * x).sum(0))


def test_absent_items_leave_the_last_places_empty():
    theta = torch.stack([SCORES.masked_fill(torch.tensor([False, False, True, False]), -torch.inf), SCORES])
    theta.requires_grad_()
    padded, three = sst.Sorting(theta), sst.Sorting(theta.detach()[0, [0, 1, 3]])
    trick = sst.StochasticArgmaxTrick(sst.Matching(4, mask=padded.mask), padded)
    x = trick.sample((50,), generator=torch.Generator().manual_seed(0))
    assert (x.sum((-1, -2)) == torch.tensor([3, 4])).all()
    assert not x[:, 0, 3].any()
    assert not x[:, 0, :, 2].any()
    alone = x[:, 0, :3][..., [0, 1, 3]]
    found = trick.log_prob(x)
    torch.testing.assert_close(found[:, 0], sst.StochasticArgmaxTrick(sst.Matching(3), three).log_prob(alone))
    torch.testing.assert_close(
        found[:, 1], sst.StochasticArgmaxTrick(sst.Matching(4), sst.Sorting(SCORES)).log_prob(x[:, 1])
    )
    (slope,) = torch.autograd.grad(found.sum(), theta)
    assert slope.isfinite().all()
    assert slope[0, 2] == 0
    u = trick.sample_utility(torch.Size((5,)), None)
    torch.testing.assert_close(padded.log_prob(u)[:, 0], three.log_prob(u[:, 0, :3][..., [0, 1, 3]]))
    torch.testing.assert_close(padded.entropy()[0], three.entropy())
    assert kl_divergence(padded, padded).tolist() == [0.0, 0.0]
    assert kl_divergence(padded, sst.Sorting(SCORES)).tolist() == [math.inf, 0.0]
    with pytest.raises(NotImplementedError, match="absent items"):
        _ = trick.mean


def test_rankings_of_the_first_places_are_trained_by_their_trace():
    theta = torch.zeros(5, requires_grad=True)
    estimator = sst.estimators.ScoreFunction(
        sst.Matching(2, 5), 16, action="trace", utility=lambda theta: sst.Sorting(theta, places=2)
    )
    optimizer = torch.optim.Adam([theta], lr=0.2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        optimizer.zero_grad()
        estimator.surrogate(theta, lambda x: -2 * x[..., 0, 3] - x[..., 1, 1], generator=generator).backward()
        optimizer.step()
    assert theta.argsort(descending=True)[:2].tolist() == [3, 1]


@pytest.mark.parametrize("places", [0, 5, 1.5])
def test_wrong_numbers_of_places_are_named(places):
    with pytest.raises(ValueError, match=f"places: found {places}"):
        sst.Sorting(SCORES, places)
