"""Every closed-form divergence between two families of utilities against adaptive quadrature."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch.distributions import Distribution, Gumbel, Independent, Normal, kl_divergence

import sstricks as sst

F64 = torch.float64


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=F64)


def gumbel(loc: float, scale: float) -> Gumbel:
    return Gumbel(number(loc), number(scale), validate_args=False)


def normal(loc: float, scale: float) -> Normal:
    return Normal(number(loc), number(scale), validate_args=False)


def logistic(loc: float, scale: float) -> sst.Logistic:
    return sst.Logistic(number(loc), number(scale))


def negative(rate: float) -> sst.NegativeExponential:
    return sst.NegativeExponential(number(rate), validate_args=False)


FINITE = [
    (negative(1.5), negative(0.4)),
    (negative(0.7), normal(-1.0, 1.5)),
    (negative(2.0), normal(0.5, 0.8)),
    (negative(3.0), gumbel(0.5, 1.0)),
    (negative(1.2), gumbel(-1.0, 2.0)),
    (logistic(0.3, 1.0), logistic(-1.0, 1.0)),
    (logistic(0.3, 0.5), logistic(0.2, 0.5)),
    (logistic(0.3, 0.7), normal(-0.4, 1.3)),
    (logistic(0.3, 0.5), gumbel(-0.2, 1.0)),
    (logistic(-1.0, 0.3), gumbel(0.5, 0.9)),
    (gumbel(0.3, 1.2), gumbel(-0.5, 1.0)),
    (gumbel(0.3, 0.7), gumbel(0.5, 2.0)),
    (gumbel(0.3, 0.8), normal(0.5, 1.1)),
    (normal(0.3, 0.8), gumbel(0.5, 1.1)),
    (normal(0.3, 0.8), normal(0.5, 1.1)),
]
INFINITE = [
    (gumbel(0.0, 1.0), negative(1.0)),
    (logistic(0.0, 1.0), negative(1.0)),
    (normal(0.0, 1.0), negative(1.0)),
    (negative(0.5), gumbel(0.0, 1.0)),
    (negative(1.0), gumbel(0.0, 1.0)),
    (logistic(0.0, 1.0), gumbel(0.0, 1.0)),
    (logistic(0.0, 2.0), gumbel(0.0, 1.0)),
]


def name(pair: Distribution | tuple[Distribution, Distribution]) -> str:
    return " ".join(type(x).__name__ for x in pair) if isinstance(pair, tuple) else ""


def by_quadrature(p: Distribution, q: Distribution) -> float:
    def integrand(u: float) -> float:
        log_p, log_q = (d.log_prob(number(u)).item() for d in (p, q))
        return math.exp(log_p) * (log_p - log_q)

    top = 0.0 if isinstance(p, sst.NegativeExponential) else 60.0
    points = np.linspace(-60.0, top, 25)
    return sum(quad(integrand, a, b, epsabs=1e-12, limit=200)[0] for a, b in itertools.pairwise(points))


@pytest.mark.parametrize("pair", FINITE, ids=name)
def test_divergence_is_the_integral(pair: tuple[Distribution, Distribution]):
    assert kl_divergence(*pair).item() == pytest.approx(by_quadrature(*pair), abs=1e-8, rel=1e-8)


@pytest.mark.parametrize("pair", INFINITE, ids=name)
def test_divergence_is_infinite_where_the_integral_is(pair: tuple[Distribution, Distribution]):
    assert kl_divergence(*pair).item() == math.inf


@pytest.mark.parametrize(
    "divergence",
    [
        lambda a, b: kl_divergence(sst.NegativeExponential(a), Normal(-b, b)),
        lambda a, b: kl_divergence(sst.NegativeExponential(1 + a), Gumbel(b, b)),
        lambda a, b: kl_divergence(sst.Logistic(a, b / 4), Normal(b, a)),
        lambda a, b: kl_divergence(sst.Logistic(a, a / 4), Gumbel(b, b)),
    ],
)
def test_gradients_are_right(divergence):
    a, b = (torch.tensor(x, dtype=F64, requires_grad=True) for x in ([0.9, 1.4], [1.1, 1.2]))
    assert torch.autograd.gradcheck(divergence, (a, b))


@pytest.mark.parametrize("distance", [0.0, 0.004, 0.5, 7.0, 1e4, 1e25])
def test_gradients_of_logistics_in_scales_that_are_equal_but_not_the_same(distance: float):
    """By the reparameterised integral, whose derivative in either scale needs no other divergence."""
    loc, here, there = (torch.tensor(x, dtype=F64, requires_grad=True) for x in (distance + 0.3, 0.7, 0.7))
    found = torch.autograd.grad(kl_divergence(sst.Logistic(loc, here), sst.Logistic(number(0.3), there)), (here, there))

    def slope(e: float) -> float:
        """The derivative in the logarithm of the second scale of −log q at 0.3 + distance + 0.7 e."""
        z = distance / 0.7 + e
        return (1 - z * math.tanh(z / 2)) * math.exp(-abs(e)) / (1 + math.exp(-abs(e))) ** 2

    points = np.linspace(-60.0, 60.0, 25)
    wanted = sum(quad(slope, a, b, epsabs=1e-13, limit=200)[0] for a, b in itertools.pairwise(points)) / 0.7
    assert found[1].item() == pytest.approx(wanted, rel=1e-7, abs=1e-9)
    # To scale everything changes nothing: the derivatives in the scales and in the distance make zero.
    (in_loc,) = torch.autograd.grad(kl_divergence(sst.Logistic(loc, here), sst.Logistic(number(0.3), there)), loc)
    assert (found[0] * 0.7 + found[1] * 0.7 + in_loc * distance).item() == pytest.approx(0, abs=1e-9 * (1 + distance))


def test_an_infinite_divergence_leaves_the_gradients_of_the_others_alone():
    scale = torch.tensor([0.5, 1.0, 2.0], dtype=F64, requires_grad=True)
    found = kl_divergence(sst.Logistic(torch.zeros(3, dtype=F64), scale), Gumbel(number(0.0), number(1.0)))
    assert found.isinf().tolist() == [False, True, True]
    (gradient,) = torch.autograd.grad(found[0], scale)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("pair", FINITE, ids=name)
def test_masked_divergences_count_what_is_present(pair: tuple[Distribution, Distribution]):
    mask = torch.tensor([True, False, True])
    p, q = (sst.Masked(d.expand((3,)), mask) for d in pair)
    one = kl_divergence(*pair)
    torch.testing.assert_close(kl_divergence(p, q), one * mask)
    torch.testing.assert_close(kl_divergence(Independent(p, 1), Independent(q, 1)), 2 * one)


def test_shapes_broadcast():
    found = kl_divergence(sst.Logistic(torch.zeros(2, 1)), sst.NegativeExponential(torch.ones(3)))
    assert found.shape == (2, 3)
    found = kl_divergence(sst.NegativeExponential(2 * torch.ones(2, 1)), Gumbel(torch.zeros(3), 1.0))
    assert found.shape == (2, 3)
