"""How graphs come and go: matrices, heads, masks of nodes, edge lists of both directions, graphs of one node."""

import networkx as nx
import pytest
import torch

import sstricks as sst
from sstricks import functional as F

FAMILY = sst.ExponentialFamilyEntropy()
REGULARIZERS = (FAMILY, sst.Euclidean(), sst.CategoricalEntropy(), sst.BinaryEntropy(), sst.TsallisEntropy(1.5))
NO_EDGES = torch.zeros(2, 0, dtype=torch.int64)
ROOTED = (sst.Arborescence.complete(5), sst.Arborescence.complete(5, root=3), sst.ProjectiveArborescence(5))
TREES = pytest.mark.parametrize("trees", [sst.SpanningTree.complete(5), *ROOTED], ids=repr)
ALONE = pytest.mark.parametrize(
    "trees",
    [
        sst.SpanningTree(NO_EDGES, 1),
        sst.SpanningTree.complete(1),
        sst.Arborescence(NO_EDGES, 1),
        sst.Arborescence.complete(1),
        sst.ProjectiveArborescence(1),
    ],
    ids=repr,
)


@TREES
def test_matrices_and_vectors_of_edges(trees):
    matrix = torch.randn(2, 3, 5, 5, requires_grad=True)
    u = trees.from_adjacency(matrix)
    for e, (i, j) in enumerate(trees.edges.T.tolist()):
        assert torch.equal(u[..., e], matrix[..., i, j])
    x = trees.argmax(u)
    (gradient,) = torch.autograd.grad((u * x).sum(), matrix)
    assert torch.equal(gradient.sum((-2, -1)), torch.full((2, 3), 4.0))
    assert torch.equal(trees.from_adjacency(trees.to_adjacency(x)), x)
    assert trees.from_adjacency(matrix[:0]).shape == (0, 3, *trees.event_shape)
    assert trees.from_adjacency(matrix > 0).dtype == torch.bool
    with pytest.raises(ValueError, match=r"matrix: found shape \(5, 4\), expected \(\*batch, 5, 5\)"):
        trees.from_adjacency(torch.zeros(5, 4))
    with pytest.raises(ValueError, match="matrix: found a list"):
        trees.from_adjacency([[0.0]])


@TREES
def test_structures_of_some_nodes(trees):
    lengths = torch.tensor([4, 5])
    nodes = torch.arange(5) < lengths[:, None]
    assert torch.equal(trees.edge_mask(lengths), trees.edge_mask(nodes))
    u = torch.randn(2, *trees.event_shape)
    for given in (lengths, nodes):
        x = trees.of_nodes(given).argmax(u)
        assert x.sum(-1).tolist() == [3, 4]
        assert (x[~trees.edge_mask(nodes)] == 0).all()
    with pytest.raises(ValueError, match=r"nodes: found shape \(4,\)"):
        trees.of_nodes(torch.ones(4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"nodes: found dtype torch\.float32"):
        trees.of_nodes(torch.ones(5))


@pytest.mark.parametrize("trees", ROOTED, ids=repr)
def test_heads_are_the_predecessors(trees):
    root = getattr(trees, "root", 0)
    nodes = torch.ones(6, 5, dtype=torch.bool)
    nodes[3:, 4] = False
    batch = trees.of_nodes(nodes)
    x = batch.sample(torch.randn(6, *trees.event_shape, generator=torch.Generator().manual_seed(0)))
    heads = batch.to_heads(x)
    for row, kept, found in zip(x, nodes.tolist(), heads.tolist(), strict=True):
        graph = nx.DiGraph(trees.edges.T[row > 0].tolist())
        expected = [next(graph.predecessors(v)) if kept[v] and v != root else -1 for v in range(5)]
        assert found == expected
    assert torch.equal(batch.from_heads(heads), x)
    assert torch.equal(batch.from_heads(heads.clamp(min=0)), x)  # what stands at padding is not read
    for bad in (heads[:, :4], heads.double(), heads > 0):
        with pytest.raises(
            ValueError, match=r"heads: found shape .*, expected an int64 tensor of shape \(\*batch, 5\)"
        ):
            batch.from_heads(bad)
    with pytest.raises(ValueError, match="heads: found shape"):
        batch.from_heads(heads[:4])


def test_heads_take_the_first_of_parallel_edges_that_is_present():
    edges = torch.tensor([[0, 0, 1, 2], [1, 1, 2, 0]])
    trees = sst.Arborescence(edges, 3)
    heads = torch.tensor([7, 0, 1])
    assert trees.from_heads(heads).tolist() == [1, 0, 1, 0]
    assert trees.masked(torch.tensor([False, True, True, True])).from_heads(heads).tolist() == [0, 1, 1, 0]
    assert not trees.contains(trees.from_heads(torch.tensor([-1, 2, 1])))  # a cycle


def test_an_edge_list_of_both_directions_is_one_graph():
    graph = nx.petersen_graph()
    columns = torch.tensor([edge for i, j in graph.edges for edge in ((i, j), (j, i))]).T
    columns = columns[:, torch.randperm(30, generator=torch.Generator().manual_seed(0))]
    trees, edge_of = sst.SpanningTree.from_edge_index(columns, 10)
    assert round(trees.log_partition(torch.zeros(15).double()).exp().item()) == 2000
    assert torch.equal(trees.edges[:, edge_of], columns.sort(0).values)
    with pytest.raises(ValueError, match="from_edge_index"):
        sst.SpanningTree(columns, 10)
    with pytest.raises(ValueError, match="several components"):
        sst.SpanningTree.from_edge_index(torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]), 4)
    with pytest.raises(ValueError, match="self-loop"):
        sst.SpanningTree.from_edge_index(torch.tensor([[0, 1, 1], [1, 0, 1]]), 2)


