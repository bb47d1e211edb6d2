"""A user's own structure whose vertices are of any numbers, through all that takes a structure."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

import sstricks as sst
from own_regularizers import Exponential, Hellinger
from sstricks.solvers import register_frank_wolfe, registry
from test_errors import check

SIGNED = torch.tensor(
    [[0, 3, 1, 0], [2, 0.5, 0, -1], [1, 1, -1, 0], [0, 0, 2.5, 0.5], [3, -2, 0, 0], [-1, -1, -1, 2]],
    dtype=torch.float64,
)
POSITIVE = torch.tensor(
    [[0, 3, 1, 0.5], [2, 0.5, 0, 1], [0, 0, 2.5, 0.25], [1.5, 2, 1, 4], [0.25, 0.25, 0.25, 0]], dtype=torch.float64
)
INTEGERS = torch.tensor([[0, 3, 1, 0], [2, 0, 0, 7], [1, 1, 1, 1], [0, 5, 0, 0], [40, 0, 2, 0]], dtype=torch.float64)


class Everywhere(Exponential):
    """h(x) = exp(x), on all numbers."""

    domain = (-math.inf, math.inf)

    def density(self, x: torch.Tensor) -> torch.Tensor:
        return (x / 4).exp()


class Root(Hellinger):
    domain = (0, math.inf)

    def density(self, x: torch.Tensor) -> torch.Tensor:
        return -x.sqrt()


class Bundles(sst.Structure):
    """Bundles of goods, by the list of them."""

    is_binary = False

    def __init__(self, vertices: torch.Tensor, mask: torch.Tensor | None = None) -> None:
        self.vertices = vertices
        super().__init__((vertices.shape[1],), mask, at_least=0)

    def _heights(self, u: torch.Tensor) -> torch.Tensor:
        heights = torch.where(u.isfinite(), u, 0.0) @ self.vertices.T.to(u)
        absent = (u == -torch.inf).to(u.dtype) @ (self.vertices.T.to(u) != 0).to(u.dtype)
        return heights.masked_fill(absent > 0, -torch.inf)

    def _argmax(self, u):
        return self.vertices.to(u)[self._heights(u).argmax(-1)]

    def _contains(self, x):
        return (x.unsqueeze(-2) == self.vertices.to(x)).all(-1).any(-1)

    def _candidates(self):
        return len(self.vertices)

    def _support(self):
        return self.vertices

    def _log_partition(self, u):
        return self._heights(u).logsumexp(-1)

    def _sample(self, u, generator):
        law = self._heights(u).softmax(-1)
        at = torch.multinomial(law.flatten(0, -2), 1, generator=generator).view(law.shape[:-1])
        return self.vertices.to(u)[at]


def by_listing(bundles: Bundles, f: sst.Regularizer, u: torch.Tensor) -> torch.Tensor:
    return bundles._heights(u).softmax(-1) @ bundles.vertices.to(u)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch):
    """What a user does once, undone here: the laws go through all that is registered."""
    for name in ("_solvers", "_iterations"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    register_frank_wolfe(Bundles)
    sst.register_solver(Bundles, sst.ExponentialFamilyEntropy)(by_listing)


def utilities(*batch: int, n: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(*batch, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


PAIRS = pytest.mark.parametrize(
    ("vertices", "f"),
    [(vertices, f) for vertices in (SIGNED, POSITIVE, INTEGERS) for f in (sst.Euclidean(), Everywhere())]
    + [(v, f) for v in (POSITIVE, INTEGERS) for f in (sst.CategoricalEntropy(), sst.TsallisEntropy(1.5), Root())]
    + [((POSITIVE + 0.1) / 5, sst.BinaryEntropy()), (POSITIVE / 4, sst.BinaryEntropy())]
    + [(100 * SIGNED, sst.Euclidean()), (0.01 * SIGNED, sst.Euclidean()), (SIGNED + 20, sst.Euclidean())],
    ids=lambda value: repr(value) if isinstance(value, sst.Regularizer) else f"{float(value.sum()):g}",
)


@PAIRS
def test_softmax_is_the_optimum(vertices: torch.Tensor, f: sst.SeparableRegularizer):
    bundles = Bundles(vertices)
    system = np.vstack([vertices.T.numpy(), np.ones(len(vertices))])
    for scale in (0.1, 1.0, 4.0):
        u = scale * utilities(5)
        x = bundles.softmax(u, 1.0, f)
        for row, point in zip(u, x, strict=True):
            assert nnls(system, np.append(point.numpy(), 1.0))[1] < 1e-9  # a mixture of vertices
            inside = point.clamp(min=1e-250) if f.domain[0] == 0 else point
            pull = row - f.slope(inside)
            lead = ((vertices - point) @ pull).max()  # no vertex is better for the gradient
            assert lead < 1e-9 * (1 + (pull * vertices.amax(0)).abs().max())
        assert (sst.duality_gap(bundles, f, x, u) < 1e-7 * (1 + u.abs().amax() * vertices.abs().amax())).all()
        other = sst.duality_gap(bundles, f, vertices[0].expand_as(u), u)
        best, found = ((y * u).sum(-1) - f(y) for y in (x, vertices[0]))
        assert (other >= best - found - 1e-9).all()


@PAIRS
def test_derivatives(vertices: torch.Tensor, f: sst.SeparableRegularizer):
    bundles, u = Bundles(vertices), utilities(3).requires_grad_()
    t = torch.tensor([0.7, 1.3, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda u, t: bundles.softmax(u, t, f), (u, t), atol=1e-4)
    assert torch.autograd.gradgradcheck(lambda u, t: bundles.softmax(u, t, f), (u, t), atol=1e-3, fast_mode=True)

    def risk(u: torch.Tensor) -> torch.Tensor:
        found = sst.FrankWolfe().solve(bundles, f, u)
        torch.testing.assert_close((found.weights.unsqueeze(-1) * found.vertices).sum(-2), bundles.softmax(u, 1.0, f))
        return (found.weights * found.vertices.square().sum(-1)).sum()

    assert torch.autograd.gradcheck(risk, u, atol=1e-3, rtol=1e-3)


def test_a_regularizer_that_is_not_defined_on_a_vertex_says_so():
    for vertices, f in ((SIGNED, sst.CategoricalEntropy()), (POSITIVE, sst.BinaryEntropy()), (POSITIVE, Exponential())):
        check(
            lambda v=vertices, f=f: Bundles(v).softmax(utilities(2), 1.0, f), "regularizer", "vertex with", "interval"
        )
    with pytest.raises(ValueError, match=r"domain: found \(0.5, inf\)"):
        type("Shifted", (Exponential,), {"domain": (0.5, math.inf)})


def test_argmax_and_support():
    bundles, u = Bundles(SIGNED), utilities(7)
    x = bundles.argmax(u)
    assert torch.equal(x, SIGNED[(u @ SIGNED.T).argmax(-1)])
    assert bundles.argmax(u.float()).dtype == torch.float32
    assert bundles.contains(x).all()
    assert bundles.contains(x.half()).all()
    assert not bundles.contains(torch.tensor([[0, 3, 1, 0.5], [0, 3, math.nan, 0], [0, 1, 1, 0]])).any()
    assert torch.equal(bundles.enumerate_support(), SIGNED.float())
    assert torch.equal(bundles.softmax(u, 0.0, sst.Euclidean()), x)
    torch.testing.assert_close(bundles.softmax(u, 1e-6, sst.Euclidean()), x)
    for call in (bundles.max_marginals, lambda u: bundles.k_best(u, 2)):
        with pytest.raises(NotImplementedError, match="Bundles, whose embeddings are not of zeros and ones"):
            call(u)


def test_masked_coordinates_are_zero():
    mask = torch.tensor([[True, True, True, False], [False, True, True, True]])
    bundles, u = Bundles(SIGNED, mask), utilities(2)
    kept = [SIGNED[(SIGNED[:, ~row] == 0).all(-1)] for row in mask]
    x = bundles.softmax(u, 0.7, sst.Euclidean())
    for i in range(2):
        alone = Bundles(kept[i])
        torch.testing.assert_close(x[i], alone.softmax(u[i], 0.7, sst.Euclidean()))
        torch.testing.assert_close(
            Bundles(SIGNED).softmax(u[i].masked_fill(~mask[i], -torch.inf), 0.7, sst.Euclidean()), x[i]
        )
        assert torch.equal(bundles.argmax(u)[i], alone.argmax(u[i]))
        torch.testing.assert_close(bundles.log_partition(u)[i], alone.log_partition(u[i]))
        assert torch.equal(Bundles(SIGNED, mask[i]).enumerate_support(), kept[i].float())
        torch.testing.assert_close(
            bundles.softmax(u, 0.7, sst.ExponentialFamilyEntropy())[i], alone.marginals(u[i], 0.7)
        )
    assert (x[~mask] == 0).all()
    assert (bundles.contains(SIGNED.unsqueeze(1)).sum(0) == torch.tensor([len(v) for v in kept])).all()


def test_exponential_family():
    bundles, u = Bundles(SIGNED), (0.3 * utilities()).requires_grad_()
    law = (u @ SIGNED.T).softmax(-1)
    family = sst.ExponentialFamily(bundles, u)
    torch.testing.assert_close(family.mean, law @ SIGNED)
    torch.testing.assert_close(family.log_prob(SIGNED), law.log())
    torch.testing.assert_close(family.entropy(), torch.distributions.Categorical(law).entropy())
    torch.testing.assert_close(torch.autograd.grad(bundles.log_partition(u), u)[0], law @ SIGNED)
    x = family.sample((20_000,), generator=torch.Generator().manual_seed(0))
    assert bundles.contains(x).all()
    torch.testing.assert_close(x.mean(0), family.mean, atol=0.05, rtol=0)
    assert torch.equal(family.mode, bundles.argmax(u))
    other = sst.ExponentialFamily(bundles, torch.zeros(4).double())
    expected = (law * (law.log() + math.log(len(SIGNED)))).sum()
    torch.testing.assert_close(torch.distributions.kl_divergence(family, other), expected)
    with pytest.raises(NotImplementedError, match="variance"):
        _ = family.variance
    assert torch.isneginf(family.log_prob(torch.ones(4)))


def test_tricks():
    torch.manual_seed(0)
    bundles, theta = Bundles(SIGNED), utilities(3).requires_grad_()
    utility = sst.Gumbel(theta)
    hard = sst.StochasticArgmaxTrick(bundles, utility)
    assert bundles.contains(hard.sample((5,))).all()
    assert hard.support.check(hard.sample()).all()
    assert hard.enumerate_support().shape == (len(SIGNED), 3, 4)
    soft = sst.StochasticSoftmaxTrick(bundles, utility, 0.5, sst.Euclidean())
    draw = soft.draw((5,))
    assert soft.support.check(draw.relaxed).all()
    assert not soft.support.check(torch.full((3, 4), 3.0)).any()
    assert torch.equal(draw.discrete, bundles.argmax(draw.utility))
    torch.testing.assert_close(draw.relaxed, bundles.softmax(draw.utility, 0.5, sst.Euclidean()))
    through = sst.StraightThrough(soft).rsample((5,))
    assert bundles.contains(through.detach()).all()
    (gradient,) = torch.autograd.grad(through.square().sum(), theta)
    assert gradient.isfinite().all()
    assert (gradient != 0).any()


@pytest.mark.parametrize("name", ["Blackbox", "IMLE", "AIMLE", "Identity", "SPIGOT"])
def test_gradients_of_the_argmax(name: str):
    torch.manual_seed(0)
    bundles, theta = Bundles(SIGNED), utilities(2).requires_grad_()
    x = getattr(sst.estimators, name)(bundles)(theta)
    assert bundles.contains(x.detach()).all()
    x.square().sum().backward()
    assert theta.grad is not None
    assert theta.grad.isfinite().all()


def test_imle_finds_the_gradient():
    torch.manual_seed(0)
    bundles, theta = Bundles(SIGNED), utilities().requires_grad_()
    weights = torch.tensor([1.0, -0.5, 0.3, 0.7], dtype=torch.float64)
    imle = sst.estimators.IMLE(bundles, strength=0.3)
    (found,) = torch.autograd.grad((imle(theta, (100_000,)) @ weights).sum(), theta)
    with torch.no_grad():
        noise = torch.as_tensor(sst.Gumbel(torch.zeros(400_000, 4).double()).sample())
        means = [bundles.argmax(theta - s * weights + noise).mean(0) for s in (0, 0.3)]
    torch.testing.assert_close(found / 100_000, (means[0] - means[1]) / 0.3, atol=0.05, rtol=0)


def test_diagnose():
    torch.manual_seed(0)
    bundles, theta = Bundles(SIGNED), utilities().requires_grad_()
    trick = sst.StochasticSoftmaxTrick(bundles, sst.Gumbel(theta), 1.0, sst.Euclidean())
    imle = sst.estimators.IMLE(bundles)
    found = sst.diagnose(
        trick, lambda x: (x - 0.5).square().sum(-1), temperatures=[0.5], samples=500, truth_samples=4000,
        estimators={"I-MLE": imle},
    )  # fmt: skip
    assert "I-MLE" in str(found)
    assert "estimated" in found.truth.method


def test_losses():
    bundles, u = Bundles(SIGNED), utilities(3).requires_grad_()
    y = bundles.argmax(utilities(3, seed=1))
    for f in (sst.Euclidean(), sst.ExponentialFamilyEntropy()):
        loss = sst.FenchelYoungLoss(bundles, f, reduction="sum")
        value = loss(u, y)
        assert value >= 0
        torch.testing.assert_close(torch.autograd.grad(value, u)[0], bundles.softmax(u, 1.0, f) - y)
    torch.manual_seed(0)
    value = sst.PerturbedFenchelYoungLoss(bundles, samples=100)(u, y)
    assert torch.autograd.grad(value, u)[0].isfinite().all()


def best_of_signed(u: torch.Tensor) -> torch.Tensor:
    return SIGNED[(u @ SIGNED.T).argmax(-1)]


def best_of_positive(u: torch.Tensor) -> torch.Tensor:
    return POSITIVE[(u @ POSITIVE.T).argmax(-1)]


def test_linear_oracle():
    u, solver = utilities(5), sst.FrankWolfe()
    oracle = sst.LinearOracle(best_of_signed, (4,), binary=False)
    assert torch.equal(oracle.argmax(u), Bundles(SIGNED).argmax(u))
    torch.testing.assert_close(
        oracle.softmax(u, 0.7, sst.Euclidean(), solver=solver), Bundles(SIGNED).softmax(u, 0.7, sst.Euclidean())
    )
    v = u.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: oracle.softmax(v, 1.0, sst.Euclidean(), solver=solver), v)
    by_difference = oracle.softmax(v, 1.0, sst.Euclidean(), solver=sst.FiniteDifference(solver))
    by_rule = oracle.softmax(v, 1.0, sst.Euclidean(), solver=solver)
    g = utilities(5, seed=2)
    slopes = [torch.autograd.grad((x * g).sum(), v)[0] for x in (by_difference, by_rule)]
    torch.testing.assert_close(*slopes, atol=1e-6, rtol=1e-6)
    trick = sst.StochasticSoftmaxTrick(oracle, sst.Gumbel(v), 0.5, sst.Euclidean(), solver=solver)
    assert trick.support.check(trick.rsample()).all()

    mask = torch.tensor([False, True, False, True])
    entropic = sst.LinearOracle(best_of_positive, (4,), mask, binary=False)
    check(lambda: entropic.argmax(u - 10), "u", "absent", "without")
    mask = torch.tensor([True, False, True, True])
    entropic = sst.LinearOracle(best_of_positive, (4,), mask, binary=False)
    for f in (sst.Euclidean(), sst.CategoricalEntropy()):
        found = entropic.softmax(u, 1.0, f, solver=solver)
        torch.testing.assert_close(found, Bundles(POSITIVE, mask).softmax(u, 1.0, f))
        assert (found[:, 1] == 0).all()


def test_wrong_oracles_are_found_out():
    u, solver = utilities(5), sst.FrankWolfe()
    check(lambda: sst.LinearOracle(best_of_signed, (4,)).argmax(u), "argmax", "the entry", "zeros and ones")
    check(
        lambda: sst.LinearOracle(lambda u: u * math.nan, (4,), binary=False).argmax(u),
        "argmax",
        "nan",
        "finite numbers",
    )
    least = sst.LinearOracle(lambda u: best_of_signed(-u), (4,), binary=False)
    check(lambda: least.softmax(u, 1.0, sst.Euclidean(), solver=solver), "argmax", "another of its vertices", "largest")
