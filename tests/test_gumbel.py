"""Our Gumbel against torch's, whose place it takes everywhere."""

from __future__ import annotations

import copy
import itertools
import pickle
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    Beta,
    Distribution,
    Exponential,
    Gamma,
    Gumbel,
    Independent,
    LogNormal,
    Normal,
    Pareto,
    TransformedDistribution,
    Uniform,
    kl_divergence,
)

import sstricks as sst
from test_errors import check

LOC = torch.tensor([0.5, -1.0, 3.0], dtype=torch.float64)
SCALE = torch.tensor([1.0, 0.3, 2.0], dtype=torch.float64)
POSITIVE = torch.tensor([0.7, 1.0, 2.5], dtype=torch.float64)
MASK = torch.tensor([True, False, True])


def test_it_has_the_density_and_the_moments_of_torchs():
    ours, torchs = sst.Gumbel(LOC, SCALE), Gumbel(LOC, SCALE)
    x = ours.sample((100,))
    p = torch.rand(100, 3, dtype=torch.float64)
    for found, expected in (
        (ours.log_prob(x), torchs.log_prob(x)),
        (ours.cdf(x), torchs.cdf(x)),
        (ours.icdf(p), torchs.icdf(p)),
        (ours.mean, torchs.mean),
        (ours.mode, torchs.mode),
        (ours.variance, torchs.variance),
        (ours.stddev, torchs.stddev),
        (ours.entropy(), torchs.entropy()),
        (ours.perplexity(), torchs.perplexity()),
    ):
        torch.testing.assert_close(found, expected)
    assert ours.support is torchs.support
    assert repr(ours) == repr(torchs)


def test_distribution_function_far_out():
    z = torch.tensor([-1e30, -800.0, -90.0, 800.0, 1e30], requires_grad=True)
    below = sst.Gumbel(torch.zeros(5)).cdf(z)
    assert below.tolist() == [0, 0, 0, 1, 1]
    (slope,) = torch.autograd.grad(below.sum(), z)
    assert (slope == 0).all()
    assert sst.Gumbel(torch.zeros(2)).icdf(torch.tensor([0.0, 1.0])).tolist() == [-torch.inf, torch.inf]


def test_numbers_and_tensors_are_parameters():
    assert sst.Gumbel(0, 1).sample((3,)).shape == (3,)
    assert sst.Gumbel(torch.zeros(2, 1), torch.ones(3)).batch_shape == (2, 3)
    assert sst.Gumbel(torch.zeros(2)).scale.tolist() == [1, 1]


def test_a_masked_logit_is_never_drawn():
    loc = torch.tensor([0.0, -torch.inf], requires_grad=True)
    u = sst.Gumbel(loc).rsample((10,))
    assert (u[:, 1] == -torch.inf).all()
    (gradient,) = torch.autograd.grad(u[:, 0].sum(), loc)
    assert gradient.tolist() == [10, 0]


def test_parameters_of_two_dtypes_meet_in_the_wider_one():
    """As they do under autocast."""
    for law in (sst.Gumbel, sst.Logistic):
        d = law(torch.zeros(2, dtype=torch.bfloat16), torch.ones(2))
        assert d.sample().dtype == d.mean.dtype == torch.float32


def test_shapes_that_do_not_fit():
    for law in (sst.Gumbel, sst.Logistic):
        check(lambda law=law: law(torch.zeros(2), torch.ones(3)), "scale", "(3,)", "broadcasts with (2,)")


def test_integers_are_no_parameters():
    whole = torch.ones(3, dtype=torch.long)
    for name, build in {
        "loc": lambda: sst.Gumbel(whole),
        "rate": lambda: sst.NegativeExponential(whole),
        "scores": lambda: sst.Sorting(whole),
        "pairwise": lambda: sst.ChainUtility(sst.Logistic(torch.zeros(4)), whole),
    }.items():
        check(build, name, "torch.int64", "floating")


# Where torch's is served

PARTNERS: dict[str, Distribution] = {
    "Gumbel": Gumbel(LOC + 0.3, POSITIVE),
    "Normal": Normal(LOC, POSITIVE),
    "Exponential": Exponential(POSITIVE),
    "Gamma": Gamma(POSITIVE, POSITIVE),
    "Uniform": Uniform(LOC, LOC + 1),
    "Beta": Beta(POSITIVE, POSITIVE),
    "Pareto": Pareto(POSITIVE, POSITIVE),
    "Logistic": sst.Logistic(LOC, POSITIVE / 4),
    "NegativeExponential": sst.NegativeExponential(4 * POSITIVE),
}


