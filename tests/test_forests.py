"""Spanning forests: components of a graph, masks that divide it, nodes without an edge."""

import networkx as nx
import pytest
import torch

import sstricks as sst
from graphs import TRIANGLE_AND_EDGES
from laws import assert_near
from sstricks.estimators.trace import Trace

FAMILY = sst.ExponentialFamilyEntropy()
REGULARIZERS = [FAMILY, sst.Euclidean(), sst.CategoricalEntropy(), sst.BinaryEntropy()]
EDGES = torch.tensor(TRIANGLE_AND_EDGES).T
TRIANGLE, PAIR, LENS = torch.tensor([0, 1, 3]), torch.tensor([2]), torch.tensor([4, 5])


def normals(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e9])
def test_components_are_independent(scale: float):
    forest, u = sst.SpanningTree(EDGES, 7, forest=True), scale * normals(5, 6)
    parts = [(torch.tensor([[0, 0, 1], [1, 2, 2]]), 3, TRIANGLE), (torch.tensor([[0, 0], [1, 1]]), 2, LENS)]
    log_z = u[:, 2]
    for edges, nodes, here in parts:
        trees = sst.SpanningTree(edges, nodes)
        log_z = log_z + trees.log_partition(u[:, here])
        assert torch.equal(forest.argmax(u)[:, here], trees.argmax(u[:, here]))
        for f in REGULARIZERS:
            assert_near(forest.softmax(u, 1.0, f)[:, here], trees.softmax(u[:, here], 1.0, f), 1e-9)
    torch.testing.assert_close(forest.log_partition(u), log_z, rtol=1e-12, atol=1e-12)
    assert (forest.argmax(u)[:, PAIR] == 1).all()
    assert forest.contains(forest.sample(u, (100,))).all()


def test_masks_and_infinite_utilities_divide_a_graph():
    complete = sst.SpanningTree.complete(4, forest=True)
    mask = torch.tensor([[True, False, False, False, False, True], [True] * 6, [False] * 6])
    trees, u = complete.masked(mask), normals(3, 6)
    assert trees.argmax(u)[0].tolist() == [1, 0, 0, 0, 0, 1]
    assert trees.contains(trees.argmax(u)).all()
    assert not trees.contains(torch.tensor([1.0, 0, 0, 0, 0, 0])).any()
    assert trees.log_partition(torch.zeros(6)).exp().round().tolist() == [1, 16, 1]
    infinite = torch.where(mask, u, -torch.inf)
    assert torch.equal(complete.argmax(infinite), trees.argmax(u))
    for f in REGULARIZERS:
        assert_near(complete.softmax(infinite, 1.0, f), trees.softmax(u, 1.0, f), 1e-12)
        assert_near(trees.softmax(u, 1.0, f)[1], sst.SpanningTree.complete(4).softmax(u[1], 1.0, f), 1e-12)


def test_nodes_without_an_edge():
    trees = sst.SpanningTree(torch.tensor([[1], [3]]), 6, forest=True)
    assert trees.argmax(torch.tensor([-2.0])).tolist() == [1]
    assert trees.log_partition(torch.tensor([-2.0])) == -2
    empty = sst.SpanningTree(torch.zeros(2, 0, dtype=torch.int64), 3, forest=True)
    u = torch.zeros(2, 0)
    assert empty.argmax(u).shape == empty.marginals(u).shape == empty.sample(u).shape == (2, 0)
    assert_near(empty.log_partition(u), torch.zeros(2), 1e-12)
    assert empty.contains(u).all()


def test_larger_forests():
    """Sparse and dense kernels; against NetworkX."""
    for nodes in (40, 150):
        graphs = [nx.gnm_random_graph(nodes, 2 * nodes, seed=1), nx.gnm_random_graph(nodes, nodes // 2, seed=1)]
        for graph in [*graphs, nx.disjoint_union(nx.complete_graph(nodes // 2), nx.complete_graph(nodes // 2))]:
            edges = torch.tensor(list(graph.edges)).T
            trees = sst.SpanningTree(edges, graph.number_of_nodes(), forest=True)
            u = normals(edges.shape[1]).requires_grad_()
            for (i, j), weight in zip(edges.T.tolist(), u.tolist(), strict=True):
                graph[i][j]["weight"] = weight
            best = nx.maximum_spanning_tree(graph)
            assert trees.argmax(u).tolist() == [float(best.has_edge(i, j)) for i, j in edges.T.tolist()]
            (x,) = torch.autograd.grad(trees.log_partition(u), u)
            assert_near(trees.marginals(u), x, 1e-12)
            components = nx.number_connected_components(graph)
            assert_near(x.sum(), torch.tensor(float(len(graph) - components), dtype=torch.float64), 1e-9)
            assert trees.contains(trees.sample(u, (5,))).all()


def test_both_directions():
    edge_index = torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]])
    trees, edge_of = sst.SpanningTree.from_edge_index(edge_index, 5, forest=True)
    assert trees.argmax(torch.zeros(3))[edge_of].tolist() == [1] * 6
    with pytest.raises(ValueError, match="forest=True"):
        sst.SpanningTree.from_edge_index(edge_index, 5)
    assert "forest" in repr(trees)


def test_trace():
    """Kruskal's races go on until no edge is left, and their winners are the forest."""
    forest, theta = sst.SpanningTree(EDGES, 7, forest=True), normals(6)
    p = {}
    for seed in range(2000):
        g = -torch.empty(6, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(seed)).log()
        trace = Trace(forest, theta, theta + g)
        x = forest.argmax(theta + g)
        assert torch.stack([race.won for race, _ in trace._races]).any(0).tolist() == (x > 0).tolist()
        order = tuple(int(race.won.int().argmax()) for race, _ in trace._races if race.won.any())
        p[order] = float(trace.log_prob.exp())
    assert 0.9 < sum(p.values()) <= 1 + 1e-9
