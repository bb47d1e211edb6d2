import itertools
import math

import pytest
import sentences_of
import torch
from torch.distributions import Gumbel

import sstricks as sst
from sstricks.experiments.listops.edges import EDGE_DISTRIBUTIONS

ALLOWED = [
    pair
    for pair in itertools.product(EDGE_DISTRIBUTIONS, ("gumbel", "normal", "negative-exponential"))
    if not (pair[0].startswith("independent") and pair[1] == "negative-exponential")
]


@pytest.fixture(name="sentences")
def batch_of_sentences():
    return sentences_of.batch()


@pytest.fixture(name="theta")
def numbers(sentences):
    torch.manual_seed(0)
    return torch.randn(len(sentences), sentences.max_length, sentences.max_length, requires_grad=True)


@pytest.mark.parametrize(("edges", "utility"), ALLOWED)
def test_padding_has_no_edges_and_the_rest_gets_gradients(edges, utility, sentences, theta):
    distribution = EDGE_DISTRIBUTIONS[edges](utility)
    draw = distribution.trick(theta, sentences.mask, 0.5).draw()
    length = sentences.max_length
    hard, soft = (distribution.adjacency(x, length) for x in (draw.discrete, draw.relaxed))
    present = sentences.mask.unsqueeze(-1) & sentences.mask.unsqueeze(-2)
    assert hard.shape == soft.shape == present.shape
    assert set(hard.unique().tolist()) <= {0.0, 1.0}
    for graph in (hard, soft):
        assert not graph[~present].any()
        assert not graph.diagonal(dim1=-2, dim2=-1).any()
    soft.square().sum().backward()
    assert theta.grad.isfinite().all()
    assert theta.grad.any()
    assert not theta.grad[~present].any()


@pytest.mark.parametrize("utility", ["gumbel", "normal", "negative-exponential"])
def test_every_token_but_the_first_has_one_head(utility, sentences, theta):
    distribution = EDGE_DISTRIBUTIONS["arborescence"](utility)
    draw = distribution.trick(theta, sentences.mask, 0.5).draw()
    heads = sentences.mask.float()
    heads[:, 0] = 0
    for x in (draw.discrete, draw.relaxed):
        torch.testing.assert_close(distribution.adjacency(x, sentences.max_length).sum(-2), heads)


@pytest.mark.parametrize("edges", ["spanning-tree", "independent-undirected"])
def test_undirected_graphs_are_symmetric_in_what_they_are_made_of(edges, sentences, theta):
    distribution = EDGE_DISTRIBUTIONS[edges]("gumbel")
    draws = []
    for numbers in (theta, theta.mT, (theta + theta.mT) / 2):
        torch.manual_seed(1)
        x = distribution.trick(numbers, sentences.mask, 0.5).rsample()
        draws.append(distribution.adjacency(x, sentences.max_length))
    for graph in draws:
        torch.testing.assert_close(graph, graph.mT)
        torch.testing.assert_close(graph, draws[0])
    if edges == "spanning-tree":
        torch.testing.assert_close(draws[0].sum((-2, -1)), 2.0 * (sentences.mask.sum(-1) - 1))


def test_a_padded_sentence_is_the_sentence(sentences, theta):
    distribution = EDGE_DISTRIBUTIONS["arborescence"]("gumbel")
    structure = sst.Arborescence.complete(sentences.max_length)
    u = Gumbel(theta, 1.0).rsample().detach()
    pairs = structure.edges
    present = sentences.mask[:, pairs[0]] & sentences.mask[:, pairs[1]]
    padded = structure.softmax(
        u[:, pairs[0], pairs[1]].masked_fill(~present, -torch.inf), 1.0, sst.ExponentialFamilyEntropy()
    )
    for row, matrix in enumerate(distribution.adjacency(padded, sentences.max_length)):
        length = int(sentences.mask[row].sum())
        alone = sst.Arborescence.complete(length)
        x = alone.softmax(u[row][alone.edges[0], alone.edges[1]], 1.0, sst.ExponentialFamilyEntropy())
        torch.testing.assert_close(matrix[:length, :length], alone.to_adjacency(x))


def test_independent_gumbel_edges_are_coins(sentences):
    distribution = EDGE_DISTRIBUTIONS["independent-directed"]("gumbel")
    mask = torch.ones(20_000, 3, dtype=torch.bool)
    theta = torch.zeros(20_000, 3, 3)
    theta[:, 0, 2] = 1.0
    draw = distribution.trick(theta, mask, 1.0).draw()
    expected = torch.full((3, 3), 0.5).fill_diagonal_(0)
    expected[0, 2] = torch.tensor(1.0).sigmoid()
    torch.testing.assert_close(distribution.adjacency(draw.discrete, 3).mean(0), expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("edges", ["independent-directed", "independent-undirected"])
def test_independent_edges_with_negative_utilities_are_refused(edges):
    with pytest.raises(ValueError, match=r"utility is 'negative-exponential'.*present where their utility is positive"):
        EDGE_DISTRIBUTIONS[edges]("negative-exponential")


def test_a_small_rate_is_a_low_utility():
    distribution = EDGE_DISTRIBUTIONS["arborescence"]("negative-exponential")
    theta = torch.zeros(20_000, 2, 2)
    mask = torch.ones(20_000, 2, dtype=torch.bool)
    for shift in (3.0, -3.0):
        mean = distribution.trick(theta + shift, mask, 1.0).utility.sample().mean()
        assert mean.item() == pytest.approx(-1 / math.log1p(math.exp(shift)), rel=0.05)


@pytest.mark.parametrize("edges", ["arborescence", "spanning-tree"])
@pytest.mark.parametrize("lowest", [-30.0, -44.0, -75.0, -1000.0])
def test_an_edge_of_vanishing_rate_is_absent_and_its_gradient_finite(edges, lowest):
    theta = torch.randn(2, 6, 6, generator=torch.Generator().manual_seed(0))
    theta[:, 1, 2] = theta[:, 2, 1] = lowest
    theta.requires_grad_()
    distribution = EDGE_DISTRIBUTIONS[edges]("negative-exponential")
    torch.manual_seed(0)
    graph = distribution.adjacency(distribution.trick(theta, torch.ones(2, 6, dtype=torch.bool), 1.0).rsample(), 6)
    assert (graph[:, 1, 2] == 0).all()
    graph.square().sum().backward()
    assert theta.grad.isfinite().all()
    assert theta.grad.any()
