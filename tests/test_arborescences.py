"""Arborescences of any graph: random multigraphs by enumeration, textbook counts, other programs, larger sizes."""

import math
import random

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

import sstricks as sst
from arborescence_problem import (
    ROUNDABOUT,
    ArborescenceProblem,
    arborescence_problem,
    complete_directed,
    reached,
)
from brute_force import MP, ExponentialFamily, Vector, exact, float_marginals, scaled, to_numpy
from cases import Case
from graphs import SQUARE_WITH_DIAGONAL, Edges, complete, random_connected
from laws import TOLERANCE, assert_near
from problems import tree_problem
from sstricks.ops import arborescence as operators
from test_errors import check
from test_extremes import DTYPES, SCALES, in_dtype, undecided
from utilities_at_extremes import hostile

ENTROPY = sst.ExponentialFamilyEntropy()
moderate = settings(max_examples=25, deadline=None, derandomize=True)


def random_rooted(num_nodes: int, num_extra: int, seed: int) -> tuple[Edges, int]:
    """A random tree that leads away from a random root, and random edges, some of them parallel or into the root."""
    rng = random.Random(seed)
    names = rng.sample(range(num_nodes), num_nodes)
    edges = [(names[rng.randrange(v)], names[v]) for v in range(1, num_nodes)]
    edges += [tuple(rng.sample(range(num_nodes), 2)) for _ in range(num_extra)]
    rng.shuffle(edges)
    return edges, names[0]