@pytest.mark.parametrize("other", PARTNERS.values(), ids=PARTNERS)
def test_divergences_are_those_of_torchs(other: Distribution):
    known = 0
    for of in (lambda d: kl_divergence(d, other), lambda d: kl_divergence(other, d)):
        try:
            expected = of(Gumbel(LOC, SCALE))
        except NotImplementedError:
            continue
        assert torch.equal(of(sst.Gumbel(LOC, SCALE)), expected)
        known += 1
    assert known


def test_divergence_from_a_transformed_law_is_not_known():
    with pytest.raises(NotImplementedError):
        kl_divergence(sst.Gumbel(LOC), LogNormal(LOC, 1.0))


WRAPPERS = {
    "Masked": lambda d: sst.Masked(d, MASK),
    "Independent": lambda d: Independent(d, 1),
    "Independent Masked": lambda d: Independent(sst.Masked(d, MASK), 1),
    "ChainUtility": lambda d: sst.ChainUtility(d, LOC[1:]),
    "ChainUtility Masked": lambda d: sst.ChainUtility(sst.Masked(d, MASK), LOC[1:]),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_divergences_of_what_is_made_of_it(wrap):
    p, q = (wrap(Gumbel(loc, SCALE)) for loc in (LOC, LOC + 1))
    ours = [wrap(sst.Gumbel(loc, SCALE)) for loc in (LOC, LOC + 1)]
    expected = kl_divergence(p, q)
    for a, b in itertools.product((p, ours[0]), (q, ours[1])):
        assert torch.equal(kl_divergence(a, b), expected)
    x = p.sample()
    torch.testing.assert_close(ours[0].log_prob(x), p.log_prob(x))


def test_probabilities_of_vertices_are_known_for_it():
    x = sst.KSubset(3, 2).enumerate_support().double()
    ours, torchs = (sst.StochasticArgmaxTrick(sst.KSubset(3, 2), d(LOC, torch.ones(()))) for d in (sst.Gumbel, Gumbel))
    assert torch.equal(ours.log_prob(x), torchs.log_prob(x))


def test_it_is_a_transformed_uniform_law():
    d = sst.Gumbel(LOC, SCALE)
    same = TransformedDistribution(d.base_dist, d.transforms)
    x = d.sample()
    torch.testing.assert_close(same.log_prob(x), d.log_prob(x))


# Where torch's is not


def test_subclasses_may_have_parameters_of_their_own():
    class Named(sst.Gumbel):
        def __init__(self, loc: Tensor, name: str) -> None:
            self.name = name
            super().__init__(loc)

        def expand(self, batch_shape, _instance=None):
            new = self._get_checked_instance(Named, _instance)
            new.name = self.name + "'"
            return super().expand(batch_shape, _instance=new)

    wide = Named(LOC, "a").expand((2, 3))
    assert type(wide) is Named
    assert wide.name == "a'"
    assert wide.sample().shape == (2, 3)


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_tricks_of_it_can_be_copied(make):
    trick = sst.StochasticSoftmaxTrick(sst.OneHot(3), sst.Gumbel(LOC), 0.5, sst.CategoricalEntropy())
    trick.sample()
    twin = make(trick)
    torch.manual_seed(1)
    expected = trick.rsample()
    torch.manual_seed(1)
    assert torch.equal(twin.rsample(), expected)


class Noisy(nn.Module):
    def forward(self, loc: Tensor) -> Tensor:
        return sst.Gumbel(loc).rsample((2,))


@pytest.mark.parametrize("strict", [False, True])
def test_exports(strict: bool):
    exported = torch.export.export(Noisy(), (torch.zeros(3),), strict=strict).module()
    x = exported(torch.full((3,), 100.0))
    assert x.shape == (2, 3)
    assert (x > 50).all()
    assert not torch.equal(x, exported(torch.full((3,), 100.0)))


def test_a_first_draw_loads_no_symbolic_algebra():
    """Torch's takes a second and a half to import sympy, in a new process."""
    program = """
import sys, torch, sstricks as sst
u = sst.Gumbel(torch.zeros(3, requires_grad=True))
u.expand((2, 3)).rsample().sum().backward()
u.log_prob(u.sample())
sst.Masked(u, torch.ones(2, 3) > 0).expand((4, 2, 3)).sample()
assert "sympy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("make", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_utilities_that_hold_torchs_gumbel_can_be_copied(make):
    gumbel = torch.distributions.Gumbel(torch.zeros(3), 1.0)
    for utility in (sst.Masked(gumbel, torch.tensor([True, False, True])), sst.ChainUtility(gumbel, torch.zeros(2))):
        assert make(utility).sample().shape == utility.batch_shape + utility.event_shape
