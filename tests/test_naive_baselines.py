"""The baselines of the benchmarks are right where they claim to be, and so is the truth that judges them."""

from itertools import combinations, product

import numpy as np
import pytest
import torch
from benchmarks import truth
from benchmarks.measure import interleave
from benchmarks.naive import chain, k_subset, kruskal, laplacian, path

import sstricks as sst

NODES, SIZE, COUNT = 5, 6, 3
EDGES = torch.triu_indices(NODES, NODES, 1)


def spanning_trees():
    trees = []
    for chosen in combinations(range(EDGES.shape[1]), NODES - 1):
        component = list(range(NODES))
        for e in chosen:
            i, j = EDGES[:, e].tolist()
            component = [component[i] if c == component[j] else c for c in component]
        if len(set(component)) == 1:
            trees.append(chosen)
    return indicators(trees, EDGES.shape[1])


def indicators(sets, n):
    x = torch.zeros(len(sets), n, dtype=torch.float64)
    for row, chosen in zip(x, sets, strict=True):
        row[list(chosen)] = 1
    return x


def expectation(u, support):
    return torch.softmax(u @ support.T, -1) @ support


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(3)
    return lambda n: [2 * torch.randn(4, n, generator=generator, dtype=torch.float64) for _ in range(2)]


def gradients(solve, u, g):
    leaf = u.clone().requires_grad_()
    x = solve(leaf)
    return x.detach(), torch.autograd.grad(x, leaf, g)[0]


def test_log_determinant_is_enumeration(problem):
    u, g = problem(EDGES.shape[1])
    support = spanning_trees()
    assert len(support) == NODES ** (NODES - 2)
    expected = gradients(lambda v: expectation(v, support), u, g)
    found = gradients(lambda v: laplacian.marginals(v, EDGES, NODES, clip=None), u, g)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        laplacian.log_partition(u, EDGES, NODES), torch.logsumexp(u @ support.T, -1), atol=1e-9, rtol=0
    )


def test_the_clip_changes_the_marginals_beyond_it_only(problem):
    u, _ = problem(EDGES.shape[1])
    exact = [laplacian.marginals(s * u, EDGES, NODES, clip=None) for s in (1, 10)]
    clipped = [laplacian.marginals(s * u, EDGES, NODES) for s in (1, 10)]
    torch.testing.assert_close(clipped[0], exact[0])
    assert (clipped[1] - exact[1]).abs().max() > 1e-2


@pytest.mark.parametrize("solve", [kruskal.batched_kruskal, kruskal.scipy_loop, kruskal.networkx_loop])
def test_kruskal_is_enumeration(problem, solve):
    u, _ = problem(EDGES.shape[1])
    support = spanning_trees()
    torch.testing.assert_close(solve(u, EDGES, NODES), support[(u @ support.T).argmax(-1)])


def test_k_subset_is_enumeration(problem):
    u, g = problem(SIZE)
    support = indicators(list(combinations(range(SIZE), COUNT)), SIZE)
    expected = gradients(lambda v: expectation(v, support), u, g)
    torch.testing.assert_close(gradients(lambda v: k_subset.unrolled(v, COUNT), u, g), expected)
    x, gradient = gradients(lambda v: k_subset.finite_differences(v, COUNT), u, g)
    torch.testing.assert_close(x, expected[0])
    torch.testing.assert_close(gradient, expected[1], atol=1e-3, rtol=0)


def test_the_truth_is_enumeration(problem):
    u, _ = problem(EDGES.shape[1])
    every = np.arange(EDGES.shape[1])
    trees = [truth.spanning_tree(row.numpy().astype(np.longdouble), EDGES.numpy(), NODES, every) for row in u]
    np.testing.assert_allclose(np.stack(trees).astype(float), expectation(u, spanning_trees()), atol=1e-12)
    nets = np.full((len(u), NODES, NODES), -np.inf, dtype=np.longdouble)
    nets[:, EDGES[0], EDGES[1]] = nets[:, EDGES[1], EDGES[0]] = u.numpy()
    log_z = np.stack([truth.log_partition(net) for net in nets]).astype(float)
    np.testing.assert_allclose(log_z, torch.logsumexp(u @ spanning_trees().T, -1), atol=1e-12)
    u, _ = problem(SIZE)
    subsets = truth.k_subset(u.numpy().astype(np.longdouble), COUNT)
    support = indicators(list(combinations(range(SIZE), COUNT)), SIZE)
    np.testing.assert_allclose(subsets.astype(float), expectation(u, support), atol=1e-12)


def test_the_truth_of_directed_trees_is_enumeration(problem):
    # Nodes 0 to 3, and node 4 without edges. A tree gives each node a parent, from which node 0 is reached.
    u = problem(9)[0].numpy()
    pairs = np.array([(i, j) for j in (1, 2, 3) for i in range(4) if i != j]).T
    for row in u:
        net = np.full((NODES, NODES), -np.inf, dtype=np.longdouble)
        net[pairs[0], pairs[1]] = row
        trees = [
            sum(net[parent, node] for node, parent in zip((1, 2, 3), parents, strict=True))
            for parents in product(range(4), repeat=3)
            if all(ancestor(parents, node) == 0 for node in (1, 2, 3))
        ]
        assert len(trees) == 16
        np.testing.assert_allclose(float(truth.log_partition(net)), float(np.logaddexp.reduce(trees)), atol=1e-12)


def ancestor(parents, node):
    for _ in parents:
        node = node and parents[node - 1]
    return node


def test_interleaving_gives_every_call_its_turns():
    seen = []
    timings = interleave({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, seconds=1e-4)
    assert set(seen) == {"a", "b"}
    assert all(t.repeats >= 3 and t.minimum <= t.median for t in timings.values())


@pytest.mark.parametrize(
    ("paths", "program"),
    [
        (sst.Path.linear_chain(4, 3), lambda u: path.chain(u, 4, 3)),
        (sst.Path.alignment(3, 2), lambda u: path.alignment(u, 3, 2)),
        (sst.Path.alignment(2, 4), lambda u: path.alignment(u, 2, 4)),
    ],
    ids=["chain", "alignment of 3 and 2", "alignment of 2 and 4"],
)
def test_log_space_programs_of_paths_are_enumeration(paths: sst.Path, program, problem):
    u, _ = problem(*paths.event_shape)
    expected = (paths.enumerate_support().double() @ u.T).logsumexp(0)
    torch.testing.assert_close(program(u), expected)
    exact = [truth.paths(row, paths.edges.numpy(), paths.sink) for row in u.numpy().astype(np.longdouble)]
    np.testing.assert_allclose(np.array(exact, dtype=float), expected.numpy(), rtol=1e-13)


def test_log_space_program_of_a_chain_is_enumeration(problem):
    u, g = problem(2 * SIZE - 1)
    items = indicators(list(combinations(range(SIZE), COUNT)), SIZE)
    support = torch.cat([items, items[:, 1:] * items[:, :-1]], -1)
    expected = gradients(lambda v: expectation(v, support), u, g)
    torch.testing.assert_close(gradients(lambda v: chain.unrolled(v, COUNT), u, g), expected)
    found = gradients(lambda v: chain.finite_differences(v, COUNT), u, g)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    exact = truth.chain_k_subset(u.numpy().astype(np.longdouble), COUNT)
    np.testing.assert_allclose(exact.astype(float), expected[0].numpy(), atol=1e-14)
