"""Correlated k-subsets beyond the laws: many items, padding, pairs that are absent, samples, and their edge cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Gumbel

import sstricks as sst
from brute_force import exact, scaled
from chain_problem import chain_vertices, first_of_the_best
from chain_recursion import best_path, chain_probability, chain_slope, log_domain, with_pairs
from laws import TOLERANCE, assert_near
from recursions import k_subset_probability
from test_errors import check
from utilities_at_extremes import clusters_in_clusters, hierarchy, staircase, uniform

FAMILY = sst.ExponentialFamilyEntropy()
SCALES = {
    "range-10": lambda n, rng: uniform(n, 10.0, rng),
    "range-1e3": lambda n, rng: uniform(n, 1e3, rng),
    "range-1e6": lambda n, rng: uniform(n, 1e6, rng),
    "hierarchy": hierarchy,
    "clusters": clusters_in_clusters,
    "staircase": staircase,
}


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n", "k"), [(30, 1), (30, 8), (30, 29), (30, 30), (350, 10), (100, 50)])
def test_the_program_in_logarithms(n: int, k: int):
    """Value, gradient and second derivative agree with an unrolled one where logarithms have digits to spare."""
    u, g = normal(3, 2 * n - 1).requires_grad_(), normal(3, 2 * n - 1, seed=1)
    structure = sst.ChainKSubset(n, k)
    assert_near(structure.log_partition(u), log_domain(u, k), 1e-10)
    (theirs,) = torch.autograd.grad(log_domain(u, k).sum(), u, create_graph=True)
    ours = structure.softmax(u, 1.0, FAMILY)
    assert_near(ours, theirs, 1e-11)
    du, expected = (torch.autograd.grad((x * g).sum(), u)[0] for x in (ours, theirs))
    assert_near(du, expected, 1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("n", "k"), [(40, 1), (40, 10), (40, 39), (200, 10)])
def test_many_items_at_any_scale(n: int, k: int, scale: str, dtype: torch.dtype):
    rng = np.random.default_rng(n + k)
    t = torch.tensor(1e-4, dtype=dtype)
    u = torch.tensor(SCALES[scale](2 * n - 1, rng) * 1e-4, dtype=torch.float64).to(dtype).requires_grad_()
    g = torch.tensor(rng.uniform(-1, 1, 2 * n - 1), dtype=dtype)
    x = sst.ChainKSubset(n, k).softmax(u, t, FAMILY)
    (du,) = torch.autograd.grad((x * g).sum(), u)
    s, direction = scaled(u, t), exact(g)
    undecided = (x.detach() - 0.5).abs().argsort()[:3].tolist()
    for c in undecided + rng.integers(2 * n - 1, size=2).tolist():
        assert abs(x[c].item() - chain_probability(s, k, c)) <= TOLERANCE[dtype]
        assert abs(du[c].item() * t.item() - chain_slope(s, direction, k, c)) <= TOLERANCE[dtype]
    assert abs(x[:n].sum().item() - k) <= TOLERANCE[dtype] * k


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 1), (2, 2), (7, 7), (9, 1), (350, 10), (1500, 750)])
def test_counts(n: int, k: int):
    structure = sst.ChainKSubset(n, k)
    log_count = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    zeros = torch.zeros(2 * n - 1, dtype=torch.float64)
    assert math.isclose(structure.log_partition(zeros).item(), log_count, rel_tol=1e-12, abs_tol=1e-12)
    x = structure.softmax(zeros, 1.0, FAMILY)
    assert_near(x[:n], zeros[:n] + k / n, 1e-11)
    assert_near(x[n:], zeros[n:] + k * (k - 1) / (n * max(n - 1, 1)), 1e-11)


@pytest.mark.parametrize("k", [1, 4, 9])
def test_without_interaction_it_is_the_k_subset(k: int):
    u = normal(3, 9)
    chain, subset = sst.ChainKSubset(9, k), sst.KSubset(9, k)
    padded = torch.cat([u, torch.zeros(3, 8, dtype=torch.float64)], -1)
    assert_near(chain.softmax(padded, 0.7, FAMILY)[:, :9], subset.softmax(u, 0.7, FAMILY), 1e-13)
    assert_near(chain.log_partition(padded), subset.log_partition(u), 1e-12)
    assert torch.equal(chain.argmax(padded)[:, :9], subset.argmax(u))


@pytest.mark.parametrize(("n", "k"), [(60, 1), (60, 13), (60, 59), (60, 60), (350, 10)])
def test_argmax_of_many_items(n: int, k: int):
    structure = sst.ChainKSubset(n, k)
    for u in normal(4, 2 * n - 1):
        x = structure.argmax(u)
        assert structure.contains(x)
        assert math.isclose((x @ u).item(), best_path(u.numpy(), k), abs_tol=1e-10)


def test_among_equals_the_first_item_wins():
    """Of two best subsets, the one with the first item in which they differ; pairs have no say of their own."""
    vertices = chain_vertices(11, 4)
    u = torch.randint(-1, 2, (60, 21), generator=torch.Generator().manual_seed(3)).double()
    found = sst.ChainKSubset(11, 4).argmax(u)
    assert found.tolist() == [first_of_the_best(vertices, row).tolist() for row in u.numpy()]
    assert sst.ChainKSubset(4, 2).argmax(torch.zeros(7)).tolist() == with_pairs([1, 1, 0, 0])


def test_attraction_and_repulsion():
    attract, repel = (torch.cat([torch.zeros(6), torch.full((5,), v)]).double() for v in (50.0, -50.0))
    structure = sst.ChainKSubset(6, 3)
    assert_near(structure.softmax(attract, 1.0, FAMILY)[6:].sum(), torch.tensor(2.0), 1e-9)
    assert_near(structure.softmax(repel, 1.0, FAMILY)[6:].sum(), torch.tensor(0.0), 1e-9)


def test_padded_batch_of_sequences():
    """Sequences of 3 to 12 items in one batch: an item is present when it is before the end, its pairs say nothing."""
    n, k, lengths = 12, 3, torch.tensor([3, 5, 8, 12])
    mask = torch.cat([torch.arange(n) < lengths[:, None], torch.ones(4, n - 1, dtype=torch.bool)], -1)
    structure = sst.ChainKSubset(n, k, mask=mask)
    u, g = normal(4, 2 * n - 1).requires_grad_(), normal(4, 2 * n - 1, seed=1)
    x = structure.softmax(u, 0.5, FAMILY)
    (du,) = torch.autograd.grad((x * g).sum(), u)
    vertices, log_z, counts = structure.argmax(u), structure.log_partition(u), structure.log_partition(u * 0)
    samples = structure.sample(u, (50,))
    assert structure.contains(samples).all()
    for i, length in enumerate(lengths.tolist()):
        kept = [*range(length), *range(n, n + length - 1)]
        alone, row = sst.ChainKSubset(length, k), u[i, kept].detach().requires_grad_()
        expected = alone.softmax(row, 0.5, FAMILY)
        (slope,) = torch.autograd.grad((expected * g[i, kept]).sum(), row)
        rest = [c for c in range(2 * n - 1) if c not in kept]
        assert_near(x[i, kept], expected, 1e-13)
        assert_near(du[i, kept], slope, 1e-13)
        assert torch.equal(vertices[i, kept], alone.argmax(row))
        assert_near(log_z[i], alone.log_partition(row), 1e-12)
        assert math.isclose(counts[i].item(), math.log(math.comb(length, k)), abs_tol=1e-12)
        for zero in (x[i, rest], du[i, rest], vertices[i, rest]):
            assert torch.count_nonzero(zero) == 0


@pytest.mark.parametrize(("n", "k"), [(5, 2), (8, 3), (8, 4), (7, 4)])
def test_absent_pairs_keep_neighbours_apart(n: int, k: int):
    """C(n - k + 1, k) subsets have no two neighbours."""
    mask = torch.cat([torch.ones(n, dtype=torch.bool), torch.zeros(n - 1, dtype=torch.bool)])
    structure = sst.ChainKSubset(n, k, mask=mask)
    count = math.comb(n - k + 1, k)
    assert math.isclose(structure.log_partition(torch.zeros(2 * n - 1).double()).exp().item(), count, rel_tol=1e-12)
    assert len(structure.enumerate_support()) == count
    u = normal(2 * n - 1)
    assert torch.count_nonzero(structure.argmax(u)[n:]) == torch.count_nonzero(structure.sample(u, (9,))[:, n:]) == 0


def test_a_pair_at_plus_infinity_that_no_embedding_has():
    """Alone items have no pairs, and neither has a pair one of whose items is absent."""
    u = torch.zeros(5)
    u[3] = math.inf
    assert math.isclose(sst.ChainKSubset(3, 1).log_partition(u).item(), math.log(3), rel_tol=1e-6)
    assert sst.ChainKSubset(3, 2).log_partition(u) == math.inf
    u[0] = -math.inf
    assert sst.ChainKSubset(3, 2).log_partition(u) == 0
    both = torch.stack([u, torch.zeros(5)])
    mask = torch.tensor([True, False, True, True, True])
    assert sst.ChainKSubset(3, 1, mask=mask).log_partition(both).tolist() == pytest.approx([0.0, math.log(2)])


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
@pytest.mark.parametrize("structure", [sst.ChainKSubset(30, 6), sst.KSubset(30, 6)], ids=repr)
def test_samples_of_many_items_have_the_marginals(structure: sst.Structure, scale: float):
    u = scale * normal(2, *structure.event_shape)
    samples = structure.sample(u, (4000,), generator=torch.Generator().manual_seed(0))
    assert samples.shape == (4000, 2, *structure.event_shape)
    assert structure.contains(samples).all()
    x = structure.softmax(u, 1.0, FAMILY)
    assert ((samples.mean(0) - x).abs() <= 5 * (x * (1 - x) / 4000).sqrt() + 1e-12).all()


def test_gumbel_utilities_without_interaction_are_sampled_without_replacement():
    """Corr. Top k with pairs at zero is Gumbel top-k."""
    loc = torch.linspace(-1, 1, 6)
    utility = sst.ChainUtility(Gumbel(loc, 1.0), torch.zeros(5))
    trick = sst.StochasticArgmaxTrick(sst.ChainKSubset(6, 2), utility)
    chain = trick.sample((500,), generator=torch.Generator().manual_seed(0))[:, :6]
    plain = sst.StochasticArgmaxTrick(sst.KSubset(6, 2), Gumbel(loc, 1.0))
    assert torch.equal(chain, plain.sample((500,), generator=torch.Generator().manual_seed(0)))


def test_oracles_agree_without_interaction():
    s = exact(normal(6))
    assert all(
        abs(chain_probability(s + exact(torch.zeros(5)), 3, i) - k_subset_probability(s, 3, i)) < 1e-40
        for i in range(6)
    )


NO_PAIRS = torch.cat([torch.ones(4, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)])


def test_errors():
    check(lambda: sst.ChainKSubset(0, 1), "n", "0", "1")
    check(lambda: sst.ChainKSubset(3, 4), "k", "4", "3")
    check(lambda: sst.ChainKSubset(3, 0), "k", "0", "1")
    check(lambda: sst.ChainKSubset(3, 1, mask=torch.ones(3, dtype=torch.bool)), "mask", "(3,)", "5")
    check(lambda: sst.ChainKSubset(4, 3, mask=NO_PAIRS), "mask", "k = 3", "embedding")
    items = torch.tensor([[True] * 7, [True, False, False, True, True, True, True]])
    check(lambda: sst.ChainKSubset(4, 3, mask=items), "mask", "k = 3", "embedding")
    u = torch.zeros(3, 7)
    u[2, 4:] = -math.inf
    structure = sst.ChainKSubset(4, 3)
    for call in (
        structure.argmax,
        structure.log_partition,
        structure.sample,
        lambda v: structure.softmax(v, 1.0, FAMILY),
    ):
        check(lambda call=call: call(u), "u", "row 2", "vertex")
