"""Tsallis entropies beyond the laws, which hold one α: the range of α, its limits, its gradient, errors."""

from __future__ import annotations

import math
import warnings

import mpmath
import pytest
import torch

import sstricks as sst
from brute_force import MP, exact, to_numpy
from exact_optimum import STEP, Separable, tsallis
from laws import assert_near
from test_errors import check

ALPHAS = (0.05, 0.5, 0.999, 1 - 1e-9, 1 + 1e-9, 1.001, 1.1, 1.25, 1.5, 1.9, 2.5, 3.0, 5.0, 20.0)
TOTALS = {sst.OneHot(6): 1, sst.KSubset(6, 2): 2, sst.KSubset(6, 5): 5, sst.Subset(6): None}
STRUCTURES = pytest.mark.parametrize(("structure", "total"), TOTALS.items(), ids=map(repr, TOTALS))


def utilities(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def truth(total: int | None, alpha: mpmath.mpf, u: torch.Tensor) -> list[mpmath.mpf]:
    return Separable(tsallis(alpha), total).value(exact(u))


@STRUCTURES
@pytest.mark.parametrize("alpha", ALPHAS)
def test_value_to_many_digits(structure: sst.Structure, total: int | None, alpha: float):
    for scale in (0.1, 1.0, 10.0, 1e6):
        for u in scale * utilities(3, 6):
            x = structure.softmax(u, 1.0, sst.TsallisEntropy(alpha))
            # For α = 20, slopes x^(2 - α) of 1e9 turn the rounding of u into as much.
            expected = torch.from_numpy(to_numpy(truth(total, MP.mpf(alpha), u)))
            assert_near(x, expected, 1e-9 if alpha < 10 else 1e-6)


@STRUCTURES
@pytest.mark.parametrize("alpha", [0.5, 1 - 1e-6, 1.0, 1 + 1e-6, 1.2, 1.5, 2.5])
def test_gradient_in_alpha_is_the_derivative_of_the_exact_value(
    structure: sst.Structure, total: int | None, alpha: float
):
    for u in utilities(3, 6):
        a = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
        g = utilities(6, seed=1)
        (found,) = torch.autograd.grad(structure.softmax(u, 1.0, sst.TsallisEntropy(a)) @ g, a)
        ahead, behind = (truth(total, MP.mpf(alpha) + sign * STEP, u) for sign in (1, -1))
        expected = sum((p - q) / (2 * STEP) * MP.mpf(w) for p, q, w in zip(ahead, behind, g.tolist(), strict=True))
        assert math.isclose(found.item(), float(expected), abs_tol=1e-9)


@STRUCTURES
def test_slopes_beyond_two_are_those_of_the_exact_value(structure: sst.Structure, total: int | None):
    """Where x is small, they are large: dx/du is x^(2 - α)."""
    for alpha in (2.5, 5.0):
        for u in utilities(4, 6):
            g = utilities(6, seed=1)
            v = u.clone().requires_grad_()
            (found,) = torch.autograd.grad(structure.softmax(v, 1.0, sst.TsallisEntropy(alpha)) @ g, v)
            expected = to_numpy(Separable(tsallis(MP.mpf(alpha)), total).slopes(exact(u), exact(g))[0])
            torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-6, atol=1e-9)


