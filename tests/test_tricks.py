"""The tricks as torch distributions: draws agree with themselves, with their seeds, and with the laws of the paper."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch.distributions import Distribution, Gumbel, Independent, Normal, kl_divergence

import sstricks as sst
from brute_force import is_forest, k_subset_vertices, one_hot_vertices, spanning_tree_vertices, subset_vertices
from cases import PAIR_CASES, Case
from graphs import SQUARE_WITH_DIAGONAL, complete

PAIRS = pytest.mark.parametrize("case", PAIR_CASES, ids=str)
ENTROPY = sst.ExponentialFamilyEntropy()
RARE = 1e-4  # the chance that a right sampler is refused, were the seed not fixed


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
    with pytest.raises(NotImplementedError):
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


# Laws of the samples


def assert_distributed(samples: torch.Tensor, vertices: np.ndarray, probabilities: np.ndarray) -> None:
    """Pearson's chi-square test over the vertices."""
    assert math.isclose(probabilities.sum(), 1, abs_tol=1e-9)
    index = {tuple(row): i for i, row in enumerate(vertices.tolist())}
    counts = np.bincount([index[tuple(row)] for row in samples.int().tolist()], minlength=len(vertices))
    expected = probabilities * len(samples)
    assert expected.min() > 5
    assert chisquare(counts, expected).pvalue > RARE


def test_gumbel_max():
    loc = torch.tensor([0.0, 1.0, -1.0, 0.5])
    samples = sst.StochasticArgmaxTrick(sst.OneHot(4), Gumbel(loc, 1.0)).sample((20_000,), generator=seeded(0))
    assert_distributed(samples, one_hot_vertices(4), torch.softmax(loc.double(), -1).numpy())


def test_chi_square_notices_a_wrong_law():
    loc = torch.tensor([0.0, 1.0, -1.0, 0.5])
    samples = sst.StochasticArgmaxTrick(sst.OneHot(4), Gumbel(1.2 * loc, 1.0)).sample((20_000,), generator=seeded(0))
    with pytest.raises(AssertionError):
        assert_distributed(samples, one_hot_vertices(4), torch.softmax(loc.double(), -1).numpy())


def test_logistic_subsets_are_independent_coins():
    loc = torch.tensor([0.3, -1.0, 1.0])
    samples = sst.StochasticArgmaxTrick(sst.Subset(3), sst.Logistic(loc)).sample((20_000,), generator=seeded(1))
    p = torch.sigmoid(loc.double()).numpy()
    vertices = subset_vertices(3)
    assert_distributed(samples, vertices, np.where(vertices > 0, p, 1 - p).prod(-1))


def plackett_luce(order: tuple[int, ...], weights: np.ndarray) -> float:
    """The probability that sampling without replacement begins with these indices."""
    left, p = weights.sum(), 1.0
    for i in order:
        p *= weights[i] / left
        left -= weights[i]
    return p


