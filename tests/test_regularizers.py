"""Regularizers as functions of points, and those that a user writes."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import dataclass

import pytest
import torch

import sstricks as sst
from laws import assert_near
from own_regularizers import Exponential, Hellinger, Quartic
from test_errors import check

STRUCTURES = [
    sst.OneHot(6),
    sst.KSubset(6, 2),
    sst.Subset(6),
    sst.SpanningTree.complete(4),
    sst.Arborescence.complete(3),
    sst.ProjectiveArborescence(3),
    sst.ChainKSubset(4, 2),
    sst.Matching(2),
]
SMALL = [sst.OneHot(3), sst.KSubset(4, 2), sst.Subset(3), sst.SpanningTree.complete(3), sst.Matching(2)]
EACH = pytest.mark.parametrize("structure", STRUCTURES, ids=repr)


class OwnEuclidean(sst.SeparableRegularizer):
    def density(self, x: torch.Tensor) -> torch.Tensor:
        return x.square() / 2


class OwnCategorical(sst.SeparableRegularizer):
    def density(self, x: torch.Tensor) -> torch.Tensor:
        return torch.xlogy(x, x) - x


class OwnBinary(sst.SeparableRegularizer):
    def density(self, x: torch.Tensor) -> torch.Tensor:
        return torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)


OWN = {OwnEuclidean(): sst.Euclidean(), OwnCategorical(): sst.CategoricalEntropy(), OwnBinary(): sst.BinaryEntropy()}


def utilities(structure: sst.Structure, *batch: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*batch, *structure.event_shape, dtype=torch.float64, generator=generator)


def test_matchings_have_one_value_each():
    """Also where the batch is as large as a row is long."""
    x = sst.Matching(3).softmax(utilities(sst.Matching(3), 3), 0.5, sst.CategoricalEntropy())
    for f in (sst.Euclidean(), sst.TsallisEntropy(1.5), Exponential()):
        expected = torch.stack([f(one.flatten()) for one in x])
        assert_near(f(x, sst.Matching(3)), expected, 1e-15)
        assert f(x[0], sst.Matching(3)).shape == ()
        assert f(x.expand(2, 3, 3, 3), sst.Matching(3)).shape == (2, 3)
        check(lambda f=f: f(x), "x", "(3, 3, 3)", "(batch, n)")
    check(lambda: sst.Euclidean()(x, sst.Matching(4)), "x", "(3, 3, 3)", "(*batch, 4, 4)")
    check(lambda: sst.Euclidean()(x[0, 0, 0]), "x", "()", "(n,)")


def test_absent_coordinates_have_no_value():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    x = torch.tensor([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64).requires_grad_()
    one_hot = sst.OneHot(3, mask=mask)
    assert_near(Exponential()(x, one_hot), torch.stack([x[0, :2].exp().sum(), x[1, :1].exp().sum()]), 1e-15)
    (slope,) = torch.autograd.grad(Hellinger()(x, one_hot).sum(), x)
    assert_near(slope, torch.where(mask, -0.5 * x.detach() ** -0.5, 0.0), 1e-15)


def test_the_exponential_family_entropy_is_not_known_at_a_point():
    for structure in (None, sst.OneHot(3)):
        with pytest.raises(NotImplementedError, match=r"A\*\(x\) is not known.*-structure\.entropy\(u\)"):
            sst.ExponentialFamilyEntropy()(torch.full((3,), 1 / 3), structure)


@EACH
@pytest.mark.parametrize("own", OWN, ids=repr)
def test_a_density_is_enough(structure: sst.Structure, own: sst.SeparableRegularizer):
    """The densities of the library's regularizers, without their closed forms, give what those give."""
    u, g = utilities(structure, 2, 3), utilities(structure, 2, 3, seed=1)
    for t in (0.1, 1.0, 20.0):
        v = u.clone().requires_grad_()
        found, expected = (structure.softmax(v, t, f) for f in (own, OWN[own]))
        assert_near(found, expected, 1e-9)
        assert_near(*(t * torch.autograd.grad(x, v, g)[0] for x in (found, expected)), 1e-7)
        assert sst.duality_gap(structure, own, found, v, t).max() <= 1e-8


