"""The oracles against each other and against textbook answers: they judge the library, so they are judged first."""

import math

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from brute_force import (
    MP,
    ExponentialFamily,
    exact,
    float_marginals,
    k_subset_vertices,
    one_hot_vertices,
    scaled,
    spanning_tree_vertices,
    subset_vertices,
    to_numpy,
)
from exact_optimum import Separable, binary, categorical, euclidean
from graphs import DOUBLED_TRIANGLE, TRIANGLES_ON_A_BRIDGE, complete, connected, random_connected, touched
from polytopes import outside_cube, outside_hypersimplex, outside_tree_polytope
from recursions import k_subset_probability, k_subset_slope, tree_edge_probability, tree_edge_slope

COSTS = {
    euclidean: lambda x: 0.5 * x @ x,
    categorical: lambda x: np.sum(np.where(x > 0, x * np.log(np.maximum(x, 1e-300)), 0) - x),
    binary: lambda x: sum(p * math.log(p) for v in x for p in (v, 1 - v) if p > 0),
}


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_complete_graphs_have_cayleys_number_of_trees(n):
    assert len(spanning_tree_vertices(complete(n), frozenset(range(n)))) == n ** (n - 2)


@pytest.mark.parametrize("edges", [complete(4), DOUBLED_TRIANGLE, TRIANGLES_ON_A_BRIDGE, random_connected(5, 4, 0)])
def test_every_listed_tree_is_one_for_networkx_and_none_is_missing(edges):
    nodes = touched(edges)
    vertices = spanning_tree_vertices(edges, nodes)
    for row in vertices:
        graph = nx.MultiGraph([edges[e] for e in np.flatnonzero(row)])
        assert nx.is_tree(graph)
        assert set(graph) == nodes
    laplacian = nx.laplacian_matrix(nx.MultiGraph(edges)).toarray().astype(float)
    assert round(np.linalg.det(laplacian[1:, 1:])) == len(vertices) == len({tuple(row) for row in vertices})


def test_counts_of_subsets():
    assert len(one_hot_vertices(6)) == 6
    assert len(subset_vertices(5)) == 32
    assert len(k_subset_vertices(6, 2)) == 15


def test_exact_reads_the_binary_value_and_minus_infinity():
    (tenth, absent) = exact(torch.tensor([0.1, -math.inf]))
    assert tenth * 2**27 == 13421773
    assert absent == MP.ninf
    assert float(scaled(torch.tensor([3.0]), 0.5)[0]) == 6


def test_precise_and_plain_marginals_agree_and_the_slope_is_their_derivative():
    rng = np.random.default_rng(0)
    vertices = spanning_tree_vertices(complete(4), frozenset(range(4)))
    s, g = rng.normal(size=6), rng.normal(size=6)
    family = ExponentialFamily(vertices)
    np.testing.assert_allclose(to_numpy(family.value([MP.mpf(v) for v in s])), float_marginals(vertices, s), atol=1e-14)
    slope = to_numpy(family.slopes([MP.mpf(v) for v in s], [MP.mpf(v) for v in g])[0])
    difference = (float_marginals(vertices, s + 1e-5 * g) - float_marginals(vertices, s - 1e-5 * g)) / 2e-5
    np.testing.assert_allclose(slope, difference, atol=1e-9)
    gradient = [
        float(family.log_partition([MP.mpf(v) + (1e-20 if i == j else 0) for j, v in enumerate(s)])
              - family.log_partition([MP.mpf(v) for v in s])) * 1e20
        for i in range(6)
    ]  # fmt: skip
    np.testing.assert_allclose(gradient, float_marginals(vertices, s), atol=1e-12)


