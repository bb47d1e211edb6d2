import pytest
import torch
from torch.distributions import Bernoulli, Gumbel, kl_divergence

import sstricks as sst
from sstricks.experiments.nri.edges import EDGE_DISTRIBUTIONS, gumbel_kl, least_kl_gauge
from sstricks.experiments.nri.pairs import directed_edges

NUM_NODES, BATCH = 5, 3


@pytest.fixture(params=EDGE_DISTRIBUTIONS, name="edges")
def edge_distribution(request):
    return EDGE_DISTRIBUTIONS[request.param](NUM_NODES)


@pytest.fixture(name="theta")
def locations(edges):
    torch.manual_seed(0)
    outputs = torch.randn(BATCH, NUM_NODES * (NUM_NODES - 1), edges.num_outputs_per_edge)
    return edges.utilities(outputs).requires_grad_()


def test_a_draw_becomes_a_graph(edges, theta):
    draw = edges.trick(theta, 0.5).draw(generator=torch.Generator().manual_seed(0))
    hard, soft = edges.adjacency(draw.discrete), edges.adjacency(draw.relaxed)
    assert hard.shape == soft.shape == (BATCH, NUM_NODES, NUM_NODES)
    assert set(hard.unique().tolist()) <= {0.0, 1.0}
    assert (soft.diagonal(dim1=-2, dim2=-1) == 0).all()
    soft.square().sum().backward()
    assert theta.grad.isfinite().all()


def test_how_many_edges(edges, theta):
    density = edges.adjacency(edges.trick(torch.zeros(2000, *theta.shape[1:]), 1.0).draw().discrete).mean((1, 2))
    assert density.mean() * NUM_NODES / (NUM_NODES - 1) == pytest.approx(edges.prior_density, abs=0.01)


def test_spanning_tree_is_symmetric_and_spans():
    edges = EDGE_DISTRIBUTIONS["spanning-tree"](NUM_NODES)
    vector = edges.trick(torch.zeros(BATCH, 10), 1.0).draw().discrete
    assert sst.SpanningTree.complete(NUM_NODES).contains(vector).all()
    torch.testing.assert_close(edges.adjacency(vector), sst.SpanningTree.complete(NUM_NODES).to_adjacency(vector))


def test_undirected_utilities_are_means_over_both_directions():
    edges = EDGE_DISTRIBUTIONS["top-k"](NUM_NODES)
    senders, receivers = directed_edges(NUM_NODES)
    matrix = torch.randn(NUM_NODES, NUM_NODES)
    lower, upper = torch.triu_indices(NUM_NODES, NUM_NODES, 1)
    mean = ((matrix + matrix.T) / 2)[lower, upper]
    theta = edges.utilities(matrix[senders, receivers][None, :, None])[0]
    torch.testing.assert_close(theta - theta[0], mean - mean[0])


def test_no_shift_of_the_utilities_has_a_smaller_kl(edges, theta):
    with torch.no_grad():
        best = edges.kl(theta)
        torch.testing.assert_close(gumbel_kl(theta).sum(-1), theta.sum(-1))
        for shift in (-0.1, 0.1):
            assert (edges.kl(theta + shift) > best).all()


def test_a_common_shift_of_the_outputs_changes_nothing(edges):
    outputs = torch.randn(BATCH, NUM_NODES * (NUM_NODES - 1), edges.num_outputs_per_edge)
    shifted = outputs + 50 * torch.randn(BATCH, 1, 1)
    torch.testing.assert_close(edges.utilities(shifted), edges.utilities(outputs), atol=1e-4, rtol=0)


def test_the_gradient_of_the_kl_is_bounded():
    outputs = torch.tensor([-60.0, 5.0, 40.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(gumbel_kl(least_kl_gauge(outputs)).sum(), outputs)
    torch.testing.assert_close(gradient, torch.tensor([-2.0, 1.0, 1.0]))


def test_independent_edges_are_directed_and_follow_the_logistic():
    edges = EDGE_DISTRIBUTIONS["independent"](NUM_NODES)
    theta = torch.zeros(20_000, 20, 2)
    theta[:, 3, 1] = 1.0
    senders, receivers = directed_edges(NUM_NODES)
    graphs = edges.adjacency(edges.trick(theta, 1.0).draw().discrete)
    expected = torch.full((NUM_NODES, NUM_NODES), 0.5).fill_diagonal_(0)
    expected[senders[3], receivers[3]] = torch.tensor(1.0).sigmoid()
    torch.testing.assert_close(graphs.mean(0), expected, atol=0.02, rtol=0)


def test_kl_is_torch_s_between_gumbels(edges, theta):
    one = torch.ones_like(theta)
    every = kl_divergence(Gumbel(theta, one), Gumbel(torch.zeros_like(theta), one))
    torch.testing.assert_close(edges.kl(theta), every.flatten(1).sum(1))


def test_gumbel_kl_is_exact_near_zero():
    theta = torch.linspace(-1e-3, 1e-3, 101)
    exact = theta.double() + torch.expm1(-theta.double())
    assert (gumbel_kl(theta) >= 0).all()
    torch.testing.assert_close(gumbel_kl(theta).double(), exact, atol=1e-10, rtol=0)


def test_independent_log_prob_and_kl_are_of_the_edges():
    edges = EDGE_DISTRIBUTIONS["independent"](2)
    theta = torch.tensor([[[0.3, -0.2], [0.0, 1.0]]], requires_grad=True)
    trick = edges.trick(theta, 1.0)
    logits = theta[..., 1] - theta[..., 0]
    total = torch.zeros(())
    divergence = torch.zeros(())
    for graph in ([0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]):
        x = torch.tensor([graph])
        log_prob = edges.log_prob(theta, sst.Draw(utility=x, relaxed=x, discrete=x))
        torch.testing.assert_close(log_prob, Bernoulli(logits=logits).log_prob(x).sum(-1))
        total = total + log_prob.exp().sum()
        divergence = divergence + (log_prob.exp() * (log_prob - torch.tensor(0.25).log())).sum()
    assert total.item() == pytest.approx(1)
    torch.testing.assert_close(edges.action_kl(theta).sum(), divergence)
    assert trick.event_shape == (2,)


@pytest.mark.parametrize("name", ["top-k", "spanning-tree"])
def test_undirected_log_prob_is_of_the_utilities(name):
    edges = EDGE_DISTRIBUTIONS[name](NUM_NODES)
    theta = torch.randn(BATCH, 10, requires_grad=True)
    draw = edges.trick(theta, 1.0).draw()
    noise = draw.utility.detach() - theta
    torch.testing.assert_close(edges.log_prob(theta, draw), (-noise - (-noise).exp()).sum(-1))
    (gradient,) = torch.autograd.grad(edges.log_prob(theta, draw).sum(), theta)
    torch.testing.assert_close(gradient, 1 - (-noise.detach()).exp())
    torch.testing.assert_close(edges.action_kl(theta), edges.kl(theta))