@EACH
@pytest.mark.parametrize("f", [Exponential(), Hellinger(), Quartic(3.0)], ids=repr)
def test_a_density_of_ones_own_is_solved_for(structure: sst.Structure, f: sst.SeparableRegularizer):
    """As the duality gap certifies, which needs the density alone."""
    for scale in (0.1, 1.0, 30.0):
        u = scale * utilities(structure, 4)
        assert sst.duality_gap(structure, f, structure.softmax(u, 1.0, f), u).max() <= 1e-8 * max(1.0, scale)


@pytest.mark.parametrize("structure", SMALL, ids=repr)
@pytest.mark.parametrize("own", [Hellinger, Quartic], ids=lambda own: own.__name__)
def test_derivatives_in_a_learnt_parameter(structure: sst.Structure, own):
    """In u, t and one parameter for each example, twice."""
    u, t = utilities(structure, 2).requires_grad_(), torch.tensor([0.7, 1.2], dtype=torch.float64, requires_grad=True)
    c = torch.tensor([[1.3], [0.8]], dtype=torch.float64, requires_grad=True)

    def relaxed(u: torch.Tensor, t: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return structure.softmax(u, t, own(c))

    assert torch.autograd.gradcheck(relaxed, (u, t, c), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(relaxed, (u, t, c))


@EACH
def test_a_parameter_is_learnt_without_a_gradient_in_u(structure: sst.Structure):
    c = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    structure.softmax(utilities(structure, 2), 0.7, Quartic(c)).square().sum().backward()
    assert c.grad is not None
    assert c.grad != 0


@EACH
def test_each_coordinate_may_have_a_parameter(structure: sst.Structure):
    n = structure.event_shape.numel()
    w, u = torch.linspace(0.5, 2.0, n, dtype=torch.float64), utilities(structure, 3)
    x = structure.softmax(u, 0.7, Quartic(w))
    assert sst.duality_gap(structure, Quartic(w), x, u, 0.7).max() <= 1e-8


def test_a_network_may_be_the_density():
    class Learnt(sst.SeparableRegularizer, torch.nn.Module):
        """h(x) = x²/2 + Σ softplus(aⱼ x + bⱼ), convex whatever a and b are."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = (torch.nn.Parameter(torch.linspace(-2, 2, 5, dtype=torch.float64) + d) for d in (0.1, 0.3))

        def density(self, x: torch.Tensor) -> torch.Tensor:
            hidden = self.a * x.unsqueeze(-1) + self.b
            return x.square() / 2 + torch.nn.functional.softplus(hidden).sum(-1)

    f = Learnt()
    for structure in (sst.KSubset(6, 2), sst.SpanningTree.complete(4)):
        f.zero_grad()
        structure.softmax(utilities(structure), 2.0, f).square().sum().backward()
        grads = [p.grad for p in f.parameters()]
        assert len(grads) == 2
        assert all(g is not None and g.isfinite().all() and (g != 0).any() for g in grads)


def test_parameters_of_more_examples_than_utilities():
    """Then the utilities are those of all of them, as at several temperatures."""
    c = torch.tensor([[0.5], [1.0], [2.0]], dtype=torch.float64)
    for structure in (sst.OneHot(6), sst.SpanningTree.complete(4)):
        u = utilities(structure)
        x = structure.softmax(u, 1.0, Hellinger(c))
        assert_near(x, torch.stack([structure.softmax(u, 1.0, Hellinger(one.item())) for one in c]), 1e-9)
        check(
            lambda structure=structure: structure.softmax(utilities(structure, 2), 1.0, Hellinger(c)),
            "regularizer",
            "Hellinger",
            "(2, 6)",
        )


@pytest.mark.parametrize("f", [*OWN.values(), sst.TsallisEntropy(1.5), sst.TsallisEntropy(3.0)], ids=repr)
def test_closed_forms_are_those_of_the_density(f: sst.SeparableRegularizer):
    x = torch.linspace(0.001, 0.999, 50, dtype=torch.float64)
    general = sst.SeparableRegularizer
    assert_near(f.slope(x), general.slope(f, x), 1e-12)
    torch.testing.assert_close(f.curvature(x), general.curvature(f, x), rtol=1e-9, atol=0)
    y = torch.cat([f.slope(x), torch.tensor([-1e6, 1e6], dtype=torch.float64)])
    assert_near(f.inverse_slope(y), torch.cat([x, torch.tensor([0.0, 1.0])]), 1e-12)
    assert_near(general.inverse_slope(f, y), torch.cat([x, torch.tensor([0.0, 1.0])]), 1e-12)


def test_inverse_slopes_of_powers():
    y = torch.tensor([-1e6, -83.0, -10.0, -1.5, -1.0], dtype=torch.float64)
    torch.testing.assert_close(Hellinger().inverse_slope(y), 0.25 / y.square().clamp(min=0.25), rtol=1e-12, atol=0)


def test_inverse_slopes_keep_their_digits_at_both_ends():
    y = torch.tensor([-600.0, -100.0, -30.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(OwnCategorical().inverse_slope(y), y.exp(), rtol=1e-12, atol=0)
    assert_near(1 - OwnBinary().inverse_slope(-y / 20), torch.sigmoid(y / 20), 1e-15)


def test_a_class_with_another_density_inherits_no_closed_forms_and_no_solver():
    class Doubled(sst.Euclidean):  # pyright: ignore[reportGeneralTypeIssues]
        def density(self, x: torch.Tensor) -> torch.Tensor:
            return x.square()

    class Named(sst.Euclidean):  # pyright: ignore[reportGeneralTypeIssues]
        pass

    for structure in STRUCTURES:
        u = utilities(structure, 3)
        assert_near(structure.softmax(u, 1.0, Doubled()), structure.softmax(u, 2.0, sst.Euclidean()), 1e-9)
        assert_near(structure.softmax(u, 1.0, Named()), structure.softmax(u, 1.0, sst.Euclidean()), 1e-9)


def test_a_density_that_is_no_convex_function_is_refused():
    """As an entropy is, which one may write for its negative."""

    class Entropy(sst.SeparableRegularizer):
        def density(self, x: torch.Tensor) -> torch.Tensor:
            return -torch.xlogy(x, x)

    class Undefined(sst.SeparableRegularizer):
        def density(self, x: torch.Tensor) -> torch.Tensor:
            return (x - 2).log()

    for f in (Entropy(), Undefined(), Hellinger(-1.0)):
        for structure in STRUCTURES:
            u = utilities(structure, 2)
            check(lambda s=structure, f=f, u=u: s.softmax(u, 1.0, f), "regularizer", "does not increase", "convex")


def test_oracles_take_any_separable_regularizer_on_request():
    pairs = sst.LinearOracle(sst.KSubset(6, 2).argmax, (6,))
    u = utilities(pairs, 2)
    for f in (Exponential(), Hellinger(), sst.TsallisEntropy(1.5)):
        with pytest.raises(sst.NoSolverError, match=r"solver=: sst\.FrankWolfe\(\)"):
            pairs.softmax(u, 1.0, f)
        found = pairs.softmax(u, 1.0, f, solver=sst.FrankWolfe())
        assert_near(found, sst.KSubset(6, 2).softmax(u, 1.0, f), 1e-9)


def test_errors_promise_frank_wolfe_to_separable_regularizers_only():
    with pytest.raises(sst.NoSolverError) as raised:
        sst.Matching(2).softmax(torch.zeros(2, 2), 1.0, sst.ExponentialFamilyEntropy())
    assert "#P-hard" in str(raised.value)
    assert "FrankWolfe" not in str(raised.value)


@dataclass(frozen=True)
class Frozen(sst.SeparableRegularizer):
    c: float

    def density(self, x: torch.Tensor) -> torch.Tensor:
        return self.c * x.exp()


def test_copies_have_parameters_of_their_own():
    """Which operators must not take for those of the original."""
    trees = sst.SpanningTree.complete(4)
    u, f = utilities(trees, 2), Quartic(1.0)
    expected = trees.softmax(u, 1.0, f)
    other = copy.copy(f)
    other.w = 4.0
    assert_near(trees.softmax(u, 1.0, other), trees.softmax(u, 1.0, Quartic(4.0)), 1e-9)
    for twin in (copy.deepcopy(f), pickle.loads(pickle.dumps(f))):
        assert twin == f
        assert torch.equal(trees.softmax(u, 1.0, twin), expected)
    assert_near(trees.softmax(u, 1.0, Frozen(2.0)), trees.softmax(u, 2.0, Exponential()), 1e-9)


def test_equality_is_that_of_class_and_parameters():
    weight = torch.ones(3)
    assert sst.Euclidean() == sst.Euclidean()
    assert sst.Euclidean() != sst.CategoricalEntropy()
    assert Quartic(1.2) == Quartic(1.2)
    assert Quartic(1.5) != Quartic(1.2)
    assert Quartic(weight) == Quartic(weight)
    assert Quartic(weight) != Quartic(weight.clone())
    assert Quartic(weight) != Quartic(1.0)
    used = Quartic(1.2)
    sst.OneHot(3).softmax(torch.zeros(3), 1.0, used)
    assert used == Quartic(1.2)
    assert len({used, Quartic(1.2), Quartic(1.5), sst.Euclidean()}) == 3
    assert repr(used) == "Quartic(w=1.2)"


def test_regularizers_in_half_precision():
    for dtype in (torch.float16, torch.bfloat16):
        u = torch.tensor([1.0, 0.5, -2.0], dtype=dtype)
        x = sst.OneHot(3).softmax(u, 1.0, Hellinger())
        assert x.dtype == dtype
        assert math.isclose(x.double().sum(), 1.0, abs_tol=1e-2)


class WeightedQuartic(sst.SeparableRegularizer):
    """h_i(x) = w_i (x²/2 + x⁴/4), whose parameter is no tensor of its own."""

    def __init__(self, w: torch.Tensor) -> None:
        self.parameters = {"w": w}

    def density(self, x: torch.Tensor) -> torch.Tensor:
        return self.parameters["w"] * (x.square() / 2 + x**4 / 4)


@EACH
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_each_coordinate_may_have_a_density_of_its_own(structure: sst.Structure, scale: float):
    """No vertex is better in the direction of steepest ascent, so that the point is the optimum."""
    for seed in range(5):
        torch.manual_seed(seed)
        f = WeightedQuartic(torch.rand(structure.event_shape.numel(), dtype=torch.float64) * 3 + 0.3)
        u = scale * torch.randn(*structure.event_shape, dtype=torch.float64)
        x = structure.softmax(u, 1.0, f)
        g = (u.flatten() - f.slope(x.flatten())).reshape(u.shape)
        assert ((structure.argmax(g) - x) * g).sum() < 1e-10


@pytest.mark.parametrize("structure", SMALL, ids=repr)
def test_gradients_with_a_density_for_each_coordinate(structure: sst.Structure):
    w = (torch.rand(structure.event_shape.numel(), dtype=torch.float64) + 0.5).requires_grad_()
    u = torch.randn(*structure.event_shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda u, w: structure.softmax(u, 0.7, WeightedQuartic(w)), (u, w))


@pytest.mark.parametrize("density", [lambda x: x.square().sum(-1), lambda x: 1.0, lambda x: None])
def test_a_density_that_is_no_number_for_each_coordinate(density):
    f = type("Wrong", (sst.SeparableRegularizer,), {"density": lambda self, x: density(x)})()
    check(lambda: sst.OneHot(3).softmax(torch.zeros(3), 1.0, f), "density", "for x of shape (3,)", "coordinate by")


def test_the_class_of_a_structure_is_no_structure():
    check(lambda: sst.Euclidean()(torch.zeros(3), sst.OneHot), "structure", "one_hot.OneHot", "a structure")  # pyright: ignore[reportArgumentType]