@ALONE
@pytest.mark.parametrize("batch", [(), (3,), (0,)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_graph_of_one_node_has_the_empty_vector(trees, batch, dtype):
    u = torch.zeros(*batch, 0, dtype=dtype, requires_grad=True)
    points = [trees.argmax(u), *(trees.softmax(u, 0.5, f) for f in REGULARIZERS), trees.max_marginals(u)]
    draw = sst.StochasticSoftmaxTrick(trees, sst.Gumbel(u), 0.5, FAMILY).draw()
    for x in (*points, draw.relaxed, draw.discrete):
        assert (x.shape, x.dtype) == ((*batch, 0), dtype)
    assert trees.sample(u, (2,)).shape == (2, *batch, 0)
    for value in (trees.log_partition(u), trees.entropy(u), sst.ExponentialFamily(trees, u).log_prob(draw.discrete)):
        assert torch.equal(value, torch.zeros(batch, dtype=dtype))
    assert trees.contains(draw.discrete).all()
    assert trees.enumerate_support().shape == (1, 0)
    assert torch.equal(trees.k_best(u, 2).values, torch.tensor([0.0, -torch.inf], dtype=dtype).expand(*batch, 2))
    assert torch.equal(trees.to_adjacency(u), torch.zeros(*batch, 1, 1, dtype=dtype))
    (gradient,) = torch.autograd.grad(trees.log_partition(u).sum() + trees.marginals(u).sum(), u)
    assert gradient.shape == u.shape


@ALONE
def test_a_graph_of_one_node_is_compiled_and_mapped(trees):
    def both(u):
        return trees.log_partition(u), trees.marginals(u)

    torch.compiler.reset()
    for call in (torch.compile(both, backend="aot_eager", fullgraph=True), torch.func.vmap(both)):
        value, x = call(torch.zeros(3, 0))
        assert torch.equal(value, torch.zeros(3))
        assert x.shape == (3, 0)


def test_functions_take_a_graph_of_one_node():
    u = torch.zeros(2, 0)
    for function in (F.maximum_spanning_tree, F.spanning_tree_marginals, F.spanning_tree_sample, F.arborescence_sample):
        assert function(u, NO_EDGES, 1).shape == (2, 0)
    assert F.projective_arborescence_log_partition(u, 1).tolist() == [0, 0]
    with pytest.raises(ValueError, match="edges: found edges at 0 nodes"):
        sst.SpanningTree(NO_EDGES, 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda edges: sst.SpanningTree(edges, 3),
        lambda edges: sst.Arborescence(edges, 3),
    ],
)
def test_an_edge_list_is_looked_at_anew_after_it_was_changed(make):
    edges = torch.tensor([[0, 0, 1], [1, 2, 2]])
    make(edges)
    edges[1, 0] = 0
    with pytest.raises(ValueError, match="self-loop at index 0"):
        make(edges)