def k_subset_probabilities(loc: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    vertices, weights = k_subset_vertices(len(loc), k), np.exp(loc.double().numpy())
    probabilities = [
        sum(plackett_luce(order, weights) for order in itertools.permutations(np.flatnonzero(row))) for row in vertices
    ]
    return vertices, np.array(probabilities)


def test_gumbel_top_k_is_sampling_without_replacement():
    loc = torch.tensor([0.0, 1.0, -1.0, 0.5, 0.2])
    samples = sst.StochasticArgmaxTrick(sst.KSubset(5, 2), Gumbel(loc, 1.0)).sample((20_000,), generator=seeded(2))
    assert_distributed(samples, *k_subset_probabilities(loc, 2))


def kruskal_probabilities(
    edges: list[tuple[int, int]], num_nodes: int, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """App. B.7: draw edges without replacement in proportion to their weights, keep those that close no cycle.

    An edge that would close a cycle may be skipped silently, so each step draws among the admissible edges.
    """
    vertices = spanning_tree_vertices(edges, frozenset(range(num_nodes)))
    totals = {tuple(np.flatnonzero(row)): 0.0 for row in vertices}

    def grow(chosen: tuple[int, ...], p: float) -> None:
        if len(chosen) == num_nodes - 1:
            totals[tuple(sorted(chosen))] += p
            return
        rest = [e for e in range(len(edges)) if e not in chosen]
        admissible = [e for e in rest if is_forest([edges[c] for c in (*chosen, e)])]
        total = weights[admissible].sum()
        for e in admissible:
            grow((*chosen, e), p * weights[e] / total)

    grow((), 1.0)
    return vertices, np.array(list(totals.values()))


@pytest.mark.parametrize(("edges", "num_nodes"), [(complete(4), 4), (SQUARE_WITH_DIAGONAL, 4)], ids=["K4", "diagonal"])
def test_gumbel_spanning_trees_follow_kruskals_process(edges: list[tuple[int, int]], num_nodes: int):
    loc = torch.linspace(-0.8, 0.8, len(edges))
    trees = sst.SpanningTree(torch.tensor(edges).T, num_nodes)
    samples = sst.StochasticArgmaxTrick(trees, Gumbel(loc, 1.0)).sample((20_000,), generator=seeded(3))
    assert_distributed(samples, *kruskal_probabilities(edges, num_nodes, np.exp(loc.double().numpy())))


# Densities


def total_log_prob(hard: sst.StochasticArgmaxTrick) -> torch.Tensor:
    return hard.log_prob(hard.structure.enumerate_support())


def test_log_prob_of_one_hot():
    loc = torch.tensor([0.0, 1.0, -1.0, 0.5], dtype=torch.float64, requires_grad=True)
    hard = sst.StochasticArgmaxTrick(sst.OneHot(4), Gumbel(loc, 1.0))
    torch.testing.assert_close(hard.log_prob(torch.eye(4, dtype=torch.float64)), torch.log_softmax(loc, -1))
    (gradient,) = torch.autograd.grad(hard.log_prob(torch.eye(4, dtype=torch.float64)[1]), loc)
    torch.testing.assert_close(gradient, torch.eye(4, dtype=torch.float64)[1] - torch.softmax(loc.detach(), -1))


def test_log_prob_of_one_hot_with_scaled_gumbels():
    """Gumbel(loc, β) has the argmax of Gumbel(loc/β, 1) when β is shared; otherwise there is no formula."""
    loc = torch.tensor([0.0, 1.0, -1.0, 0.5], dtype=torch.float64)
    shared = sst.StochasticArgmaxTrick(sst.OneHot(4), Gumbel(loc, torch.tensor(2.0, dtype=torch.float64)))
    torch.testing.assert_close(shared.log_prob(torch.eye(4, dtype=torch.float64)), torch.log_softmax(loc / 2, -1))
    mixed = sst.StochasticArgmaxTrick(sst.OneHot(4), Gumbel(loc, torch.linspace(1, 2, 4, dtype=torch.float64)))
    with pytest.raises((NotImplementedError, ValueError)):
        mixed.log_prob(torch.eye(4, dtype=torch.float64))


def test_log_prob_of_masked_one_hot():
    loc, mask = torch.zeros(2, 3), torch.tensor([[True, True, False], [True, True, True]])
    hard = sst.StochasticArgmaxTrick(sst.OneHot(3, mask=mask), Gumbel(loc, 1.0))
    found = hard.log_prob(torch.tensor([1.0, 0.0, 0.0]).expand(2, 3))
    torch.testing.assert_close(found, torch.tensor([1 / 2, 1 / 3]).log())


def test_log_prob_of_subsets():
    loc = torch.tensor([0.3, -1.0, 1.0], dtype=torch.float64)
    hard = sst.StochasticArgmaxTrick(sst.Subset(3), sst.Logistic(loc, 2.0))
    x = hard.structure.enumerate_support().double()
    expected = torch.distributions.Bernoulli(logits=loc / 2).log_prob(x).sum(-1)
    torch.testing.assert_close(hard.log_prob(x), expected)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_log_prob_of_k_subsets(k: int):
    loc = torch.tensor([0.0, 1.0, -1.0, 0.5, 0.2], dtype=torch.float64)
    vertices, probabilities = k_subset_probabilities(loc, k)
    hard = sst.StochasticArgmaxTrick(sst.KSubset(5, k), Gumbel(loc, 1.0))
    found = hard.log_prob(torch.from_numpy(vertices).double())
    torch.testing.assert_close(found, torch.from_numpy(probabilities).log())
    leaf = loc.clone().requires_grad_()
    x = torch.from_numpy(vertices[0]).double()
    assert torch.autograd.gradcheck(
        lambda v: sst.StochasticArgmaxTrick(sst.KSubset(5, k), Gumbel(v, 1.0)).log_prob(x), leaf
    )


def test_log_prob_at_a_large_range_is_finite():
    loc = torch.tensor([0.0, 500.0, -500.0, 0.5], dtype=torch.float64)
    hard = sst.StochasticArgmaxTrick(sst.KSubset(4, 2), Gumbel(loc, 1.0))
    found = hard.log_prob(torch.tensor([[0, 1.0, 0, 1], [1, 0, 1, 0]], dtype=torch.float64))
    torch.testing.assert_close(found[0].exp(), torch.sigmoid(torch.tensor(0.5, dtype=torch.float64)))
    assert math.isclose(found[1].item(), -1500 + math.log(2), abs_tol=1e-9)  # either order: e^-500 e^-1000


@PAIRS
def test_log_prob_where_there_is_none_says_what_to_use(case: Case):
    _, relaxed = trick(case, 3)
    with pytest.raises((NotImplementedError, ValueError), match=r"(?s)utility.*kl_divergence|kl_divergence.*utility"):
        relaxed.log_prob(relaxed.sample())


def test_log_prob_of_trees_and_of_other_utilities_is_refused():
    trees = sst.SpanningTree.complete(3)
    for hard in (
        sst.StochasticArgmaxTrick(trees, Gumbel(torch.zeros(3), 1.0)),
        sst.StochasticArgmaxTrick(sst.OneHot(3), Normal(torch.zeros(3), 1.0)),
        sst.StochasticArgmaxTrick(sst.Subset(3), Gumbel(torch.zeros(3), 1.0)),
        sst.StochasticArgmaxTrick(sst.KSubset(40, 20), Gumbel(torch.zeros(40), 1.0)),
    ):
        with pytest.raises((NotImplementedError, ValueError), match="utility"):
            hard.log_prob(hard.sample())


def test_log_prob_of_what_is_no_vertex_is_minus_infinity_or_an_error():
    hard = sst.StochasticArgmaxTrick(sst.OneHot(3), Gumbel(torch.zeros(3), 1.0))
    try:
        found = hard.log_prob(torch.tensor([1.0, 1.0, 0.0]))
    except ValueError:
        return
    assert found == -math.inf


# Divergences


def test_kl_between_gumbels():
    """KL(Gumbel(θ) ‖ Gumbel(0)) = θ + exp(-θ) - 1."""
    theta = torch.tensor([-1.0, 0.0, 0.3, 4.0], dtype=torch.float64)
    found = kl_divergence(Gumbel(theta, 1.0), Gumbel(torch.zeros_like(theta), 1.0))
    torch.testing.assert_close(found, theta + torch.exp(-theta) - 1)


def test_kl_is_taken_between_the_utilities_of_tricks():
    loc = torch.tensor([[0.5, -0.5, 1.0]], dtype=torch.float64)
    p = sst.StochasticSoftmaxTrick(sst.OneHot(3), Gumbel(loc, 1.0), 1.0, ENTROPY)
    q = sst.StochasticSoftmaxTrick(sst.OneHot(3), Gumbel(torch.zeros_like(loc), 1.0), 1.0, ENTROPY)
    torch.testing.assert_close(kl_divergence(p.utility, q.utility), (loc + torch.exp(-loc) - 1).sum(-1))
    with pytest.raises(NotImplementedError):
        kl_divergence(p, q)


def test_kl_between_logistics_by_quadrature():
    z = torch.linspace(-60, 60, 200_001, dtype=torch.float64)
    for loc, scale in ((1.5, 1.0), (-0.5, 1.0)):
        p, q = sst.Logistic(torch.tensor(loc, dtype=torch.float64), scale), sst.Logistic(torch.zeros((), dtype=z.dtype))
        integrand = p.log_prob(z).exp() * (p.log_prob(z) - q.log_prob(z))
        torch.testing.assert_close(kl_divergence(p, q), torch.trapezoid(integrand, z), atol=1e-8, rtol=0)
