"""The tricks as torch distributions: draws agree with themselves and with their seeds; shapes are torch's."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.distributions import (
    AffineTransform,
    ComposeTransform,
    Distribution,
    ExpTransform,
    Gumbel,
    Independent,
    Normal,
    Poisson,
    SigmoidTransform,
    Transform,
    TransformedDistribution,
)

import sstricks as sst
from cases import PAIR_CASES, Case

PAIRS = pytest.mark.parametrize("case", PAIR_CASES, ids=str)
ENTROPY = sst.ExponentialFamilyEntropy()


def trick(case: Case, *batch: int, temperature: float = 0.5, dtype: torch.dtype = torch.float64):
    loc = case.utilities(*batch, dtype=dtype).requires_grad_()
    return loc, sst.StochasticSoftmaxTrick(case.structure, Gumbel(loc, 1.0), temperature, case.regularizer)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@PAIRS
def test_a_draw_is_one_utility_seen_three_ways(case: Case):
    loc, relaxed = trick(case, 3)
    draw = relaxed.draw((4,))
    assert isinstance(draw, sst.Draw)
    assert draw.utility.shape == draw.relaxed.shape == draw.discrete.shape == (4, 3, case.problem.size)
    assert torch.equal(draw.discrete, case.structure.argmax(draw.utility))
    torch.testing.assert_close(draw.relaxed, case.softmax(draw.utility, 0.5))
    assert draw.utility.requires_grad
    assert not draw.discrete.requires_grad
    (gradient,) = torch.autograd.grad((draw.relaxed * case.utilities(4, 3)).sum(), loc)
    assert gradient.isfinite().all()


@PAIRS
def test_draw_without_a_shape_is_one_sample(case: Case):
    _, relaxed = trick(case, 3)
    assert relaxed.draw().relaxed.shape == (3, case.problem.size)
    assert relaxed.rsample().shape == relaxed.sample().shape == (3, case.problem.size)


@PAIRS
def test_shapes(case: Case):
    for batch in ((), (3,), (2, 3)):
        _, relaxed = trick(case, *batch)
        hard = sst.StochasticArgmaxTrick(case.structure, relaxed.utility)
        for distribution in (relaxed, hard, sst.StraightThrough(relaxed)):
            assert distribution.batch_shape == batch
            assert distribution.event_shape == (case.problem.size,)
            assert distribution.sample((5, 2)).shape == (5, 2, *batch, case.problem.size)
            assert distribution.sample(torch.Size([5])).shape == (5, *batch, case.problem.size)


@PAIRS
def test_they_are_torch_distributions(case: Case):
    _, relaxed = trick(case, 3)
    hard = sst.StochasticArgmaxTrick(case.structure, relaxed.utility)
    through = sst.StraightThrough(relaxed)
    assert all(isinstance(d, Distribution) for d in (relaxed, hard, through))
    assert (relaxed.has_rsample, hard.has_rsample, through.has_rsample) == (True, False, True)
    with pytest.raises(NotImplementedError, match=r"StraightThrough\(StochasticSoftmaxTrick\(.*\)\)\.rsample\(\)"):
        hard.rsample()


@PAIRS
def test_sample_is_a_detached_rsample(case: Case):
    loc, relaxed = trick(case, 3)
    soft, hard = relaxed.sample((2,), generator=seeded(1)), relaxed.rsample((2,), generator=seeded(1))
    assert not soft.requires_grad
    assert hard.requires_grad
    assert torch.equal(soft, hard)
    assert not sst.StochasticArgmaxTrick(case.structure, Gumbel(loc, 1.0)).sample().requires_grad


@PAIRS
def test_straight_through_is_the_vertex_with_the_relaxed_gradient(case: Case):
    loc, relaxed = trick(case, 3, dtype=torch.float32)
    g = case.utilities(6, 3, dtype=torch.float32)
    draw = relaxed.draw((6,), generator=seeded(2))
    y = sst.StraightThrough(relaxed).rsample((6,), generator=seeded(2))
    assert torch.equal(y, draw.discrete)  # exactly: no x - x.detach() that rounds
    (expected,) = torch.autograd.grad((draw.relaxed * g).sum(), loc)
    (found,) = torch.autograd.grad((y * g).sum(), loc)
    assert torch.equal(found, expected)
    assert not sst.StraightThrough(relaxed).sample().requires_grad


@PAIRS
def test_hard_and_soft_tricks_share_their_utilities(case: Case):
    loc, relaxed = trick(case, 3)
    hard = sst.StochasticArgmaxTrick(case.structure, Gumbel(loc, 1.0))
    draw = relaxed.draw((4,), generator=seeded(3))
    assert torch.equal(hard.sample((4,), generator=seeded(3)), draw.discrete)


@PAIRS
def test_reproducible_from_a_generator_and_from_the_global_seed(case: Case):
    _, relaxed = trick(case, 3)
    hard = sst.StochasticArgmaxTrick(case.structure, relaxed.utility)
    for sample in (relaxed.rsample, relaxed.sample, hard.sample, sst.StraightThrough(relaxed).rsample):
        state = torch.get_rng_state()
        assert torch.equal(sample((2,), generator=seeded(4)), sample((2,), generator=seeded(4)))
        assert torch.equal(torch.get_rng_state(), state)  # the global generator was not touched
        torch.manual_seed(5)
        first, second = sample((20,)), sample((20,))
        torch.manual_seed(5)
        assert torch.equal(sample((20,)), first)
        assert torch.equal(sample((20,)), second)
    assert not torch.equal(relaxed.rsample(generator=seeded(4)), relaxed.rsample(generator=seeded(6)))


def test_the_default_generator_may_be_named():
    hard = sst.StochasticArgmaxTrick(sst.KSubset(6, 2), Gumbel(torch.zeros(6), 1.0))
    torch.manual_seed(7)
    expected = [hard.sample((20,)) for _ in range(2)]
    torch.manual_seed(7)
    found = [hard.sample((20,), generator=torch.default_generator) for _ in range(2)]
    assert all(map(torch.equal, found, expected))
    assert not torch.equal(*found)


def test_the_global_seed_draws_what_torch_itself_draws():
    utility = Gumbel(torch.zeros(3, 5), 1.0)
    torch.manual_seed(7)
    expected = utility.rsample()
    torch.manual_seed(7)
    assert torch.equal(sst.StochasticSoftmaxTrick(sst.OneHot(5), utility, 1.0, ENTROPY).draw().utility, expected)


@pytest.mark.parametrize(
    "utility",
    [
        Gumbel(torch.zeros(5), 1.0),
        Normal(torch.zeros(5), 1.0),
        sst.Logistic(torch.zeros(5)),
        sst.Masked(Gumbel(torch.zeros(5), 1.0), torch.tensor([True, True, False, True, True])),
        Independent(Normal(torch.zeros(5), 1.0), 1),
        torch.distributions.MultivariateNormal(torch.zeros(5), torch.eye(5)),
        torch.distributions.LowRankMultivariateNormal(torch.zeros(5), torch.ones(5, 2), torch.ones(5)),
    ],
    ids=lambda u: type(u).__name__,
)
def test_every_utility_follows_the_generator(utility: Distribution):
    hard = sst.StochasticArgmaxTrick(sst.KSubset(5, 2), utility)
    state = torch.get_rng_state()
    once, again = (hard.sample((50,), generator=seeded(8)) for _ in range(2))
    assert torch.equal(once, again)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(once, hard.sample((50,), generator=seeded(9)))


def test_a_per_example_temperature():
    utility, t = Gumbel(torch.zeros(3, 5), 1.0), torch.tensor([0.0, 1.0, 1e9])
    draw = sst.StochasticSoftmaxTrick(sst.OneHot(5), utility, t, ENTROPY).draw((2,))
    assert torch.equal(draw.relaxed[:, 0], draw.discrete[:, 0])
    torch.testing.assert_close(draw.relaxed[:, 1], torch.softmax(draw.utility[:, 1], -1))
    torch.testing.assert_close(draw.relaxed[:, 2], torch.full((2, 5), 0.2))


def test_gradients_reach_the_temperature():
    t = torch.tensor(0.7, requires_grad=True)
    x = sst.StochasticSoftmaxTrick(sst.OneHot(5), Gumbel(torch.zeros(5), 1.0), t, ENTROPY).rsample()
    (gradient,) = torch.autograd.grad(x[0], t)
    assert gradient.isfinite()
    assert gradient != 0


@PAIRS
def test_expand(case: Case):
    _, relaxed = trick(case, 3)
    hard = sst.StochasticArgmaxTrick(case.structure, relaxed.utility)
    for distribution in (relaxed, hard, sst.StraightThrough(relaxed)):
        wide = distribution.expand((2, 3))
        assert type(wide) is type(distribution)
        assert wide.batch_shape == (2, 3)
        assert wide.event_shape == distribution.event_shape
        assert wide.sample((4,)).shape == (4, 2, 3, case.problem.size)


@PAIRS
def test_expand_keeps_subclasses_and_their_attributes(case: Case):
    _, relaxed = trick(case, 3)

    class OwnRelaxed(sst.StochasticSoftmaxTrick):
        colour = "red"

    class OwnHard(sst.StochasticArgmaxTrick):
        def __init__(self, loc):
            super().__init__(case.structure, Gumbel(loc, 1.0))
            self.loc = loc

        def expand(self, batch_shape, _instance=None):
            new = self._get_checked_instance(OwnHard, _instance)
            new.loc = self.loc.expand(*batch_shape, -1)
            return super().expand(batch_shape, _instance=new)

    class OwnThrough(sst.StraightThrough):
        pass

    own = OwnRelaxed(case.structure, relaxed.utility, 0.5, case.regularizer, validate_args=False)
    own.note = "kept"
    wide = own.expand((2, 3))
    assert (type(wide), wide.note, wide._validate_args) == (OwnRelaxed, "kept", False)
    assert (wide.temperature, wide.regularizer, wide.structure) == (0.5, case.regularizer, case.structure)
    wide = OwnHard(case.utilities(3)).expand((2, 3))
    assert (type(wide), wide.loc.shape) == (OwnHard, (2, 3, case.problem.size))
    assert wide.sample().shape == (2, 3, case.problem.size)
    wide = OwnThrough(own).expand((2, 3))
    assert (type(wide), type(wide.trick)) == (OwnThrough, OwnRelaxed)
    assert wide.rsample().shape == wide.sample().shape == (2, 3, case.problem.size)

    class Forgetful(OwnHard):
        def __init__(self):
            super().__init__(case.utilities(3))

    with pytest.raises(NotImplementedError, match="expand"):
        Forgetful().expand((2, 3))


def test_expanded_draws_are_independent():
    wide = sst.StochasticArgmaxTrick(sst.OneHot(5), Gumbel(torch.zeros(5), 1.0)).expand((200,))
    assert len({tuple(row) for row in wide.sample(generator=seeded(0)).tolist()}) == 5


def test_utilities_without_an_event_are_read_as_independent():
    plain = Gumbel(torch.zeros(3, 5), 1.0)
    for utility in (plain, Independent(plain, 1)):
        hard = sst.StochasticArgmaxTrick(sst.OneHot(5), utility)
        assert (hard.batch_shape, hard.event_shape) == ((3,), (5,))
        assert hard.utility.event_shape == (5,)


def test_masked_structures_batch_against_utilities():
    mask = torch.tensor([[True, True, False], [False, True, True]])
    hard = sst.StochasticArgmaxTrick(sst.OneHot(3, mask=mask), Gumbel(torch.zeros(2, 3), 1.0))
    x = hard.sample((50,))
    assert torch.count_nonzero(x[..., ~mask]) == 0
    assert torch.equal(x.sum(-1), torch.ones(50, 2))


def test_repr_is_one_line_with_everything_in_it():
    mask = torch.tensor([[True, True, False], [False, True, True]])
    utility = sst.Gumbel(torch.zeros(2, 3))
    shown = repr(sst.StochasticSoftmaxTrick(sst.OneHot(3, mask=mask), utility, 0.5, sst.Euclidean()))
    for word in ("StochasticSoftmaxTrick(OneHot(3, mask", "Gumbel(loc", "temperature=0.5", "regularizer=Euclidean()"):
        assert word in shown
    assert "solver" not in shown
    t = torch.rand(50, 1, 1)
    soft = sst.StochasticSoftmaxTrick(sst.OneHot(3), utility, t[0, 0, 0], ENTROPY, solver=sst.FrankWolfe(max_steps=7))
    assert "FrankWolfe(" in repr(soft)
    assert f"temperature={t[0, 0, 0]}" in repr(soft)
    for d in (
        soft,
        soft.expand((4, 2)),
        sst.StochasticSoftmaxTrick(sst.OneHot(3), utility, t, ENTROPY),
        sst.StraightThrough(soft),
        sst.StochasticArgmaxTrick(sst.OneHot(3), utility),
    ):
        assert "\n" not in repr(d)
        assert repr(d).startswith(f"{type(d).__name__}(")
        assert "OneHot(3" in repr(d)
        assert "Gumbel(" in repr(d)
    assert repr(soft) in repr(sst.StraightThrough(soft))


def test_supports_follow_the_mask_of_the_utility():
    """A masked utility that removes a node leaves the trees of a smaller graph, as a mask of the structure does."""
    keep = torch.tensor([True, False, True, False, True, False])  # of the pairs of four nodes, those without node 2
    utility = sst.Masked(sst.Gumbel(torch.zeros(2, 6)), keep)
    hard = sst.StochasticArgmaxTrick(sst.SpanningTree.complete(4), utility)
    soft = sst.StochasticSoftmaxTrick(sst.SpanningTree.complete(4), utility, 0.5, ENTROPY)
    assert hard.support.check(hard.sample((20,))).all()
    assert soft.support.check(soft.sample((20,))).all()
    assert not hard.support.check(torch.tensor([1.0, 1, 1, 0, 0, 0])).any()


def test_vectors_have_no_distribution_function():
    relaxed = sst.StochasticSoftmaxTrick(sst.OneHot(3), sst.Gumbel(torch.zeros(3)), 0.5, ENTROPY)
    for d in (relaxed, sst.StraightThrough(relaxed), sst.StochasticArgmaxTrick(sst.OneHot(3), relaxed.utility)):
        for question in (d.cdf, d.icdf):
            with pytest.raises(NotImplementedError, match="more than one number"):
                question(torch.zeros(3))


class Sampler(torch.nn.Module):
    def __init__(self, structure: sst.Structure, straight: bool) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, structure.event_shape[0])
        self.structure, self.straight = structure, straight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        d = sst.StochasticSoftmaxTrick(self.structure, sst.Gumbel(self.linear(x)), 0.5, ENTROPY)
        return sst.StraightThrough(d).rsample((2,)) if self.straight else d.rsample((2,))


@pytest.mark.parametrize("straight", [False, True])
@pytest.mark.parametrize("structure", [sst.OneHot(3), sst.KSubset(3, 2), sst.SpanningTree.complete(3)], ids=repr)
def test_modules_with_a_trick_can_be_exported(structure: sst.Structure, straight: bool):
    x = torch.randn(4, 2)
    module = Sampler(structure, straight)
    exported = torch.export.export(module, (x,)).module()
    torch.manual_seed(0)
    expected = module(x)
    torch.manual_seed(0)
    torch.testing.assert_close(exported(x), expected)
    assert structure.contains(exported(x).round()).all() or not straight


def count_tricks() -> tuple[sst.StochasticSoftmaxTrick, sst.StraightThrough]:
    relaxed = sst.StochasticSoftmaxTrick(sst.OneHot(3), Poisson(torch.ones(3)), 0.5, ENTROPY)
    return relaxed, sst.StraightThrough(relaxed)


def test_utilities_without_a_gradient_are_sampled_and_never_reparameterised():
    for distribution in count_tricks():
        assert not distribution.has_rsample
        assert distribution.sample((4,)).shape == (4, 3)
        with pytest.raises(NotImplementedError, match=r"Poisson.*not reparameterised.*sample\(\)"):
            distribution.rsample()
        with pytest.raises(NotImplementedError, match="not reparameterised"):
            distribution.draw()


def test_straight_through_has_the_law_of_the_vertex():
    utility = Gumbel(torch.randn(2, 4), 1.0)
    structure = sst.KSubset(4, 2)
    hard = sst.StochasticArgmaxTrick(structure, utility)
    straight = sst.StraightThrough(sst.StochasticSoftmaxTrick(structure, utility, 0.5, ENTROPY))
    x = straight.sample((5,), generator=seeded(1))
    assert torch.equal(x, hard.sample((5,), generator=seeded(1)))
    assert torch.equal(straight.log_prob(x), hard.log_prob(x))
    assert torch.equal(straight.enumerate_support(), hard.enumerate_support())


def test_vertices_can_be_enumerated_and_relaxed_samples_cannot():
    relaxed = sst.StochasticSoftmaxTrick(sst.KSubset(4, 2), Gumbel(torch.zeros(3, 4), 1.0), 0.5, ENTROPY)
    hard = sst.StochasticArgmaxTrick(sst.KSubset(4, 2), relaxed.utility)
    assert hard.has_enumerate_support
    assert sst.StraightThrough(relaxed).has_enumerate_support
    assert not relaxed.has_enumerate_support
    assert torch.equal(Independent(hard, 0).enumerate_support(), hard.enumerate_support())


def logistic(loc: torch.Tensor) -> Distribution:
    """As torch's documentation makes one."""
    uniform = torch.distributions.Uniform(torch.zeros_like(loc), 1.0)
    return TransformedDistribution(uniform, [SigmoidTransform().inv, AffineTransform(loc, 1.0)])


