import pytest
import torch

from sstricks.experiments.nri.pairs import directed_edges, graph_to_pairs, pair_sum, pairs_to_graph


@pytest.mark.parametrize("num_nodes", [2, 3, 10])
def test_every_ordered_pair_once(num_nodes):
    senders, receivers = directed_edges(num_nodes).tolist()
    pairs = list(zip(senders, receivers, strict=True))
    assert len(set(pairs)) == len(pairs) == num_nodes * (num_nodes - 1)
    assert all(sender != receiver for sender, receiver in pairs)


def test_pair_sum_follows_the_order():
    senders, receivers = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    edges = directed_edges(5)
    expected = senders[:, edges[0]] + receivers[:, edges[1]]
    assert torch.equal(pair_sum(senders, receivers).flatten(1, 2), expected)


def test_graphs_survive_the_round_trip_but_for_the_diagonal():
    graph = torch.randn(2, 3, 6, 6)
    off_diagonal = graph * (1 - torch.eye(6))
    assert torch.equal(pairs_to_graph(graph_to_pairs(graph), 6), off_diagonal)
    senders, receivers = directed_edges(6)
    assert torch.equal(graph_to_pairs(graph), graph[..., senders, receivers])


def test_pairs_to_graph_is_differentiable():
    pairs = torch.randn(2, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pairs_to_graph(x, 4), pairs)