def normals(count: int, seed: int, *batch: int) -> torch.Tensor:
    return torch.randn(*batch, count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@moderate
@given(nodes=st.integers(2, 5), extra=st.integers(0, 6), seed=st.integers(0, 2**20))
def test_random_multigraphs(nodes: int, extra: int, seed: int):
    edges, root = random_rooted(nodes, extra, seed)
    problem = arborescence_problem(edges, root)
    u = 3 * normals(len(edges), seed)
    structure = problem.build()
    assert structure.argmax(u).tolist() == problem.argmax(u.numpy()).tolist()
    assert_near(
        structure.softmax(u, 1.0, ENTROPY), torch.from_numpy(float_marginals(problem.vertices, u.numpy())), 1e-9
    )
    assert round(structure.log_partition(torch.zeros_like(u)).exp().item()) == problem.count
    assert sorted(structure.enumerate_support().int().tolist()) == sorted(problem.vertices.tolist())


@settings(max_examples=150, deadline=None, derandomize=True)
@given(nodes=st.integers(2, 5), extra=st.integers(0, 8), seed=st.integers(0, 2**20))
def test_ties_on_random_multigraphs_go_to_the_lower_coordinate(nodes: int, extra: int, seed: int):
    edges, root = random_rooted(nodes, extra, seed)
    problem = arborescence_problem(edges, root)
    u = torch.from_numpy(np.random.default_rng(seed).integers(-1, 2, (4, len(edges)))).double()
    assert problem.build().argmax(u).tolist() == [problem.argmax(row).tolist() for row in u.numpy()]


@pytest.mark.parametrize(("n", "extra"), [(10, None), (50, None), (60, 100), (120, 60)])
def test_argmax_is_networkxs_maximum_arborescence(n: int, extra: int | None):
    edges, root = (complete_directed(n), 0) if extra is None else random_rooted(n, extra, seed=n)
    structure = arborescence_problem(edges, root).build()
    u = normals(len(edges), n, 2)
    vertices = structure.argmax(u)
    assert structure.contains(vertices).all()
    for row, x in zip(u, vertices, strict=True):
        weight: dict[tuple[int, int], float] = {}
        for (a, b), w in zip(edges, row.tolist(), strict=True):
            if b != root:
                weight[a, b] = max(w, weight.get((a, b), -math.inf))
        graph = nx.DiGraph()
        graph.add_weighted_edges_from((a, b, w + 100) for (a, b), w in weight.items())
        best = nx.maximum_spanning_arborescence(graph).size(weight="weight") - 100 * (n - 1)
        assert math.isclose((x @ row).item(), best, abs_tol=1e-9)


@pytest.mark.parametrize("n", [2, 3, 10, 50, 100])
def test_cayley(n: int):
    zeros = torch.zeros((n - 1) ** 2, dtype=torch.float64)
    found = sst.Arborescence.complete(n).log_partition(zeros)
    assert math.isclose(found, (n - 2) * math.log(n), rel_tol=1e-12, abs_tol=1e-12)


@pytest.mark.parametrize("n", [10, 50])
def test_marginals_are_those_of_the_matrix_tree_theorem(n: int):
    """The gradient of a log-determinant, where the range is small enough for one."""
    edges = torch.tensor(complete_directed(n)).T
    u = normals(len(edges[0]), n).requires_grad_()
    w = torch.zeros(n, n, dtype=torch.float64).index_put((edges[0], edges[1]), u.exp())
    log_z = torch.logdet((torch.diag(w.sum(0)) - w)[1:, 1:])
    (marginals,) = torch.autograd.grad(log_z, u)
    structure = sst.Arborescence.complete(n)
    assert_near(structure.softmax(u, 1.0, ENTROPY), marginals, 1e-9)
    assert math.isclose(structure.log_partition(u.detach()), log_z.item(), rel_tol=1e-12)


@moderate
@given(nodes=st.integers(3, 6), extra=st.integers(0, 6), seed=st.integers(0, 2**20))
def test_undirected_trees_are_arborescences_of_any_root(nodes: int, extra: int, seed: int):
    edges = random_connected(nodes, extra, seed)
    u = normals(len(edges), seed)
    both_ways = arborescence_problem([*edges, *((b, a) for a, b in edges)], seed % nodes).build()
    trees, twice = tree_problem(edges).build(), torch.cat((u, u))
    assert_near(both_ways.log_partition(twice), trees.log_partition(u), 1e-9)
    x = both_ways.softmax(twice, 1.0, ENTROPY)
    assert_near(x[: len(u)] + x[len(u) :], trees.softmax(u, 1.0, ENTROPY), 1e-9)


def edge_probability(s: Vector, problem: ArborescenceProblem, e: int) -> MP.mpf:
    """P(e in T) = w_e Z(e contracted) / Z, both by elimination with positive terms only."""

    def partition(edges: list[tuple[int, int, MP.mpf]]) -> MP.mpf:
        w = [[MP.zero] * problem.num_nodes for _ in range(problem.num_nodes)]
        for a, b, v in edges:
            if b != problem.root:
                w[a][b] += v
        alive = [problem.root] + [v for v in range(problem.num_nodes) if v != problem.root]
        z = MP.one
        while len(alive) > 1:
            v = alive.pop()
            into = MP.fsum(w[i][v] for i in alive)
            z *= into
            for i in alive:
                for j in alive:
                    if i != j:
                        w[i][j] += w[i][v] / into * w[v][j]
        return z

    weighted = [(a, b, MP.exp(v)) for (a, b), v in zip(problem.edges, s, strict=True)]
    head = problem.edges[e][1]
    only = [edge for i, edge in enumerate(weighted) if edge[1] != head or i == e]
    return partition(only) / partition(weighted)


@DTYPES
@pytest.mark.parametrize("scale", SCALES)
def test_twenty_nodes_at_any_range(scale: str, dtype: torch.dtype):
    problem, rng = arborescence_problem(complete_directed(20)), np.random.default_rng(3)
    u, t = in_dtype(SCALES[scale](problem.size, rng), 1e-4, dtype)
    u.requires_grad_()
    g = torch.tensor(rng.uniform(-1, 1, problem.size), dtype=dtype)
    x = problem.build().softmax(u, t, ENTROPY)
    (du,) = torch.autograd.grad((x * g).sum(), u)
    s, direction = scaled(u, t), exact(g)
    step = MP.mpf(10) ** -18
    ahead, behind = ([v + h * d for v, d in zip(s, direction, strict=True)] for h in (step, -step))
    for e in undecided(x, 2) + rng.integers(problem.size, size=1).tolist():
        assert abs(x[e].item() - edge_probability(s, problem, e)) <= TOLERANCE[dtype]
        slope = (edge_probability(ahead, problem, e) - edge_probability(behind, problem, e)) / (2 * step)
        assert abs(du[e].item() * t.item() - slope) <= TOLERANCE[dtype]
    into = torch.zeros(20).index_add(0, structure_heads(problem), x.detach().float())
    assert_near(into, torch.tensor([0.0] + [1.0] * 19), 1e-5)


def structure_heads(problem: ArborescenceProblem) -> torch.Tensor:
    return torch.tensor([b for _, b in problem.edges])


def test_the_oracles_agree():
    problem = arborescence_problem(ROUNDABOUT, root=1)
    s = [MP.mpf(v) for v in normals(problem.size, 0).tolist()]
    expected = float_marginals(problem.vertices, to_numpy(s))
    found = [float(edge_probability(s, problem, e)) for e in range(problem.size) if problem.edges[e][1] != 1]
    np.testing.assert_allclose(
        found, [p for p, (_, b) in zip(expected, problem.edges, strict=True) if b != 1], atol=1e-14
    )
    assert problem.count == len(problem.vertices)
    for row in problem.vertices:
        assert nx.is_arborescence(nx.MultiDiGraph([problem.edges[e] for e in np.flatnonzero(row)]))
    assert problem.outside(problem.vertices.mean(0)) == 0
    assert problem.outside(np.eye(problem.size)[0]) == 1
    assert reached(ROUNDABOUT, 1) == problem.nodes


@pytest.mark.parametrize(
    "structure",
    [
        sst.Arborescence.complete(4),
        arborescence_problem(ROUNDABOUT, root=1).build(),
        sst.SpanningTree.complete(4),
        tree_problem([*SQUARE_WITH_DIAGONAL, (0, 2)]).build(),
    ],
    ids=repr,
)
def test_samples_of_a_skewed_law(structure: sst.Structure):
    """Wider than in the laws: parts of the trees are all but sure, others undecided, at weights e^-20 apart."""
    u = 3 * normals(structure.event_shape[0], 5)
    u[::2] -= 20
    samples = structure.sample(u, (20_000,), generator=torch.Generator().manual_seed(0))
    support = structure.enumerate_support().double()
    p = torch.softmax(support @ u, 0).numpy() * len(samples)
    counts = np.bincount((samples @ (2 * support - 1).T - support.sum(-1)).argmax(-1).numpy(), minlength=len(p))
    often = p > 5
    counts, p = (np.append(v[often], v[~often].sum()) for v in (counts, p))
    kept = p > 0
    assert chisquare(counts[kept], p[kept] * counts[kept].sum() / p[kept].sum()).pvalue > 1e-4


def test_samples_of_clusters_a_million_apart():
    """Two pairs of nodes, each tied together far more firmly than to the root: only the path in between is random."""
    edges = torch.tensor([(0, 1), (0, 2), (1, 2), (2, 1), (2, 3), (1, 3), (3, 4), (4, 3)]).T
    u = torch.tensor([-1e6, -1e6 - 1, 0.0, 0.0, -5e5, -5e5, 0.0, 0.0], dtype=torch.float64)
    structure = sst.Arborescence(torch.cat([edges, torch.tensor([[1, 2], [4, 4]])], 1), 5)
    u = torch.cat([u, torch.tensor([-5e5, -5e5 + 1], dtype=torch.float64)])
    samples = structure.sample(u, (20_000,), generator=torch.Generator().manual_seed(0))
    assert structure.contains(samples).all()
    assert_near(samples.mean(0), structure.softmax(u, 1.0, ENTROPY), 0.015)


# Every tree needs an edge at −1e38; which of them is up to the small ones.
NEEDED = [-1e38, -1e38, -1e38, -1.1, -0.34, -1e38, 0.54, 0.37, 2.79]


def many_digits(problem: ArborescenceProblem, u: torch.Tensor, t: float) -> tuple[torch.Tensor, float]:
    """Marginals and log Z in as many digits as hold the largest and the smallest number at once."""
    with MP.workdps(700):
        family = ExponentialFamily(problem.vertices)
        s = scaled(u, t)
        return torch.from_numpy(to_numpy(family.value(s))), float(family.log_partition(s))


@pytest.mark.parametrize("t", [1e-30, 1e-8, 1.0, 1e3, 1e30])
def test_law_of_trees_that_all_need_a_far_edge(t: float):
    problem = arborescence_problem(complete_directed(4))
    u = torch.tensor(NEEDED, dtype=torch.float64, requires_grad=True)
    x = problem.build().softmax(u, t, ENTROPY)
    expected, log_z = many_digits(problem, u, t)
    assert_near(x, expected, 1e-12)
    assert math.isclose(problem.build().log_partition(u.detach() / t), log_z, rel_tol=1e-14)
    (du,) = torch.autograd.grad(x @ normals(9, 0), u)
    assert du.isfinite().all()


def test_argmax_of_trees_that_all_need_a_far_edge():
    """In floating point, the sums of all trees with one far edge are the same."""
    trees = sst.Arborescence.complete(4)
    u = torch.tensor(NEEDED, dtype=torch.float64)
    assert trees.argmax(u).tolist() == [0, 0, 1, 0, 0, 0, 0, 1, 1]
    assert trees.softmax(u, 1e-8, ENTROPY).tolist() == trees.argmax(u).tolist()


def test_rows_of_ties_at_the_coldest_temperatures():
    """The limit is uniform over the best trees."""
    problem = arborescence_problem(complete_directed(4))
    generator = torch.Generator().manual_seed(0)
    u = torch.randint(-2, 3, (200, 9), generator=generator).double()
    values = u @ torch.from_numpy(problem.vertices).double().T
    best = (values == values.amax(-1, keepdim=True)).double()
    expected = best @ torch.from_numpy(problem.vertices).double() / best.sum(-1, keepdim=True)
    for t in (1e-15, 1e-30, 1e-90):
        assert_near(problem.build().softmax(u, t, ENTROPY), expected, 1e-12)


@pytest.mark.parametrize("penalty", [1e6, 1e9, 1e12, 1e30, 1e300])
def test_a_penalty_on_edges_from_the_root_leaves_trees_with_one_of_them(penalty: float):
    """The law of the trees, its derivative and its samples lose no digit to the penalty."""
    problem, from_root = arborescence_problem(complete_directed(5)), torch.arange(16) < 4
    u, g = normals(16, 1), normals(16, 2)
    u[from_root] = u[from_root].round() * (penalty < 1e15)  # beyond it, the penalty absorbs them
    single = torch.from_numpy(problem.vertices).double()
    single = single[single[:, :4].sum(-1) == 1]
    p = torch.softmax(single @ u, 0)
    heights = single @ g
    given = torch.where(from_root, u - penalty, u).requires_grad_()
    trees = problem.build()
    x = trees.softmax(given, 1.0, ENTROPY)
    assert_near(x, p @ single, 1e-9)
    assert_near(torch.autograd.grad(x @ g, given)[0], (p * (heights - p @ heights)) @ single, 1e-9)
    samples = trees.sample(given.detach(), (2000,), generator=torch.Generator().manual_seed(0))
    assert (samples[:, :4].sum(-1) == 1).all()
    assert_near(samples.mean(0), p @ single, 0.05)


def test_twins_of_trees_that_all_need_a_far_edge():
    edges, trees = torch.tensor(complete_directed(5)).T, sst.Arborescence.complete(5)
    case = Case(arborescence_problem(complete_directed(5)), ENTROPY)
    u, t = hostile(case, 300, torch.float64)
    u, g = trees.scaled(u, t), normals(16, 0, 300)
    for operator, args in (
        (operators.marginals, (u,)),
        (operators.marginals_jvp, (u, g)),
        (operators.maximum_arborescence, (u,)),
        (operators.sample, (u, torch.rand(300, 14, dtype=torch.float64))),
    ):
        assert_near(operator.twin(*args, edges, 5), operator(*args, edges, 5), 1e-9)
    found = operators.log_partition.twin(u, edges, 5)
    torch.testing.assert_close(found, operators.log_partition(u, edges, 5), rtol=1e-12, atol=1e-12 * 1e300)


def test_samples_of_padded_trees():
    edges = torch.tensor(complete(5)).T
    groups = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1]]).bool()
    trees = sst.SpanningTree(edges, 5, mask=groups[:, edges[0]] & groups[:, edges[1]])
    samples = trees.sample(torch.zeros(3, 10), (500,))
    assert samples.shape == (500, 3, 10)
    assert trees.contains(samples).all()
    assert_near(samples.mean(0)[0][trees.mask[0]], torch.full((3,), 2 / 3), 0.1)


