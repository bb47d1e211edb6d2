"""Negative exponential utilities: Cor. 2, Kruskal's process with rates as weights, and Alg. 2 for arborescences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency

import sstricks as sst
from graphs import SQUARE_WITH_DIAGONAL, Edges, complete
from sampling_processes import k_subset_probabilities, kruskal_probabilities, plackett_luce
from sstricks import functional as F
from test_samples import RARE, assert_distributed, draw

RATES = torch.tensor([0.2, 1.0, 2.5, 0.7, 1.3, 0.4])


# The argmax tricks


def test_exponential_top_k_is_sampling_without_replacement():
    samples = draw(sst.KSubset(5, 2), sst.NegativeExponential(RATES[:5]), seed=0)
    assert_distributed(samples, *k_subset_probabilities(RATES[:5].log(), 2))


def test_exponentials_are_sorted_like_plackett_luce():
    """Cor. 2, eq. 37: the whole order, not the first k alone."""
    u = sst.NegativeExponential(RATES[:4])
    torch.manual_seed(0)
    orders = u.sample((20_000,)).argsort(-1, descending=True)
    all_orders = np.array(list(itertools.permutations(range(4))))
    probabilities = np.array([plackett_luce(tuple(order), RATES[:4].double().numpy()) for order in all_orders])
    assert_distributed(orders, all_orders, probabilities)


def test_the_gaps_of_sorted_exponentials_are_exponential():
    """Eq. 38: given the order, the gap before rank i has the rate of all that have not come; here, its mean."""
    rate = RATES[:3].double()
    torch.manual_seed(1)
    e, order = (-sst.NegativeExponential(rate).sample((60_000,))).sort(-1)
    ranked = rate[order]
    remaining = ranked.flip(-1).cumsum(-1).flip(-1)
    gaps = torch.diff(e, dim=-1, prepend=torch.zeros(len(e), 1, dtype=e.dtype)) * remaining
    assert ((gaps.mean(0) - 1).abs() < 4 / len(e) ** 0.5).all()
    assert ((gaps.var(0) - 1).abs() < 4 * (8 / len(e)) ** 0.5).all()


@pytest.mark.parametrize(("edges", "num_nodes"), [(complete(4), 4), (SQUARE_WITH_DIAGONAL, 4)], ids=["K4", "diagonal"])
def test_exponential_spanning_trees_follow_kruskals_process(edges: Edges, num_nodes: int):
    rate = RATES[: len(edges)]
    samples = draw(sst.SpanningTree(torch.tensor(edges).T, num_nodes), sst.NegativeExponential(rate), seed=2)
    assert_distributed(samples, *kruskal_probabilities(edges, num_nodes, rate.double().numpy()))


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_probabilities_of_exponential_k_subsets_are_known(k: int):
    rate = RATES[:5].double().requires_grad_()
    vertices, probabilities = k_subset_probabilities(rate.detach().log(), k)
    x = torch.from_numpy(vertices).double()
    trick = sst.StochasticArgmaxTrick(sst.KSubset(5, k), sst.NegativeExponential(rate))
    torch.testing.assert_close(trick.log_prob(x), torch.from_numpy(probabilities).log())
    if k == 1:
        one = sst.StochasticArgmaxTrick(sst.OneHot(5), sst.NegativeExponential(rate))
        torch.testing.assert_close(one.log_prob(x), trick.log_prob(x))
    assert torch.autograd.gradcheck(
        lambda r: sst.StochasticArgmaxTrick(sst.KSubset(5, k), sst.NegativeExponential(r)).log_prob(x), rate
    )


# Alg. 2

COMPLETE_3: Edges = [(a, b) for a in range(3) for b in range(3) if a != b]
COMPLETE_4: Edges = [(a, b) for a in range(4) for b in range(4) if a != b]
# Two cycles, one of which closes only after the other has been contracted, and a parallel edge.
NESTED: Edges = [(0, 1), (1, 2), (2, 1), (2, 3), (3, 1), (3, 4), (4, 3), (4, 2), (0, 4), (0, 1)]


def arborescences(edges: Edges, num_nodes: int, root: int) -> np.ndarray:
    """Every choice of one entering edge for each node but the root from which all paths lead back to the root."""
    entering = [[e for e, (_, b) in enumerate(edges) if b == v] for v in range(num_nodes) if v != root]
    found = []
    for chosen in itertools.product(*entering):
        head = {edges[e][1]: edges[e][0] for e in chosen}
        ends = []
        for at in head:
            for _ in range(num_nodes):
                at = head.get(at, root)
            ends.append(at)
        if set(ends) == {root}:
            found.append([int(e in chosen) for e in range(len(edges))])
    return np.array(found)


def rates(edges: Edges, seed: int) -> torch.Tensor:
    return torch.exp(torch.randn(len(edges), dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


def sample(edges: Edges, num_nodes: int, root: int, rate: torch.Tensor, count: int = 20_000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(9)
    ends = torch.tensor(edges).T
    return F.exponential_arborescence(rate.expand(count, -1), ends, num_nodes, root, generator=generator)


@pytest.mark.parametrize(
    ("edges", "num_nodes", "root"),
    [(COMPLETE_3, 3, 0), (COMPLETE_4, 4, 0), (COMPLETE_4, 4, 2), (NESTED, 5, 0)],
    ids=["K3", "K4", "K4 from 2", "nested"],
)
def test_algorithm_2_is_the_argmax_of_exponential_utilities(edges: Edges, num_nodes: int, root: int):
    """Fig. 5, by a two-sample test against the best of all arborescences under −Exp(λ)."""
    vertices, rate = arborescences(edges, num_nodes, root), rates(edges, 0)
    u = -np.random.default_rng(0).exponential(1 / rate.numpy(), size=(40_000, len(edges)))
    best = np.bincount((u @ vertices.T).argmax(-1), minlength=len(vertices))
    index = {tuple(row): i for i, row in enumerate(vertices.tolist())}
    x = sample(edges, num_nodes, root, rate)
    drawn = np.bincount([index[tuple(row)] for row in x.int().tolist()], minlength=len(vertices))
    table = np.stack([best, drawn])
    assert chi2_contingency(table[:, table.sum(0) > 10]).pvalue > RARE


def test_algorithm_2_on_three_nodes_by_hand():
    """Nodes 1 and 2 draw; if they draw each other, their cycle draws between the edges from the root."""
    edges: Edges = [(0, 1), (0, 2), (1, 2), (2, 1)]
    a, b, c, d = rates(edges, 1).tolist()
    each = (a + d) * (b + c)
    vertices = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1]])
    probabilities = np.array([a * b, a * c + d * c * a / (a + b), b * d + d * c * b / (a + b)]) / each
    assert_distributed(sample(edges, 3, 0, rates(edges, 1)), vertices, probabilities)


def test_algorithm_2_is_not_the_exponential_family():
    """Nor is it the law with p(x) ∝ ∏ λ: the test above would notice."""
    edges: Edges = [(0, 1), (0, 2), (1, 2), (2, 1)]
    weights = rates(edges, 1).numpy()
    vertices = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1]])
    family = np.prod(np.where(vertices > 0, weights, 1), -1)
    with pytest.raises(AssertionError):
        assert_distributed(sample(edges, 3, 0, rates(edges, 1)), vertices, family / family.sum())


@pytest.mark.parametrize("num_nodes", [2, 7, 30])
def test_samples_are_arborescences_at_any_range_of_the_rates(num_nodes: int):
    edges = [(a, b) for a in range(num_nodes) for b in range(num_nodes) if a != b]
    head = torch.tensor(edges).T[1]
    for spread in (0.0, 1.0, 100.0):
        rate = torch.exp(spread * torch.randn(50, len(edges), dtype=torch.float64).clamp(-3, 3))
        x = F.exponential_arborescence(rate, torch.tensor(edges).T, num_nodes, root=1)
        assert ((x == 0) | (x == 1)).all()
        into = torch.zeros(50, num_nodes, dtype=x.dtype).index_add(-1, head, x)
        assert into.tolist() == [[float(v != 1) for v in range(num_nodes)]] * 50
        parent = torch.ones(50, num_nodes, dtype=torch.long)
        rows, chosen = x.nonzero(as_tuple=True)
        parent[rows, head[chosen]] = torch.tensor(edges).T[0][chosen]
        for _ in range(num_nodes.bit_length()):
            parent = parent.gather(-1, parent)
        assert (parent == 1).all()


def test_the_largest_rate_wins_where_it_is_overwhelming():
    edges = torch.tensor([[0, 0, 1, 2], [1, 2, 2, 1]])
    rate = torch.tensor([[1.0, 1e-300, 1e300, 1e-300], [1e-300, 1.0, 1e-300, 1e300]], dtype=torch.float64)
    assert F.exponential_arborescence(rate, edges, 3).tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]]


def test_absent_edges_and_nodes():
    """A rate of zero is an absent edge, and a node without edges is padding."""
    edges = torch.tensor(COMPLETE_4).T
    rate = rates(COMPLETE_4, 3).expand(500, -1).clone()
    without = (edges == 3).any(0)
    rate[:, without] = 0
    rate[:, 0] = 0  # the edge from 0 to 1
    x = F.exponential_arborescence(rate, edges, 4)
    assert (x.sum(-1) == 2).all()
    assert (x[rate == 0] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_shapes_dtypes_generators(dtype: torch.dtype):
    edges = torch.tensor(COMPLETE_4).T
    rate = torch.ones(2, 3, 12, dtype=dtype)
    first, second = (
        F.exponential_arborescence(rate, edges, 4, generator=torch.Generator().manual_seed(3)) for _ in "ab"
    )
    assert first.shape == rate.shape
    assert first.dtype == dtype
    assert torch.equal(first, second)
    assert F.exponential_arborescence(rate[0, 0], edges, 4).shape == (12,)
    assert F.exponential_arborescence(rate[:0], edges, 4).shape == (0, 3, 12)


def test_bad_rates_are_refused():
    edges = torch.tensor(COMPLETE_3).T
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="rate: found a negative, infinite or NaN entry"):
            F.exponential_arborescence(torch.tensor([1.0, 1, 1, 1, 1, bad]), edges, 3)
    unreachable = torch.tensor([[1.0] * 6, [0.0, 0, 0, 1, 0, 1]])
    with pytest.raises(ValueError, match=r"nodes in row 1 that no edges .* from root 0, expected a graph with"):
        F.exponential_arborescence(unreachable, edges, 3)
