import pytest
import torch
from torch.distributions import Normal

from sstricks.experiments.nri.edges import EDGE_DISTRIBUTIONS
from sstricks.experiments.nri.objective import chance_scores, edge_scores, elbo, gaussian_nll


def test_nll_is_the_gaussian_s_per_node_but_for_its_constant():
    torch.manual_seed(0)
    prediction, target = torch.randn(2, 3, 4, 5, 2).unbind(0)
    normal = Normal(prediction, 5e-5**0.5)
    expected = (normal.log_prob(prediction) - normal.log_prob(target)).sum((1, 2, 3)) / 5
    torch.testing.assert_close(gaussian_nll(prediction, target), expected)


def test_elbo_divides_the_kl_by_the_nodes():
    found = elbo(torch.tensor([1.0, 2.0]), torch.tensor([10.0, 30.0]), num_nodes=10)
    torch.testing.assert_close(found, torch.tensor([-2.0, -5.0]))


def symmetric(edges, num_nodes):
    graph = torch.zeros(len(edges), num_nodes, num_nodes)
    lower, upper = torch.triu_indices(num_nodes, num_nodes, 1)
    graph[:, lower, upper] = graph[:, upper, lower] = edges.float()
    return graph


TRUTH = torch.tensor([[1, 0, 0, 1, 0, 1], [1, 1, 1, 0, 0, 0]], dtype=torch.bool)


def test_perfect_graphs_score_one():
    scores = edge_scores(symmetric(TRUTH, 4), TRUTH)
    assert (scores.precision, scores.recall, scores.complemented) == (1, 1, False)


def test_flipped_graphs_are_scored_by_their_complement():
    scores = edge_scores(1 - symmetric(TRUTH, 4), TRUTH)
    assert (scores.precision, scores.recall, scores.complemented) == (1, 1, True)


def test_the_orientation_is_chosen_once_for_the_whole_set():
    found = symmetric(TRUTH, 4)
    found[1] = 1 - found[1]
    scores = edge_scores(found, TRUTH)
    assert (scores.precision, scores.recall) == (0.5, 0.5)


def test_directed_graphs_are_scored_entry_by_entry():
    found = torch.zeros(1, 3, 3, dtype=torch.bool)
    found[0, 0, 1] = found[0, 1, 2] = found[0, 2, 1] = found[0, 0, 0] = True
    scores = edge_scores(found, torch.tensor([[True, False, False]]))
    assert scores.precision == pytest.approx(1 / 3)
    assert scores.recall == pytest.approx(1 / 2)


def test_an_empty_graph_has_precision_zero():
    truth = torch.tensor([[True, True, True], [True, True, False]])
    found = symmetric(torch.tensor([[1, 1, 1], [0, 0, 0]]), 3)
    scores = edge_scores(found, truth)
    assert (scores.precision, scores.recall, scores.complemented) == (0.5, 0.5, False)


def test_edges_of_another_size_are_refused():
    with pytest.raises(ValueError, match="true_edges has shape"):
        edge_scores(torch.zeros(2, 4, 4), TRUTH[:, :5])


@pytest.mark.parametrize("name", EDGE_DISTRIBUTIONS)
def test_chance_is_what_the_prior_scores(name):
    torch.manual_seed(0)
    edges, trees = EDGE_DISTRIBUTIONS[name](6), EDGE_DISTRIBUTIONS["spanning-tree"](6)
    truth = trees.trick(torch.zeros(4000, 15), 1.0).draw().discrete.bool()
    theta = edges.utilities(torch.zeros(4000, 30, edges.num_outputs_per_edge))
    graphs = edges.adjacency(edges.trick(theta, 1.0).draw().discrete)
    found, chance = edge_scores(graphs, truth), chance_scores(edges)
    assert found.precision == pytest.approx(chance.precision, abs=0.02)
    recall = 1 - found.recall if found.complemented else found.recall
    assert recall == pytest.approx(chance.recall, abs=0.02)