@pytest.mark.parametrize("response", [euclidean, categorical, binary])
@pytest.mark.parametrize("total", [None, 1, 2])
def test_bisection_finds_what_a_generic_optimiser_finds(response, total):
    s = np.array([0.7, -0.4, 0.3, -1.1])
    x = to_numpy(Separable(response, total).value([MP.mpf(v) for v in s]))
    cost = COSTS[response]
    constraints = [] if total is None else [{"type": "eq", "fun": lambda y: y.sum() - total}]
    found = minimize(
        lambda y: cost(y) - s @ y,
        np.full(4, 0.5 if total is None else total / 4),
        bounds=[(1e-12, 1 - 1e-12)] * 4,
        constraints=constraints,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    ).x
    np.testing.assert_allclose(x, found, atol=1e-5)
    assert cost(x) - s @ x <= cost(found) - s @ found + 1e-9
    assert (outside_cube(x) if total is None else outside_hypersimplex(x, total)) < 1e-12


def test_one_hot_categorical_is_the_exponential_family_but_a_larger_slice_is_not():
    s = [MP.mpf(v) for v in (0.3, -2.0, 1e3, 999.5)]
    g = [MP.mpf(v) for v in (1, -1, 1, -1)]
    by_multiplier, by_vertices = Separable(categorical, 1), ExponentialFamily(one_hot_vertices(4))
    np.testing.assert_allclose(to_numpy(by_multiplier.value(s)), to_numpy(by_vertices.value(s)), atol=1e-16)
    np.testing.assert_allclose(
        to_numpy(by_multiplier.slopes(s, g)[1]), to_numpy(by_vertices.slopes(s, g)[1]), atol=1e-14
    )
    pairs = ExponentialFamily(k_subset_vertices(4, 2)).value([v / 1000 for v in s])
    assert not np.allclose(to_numpy(pairs), to_numpy(Separable(categorical, 2).value([v / 1000 for v in s])), atol=1e-3)


def test_one_sided_slopes_differ_exactly_at_a_kink():
    behind, ahead = Separable(euclidean, None).slopes([MP.zero, MP.mpf(0.5)], [MP.one, MP.one])
    assert (to_numpy(behind).tolist(), to_numpy(ahead).tolist()) == ([0, 1], [1, 1])


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_recursions_agree_with_enumeration(scale):
    rng = np.random.default_rng(1)
    edges = random_connected(5, 4, seed=3)
    s = [MP.mpf(v) for v in rng.integers(-2, 3, size=8) * scale + rng.normal(size=8)]
    g = [MP.mpf(v) for v in rng.normal(size=8)]
    trees = ExponentialFamily(spanning_tree_vertices(edges, frozenset(range(5))))
    subsets = ExponentialFamily(k_subset_vertices(8, 3))
    for e in range(8):
        assert abs(tree_edge_probability(s, edges, 5, e) - trees.value(s)[e]) < 1e-30
        assert abs(tree_edge_slope(s, g, edges, 5, e) - trees.slopes(s, g)[0][e]) < 1e-30
        assert abs(k_subset_probability(s, 3, e) - subsets.value(s)[e]) < 1e-30
        assert abs(k_subset_slope(s, g, 3, e) - subsets.slopes(s, g)[0][e]) < 1e-30


def test_polytopes_hold_their_vertices_and_mixtures_and_nothing_else():
    rng = np.random.default_rng(2)
    nodes = frozenset(range(4))
    vertices = spanning_tree_vertices(complete(4), nodes).astype(float)
    mixtures = rng.dirichlet(np.ones(len(vertices)), size=10) @ vertices
    assert outside_tree_polytope(vertices, complete(4), nodes) == 0
    assert outside_tree_polytope(mixtures, complete(4), nodes) < 1e-12
    triangle = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 0.0])  # the cycle 0-1-2: three edges, but node 3 is left out
    assert outside_tree_polytope(triangle, complete(4), nodes) == 1
    assert outside_hypersimplex(np.array([0.5, 0.5, 1.0]), 1) == 1
    assert outside_cube(np.array([1.25, -0.5])) == 0.5


def test_graphs():
    assert connected(TRIANGLES_ON_A_BRIDGE, frozenset(range(6)))
    assert not connected([(0, 1), (2, 3)], frozenset(range(4)))
    assert connected(random_connected(9, 3, seed=0), frozenset(range(9)))