def test_padded_batch():
    """Graphs of 2 to 5 nodes in one batch: an edge is present when both its nodes are."""
    edges = torch.tensor(complete_directed(5)).T
    sizes = torch.tensor([2, 3, 4, 5])
    mask = (edges < sizes[:, None, None]).all(1)
    trees = sst.Arborescence(edges, 5, mask=mask)
    u = normals(16, 0, 4)
    assert_near(trees.log_partition(torch.zeros_like(u)).exp(), torch.tensor([1.0, 3.0, 16.0, 125.0]), 1e-9)
    x, vertices = trees.softmax(u, 0.5, ENTROPY), trees.argmax(u)
    assert_near(x.sum(-1), sizes - 1, 1e-12)
    assert trees.contains(trees.sample(u, (50,))).all()
    for i, n in enumerate(sizes.tolist()):
        alone = sst.Arborescence.complete(n)
        assert_near(x[i][mask[i]], alone.softmax(u[i][mask[i]], 0.5, ENTROPY), 1e-12)
        assert torch.equal(vertices[i][mask[i]], alone.argmax(u[i][mask[i]]))


def test_edges_into_the_root_are_never_chosen():
    edges = torch.tensor([(0, 1), (1, 2), (2, 0), (1, 0)]).T
    trees = sst.Arborescence(edges, 3)
    u = torch.tensor([0.0, 0.0, math.inf, 9.0], requires_grad=True)
    assert trees.argmax(u).tolist() == [1, 1, 0, 0]
    assert trees.log_partition(u).item() == 0
    x = trees.softmax(u, 1.0, ENTROPY)
    assert x.tolist() == [1, 1, 0, 0]
    assert torch.autograd.grad(x.sum(), u)[0].tolist() == [0, 0, 0, 0]
    assert trees.contains(torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 0]])).tolist() == [True, False]


