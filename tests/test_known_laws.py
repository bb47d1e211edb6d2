"""Moments, entropies and divergences of argmax tricks, against sums over all vertices with their probabilities."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.distributions import Distribution, Gumbel, Independent, Normal, kl_divergence

import sstricks as sst
from brute_force import k_subset_vertices, one_hot_vertices, subset_vertices
from laws import assert_near
from sampling_processes import k_subset_probabilities, plackett_luce

F64 = torch.float64
INF = math.inf


def one_hot(logits: np.ndarray) -> np.ndarray:
    w = np.exp(logits)
    return w / w.sum()


def coins(logits: np.ndarray) -> np.ndarray:
    p = 1 / (1 + np.exp(-logits))
    return np.where(subset_vertices(len(logits)) > 0, p, 1 - p).prod(-1)


def pairs(logits: np.ndarray) -> np.ndarray:
    return k_subset_probabilities(torch.from_numpy(logits), 2)[1]


def permutation_matrices(n: int) -> np.ndarray:
    return np.stack([np.eye(n)[list(order)] for order in itertools.permutations(range(n))])


def rankings(logits: np.ndarray) -> np.ndarray:
    return np.array([plackett_luce(order, np.exp(logits)) for order in itertools.permutations(range(len(logits)))])


@dataclass(frozen=True)
class Known:
    """A structure and a utility of which the law of the argmax is known."""

    name: str
    structure: sst.Structure
    utility: Callable[[torch.Tensor], Distribution]
    """From logits."""
    vertices: np.ndarray
    probabilities: Callable[[np.ndarray], np.ndarray]

    def __str__(self) -> str:
        return self.name

    def trick(self, logits: torch.Tensor) -> sst.StochasticArgmaxTrick:
        return sst.StochasticArgmaxTrick(self.structure, self.utility(logits))

    def truth(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The vertices, and the probabilities, shape (*batch, |X|)."""
        p = np.apply_along_axis(self.probabilities, -1, logits.detach().numpy())
        return torch.from_numpy(self.vertices).double(), torch.from_numpy(p)


def scaled_gumbel(logits: torch.Tensor) -> Distribution:
    return Gumbel(2.5 * logits, torch.tensor(2.5, dtype=logits.dtype))


KNOWN = [
    Known("one-hot, Gumbel", sst.OneHot(4), lambda u: Gumbel(u, 1.0), one_hot_vertices(4), one_hot),
    Known("one-hot, scaled Gumbel", sst.OneHot(4), scaled_gumbel, one_hot_vertices(4), one_hot),
    Known("one-hot, ours", sst.OneHot(4), sst.Gumbel, one_hot_vertices(4), one_hot),
    Known(
        "one-hot, exponential", sst.OneHot(4), lambda u: sst.NegativeExponential(u.exp()), one_hot_vertices(4), one_hot
    ),
    Known("1-subset", sst.KSubset(4, 1), lambda u: Independent(Gumbel(u, 1.0), 1), k_subset_vertices(4, 1), one_hot),
    Known("2-subset", sst.KSubset(4, 2), scaled_gumbel, k_subset_vertices(4, 2), pairs),
    Known(
        "2-subset, exponential",
        sst.KSubset(4, 2),
        lambda u: sst.NegativeExponential(u.exp()),
        k_subset_vertices(4, 2),
        pairs,
    ),
    Known(
        "subset",
        sst.Subset(4),
        lambda u: sst.Logistic(u * torch.tensor([1.0, 2.0, 0.5, 3.0]), torch.tensor([1.0, 2.0, 0.5, 3.0]).to(u)),
        subset_vertices(4),
        coins,
    ),
    Known("matching", sst.Matching(4), sst.Sorting, permutation_matrices(4), rankings),
]
EACH = pytest.mark.parametrize("known", KNOWN, ids=str)
MASKABLE = pytest.mark.parametrize("known", [known for known in KNOWN if known.name != "matching"], ids=str)


def logits(*batch: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*batch, 4, dtype=F64, generator=torch.Generator().manual_seed(seed))


