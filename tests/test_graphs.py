"""Spanning trees of any graph: random multigraphs by enumeration, textbook counts, and the sizes of the experiments."""

import math

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sstricks as sst
from brute_force import MP, ExponentialFamily, exact, float_marginals, to_numpy
from graphs import Edges, complete, random_connected
from laws import assert_near
from problems import tree_problem
from sstricks.ops import spanning_tree as operators

ENTROPY = sst.ExponentialFamilyEntropy()
moderate = settings(max_examples=25, deadline=None, derandomize=True)


def trees(edges: Edges) -> sst.SpanningTree:
    return tree_problem(edges).build()


def test_a_structure_keeps_its_own_edges_and_mask():
    edges, mask = sst.SpanningTree.complete(3).edges, torch.tensor([True, True, True])
    trees = sst.SpanningTree(edges, 3, mask=mask)
    u = torch.tensor([3.0, 2.0, 1.0])
    expected = trees.argmax(u)
    edges.zero_()
    mask.zero_()
    assert torch.equal(trees.argmax(u), expected)


@moderate
@given(nodes=st.integers(2, 6), extra=st.integers(0, 6), seed=st.integers(0, 2**20))
def test_random_multigraphs(nodes: int, extra: int, seed: int):
    edges = random_connected(nodes, extra, seed)
    problem = tree_problem(edges)
    u = 3 * torch.randn(len(edges), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    structure = problem.build()
    assert structure.argmax(u).tolist() == problem.argmax(u.numpy()).tolist()
    marginals = torch.from_numpy(float_marginals(problem.vertices, u.numpy()))
    assert_near(structure.softmax(u, 1.0, ENTROPY), marginals, 1e-9)
    assert round(structure.log_partition(torch.zeros_like(u)).exp().item()) == problem.count
    assert sorted(structure.enumerate_support().int().tolist()) == sorted(problem.vertices.tolist())


@moderate
@given(nodes=st.integers(2, 6), extra=st.integers(0, 6), seed=st.integers(0, 2**20))
def test_the_order_and_direction_of_edges_do_not_matter(nodes: int, extra: int, seed: int):
    edges = random_connected(nodes, extra, seed)
    order = np.random.default_rng(seed).permutation(len(edges))
    u = torch.randn(len(edges), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    shuffled = trees([edges[e][::-1] for e in order])
    assert_near(shuffled.softmax(u[order], 0.5, ENTROPY), trees(edges).softmax(u, 0.5, ENTROPY)[order], 1e-12)
    assert torch.equal(shuffled.argmax(u[order]), trees(edges).argmax(u)[order])


@moderate
@given(nodes=st.integers(3, 6), extra=st.integers(0, 5), seed=st.integers(0, 2**20))
def test_parallel_edges_are_one_edge_of_their_summed_weight(nodes: int, extra: int, seed: int):
    edges = random_connected(nodes, extra, seed)
    u = torch.randn(len(edges), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    doubled = trees([*edges, edges[0]])
    half = torch.cat((u, u[:1]))
    half[[0, -1]] -= math.log(2)
    x, y = trees(edges).softmax(u, 1.0, ENTROPY), doubled.softmax(half, 1.0, ENTROPY)
    assert_near(y[:-1].index_add(0, torch.tensor([0]), y[-1:]), x, 1e-12)
    assert_near(doubled.log_partition(half), trees(edges).log_partition(u), 1e-12)


@pytest.mark.parametrize("n", [2, 3, 10, 50, 100])
def test_cayley(n: int):
    zeros = torch.zeros(n * (n - 1) // 2, dtype=torch.float64)
    found = sst.SpanningTree.complete(n).log_partition(zeros)
    assert math.isclose(found, (n - 2) * math.log(n), rel_tol=1e-12, abs_tol=1e-12)


@pytest.mark.parametrize(("m", "n"), [(1, 4), (3, 4), (8, 15)])
def test_complete_bipartite_graphs(m: int, n: int):
    structure = trees([(i, m + j) for i in range(m) for j in range(n)])
    found = structure.log_partition(torch.zeros(m * n, dtype=torch.float64))
    assert math.isclose(found, (n - 1) * math.log(m) + (m - 1) * math.log(n), rel_tol=1e-12)


def test_cycles_ladders_and_long_paths():
    cycle = trees([(i, (i + 1) % 200) for i in range(200)])
    assert math.isclose(cycle.log_partition(torch.zeros(200, dtype=torch.float64)), math.log(200), rel_tol=1e-12)
    assert_near(cycle.softmax(torch.zeros(200), 1.0, ENTROPY), torch.full((200,), 199 / 200), 1e-6)
    ladder = [(i, i + 1) for i in range(9)] + [(10 + i, 11 + i) for i in range(9)] + [(i, 10 + i) for i in range(10)]
    count = ((2 + math.sqrt(3)) ** 10 - (2 - math.sqrt(3)) ** 10) / (2 * math.sqrt(3))
    assert math.isclose(trees(ladder).log_partition(torch.zeros(28, dtype=torch.float64)), math.log(count))
    path = trees([(i, i + 1) for i in range(300)])
    assert torch.equal(path.softmax(torch.randn(2, 300), 1.0, ENTROPY), torch.ones(2, 300))


FAR_APART = {
    "one above all": [1e18, 0.0, 1000.0, -226.0, 0.5, 1.0],
    "several needed": [-1e38, -1e38, 0.5, -1e38, 1.0, 0.0],
    "three scales": [1e45, -1e30, -1e30, 0.25, 0.0, -1e45],
    "largest numbers": [1.7e308, -1.7e308, 1.0, 1.7e308, 0.0, -1.7e308],
    "a penalty": [0.5, -1e9, -1e9 + 1, 0.25, -1e9 - 2, -0.5],
}


@pytest.mark.parametrize("name", FAR_APART)
@pytest.mark.parametrize("t", [1e-8, 1.0, 1e8])
def test_law_of_trees_whose_utilities_are_far_apart(name: str, t: float):
    problem = tree_problem(complete(4))
    structure, g = problem.build(), torch.linspace(-1, 1, 6, dtype=torch.float64)
    s = structure.scaled(torch.tensor(FAR_APART[name], dtype=torch.float64), t).requires_grad_()
    with MP.workdps(700):
        family = ExponentialFamily(problem.vertices)
        expected = torch.from_numpy(to_numpy(family.value(exact(s))))
        log_z, slope = float(family.log_partition(exact(s))), family.slopes(exact(s), exact(g))[0]
    x = structure.softmax(s, 1.0, ENTROPY)
    assert_near(x, expected, 1e-9)
    assert_near(torch.autograd.grad(x @ g, s)[0], torch.from_numpy(to_numpy(slope)), 1e-9)
    assert abs(structure.log_partition(s).item() - log_z) <= 1e-12 * (1 + s.abs().max().item())
    for operator, args in ((operators.marginals, ()), (operators.marginals_jvp, (g,)), (operators.log_partition, ())):
        args = [a.detach().unsqueeze(0) for a in (s, *args)]
        found = operator.twin(*args, structure.edges, 4)
        torch.testing.assert_close(found, operator(*args, structure.edges, 4), rtol=1e-12, atol=1e-9)


def test_subsets_are_counted_at_real_sizes():
    zeros = torch.zeros(350, dtype=torch.float64)
    assert math.isclose(sst.KSubset(350, 10).log_partition(zeros), math.log(math.comb(350, 10)), rel_tol=1e-12)
    assert math.isclose(sst.Subset(350).log_partition(zeros), 350 * math.log(2), rel_tol=1e-12)
    assert math.isclose(sst.OneHot(350).log_partition(zeros), math.log(350), rel_tol=1e-12)


@pytest.mark.parametrize("edges", [complete(10), complete(50), random_connected(60, 40, seed=0)], ids=len)
def test_argmax_is_networkxs_maximum_spanning_tree(edges: Edges):
    u = torch.randn(5, len(edges), generator=torch.Generator().manual_seed(0))
    for row, x in zip(u, trees(edges).argmax(u), strict=True):
        graph = nx.MultiGraph()
        graph.add_weighted_edges_from((a, b, w) for (a, b), w in zip(edges, row.tolist(), strict=True))
        best = nx.maximum_spanning_tree(graph).size(weight="weight")
        assert math.isclose(x @ row, best, rel_tol=1e-5)
        assert trees(edges).contains(x)


def test_marginals_at_the_sizes_of_the_experiments_are_those_of_the_laplacian():
    """w_e times the effective resistance of e, by a pseudo-inverse, where the range is small enough for one."""
    for n in (10, 50):
        a, b = torch.triu_indices(n, n, 1)
        u = torch.randn(len(a), dtype=torch.float64, generator=torch.Generator().manual_seed(n))
        w = torch.zeros(n, n, dtype=torch.float64)
        w[a, b] = w[b, a] = u.exp()
        inverse = torch.linalg.pinv(torch.diag(w.sum(-1)) - w)
        resistance = inverse[a, a] + inverse[b, b] - 2 * inverse[a, b]
        assert_near(sst.SpanningTree.complete(n).softmax(u, 1.0, ENTROPY), u.exp() * resistance, 1e-9)


def test_complete_lists_pairs_in_row_order():
    structure = sst.SpanningTree.complete(4)
    assert torch.equal(structure.edges, torch.triu_indices(4, 4, 1))
    assert (structure.num_nodes, structure.event_shape) == (4, (6,))


def test_adjacency():
    edges = [(0, 1), (2, 1), (0, 1), (0, 2)]  # a parallel pair: its entries add
    x = torch.tensor([[0.1, 0.2, 0.4, 0.8], [1.0, 0.0, 0.0, 0.0]])
    adjacency = trees(edges).to_adjacency(x)
    expected = torch.tensor([[0.0, 0.5, 0.8], [0.5, 0.0, 0.2], [0.8, 0.2, 0.0]])
    torch.testing.assert_close(adjacency[0], expected)
    assert adjacency.shape == (2, 3, 3)
    assert adjacency.dtype == x.dtype
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(trees(edges).to_adjacency(leaf).sum(), leaf)
    assert torch.equal(gradient, torch.full_like(x, 2.0))