def there_and_back() -> list[Transform]:
    return [ExpTransform(), ExpTransform().inv]


UTILITIES = {
    "Gumbel": lambda loc: Gumbel(loc, 1.0),
    "Independent": lambda loc: Independent(Gumbel(loc, 1.0), 1),
    "Masked": lambda loc: sst.Masked(Gumbel(loc, 1.0), torch.tensor([True, True, False, True])),
    "inverse transform": logistic,
    "composed": lambda loc: TransformedDistribution(
        Normal(loc, 1.0), ComposeTransform([ExpTransform(), ExpTransform().inv])
    ),
    "ours": sst.Gumbel,
    "Normal": lambda loc: Normal(loc, 1.0),
}
COPIES = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda d: pickle.loads(pickle.dumps(d))}


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("utility", UTILITIES.values(), ids=UTILITIES)
def test_copied_tricks_sample(utility, duplicate):
    """Copies of torch's Gumbel lose their inverse transforms; copies of a trick, and their copies, keep them."""
    relaxed = sst.StochasticSoftmaxTrick(sst.KSubset(4, 2), utility(torch.zeros(3, 4)), 0.5, ENTROPY)
    for d in (relaxed, sst.StraightThrough(relaxed), sst.StochasticArgmaxTrick(sst.KSubset(4, 2), relaxed.utility)):
        twin = duplicate(d)
        assert type(twin) is type(d)
        expected = d.sample((5,), generator=seeded(0))
        for again in (twin, duplicate(twin), duplicate(d)):
            assert torch.equal(again.sample((5,), generator=seeded(0)), expected)
        u = d.utility.sample()
        assert torch.equal(twin.utility.log_prob(u), d.utility.log_prob(u))
        assert twin.expand((2, 3)).sample().shape == (2, 3, 4)