def moments(x: torch.Tensor, p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = torch.tensordot(p, x, 1)
    return mean, torch.tensordot(p, x.square(), 1) - mean.square()


@EACH
def test_moments_are_sums_over_the_vertices(known: Known):
    theta = logits(2, 3)
    trick, (x, p) = known.trick(theta), known.truth(theta)
    mean, variance = moments(x, p)
    assert trick.mean.shape == (2, 3, *known.structure.event_shape)
    assert_near(trick.mean, mean, 1e-12)
    assert_near(trick.variance, variance, 1e-12)
    assert_near(trick.stddev, variance.sqrt(), 1e-10)
    entropy = -torch.xlogy(p, p).sum(-1)
    assert_near(trick.entropy(), entropy, 1e-12)
    assert_near(trick.perplexity(), entropy.exp(), 1e-10)


@EACH
def test_the_mode_is_the_most_probable_vertex(known: Known):
    for theta in logits(20):
        x, p = known.truth(theta)
        assert torch.equal(known.trick(theta).mode, x[p.argmax()])


@EACH
def test_moments_are_those_of_samples(known: Known):
    theta = logits().float()
    trick = known.trick(theta)
    x = trick.sample((20_000,), generator=torch.Generator().manual_seed(0))
    error = (x.mean(0) - trick.mean).abs() / (trick.variance / 20_000).sqrt().clamp(min=1e-6)
    assert error.max() < 4.5


@EACH
def test_moments_and_divergences_have_gradients(known: Known):
    theta, other = logits(), logits(seed=1)
    questions = [
        lambda u: known.trick(u).mean,
        lambda u: known.trick(u).variance,
        lambda u: known.trick(u).entropy(),
        lambda u: kl_divergence(known.trick(u), known.trick(other)),
        lambda u: kl_divergence(known.trick(other), known.trick(u)),
    ]
    for question in questions:
        assert torch.autograd.gradcheck(question, theta.clone().requires_grad_())


@EACH
def test_divergence_is_that_of_the_vertices(known: Known):
    theta, other = logits(3), logits(seed=1)
    _, p = known.truth(theta)
    _, q = known.truth(other)
    expected = (p * (p.log() - q.log())).sum(-1)
    pair = known.trick(theta), known.trick(other)
    found = kl_divergence(*pair)
    assert found.shape == (3,)
    assert_near(found, expected, 1e-11)
    # Unlike that of the utilities, it does not depend on a shift which their argmax does not see.
    if known.name.startswith(("one-hot", "1-", "2-", "matching")):
        assert_near(kl_divergence(known.trick(theta + 5), known.trick(other)), expected, 1e-11)


@MASKABLE
def test_absent_coordinates(known: Known):
    """By a mask of the structure, or of the utility: the law of the rest, in which they are 0."""
    theta, other = logits().requires_grad_(), logits(seed=1)
    keep = torch.tensor([True, False, True, True])
    arguments = (4, known.structure.k) if isinstance(known.structure, sst.KSubset) else (4,)
    masked = type(known.structure)(*arguments, mask=keep)
    arguments = (3, *arguments[1:])
    few = known.vertices[known.vertices[:, 1] == 0]
    rest = Known("", type(known.structure)(*arguments), known.utility, np.delete(few, 1, -1), known.probabilities)
    if "scale" in vars(known.utility(theta)) and known.name == "subset":
        rest = Known("", rest.structure, lambda u: sst.Logistic(u), rest.vertices, rest.probabilities)
    small, of_other = rest.trick(theta[keep]), rest.trick(other[keep])

    def without(utility: Distribution) -> Distribution:
        base = utility.base_dist if isinstance(utility, Independent) else utility
        return sst.Masked(base, keep)

    spellings = [
        lambda u: sst.StochasticArgmaxTrick(masked, known.utility(u)),
        lambda u: sst.StochasticArgmaxTrick(known.structure, without(known.utility(u))),
    ]
    for build in spellings:
        trick = build(theta)
        spread = torch.zeros(4, dtype=F64)
        assert_near(trick.mean, spread.masked_scatter(keep, small.mean), 1e-12)
        assert_near(trick.variance, spread.masked_scatter(keep, small.variance), 1e-12)
        assert torch.equal(trick.mode, spread.masked_scatter(keep, small.mode))
        assert_near(trick.entropy(), small.entropy(), 1e-12)
        found = kl_divergence(trick, build(other))
        assert_near(found, kl_divergence(small, of_other), 1e-12)
        (gradient,) = torch.autograd.grad(found + trick.entropy() + trick.mean.sum(), theta)
        assert gradient.isfinite().all()
        assert gradient[1] == 0
        assert trick.support.check(trick.sample((50,))).all()
        unmasked = known.trick(other)
        assert kl_divergence(trick, unmasked) < INF
        assert kl_divergence(unmasked, trick) == INF


def test_masks_that_differ_in_a_batch():
    mask = torch.tensor([[True, True, True, False], [True] * 4])
    theta = logits(2)
    for build in (lambda mask: sst.KSubset(4, 2, mask=mask), lambda mask: sst.OneHot(4, mask=mask)):
        trick = sst.StochasticArgmaxTrick(build(mask), Gumbel(theta, 1.0))
        for row in range(2):
            alone = sst.StochasticArgmaxTrick(build(mask[row]), Gumbel(theta[row], 1.0))
            assert_near(trick.mean[row], alone.mean, 1e-12)
            assert_near(trick.entropy()[row], alone.entropy(), 1e-12)


@EACH
def test_straight_through_has_the_law_of_its_values(known: Known):
    trick = known.trick(logits(2))
    f = sst.CategoricalEntropy()
    through = sst.StraightThrough(sst.StochasticSoftmaxTrick(known.structure, trick.utility, 0.5, f))
    assert torch.equal(through.mean, trick.mean)
    assert torch.equal(through.variance, trick.variance)
    assert torch.equal(through.mode, trick.mode)
    assert torch.equal(through.entropy(), trick.entropy())
    other = known.trick(logits(seed=1))
    for pair in ((through, other), (other, through), (through, through)):
        plain = tuple(trick if d is through else d for d in pair)
        assert torch.equal(kl_divergence(*pair), kl_divergence(*plain))


def test_divergence_from_an_exponential_family():
    theta = logits(3)
    trick = sst.StochasticArgmaxTrick(sst.KSubset(4, 2), Gumbel(theta, 1.0))
    prior = sst.ExponentialFamily(sst.KSubset(4, 2), torch.zeros(4, dtype=F64))
    assert_near(kl_divergence(trick, prior), math.log(6) - trick.entropy(), 1e-12)
    assert (kl_divergence(prior, trick) > 0).all()


def test_the_order_of_places_of_a_ranking():
    """The first row is the first place: an item of most weight comes first."""
    scores = torch.tensor([0.0, 5.0, -5.0])
    trick = sst.StochasticArgmaxTrick(sst.Matching(3), sst.Sorting(scores))
    assert trick.mean[0].argmax() == 1
    assert trick.mean[2].argmax() == 2
    assert_near(trick.mean[0], scores.softmax(-1), 1e-6)


UNKNOWN = [
    sst.StochasticArgmaxTrick(sst.SpanningTree.complete(3), Gumbel(torch.zeros(3), 1.0)),
    sst.StochasticArgmaxTrick(sst.OneHot(3), Normal(torch.zeros(3), 1.0)),
    sst.StochasticArgmaxTrick(sst.OneHot(3), Gumbel(torch.zeros(3), torch.tensor([1.0, 2.0, 3.0]))),
    sst.StochasticArgmaxTrick(sst.KSubset(40, 13), Gumbel(torch.zeros(40), 1.0)),
]


@pytest.mark.parametrize("trick", UNKNOWN, ids=repr)
def test_laws_that_are_not_known_say_what_is(trick: sst.StochasticArgmaxTrick):
    for question in (
        lambda: trick.mean,
        lambda: trick.mode,
        lambda: trick.variance,
        lambda: trick.stddev,
        lambda: trick.entropy(),
        lambda: trick.perplexity(),
        lambda: kl_divergence(trick, trick),
        lambda: trick.log_prob(trick.sample()),
    ):
        with pytest.raises(NotImplementedError, match="known"):
            question()


def test_moments_of_too_many_vertices():
    """The probability of a vertex is known there, and the sum over all is not worth its time."""
    trick = sst.StochasticArgmaxTrick(sst.KSubset(60, 5), Gumbel(torch.zeros(60), 1.0))
    assert trick.log_prob(trick.sample()).isfinite()
    assert trick.mode.sum() == 5
    for question in (lambda: trick.mean, lambda: trick.entropy(), lambda: kl_divergence(trick, trick)):
        with pytest.raises(NotImplementedError, match=r"more than 2000 vertices.*Average over samples"):
            question()


def test_divergence_of_relaxed_samples_says_what_there_is():
    soft = sst.StochasticSoftmaxTrick(sst.OneHot(3), Gumbel(torch.zeros(3), 1.0), 1.0, sst.CategoricalEntropy())
    hard = sst.StochasticArgmaxTrick(sst.OneHot(3), Gumbel(torch.zeros(3), 1.0))
    for pair in ((soft, soft), (soft, hard), (hard, soft)):
        with pytest.raises(NotImplementedError, match=r"StochasticArgmaxTrick.*upper bound.*shifts"):
            kl_divergence(*pair)


def test_divergence_of_tricks_on_different_structures():
    one, two = (sst.StochasticArgmaxTrick(sst.KSubset(4, k), Gumbel(torch.zeros(4), 1.0)) for k in (2, 3))
    with pytest.raises(ValueError, match="same structure"):
        kl_divergence(one, two)
