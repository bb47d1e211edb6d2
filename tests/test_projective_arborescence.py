"""Projective trees beyond the laws: counts, padding anywhere, larger sentences, samples, and what is refused."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

import sstricks as sst
from brute_force import ExponentialFamily, exact, float_marginals
from laws import assert_near
from listed import first_of_the_best
from projective_trees import is_projective_tree, ordered_pairs, projective_vertices
from recursions import projective_slope, projective_total
from sstricks import functional as F
from sstricks.ops import projective_arborescence
from test_errors import check

ENTROPY = sst.ExponentialFamilyEntropy()
moderate = settings(max_examples=25, deadline=None, derandomize=True)


def utilities(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def presence(nodes: int, absent: set[int]) -> torch.Tensor:
    return torch.tensor([not {i, j} & absent for i, j in ordered_pairs(nodes)])


def test_the_oracle_knows_what_is_projective():
    assert is_projective_tree({1: 0, 2: 1, 3: 0}, [0, 1, 2, 3])
    assert not is_projective_tree({1: 3, 2: 0, 3: 0}, [0, 1, 2, 3])  # 3 → 1 passes over 2
    assert is_projective_tree({1: 3, 3: 0}, [0, 1, 3])
    assert not is_projective_tree({1: 2, 2: 1, 3: 0}, [0, 1, 2, 3])


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_the_recursion_for_longer_sentences_agrees_with_enumeration(scale: float):
    edges, u, g = ordered_pairs(5), scale * utilities(16).round(), utilities(16, seed=1)
    family = ExponentialFamily(projective_vertices(edges))
    assert math.isclose(projective_total(u, edges, 5), float(family.log_partition(exact(u))), rel_tol=1e-15)
    values, slopes = family.value(exact(u)), family.slopes(exact(u), exact(g))[0]
    for e in range(16):
        value, slope = projective_slope(u, g, edges, 5, e)
        assert math.isclose(value, float(values[e]), abs_tol=1e-15)
        assert math.isclose(slope, float(slopes[e]), abs_tol=1e-15)


@pytest.mark.parametrize(("nodes", "count"), [(2, 1), (3, 3), (4, 12), (5, 55), (6, 273)])
def test_every_projective_tree_is_counted_once(nodes: int, count: int):
    trees = sst.ProjectiveArborescence(nodes)
    vertices = projective_vertices(ordered_pairs(nodes))
    assert len(vertices) == count
    assert math.isclose(trees.log_partition(torch.zeros(len(vertices[0])).double()), math.log(count), abs_tol=1e-12)
    assert sorted(trees.enumerate_support().int().tolist()) == sorted(vertices.tolist())


def test_edges_are_those_of_a_complete_digraph_without_the_ones_into_the_root():
    trees = sst.ProjectiveArborescence(4)
    assert trees.num_nodes == 4
    assert trees.edges.dtype == torch.int64
    assert tuple(map(tuple, trees.edges.T.tolist())) == ordered_pairs(4)
    x = torch.arange(1.0, 10.0)
    adjacency = trees.to_adjacency(x)
    assert adjacency[trees.edges[0], trees.edges[1]].tolist() == x.tolist()
    assert adjacency.sum() == x.sum()
    assert trees.to_adjacency(x.expand(2, 3, 9)).shape == (2, 3, 4, 4)


@moderate
@given(nodes=st.integers(2, 6), seed=st.integers(0, 2**20))
def test_against_enumeration(nodes: int, seed: int):
    trees, vertices = sst.ProjectiveArborescence(nodes), projective_vertices(ordered_pairs(nodes))
    u = 3 * utilities((nodes - 1) ** 2, seed=seed)
    assert_near(trees.softmax(u, 1.0, ENTROPY), torch.from_numpy(float_marginals(vertices, u.numpy())), 1e-12)
    assert trees.argmax(u).tolist() == first_of_the_best(vertices, u.numpy()).tolist()
    whole = u.round()
    assert trees.argmax(whole).tolist() == first_of_the_best(vertices, whole.numpy()).tolist()


@pytest.mark.parametrize("nodes", [5, 6])
def test_contains_looks_at_the_order_of_the_nodes(nodes: int):
    """Every choice of one head for each node, most of them cyclic or crossing."""
    edges = ordered_pairs(nodes)
    number = {edge: e for e, edge in enumerate(edges)}
    choices = list(itertools.product(*[[i for i in range(nodes) if i != j] for j in range(1, nodes)]))[:: nodes - 4]
    x = torch.zeros(len(choices), len(edges))
    for row, heads in zip(x, choices, strict=True):
        row[[number[i, j] for j, i in enumerate(heads, 1)]] = 1
    expected = [is_projective_tree(dict(enumerate(heads, 1)), list(range(nodes))) for heads in choices]
    assert sst.ProjectiveArborescence(nodes).contains(x).tolist() == expected


@pytest.mark.parametrize("absent", [{1}, {2}, {4}, {1, 3}, {3, 4}, {1, 2, 3}], ids=str)
@pytest.mark.parametrize("spelling", ["mask", "-inf"])
def test_padding_is_skipped_wherever_it_stands(absent: set[int], spelling: str):
    keep = presence(5, absent)
    small = sst.ProjectiveArborescence(5 - len(absent))
    u = utilities(3, 16)
    masked = sst.ProjectiveArborescence(5, mask=keep)
    trees, given = (masked, u) if spelling == "mask" else (masked, u.masked_fill(~keep, -math.inf))
    for call in (trees.argmax, lambda v: trees.softmax(v, 0.7, ENTROPY)):
        assert torch.count_nonzero(call(given)[:, ~keep]) == 0
    assert torch.equal(trees.argmax(given)[:, keep], small.argmax(u[:, keep]))
    assert_near(trees.softmax(given, 0.7, ENTROPY)[:, keep], small.softmax(u[:, keep], 0.7, ENTROPY), 1e-12)
    assert_near(trees.log_partition(given), small.log_partition(u[:, keep]), 1e-12)
    assert_near(trees.entropy(given), small.entropy(u[:, keep]), 1e-12)
    assert masked.contains(trees.argmax(given)).all()
    samples = trees.sample(given, (50,))
    assert masked.contains(samples).all()
    assert len(masked.enumerate_support()) == len(small.enumerate_support())


def test_sentences_of_many_lengths_share_a_batch():
    absent = [set(), {4, 5}, {1, 3}, {1, 2, 3, 4}, {2}, {5}, {1, 5}, {3}, {4}, {1}, {2, 3, 4}]  # more than the lanes
    keep = torch.stack([presence(6, a) for a in absent])
    trees = sst.ProjectiveArborescence(6, mask=keep)
    u = utilities(len(absent), 25).requires_grad_()
    g = utilities(len(absent), 25, seed=1)
    x = trees.softmax(u, 0.5, ENTROPY)
    (du,) = torch.autograd.grad((x * g).sum(), u)
    for i, missing in enumerate(absent):
        alone, v = sst.ProjectiveArborescence(6 - len(missing)), u[i][keep[i]].detach().requires_grad_()
        y = alone.softmax(v, 0.5, ENTROPY)
        (dv,) = torch.autograd.grad((y * g[i][keep[i]]).sum(), v)
        assert_near(x[i][keep[i]], y, 1e-12)
        assert_near(du[i][keep[i]], dv, 1e-12)
        assert torch.equal(trees.argmax(u)[i][keep[i]], alone.argmax(v))
        assert trees.contains(trees.argmax(u))[i]


SCALES = {
    "1": lambda rng, size: rng.normal(size=size),
    "1e3": lambda rng, size: rng.uniform(-5e2, 5e2, size),
    "1e6": lambda rng, size: rng.uniform(-5e5, 5e5, size),
    "levels": lambda rng, size: rng.choice([0.0, -1e3, -1e6], size) + rng.uniform(-1e-3, 1e-3, size),
    "far from zero": lambda rng, size: 1e6 + rng.normal(size=size),
    "near ties": lambda rng, size: rng.choice([0.0, -1e6], size) + rng.choice([0.0, -2.0], size),
}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("nodes", [8, 12])
def test_longer_sentences_at_any_scale(nodes: int, scale: str):
    """Value and slope against a recursion in sixty digits, at the edges that are least decided."""
    u = torch.from_numpy(SCALES[scale](np.random.default_rng(nodes), (nodes - 1) ** 2)).requires_grad_()
    g = utilities((nodes - 1) ** 2).clamp(-1, 1)
    trees = sst.ProjectiveArborescence(nodes)
    x = trees.softmax(u, 1.0, ENTROPY)
    (du,) = torch.autograd.grad((x * g).sum(), u)
    edges = ordered_pairs(nodes)
    for e in (x.detach() - 0.5).abs().argsort()[:2].tolist():
        value, slope = projective_slope(u, g, edges, nodes, e)
        assert abs(x[e].item() - value) <= 1e-9
        assert abs(du[e].item() - slope) <= 1e-9
    heads = trees.to_adjacency(x.detach()).sum(-2)
    assert_near(heads[1:], torch.ones(nodes - 1).double(), 1e-14)
    assert math.isclose(trees.log_partition(u).item(), projective_total(u, edges, nodes), rel_tol=1e-12, abs_tol=1e-9)


@pytest.mark.parametrize("gap", [1e13, 1e15, 1e100, 1e299])
def test_utilities_beyond_all_reason_keep_the_order_of_whole_trees(gap: float):
    """Sums over a tree decide, not single edges; and a distant edge that no tree needs takes no digit from the rest."""
    u = gap * utilities(20, 25)
    trees = sst.ProjectiveArborescence(6)
    assert_near(trees.softmax(u, 1.0, ENTROPY), trees.argmax(u), 1e-12)
    u = utilities(25)
    u[[3, 7]] = -gap
    absent = u.masked_fill(u < -1e9, -math.inf)
    assert_near(trees.softmax(u, 1.0, ENTROPY), trees.softmax(absent, 1.0, ENTROPY), 1e-12)
    u[presence(6, {0}).logical_not()] = -gap  # every edge out of the root: all trees need one
    x = trees.softmax(u, 1.0, ENTROPY)
    assert x.isfinite().all()
    assert math.isclose(trees.log_partition(u), -gap, rel_tol=1e-9)


def test_ties_between_sums_that_are_exact():
    trees = sst.ProjectiveArborescence(30)
    star = torch.zeros(29**2, dtype=torch.float64)
    star[:29] = 1  # of all trees, that in which every edge leaves the root comes first
    assert torch.equal(trees.argmax(torch.zeros(29**2, dtype=torch.float64)), star)
    u = torch.randint(-1, 2, (20, 29**2), generator=torch.Generator().manual_seed(0)).double()
    best = trees.argmax(u)
    order = u * 2.0**20 - torch.arange(29**2)  # lower edges first as far as a sum can say so
    assert torch.equal((best * u).sum(-1), (trees.argmax(order) * u).sum(-1))
    assert trees.contains(best).all()


def test_samples_of_many_parameters_at_once():
    trees, vertices = sst.ProjectiveArborescence(4), projective_vertices(ordered_pairs(4))
    u = utilities(3, 1, 9)
    samples = trees.sample(u, (4000, 2), generator=torch.Generator().manual_seed(0))
    assert samples.shape == (4000, 2, 3, 1, 9)
    assert torch.equal(samples, trees.sample(u, (4000, 2), generator=torch.Generator().manual_seed(0)))
    for i in range(3):
        rows = samples[:, :, i].reshape(-1, 9).int().numpy()
        counts = (rows[:, None] == vertices).all(-1).sum(0)
        heights = vertices @ u[i, 0].numpy()
        p = np.exp(heights) / np.exp(heights).sum()
        assert counts.sum() == len(rows)
        assert chisquare(counts, p * len(rows)).pvalue > 1e-4


def test_sample_means_of_a_longer_sentence_are_the_marginals():
    trees, u = sst.ProjectiveArborescence(9), utilities(64)
    samples = trees.sample(u, (20_000,), generator=torch.Generator().manual_seed(0))
    assert trees.contains(samples).all()
    assert_near(samples.mean(0), trees.softmax(u, 1.0, ENTROPY), 5 * 0.5 / math.sqrt(20_000))


@pytest.mark.parametrize("n", [0, -2, 2.0, "4"])
def test_number_of_nodes(n):
    check(lambda: sst.ProjectiveArborescence(n), "n", repr(n), "1")


@pytest.mark.parametrize("nodes", [3, 5, 8, 14])
def test_ties_as_in_the_twin(nodes: int):
    """Few values, so that most divisions tie; also where only edges to the left are worth anything."""
    torch.manual_seed(nodes)
    i, j = torch.tensor(ordered_pairs(nodes)).T
    shape = (40, len(i))
    rows = [
        torch.zeros(1, len(i)),
        (i > j).double().unsqueeze(0),
        torch.randint(0, 2, shape),
        torch.randint(0, 4, shape) * 0.1,
        torch.where((torch.rand(shape) < 0.5) & (i > 0), -torch.inf, 0.0),
        torch.where((torch.rand(shape) < 0.7) & (i > 0), -torch.inf, (i > j).double()),
    ]
    u = torch.cat([row.double() for row in rows])
    operator = projective_arborescence.maximum_projective_arborescence
    assert torch.equal(operator(u, nodes), operator.twin(u, nodes))


def test_masks_without_a_tree():
    for absent in ({0}, {0, 2}):
        check(lambda a=absent: sst.ProjectiveArborescence(4, mask=presence(4, a)), "mask", "no projective", "tree")
    crossing = torch.tensor([(i, j) in {(0, 2), (0, 3), (3, 1)} for i, j in ordered_pairs(4)])
    check(lambda: sst.ProjectiveArborescence(4, mask=crossing), "mask", "no projective", "tree")
    both = torch.stack([presence(4, {3}), crossing])
    check(lambda: sst.ProjectiveArborescence(4, mask=both), "mask", "no projective", "tree")


def test_utilities_without_a_tree():
    trees = sst.ProjectiveArborescence(4)
    crossing = [(i, j) in {(0, 2), (0, 3), (3, 1)} for i, j in ordered_pairs(4)]
    u = torch.stack([torch.zeros(9), torch.zeros(9).masked_fill(~torch.tensor(crossing), -math.inf)])
    for call in (trees.argmax, trees.log_partition, trees.sample, lambda v: trees.softmax(v, 1.0, ENTROPY)):
        check(lambda call=call: call(u), "u", "row 1", "tree")


def test_functions_take_any_dtype():
    u = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        v = u.to(dtype)
        for call in (F.projective_arborescence_marginals, F.maximum_projective_arborescence):
            assert call(v, 4).dtype == dtype
        assert F.projective_arborescence_sample(v, 4).dtype == dtype
        assert F.projective_arborescence_log_partition(v, 4).dtype == dtype