def test_copies_are_independent_of_what_they_are_copied_from():
    loc = torch.zeros(4)
    hard = sst.StochasticArgmaxTrick(sst.OneHot(4), Gumbel(loc, 1.0))
    twin = copy.deepcopy(hard)
    loc[0] = 100.0
    assert (hard.sample((50,))[:, 0] == 1).all()
    assert (twin.sample((50,))[:, 0] == 0).any()


@pytest.mark.parametrize(
    "base",
    [
        torch.distributions.Cauchy(torch.zeros(2), 1.0),
        torch.distributions.StudentT(torch.ones(2)),  # neither a mean nor an icdf
        torch.distributions.Pareto(torch.ones(2), torch.tensor(0.5)),
        torch.distributions.TransformedDistribution(
            Normal(torch.zeros(2), 1.0), [torch.distributions.AffineTransform(0.0, 2.0)]
        ),
        torch.distributions.Gamma(torch.ones(2), 1.0),
        sst.Logistic(torch.zeros(2)),
    ],
    ids=lambda base: type(base).__name__,
)
def test_masked_densities_of_laws_without_a_mean_or_without_a_median(base: Distribution):
    value = torch.tensor([1.5, -torch.inf])
    found = sst.Masked(base, torch.tensor([True, False])).log_prob(value)
    assert torch.equal(found, torch.stack([base.log_prob(torch.full((2,), 1.5))[0], torch.zeros(())]))


