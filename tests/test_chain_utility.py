"""Chain utilities: random items, fixed pairs (App. B.5)."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Gumbel, Independent, Normal, kl_divergence
from torch.func import vmap

import sstricks as sst
from test_errors import check

LOC = torch.tensor([[0.5, -1.0, 2.0, 0.0], [0.0, 0.3, -0.3, 1.0]])
PAIRWISE = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.25, 3.0]])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def chain(loc: torch.Tensor = LOC, pairwise: torch.Tensor = PAIRWISE) -> sst.ChainUtility:
    return sst.ChainUtility(Gumbel(loc, 1.0), pairwise)


def test_shapes_and_what_is_random():
    utility = chain()
    assert (utility.batch_shape, utility.event_shape) == ((2,), (7,))
    u = utility.sample((3, 5))
    assert u.shape == (3, 5, 2, 7)
    assert (u[..., 4:] == PAIRWISE).all()
    assert len(u[..., :4].unique()) == 3 * 5 * 2 * 4
    torch.manual_seed(1)
    u = utility.sample((3,))
    torch.manual_seed(1)
    assert torch.equal(u[..., :4], Gumbel(LOC, 1.0).sample((3,)))


def test_parameters_broadcast_and_expand():
    utility = chain(LOC[0], PAIRWISE)
    assert utility.batch_shape == (2,)
    assert not torch.equal(*utility.sample()[:, :4])
    assert chain(LOC, PAIRWISE[0]).sample().shape == (2, 7)
    larger = utility.expand((3, 2))
    assert (larger.batch_shape, larger.event_shape) == ((3, 2), (7,))
    assert (larger.sample()[..., 4:] == PAIRWISE).all()
    assert sst.ChainUtility(Independent(Normal(LOC, 1.0), 1), PAIRWISE).sample().shape == (2, 7)
    assert sst.ChainUtility(Normal(LOC[:, :1], 1.0), torch.zeros(0)).sample().shape == (2, 1)


def test_moments():
    u = chain().sample((50_000,))
    torch.testing.assert_close(u.mean(0), chain().mean, atol=0.05, rtol=0)
    torch.testing.assert_close(u.var(0), chain().variance, atol=0.1, rtol=0)


def test_reparameterised_in_both():
    loc, pairwise = LOC.clone().requires_grad_(), PAIRWISE.clone().requires_grad_()
    utility = chain(loc, pairwise)
    assert utility.has_rsample
    weights = torch.linspace(-1, 1, 7)
    gradients = torch.autograd.grad((utility.rsample((3,)) * weights).sum(), (loc, pairwise))
    torch.testing.assert_close(gradients[0], 3 * weights[:4].expand(2, 4))
    torch.testing.assert_close(gradients[1], 3 * weights[4:].expand(2, 3))
    assert not utility.sample().requires_grad


def test_a_base_without_reparameterisation():
    utility = sst.ChainUtility(torch.distributions.Poisson(torch.ones(4)), torch.zeros(3))
    assert not utility.has_rsample
    assert utility.sample().shape == (7,)
    with pytest.raises(NotImplementedError):
        utility.rsample()


def test_log_prob_is_that_of_the_items():
    u = chain().sample()
    torch.testing.assert_close(chain().log_prob(u), Gumbel(LOC, 1.0).log_prob(u[..., :4]).sum(-1))
    u[0, -1] += 1
    assert chain().log_prob(u)[0] == -math.inf
    assert chain().log_prob(u)[1].isfinite()


def test_divergence_is_that_of_the_items():
    prior = chain(torch.zeros_like(LOC))
    expected = (LOC + torch.exp(-LOC) - 1).sum(-1)
    torch.testing.assert_close(kl_divergence(chain(), prior), expected)
    check(lambda: kl_divergence(chain(), chain(LOC, PAIRWISE + 1)), "pairwise", "different", "equal")


def test_masked_items_pad_sequences():
    present = torch.tensor([[True, True, True, True], [True, True, False, False]])
    utility = sst.ChainUtility(sst.Masked(Gumbel(LOC, 1.0), present), PAIRWISE)
    x = sst.StochasticArgmaxTrick(sst.ChainKSubset(4, 2), utility).sample((20,))
    assert (x[:, 1] == torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0])).all()


def test_the_tricks_take_it():
    loc, pairwise = LOC.clone().requires_grad_(), PAIRWISE.clone().requires_grad_()
    trick = sst.StochasticSoftmaxTrick(
        sst.ChainKSubset(4, 2), chain(loc, pairwise), 0.5, sst.ExponentialFamilyEntropy()
    )
    draw = trick.draw((6,), generator=seeded(2))
    assert draw.relaxed.shape == draw.discrete.shape == draw.utility.shape == (6, 2, 7)
    assert torch.equal(draw.relaxed, trick.rsample((6,), generator=seeded(2)))
    through = sst.StraightThrough(trick).rsample((6,), generator=seeded(2))
    assert torch.equal(through, draw.discrete)
    for gradient in torch.autograd.grad((draw.relaxed * torch.linspace(-1, 1, 7)).sum(), (loc, pairwise)):
        assert gradient.isfinite().all()
        assert torch.count_nonzero(gradient) == gradient.numel()
    wide = sst.StochasticSoftmaxTrick(
        sst.ChainKSubset(4, 2), chain(LOC[0], PAIRWISE[0]), torch.ones(5), sst.ExponentialFamilyEntropy()
    )
    assert not torch.equal(wide.sample()[0], wide.sample()[1])


def test_shapes_that_do_not_fit():
    check(lambda: sst.ChainUtility(Gumbel(torch.zeros(()), 1.0), torch.zeros(0)), "unary", "()", "(n,)")
    check(
        lambda: sst.ChainUtility(Independent(Gumbel(torch.zeros(2, 4), 1.0), 2), torch.zeros(3)),
        "unary",
        "(2, 4)",
        "(n,)",
    )
    check(lambda: chain(LOC, torch.zeros(4)), "pairwise", "(4,)", "3")
    check(lambda: chain(LOC, torch.tensor(1.0)), "pairwise", "()", "3")
    check(lambda: chain(LOC, torch.zeros(3, 3)), "pairwise", "(3, 3)", "(2,)")
    with pytest.raises(ValueError, match="event_shape"):
        sst.StochasticArgmaxTrick(sst.ChainKSubset(5, 2), chain())
    with pytest.raises(ValueError, match="pairwise"):
        chain(LOC, torch.full((3,), math.nan))  # in torch's own words


def test_under_vmap():
    def log_prob(loc: torch.Tensor, pairwise: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return sst.ChainUtility(Gumbel(loc, 1.0, validate_args=False), pairwise, validate_args=False).log_prob(u)

    u = chain().sample()
    torch.testing.assert_close(vmap(log_prob)(LOC, PAIRWISE, u), chain().log_prob(u))