@STRUCTURES
def test_all_derivatives(structure: sst.Structure, total: int | None):
    """In u, t and α together, at α = 1 too, twice, and in forward mode."""
    alpha = torch.tensor([1.0, 1.5, 0.7], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.7, 1.0, 1.4], dtype=torch.float64, requires_grad=True)

    def relaxed(u: torch.Tensor, t: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        return structure.softmax(u, t, sst.TsallisEntropy(alpha))

    inputs = utilities(3, 6).requires_grad_(), t, alpha
    assert torch.autograd.gradcheck(relaxed, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(relaxed, inputs)


@STRUCTURES
def test_limits_are_the_regularizers_that_have_names(structure: sst.Structure, total: int | None):
    u = utilities(4, 6)
    softmax, sparsemax = (structure.softmax(u, 0.7, sst.TsallisEntropy(alpha)) for alpha in (1.0, 2))
    if total is None:  # without a fixed sum, their linear terms differ
        assert_near(softmax, structure.softmax(u - 0.7, 0.7, sst.CategoricalEntropy()), 1e-12)
        assert_near(sparsemax, structure.softmax(u + 0.35, 0.7, sst.Euclidean()), 1e-12)
    else:
        assert_near(softmax, structure.softmax(u, 0.7, sst.CategoricalEntropy()), 1e-12)
        assert_near(sparsemax, structure.softmax(u, 0.7, sst.Euclidean()), 1e-12)


def test_values_of_the_regularizer():
    x = torch.tensor([0.0, 0.2, 0.8, 1.0], dtype=torch.float64)
    for alpha in (0.5, 1 + 1e-9, 1.5, 2.0, 5.0):
        expected = ((x**alpha - x) / (alpha * (alpha - 1))).sum()
        tolerance = 1e-6 if alpha - 1 < 1e-3 and alpha > 1 else 1e-12
        assert_near(sst.TsallisEntropy(alpha)(x), expected, tolerance)
    assert_near(sst.TsallisEntropy(1.0)(x), torch.xlogy(x, x).sum(), 1e-15)
    several = sst.TsallisEntropy(torch.tensor([1.5, 2.0], dtype=torch.float64))(x.expand(2, 4))
    assert_near(several, torch.stack([sst.TsallisEntropy(a)(x) for a in (1.5, 2.0)]), 1e-15)


def test_one_alpha_for_each_head():
    u = utilities(2, 3, 6)
    alpha = torch.tensor([1.0, 1.5, 2.0], dtype=torch.float64)
    for structure in (*TOTALS, sst.SpanningTree.complete(4)):
        x = structure.softmax(u, 0.7, sst.TsallisEntropy(alpha))
        for head in range(3):
            alone = structure.softmax(u[:, head], 0.7, sst.TsallisEntropy(alpha[head]))
            assert_near(x[:, head], alone, 1e-12)
        assert structure.softmax(u[0, 0], 0.7, sst.TsallisEntropy(alpha)).shape == (3, 6)


def test_steepest_slopes_keep_their_digits():
    """For α = 5 an x of 0.001 has a slope of 1e9; J is found without taking the difference of such numbers."""
    x = torch.tensor([0.999, 1e-3], dtype=torch.float64)
    u = (x**4 / 4).requires_grad_()
    found = sst.OneHot(2).softmax(u, 1.0, sst.TsallisEntropy(5.0))
    assert_near(found, x, 1e-9)
    s = found.detach() ** -3
    (du,) = torch.autograd.grad(found[0], u)
    expected = s[0] * s[1] / s.sum()
    torch.testing.assert_close(du, torch.stack([expected, -expected]), rtol=1e-9, atol=0)


def test_ties_beyond_the_digits_of_the_multiplier_share_what_is_left():
    """For α = 20 an x of 1e-2 is a difference of 1e-40 in u: it is found from the sum."""
    u = torch.tensor([0.0, 0.0, -1 / 19, -1 / 19, -1.0], dtype=torch.float64)
    x = sst.KSubset(5, 2).softmax(u, 1.0, sst.TsallisEntropy(20.0))
    assert_near(x.sum(), torch.tensor(2.0), 1e-12)
    assert x[0] == x[1]
    assert x[2] == x[3]
    assert x[4] == 0


def test_masked_and_absent_coordinates():
    u = utilities(2, 6)
    mask = torch.tensor([True, True, False, True, False, True])
    for f in (sst.TsallisEntropy(1.5), sst.TsallisEntropy(0.5)):
        whole = sst.KSubset(6, 2, mask=mask).softmax(u, 1.0, f)
        assert_near(whole[:, mask], sst.KSubset(4, 2).softmax(u[:, mask], 1.0, f), 1e-14)
        assert torch.count_nonzero(whole[:, ~mask]) == 0
        assert_near(sst.KSubset(6, 2).softmax(u.masked_fill(~mask, -math.inf), 1.0, f), whole, 1e-14)


def test_learns_alpha_by_gradient_descent():
    u, wanted = utilities(8, 6), torch.tensor(1.5, dtype=torch.float64)
    target = sst.OneHot(6).softmax(u, 1.0, sst.TsallisEntropy(wanted))
    beta = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([beta], max_iter=30, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (sst.OneHot(6).softmax(u, 1.0, sst.TsallisEntropy(1 + beta.exp())) - target).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    assert_near(1 + beta.detach().exp(), wanted, 1e-4)


@pytest.mark.parametrize("structure", TOTALS, ids=repr)
def test_func_grad_in_alpha(structure: sst.Structure):
    def loss(alpha: torch.Tensor) -> torch.Tensor:
        return structure.softmax(utilities(6), 1.0, sst.TsallisEntropy(alpha)).square().sum()

    alpha = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(loss(alpha), alpha)
    assert_near(torch.func.grad(loss)(alpha.detach()), expected, 1e-12)


def test_vmap_over_alpha():
    u, alpha = utilities(2, 6), torch.tensor([1.2, 1.5], dtype=torch.float64)
    for structure in TOTALS:
        found = torch.func.vmap(lambda a, s=structure: s.softmax(u, 1.0, sst.TsallisEntropy(a)))(alpha)
        expected = torch.stack([structure.softmax(u, 1.0, sst.TsallisEntropy(a)) for a in alpha])
        assert_near(found, expected, 1e-14)


def test_compiles_with_a_learnt_alpha_made_inside():
    torch.compiler.reset()

    def loss(u: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        return sst.OneHot(6).softmax(u, 0.7, sst.TsallisEntropy(1 + a.exp())).square().sum()

    u, a = utilities(3, 6).requires_grad_(), torch.zeros((), dtype=torch.float64, requires_grad=True)
    value = torch.compile(loss, fullgraph=True, backend="aot_eager")(u, a)
    for found, expected in zip(
        torch.autograd.grad(value, (u, a)), torch.autograd.grad(loss(u, a), (u, a)), strict=True
    ):
        assert_near(found, expected, 1e-12)


@pytest.mark.parametrize("alpha", [0.5, 1.05, 1.5, 1.95, 3.0])
def test_frank_wolfe_finds_what_the_multiplier_finds(alpha: float):
    f, u, g = sst.TsallisEntropy(alpha), utilities(4, 6), utilities(4, 6, seed=1)
    for structure in TOTALS:
        for t in (0.2, 1.0, 10.0):
            v = u.clone().requires_grad_()
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = structure.softmax(v, t, f, solver=sst.FrankWolfe())
            direct = structure.softmax(v, t, f)
            assert_near(found, direct, 1e-9)
            slopes = [t * torch.autograd.grad(x, v, g)[0] for x in (found, direct)]
            torch.testing.assert_close(*slopes, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("alpha", [1.005, 1.1, 1.3, 1.35, 1.5, 1.8, 2.0, 3.0])
def test_frank_wolfe_converges_in_few_steps(alpha: float):
    """Where slopes at 0 are finite, or all but infinite, and curvatures infinite or zero."""
    for structure in (sst.Arborescence.complete(4), sst.Matching(3), sst.ChainKSubset(5, 2)):
        for scale in (1.0, 5.0, 30.0):
            u = scale * utilities(20, *structure.event_shape)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = sst.FrankWolfe().solve(structure, sst.TsallisEntropy(alpha), u)
            assert found.steps.max() < 100


def test_errors():
    for alpha in (0, 0.0, -1.0, math.nan, math.inf):
        check(lambda alpha=alpha: sst.TsallisEntropy(alpha), "alpha", repr(alpha), "> 0")
    check(lambda: sst.TsallisEntropy("1.5"), "alpha", "'1.5'", "number")  # pyright: ignore[reportArgumentType]
    check(lambda: sst.TsallisEntropy(torch.tensor([1, 2])), "alpha", "int64", "floating")
    u = utilities(3, 6)
    for bad in (-0.5, math.nan, math.inf):
        f = sst.TsallisEntropy(alpha := torch.tensor([1.5, 1.5, 2.0]))
        alpha[1] = bad  # as an optimizer might
        for structure in TOTALS:
            check(lambda f=f, structure=structure: structure.softmax(u, 1.0, f), "alpha", str(bad), "> 0")
    f = sst.TsallisEntropy(torch.tensor([1.5, 2.0]))
    for structure in TOTALS:
        check(lambda structure=structure: structure.softmax(u, 1.0, f), "alpha", "(2,)", "(3,)")
    check(lambda: sst.SpanningTree.complete(4).softmax(u, 1.0, f), "regularizer", "TsallisEntropy", "(3, 6)")


def test_equality_is_that_of_alpha():
    alpha = torch.tensor(1.5)
    assert sst.TsallisEntropy(1.5) == sst.TsallisEntropy(1.5)
    assert sst.TsallisEntropy(1.5) != sst.TsallisEntropy(1.2)
    assert sst.TsallisEntropy(alpha) == sst.TsallisEntropy(alpha)
    assert sst.TsallisEntropy(alpha) != sst.TsallisEntropy(alpha.clone())
    assert len({sst.TsallisEntropy(1.5), sst.TsallisEntropy(1.5), sst.TsallisEntropy(1.2)}) == 2
    assert repr(sst.TsallisEntropy(1.5)) == "TsallisEntropy(1.5)"


@pytest.mark.parametrize("alpha", [-1.0, 0.0, math.inf, math.nan])
def test_an_alpha_that_is_none(alpha: float):
    for value in (alpha, torch.tensor(alpha), torch.tensor([1.5, alpha])):
        check(lambda value=value: sst.TsallisEntropy(value), "alpha", repr(value), "> 0")


def test_a_large_alpha_is_nearly_the_argmax_on_trees():
    trees, u = sst.SpanningTree.complete(4), utilities(6)
    assert_near(trees.softmax(u, 1.0, sst.TsallisEntropy(1e6)), trees.argmax(u), 1e-4)