def test_moments_of_a_masked_utility():
    base = Normal(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    u = sst.Masked(base, torch.tensor([True, False]))
    assert u.mean.tolist() == [1.0, -torch.inf]
    assert u.variance.tolist() == [9.0, 0.0]
    assert u.entropy().tolist() == [base.entropy()[0].item(), 0.0]


@pytest.mark.parametrize("family", [sst.Gumbel, torch.distributions.Gumbel])
def test_a_location_of_minus_infinity_is_a_mask(family):
    trees = sst.Arborescence.complete(4)
    loc = torch.zeros(9).masked_fill((trees.edges == 3).any(0), -torch.inf)
    trick = sst.StochasticArgmaxTrick(trees, family(loc, torch.ones(()), validate_args=False))
    assert trick.support.check(trick.sample((10,))).all()
    assert trick.enumerate_support().shape == (3, 9)


def test_the_parameters_of_a_regularizer_belong_to_the_batch():
    alpha = torch.tensor([1.0, 1.5, 2.0])
    trick = sst.StochasticSoftmaxTrick(sst.OneHot(4), sst.Gumbel(torch.zeros(4)), 0.5, sst.TsallisEntropy(alpha))
    assert trick.batch_shape == (3,)
    assert {part.shape for part in trick.draw((2,))} == {(2, 3, 4)}
    with pytest.raises(ValueError, match="regularizer: found"):
        sst.StochasticSoftmaxTrick(sst.OneHot(4), sst.Gumbel(torch.zeros(2, 4)), 0.5, sst.TsallisEntropy(alpha))
