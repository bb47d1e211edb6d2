"""Densities of relaxed samples: torch's where torch has them, quadrature and samples elsewhere."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from torch.distributions import Gumbel, Independent, Normal, RelaxedBernoulli, RelaxedOneHotCategorical

import sstricks as sst
from cases import PAIR_CASES, Case
from laws import assert_near

F64 = torch.float64
INF = math.inf
CATEGORICAL, BINARY, FAMILY = sst.CategoricalEntropy(), sst.BinaryEntropy(), sst.ExponentialFamilyEntropy()


def concrete(loc, scale=1.0, t=0.7, regularizer=CATEGORICAL, mask=None, **options):
    structure = sst.OneHot(loc.shape[-1], mask=mask)
    return sst.StochasticSoftmaxTrick(structure, Gumbel(loc, scale), t, regularizer, **options)


def binary(loc, scale=1.0, t=0.7, regularizer=BINARY, mask=None, **options):
    structure = sst.Subset(loc.shape[-1], mask=mask)
    return sst.StochasticSoftmaxTrick(structure, sst.Logistic(loc, scale), t, regularizer, **options)


BOTH = pytest.mark.parametrize("build", [concrete, binary])


@pytest.mark.parametrize("regularizer", [CATEGORICAL, FAMILY], ids=repr)
@pytest.mark.parametrize("t", [0.1, 0.7, 3.0])
def test_one_hot_is_torchs_relaxed_categorical(regularizer: sst.Regularizer, t: float):
    loc = torch.randn(3, 5, dtype=F64)
    trick, theirs = concrete(loc, t=t, regularizer=regularizer), RelaxedOneHotCategorical(torch.tensor(t), logits=loc)
    x = theirs.sample((20,))
    inside = (x > 1e-300).all(-1)
    assert inside.any()
    torch.testing.assert_close(trick.log_prob(x)[inside], theirs.log_prob(x)[inside])


@pytest.mark.parametrize("regularizer", [BINARY, FAMILY], ids=repr)
@pytest.mark.parametrize("t", [0.1, 0.7, 3.0])
def test_subset_is_torchs_relaxed_coins(regularizer: sst.Regularizer, t: float):
    loc = torch.randn(3, 5, dtype=F64)
    trick, theirs = binary(loc, t=t, regularizer=regularizer), RelaxedBernoulli(torch.tensor(t), logits=loc)
    x = theirs.sample((20,)).clamp(1e-6, 1 - 1e-6)
    torch.testing.assert_close(trick.log_prob(x), theirs.log_prob(x).sum(-1))


@BOTH
def test_the_scale_divides_logits_and_temperature(build):
    loc, scale = torch.randn(4, dtype=F64), torch.tensor(2.5, dtype=F64)
    x = build(loc, scale).sample((20,))
    torch.testing.assert_close(build(loc, scale, 0.7).log_prob(x), build(loc / 2.5, 1.0, 0.7 / 2.5).log_prob(x))


def test_concrete_density_integrates_to_one():
    trick = concrete(torch.tensor([0.5, -0.3, 0.2], dtype=F64), torch.tensor(1.5, dtype=F64), 3.0)
    # Over cells of a grid of (x, y/(1 − x)), by the midpoint rule.
    middle = (torch.arange(400, dtype=F64) + 0.5) / 400
    x, share = torch.meshgrid(middle, middle, indexing="ij")
    y = share * (1 - x)
    density = trick.log_prob(torch.stack([x, y, 1 - x - y], -1)).exp()
    assert math.isclose((density * (1 - x)).mean().item(), 1, abs_tol=1e-3)


def test_concrete_density_is_that_of_samples():
    trick = concrete(torch.tensor([0.5, -0.3], dtype=F64), torch.tensor(1.5, dtype=F64), 1.2)
    x = trick.sample((20_000,), generator=torch.Generator().manual_seed(0))[:, 0]
    for low, high in ((0.0, 0.2), (0.2, 0.6), (0.6, 1.0)):
        p, _ = quad(lambda v: trick.log_prob(torch.tensor([v, 1 - v], dtype=F64)).exp().item(), low, high)
        found = ((x > low) & (x <= high)).double().mean().item()
        assert abs(found - p) < 4 * math.sqrt(p * (1 - p) / len(x))


def test_binary_density_is_that_of_samples():
    trick = binary(torch.tensor([0.5], dtype=F64), torch.tensor(1.5, dtype=F64), 1.2)
    x = trick.sample((20_000,), generator=torch.Generator().manual_seed(0))[:, 0]
    for low, high in ((0.0, 0.2), (0.2, 0.6), (0.6, 1.0)):
        p, _ = quad(lambda v: trick.log_prob(torch.tensor([v], dtype=F64)).exp().item(), low, high)
        found = ((x > low) & (x <= high)).double().mean().item()
        assert abs(found - p) < 4 * math.sqrt(p * (1 - p) / len(x))


@BOTH
def test_gradients_are_right(build):
    loc = torch.randn(3, 4, dtype=F64).requires_grad_()
    scale = torch.tensor([[0.8], [1.0], [1.3]], dtype=F64).requires_grad_()
    t = torch.tensor([0.5, 1.0, 2.0], dtype=F64).requires_grad_()
    x = build(loc, scale, t).sample()

    def log_prob(loc, scale, t, x):
        structure_bound = build(loc, scale, t, validate_args=False)
        return structure_bound.log_prob(x)

    assert torch.autograd.gradcheck(log_prob, (loc, scale, t, x.requires_grad_()))
    assert torch.autograd.gradgradcheck(log_prob, (loc, scale, t, x))


@BOTH
@pytest.mark.parametrize("spelling", ["mask", "Masked", "-inf"])
def test_absent_coordinates_are_dropped(build, spelling: str):
    keep = torch.tensor([True, False, True, True])
    loc = torch.randn(4, dtype=F64).requires_grad_()
    if spelling == "mask":
        trick = build(loc, mask=keep)
    elif spelling == "-inf":
        trick = build(loc.masked_fill(~keep, -INF))
    else:
        plain = build(loc)
        masked = sst.Masked(plain.utility.base_dist, keep)
        trick = sst.StochasticSoftmaxTrick(plain.structure, masked, 0.7, plain.regularizer)
    x = trick.sample((20,))
    assert torch.count_nonzero(x[:, 1]) == 0
    found = trick.log_prob(x)
    torch.testing.assert_close(found, build(loc[keep]).log_prob(x[:, keep]))
    (gradient,) = torch.autograd.grad(found.sum(), loc)
    assert gradient.isfinite().all()
    assert gradient[1] == 0
    unchecked = build(loc, mask=keep, validate_args=False)
    assert (unchecked.log_prob(torch.full((4,), 0.25, dtype=F64)) == -INF).all()


def test_one_element_alone_is_sure():
    mask = torch.tensor([True, False])
    assert concrete(torch.zeros(2), mask=mask).log_prob(torch.tensor([1.0, 0.0])) == 0


@BOTH
def test_the_boundary_has_no_density(build):
    loc = torch.zeros(3, dtype=F64, requires_grad=True)
    for corner in ([1.0, 0.0, 0.0], [0.5, 0.5, 0.0]):
        found = build(loc).log_prob(torch.tensor(corner, dtype=F64))
        assert found == -INF
        (gradient,) = torch.autograd.grad(found, loc)
        assert torch.count_nonzero(gradient) == 0


@BOTH
def test_points_outside(build):
    outside = torch.tensor([1.2, -0.1, -0.1])
    with pytest.raises(ValueError, match="value: found a point outside of conv X, expected"):
        build(torch.zeros(3)).log_prob(outside)
    assert build(torch.zeros(3), validate_args=False).log_prob(outside) == -INF
    assert build(torch.zeros(3), validate_args=False).log_prob(torch.full((3,), math.nan)) == -INF
    with pytest.raises(ValueError, match=r"value: found shape \(4,\)"):
        build(torch.zeros(3)).log_prob(torch.full((4,), 0.25))


@BOTH
def test_extreme_samples_have_a_density(build):
    """A cold sample has coordinates of 1e-300, and the density there is large, not infinite."""
    loc = torch.tensor([0.0, 300.0, -300.0], dtype=F64)
    trick = build(loc, t=1.0)
    x = torch.tensor([1e-130, 1.0 - 1e-15, 1e-260], dtype=F64)
    assert trick.log_prob(x).isfinite()


@BOTH
def test_zero_temperature_has_no_density(build):
    for t in (0.0, torch.tensor([0.0, 1.0])):
        with pytest.raises(ValueError, match=r"temperature: found 0.0, expected a number > 0.*StochasticArgmaxTrick"):
            build(torch.zeros(2, 3), t=t).log_prob(torch.full((2, 3), 1 / 3))


@BOTH
def test_a_given_solver_has_no_known_density(build):
    trick = build(torch.zeros(3), solver=sst.FrankWolfe())
    with pytest.raises(NotImplementedError, match=r"registered solvers.*FrankWolfe"):
        trick.log_prob(torch.full((3,), 1 / 3))


@BOTH
def test_batches_and_dtypes(build):
    trick = build(torch.randn(2, 3))
    x = trick.sample((5,))
    assert trick.log_prob(x).shape == (5, 2)
    assert trick.log_prob(x[0, 0]).shape == (2,)
    assert trick.expand((4, 2)).log_prob(x[0]).shape == (4, 2)
    with pytest.raises(ValueError, match="value: found shape"):
        trick.log_prob(x[:, :1].expand(5, 3, 3))
    half = build(torch.zeros(2, 3, dtype=torch.bfloat16))
    assert half.log_prob(torch.full((2, 3), 1 / 3, dtype=torch.bfloat16)).dtype == torch.bfloat16


def is_known(case: Case) -> bool:
    """Under Gumbel utilities."""
    return isinstance(case.structure, sst.OneHot) and isinstance(
        case.regularizer, sst.CategoricalEntropy | sst.ExponentialFamilyEntropy
    )


@pytest.mark.parametrize("case", [case for case in PAIR_CASES if not is_known(case)], ids=str)
def test_densities_that_are_not_known_say_which_are(case: Case):
    trick = sst.StochasticSoftmaxTrick(case.structure, Gumbel(case.utilities(3), 1.0), 0.5, case.regularizer)
    with pytest.raises(NotImplementedError, match=r"OneHot with Gumbel.*StochasticArgmaxTrick.*no substitute.*shifts"):
        trick.log_prob(trick.sample())


def test_other_utilities_have_no_known_density():
    for utility in (
        Independent(Normal(torch.zeros(3), 1.0), 1),
        sst.NegativeExponential(torch.ones(3)),
        Gumbel(torch.zeros(3), torch.tensor([1.0, 2.0, 3.0])),
    ):
        trick = sst.StochasticSoftmaxTrick(sst.OneHot(3), utility, 0.5, CATEGORICAL)
        with pytest.raises(NotImplementedError, match="known"):
            trick.log_prob(torch.full((3,), 1 / 3))


@pytest.mark.parametrize("case", PAIR_CASES, ids=str)
def test_relaxed_samples_are_in_the_support(case: Case):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        utility = Gumbel(case.utilities(3, dtype=dtype), 1.0)
        trick = sst.StochasticSoftmaxTrick(case.structure, utility, 0.5, case.regularizer)
        x = trick.sample((4,))
        assert trick.support.check(x).tolist() == [[True] * 3] * 4
        assert trick.support.check(case.structure.argmax(case.utilities())).item()
        assert not trick.support.check(x + 0.5).any()
        assert not trick.support.check(torch.full_like(x, math.nan)).any()
        assert not trick.support.check(-x - 0.2).any()
    assert trick.support.event_dim == len(case.structure.event_shape)


def test_means_of_relaxed_samples_say_what_to_use():
    trick = concrete(torch.zeros(3))
    for question in (
        lambda: trick.mean,
        lambda: trick.variance,
        lambda: trick.stddev,
        lambda: trick.mode,
        lambda: trick.entropy(),
        lambda: trick.perplexity(),
    ):
        with pytest.raises(NotImplementedError, match=r"not known of a relaxed sample\. Instead .*Argmax"):
            question()
    assert_near(concrete(torch.zeros(3)).rsample((4000,)).mean(0), torch.full((3,), 1 / 3), 0.03)