def test_complete_lists_ordered_pairs_in_lexicographic_order():
    for root in range(3):
        structure = sst.Arborescence.complete(3, root)
        assert structure.edges.T.tolist() == [list(edge) for edge in complete_directed(3, root)]
        assert (structure.num_nodes, structure.root, structure.event_shape) == (3, root, (4,))


def test_adjacency_is_directed():
    edges = torch.tensor([(0, 1), (1, 2), (0, 1), (0, 2)]).T  # a parallel pair: its entries add
    adjacency = sst.Arborescence(edges, 3).to_adjacency(torch.tensor([[0.1, 0.2, 0.4, 0.8]]))
    torch.testing.assert_close(adjacency, torch.tensor([[[0.0, 0.5, 0.8], [0.0, 0.0, 0.2], [0.0, 0.0, 0.0]]]))


TRIANGLE = torch.tensor(complete(3)).T


def test_errors():
    check(lambda: sst.Arborescence.complete(0), "n", "0", "1")
    check(lambda: sst.Arborescence.complete(3, root=3), "root", "3", "2")
    check(lambda: sst.Arborescence(TRIANGLE, 3, root=-1), "root", "-1", "0")
    check(lambda: sst.Arborescence(TRIANGLE.float(), 3), "edges", "float32", "int64")
    check(lambda: sst.Arborescence(torch.tensor([[0, 1], [1, 1]]), 2), "edges", "1", "differ")
    check(lambda: sst.Arborescence(TRIANGLE, 4), "edges", "3", "4")
    check(lambda: sst.Arborescence(TRIANGLE, 3, root=1), "edges", "root 1", "root")
    check(
        lambda: sst.Arborescence(torch.tensor([[0, 2], [1, 0]]), 3), "edges", "2", "3"
    )  # node 2 leads to the root only
    check(lambda: sst.Arborescence(TRIANGLE, 3, mask=torch.tensor([False, True, True])), "mask", "root 0", "root")
    trees = sst.Arborescence(TRIANGLE, 3)
    for call in (trees.argmax, trees.log_partition, trees.sample):
        check(lambda call=call: call(torch.tensor([-math.inf, 0.0, 0.0])), "u", "row 0", "root")
