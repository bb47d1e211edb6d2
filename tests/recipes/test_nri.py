"""Graph layout: its data against networkx, its layers against what Kipf et al. wrote down, its laws, its pictures."""

import itertools
import math
import struct
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Gumbel, Normal, kl_divergence
from torch.nn import functional as F

import sstricks as sst
import sstricks_cli as cli
from sstricks.recipes.harness.recipe import has_bfloat16, lowered
from sstricks.recipes.harness.run import train
from sstricks.recipes.nri import (
    Decoder,
    EdgeDistribution,
    Encoder,
    GraphLayout,
    MessageNetwork,
    draw_layouts,
    edge_scores,
    ordered_pairs,
    pair_sum,
    simulate,
    simulate_splits,
    spring_step,
)

NAMES = ("spanning-tree", "top-k", "independent")
NODES, BATCH = 5, 3


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tiny(**changed):
    sizes = {"graph_nodes": 5, "num_frames": 4, "train_examples": 64, "valid_examples": 32, "test_examples": 32}
    small = {"hidden": 8, "batch_size": 16, "steps": 8, "valid_every": 4, "restart_steps": 4}
    return GraphLayout(**{**sizes, **small, **changed})


# Data


def networkx_step(positions, graph):
    laid_out = nx.spring_layout(graph, pos=dict(enumerate(positions)), iterations=1)
    return np.stack([laid_out[node] for node in range(len(positions))])


@pytest.mark.parametrize("num_nodes", [2, 5, 10])
def test_ten_steps_are_networkx(num_nodes):
    noise = generator(num_nodes)
    adjacency = sst.SpanningTree.complete(num_nodes).to_adjacency(simulate(8, num_nodes, 2, noise).edges.double())
    positions = torch.randn(8, num_nodes, 2, generator=noise, dtype=torch.float64)
    expected = positions.numpy().copy()
    for _ in range(10):
        positions = spring_step(positions, adjacency)
        for example, matrix in enumerate(adjacency.numpy()):
            expected[example] = networkx_step(expected[example], nx.from_numpy_array(matrix))
        np.testing.assert_allclose(positions.numpy(), expected, atol=1e-12)


def test_coincident_nodes_stay_finite_as_in_networkx():
    positions = torch.zeros(3, 2, dtype=torch.float64)
    positions[2, 0] = 1
    adjacency = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=torch.float64)
    expected = networkx_step(positions.numpy().copy(), nx.from_numpy_array(adjacency.numpy()))
    np.testing.assert_allclose(spring_step(positions, adjacency).numpy(), expected, atol=1e-12)


def test_frames_are_outputs_of_the_layout_one_step_apart():
    layouts = simulate(20, 10, 10, generator())
    adjacency = sst.SpanningTree.complete(10).to_adjacency(layouts.edges.double())
    following = spring_step(layouts.positions[:, :-1].double(), adjacency.unsqueeze(1))
    torch.testing.assert_close(following.float(), layouts.positions[:, 1:], atol=2e-6, rtol=0)
    torch.testing.assert_close(layouts.positions.abs().amax((-2, -1)), torch.ones(20, 10))
    torch.testing.assert_close(layouts.positions.mean(-2), torch.zeros(20, 10, 2), atol=1e-6, rtol=0)


def test_hidden_edges_are_spanning_trees_with_the_frequencies_of_gumbel_weights():
    edges = simulate(4000, 4, 2, generator()).edges
    assert edges.dtype == torch.bool
    assert sst.SpanningTree.complete(4).contains(edges.float()).all()
    # The first two edges of Kruskal's algorithm are a uniform pair. It is a matching of the 4 nodes in 3 of 15 cases,
    # all of which end as a path; else it leaves a node for which 3 edges compete, of which one makes a star. So a star
    # comes up with probability 12/15 / 3 = 4/15, more than 4/16 of the uniform distribution.
    degrees = sst.SpanningTree.complete(4).to_adjacency(edges.float()).sum(-1)
    assert abs((degrees.amax(-1) == 3).float().mean().item() - 4 / 15) < 0.02


def test_splits_follow_their_seed_and_do_not_overlap():
    data, again = (simulate_splits((size, 5, 4), 5, 3, seed=7) for size in (6, 9))
    assert [len(part) for part in (data.train, data.valid, data.test)] == [6, 5, 4]
    assert torch.equal(data.test.positions, again.test.positions)
    assert not torch.equal(data.train.positions[:4], data.test.positions)
    for seed in (8, 10**30):
        assert not torch.equal(data.test.positions, simulate_splits((6, 5, 4), 5, 3, seed).test.positions)


# Pairs and layers


def test_every_ordered_pair_comes_once_and_sums_follow_the_order():
    senders, receivers = ordered_pairs(5).edges
    pairs = set(zip(senders.tolist(), receivers.tolist(), strict=True))
    assert len(pairs) == 20
    assert all(sender != receiver for sender, receiver in pairs)
    a, b = torch.randn(2, 2, 5, 3)
    assert torch.equal(pair_sum(a, b).flatten(1, 2), a[:, senders] + b[:, receivers])


@pytest.mark.parametrize("training", [True, False])
def test_the_encoder_is_that_of_kipf_et_al_with_one_hot_matrices(training):
    torch.manual_seed(0)
    encoder, n = Encoder(4, 8, 2).double().train(training), 6
    send, receive = (F.one_hot(nodes, n).double() for nodes in ordered_pairs(n).edges)
    positions = torch.randn(3, 4, n, 2, dtype=torch.float64)

    def block(block, pre):
        out = F.elu(block.linear(F.elu(pre)))
        return block.norm(out.reshape(-1, 8)).view(out.shape)

    nodes = block(encoder.nodes1, encoder.input(positions.transpose(1, 2).flatten(2)))
    edges = block(encoder.edges1, encoder.pairs1.linear(torch.cat([send @ nodes, receive @ nodes], -1)))
    nodes = block(encoder.nodes2, encoder.gather(receive.T @ edges / n))
    pairs = torch.cat([send @ nodes, receive @ nodes, edges], -1)
    expected = block(encoder.edges2, encoder.pairs2.linear(pairs))
    torch.testing.assert_close(encoder.features(positions), expected)


def test_the_encoder_starts_as_that_of_kipf_et_al():
    encoder = Encoder(10, 256, 1)
    assert all((value == 0.1).all() for name, value in encoder.named_parameters() if name.endswith("linear.bias"))
    assert encoder.pairs1.linear.weight.std().item() == pytest.approx((2 / (3 * 256)) ** 0.5, rel=0.02)


@pytest.fixture
def case():
    torch.manual_seed(0)
    return Decoder(8).double(), torch.randn(2, 7, 5, 2).double(), torch.rand(2, 5, 5).double()


def one_step(decoder, frame, graph):
    """Kipf et al.'s decoder as they wrote it down, for one frame (B, n, 2)."""
    senders, receivers = ordered_pairs(5).edges
    pairs = torch.cat([frame[:, senders], frame[:, receivers]], -1)
    on = graph[:, senders, receivers].unsqueeze(-1)
    total = 0
    for weight, network in ((decoder.no_edge * (1 - on), decoder.absent), (on, decoder.present)):
        total = total + weight * F.relu(network.message(F.relu(network.pair(pairs))))
    received = torch.stack([total[:, receivers == node].sum(1) for node in range(5)], 1)
    return frame + decoder.update(torch.cat([frame, received], -1))


@pytest.mark.parametrize("horizon", [1, 2, 3, 6, 7])
def test_the_decoder_rolls_out_from_every_horizon_th_true_frame(case, horizon):
    decoder, positions, graph = case
    expected, frame = [], positions[:, 0]
    for time in range(6):
        frame = one_step(decoder, positions[:, time] if time % horizon == 0 else frame, graph)
        expected.append(frame)
    torch.testing.assert_close(decoder(positions, graph, horizon), torch.stack(expected, 1))
    diagonal = torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(decoder(positions, graph), decoder(positions, graph + diagonal))  # which is not read


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_messages_along_absent_edges_may_be_silenced(case, weight):
    decoder, positions, graph = case
    decoder.no_edge.fill_(weight)
    torch.testing.assert_close(decoder(positions, graph, 7)[:, 0], one_step(decoder, positions[:, 0], graph))
    assert decoder.state_dict()["no_edge"] == pytest.approx(weight)


def test_bfloat16_products_stay_near(monkeypatch):
    monkeypatch.setattr("sstricks.recipes.harness.recipe.has_bfloat16", lambda device_type: True)
    torch.manual_seed(0)
    positions, graph = torch.randn(3, 4, 6, 2), torch.rand(3, 6, 6)
    for exact, rounded, arguments in (
        (Encoder(4, 16, 1).eval().features, Encoder(4, 16, 1, "bfloat16").eval(), (positions,)),
        (Decoder(16), Decoder(16, "bfloat16"), (positions, graph)),
    ):
        rounded.load_state_dict(getattr(exact, "__self__", exact).state_dict())
        expected = exact(*arguments)
        found = rounded.features(*arguments) if isinstance(rounded, Encoder) else rounded(*arguments)
        assert found.dtype == torch.float32
        assert 0 < (found - expected).norm() < 0.03 * expected.norm()


@pytest.mark.parametrize(
    ("features", "expected"), [({"avx512bf16": True}, True), ({"amx-bf16": True}, True), ({}, False)]
)
def test_a_cpu_without_instructions_for_bfloat16_keeps_float32(monkeypatch, features, expected):
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: features)
    monkeypatch.setattr("sstricks.recipes.harness.recipe.has_bfloat16", has_bfloat16.__wrapped__)
    for precision, low in (("float32", False), ("bfloat16", expected)):
        assert lowered(torch.ones(2), precision).dtype == (torch.bfloat16 if low else torch.float32)


def test_the_weight_of_absent_edges_rises_after_the_hold():
    assert GraphLayout().no_edge_weight(0) == 1
    held = GraphLayout(no_edge_hold=10, no_edge_ramp=4)
    assert [held.no_edge_weight(step) for step in (0, 9, 10, 11, 13, 14, 999)] == [0, 0, 0, 0.25, 0.75, 1, 1]
    assert [GraphLayout(no_edge_hold=3).no_edge_weight(step) for step in (2, 3)] == [0, 1]


def test_the_learning_rate_declines_at_the_end():
    recipe = GraphLayout(steps=100, lr_decay=0.3)
    assert [recipe.lr_factor(step) for step in (0, 70, 85, 100)] == pytest.approx([1, 1, 0.5, 0])
    assert GraphLayout(steps=100).lr_factor(100) == 1


# Distributions over graphs


@pytest.fixture(params=NAMES, name="edges")
def distribution(request):
    return EdgeDistribution(request.param, NODES)


@pytest.fixture(name="theta")
def locations(edges):
    torch.manual_seed(0)
    return edges.theta(torch.randn(BATCH, NODES * (NODES - 1), edges.outputs_per_pair)).requires_grad_()


def trick(edges, theta, temperature=0.5):
    family = sst.ExponentialFamilyEntropy()
    return sst.StochasticSoftmaxTrick(edges.structure, edges.utility(theta), temperature, family)


def test_a_draw_becomes_a_graph(edges, theta):
    draw = trick(edges, theta).draw(generator=generator())
    hard, soft = edges.graph(draw.discrete), edges.graph(draw.relaxed)
    assert hard.shape == soft.shape == (BATCH, NODES, NODES)
    assert set(hard.unique().tolist()) <= {0.0, 1.0}
    assert (soft.diagonal(dim1=-2, dim2=-1) == 0).all()
    soft.square().sum().backward()
    assert theta.grad.isfinite().all()


def test_trees_are_symmetric_and_span():
    edges, trees = EdgeDistribution("spanning-tree", NODES), sst.SpanningTree.complete(NODES)
    vector = trick(edges, torch.zeros(BATCH, 10)).draw().discrete
    assert trees.contains(vector).all()
    torch.testing.assert_close(edges.graph(vector), trees.to_adjacency(vector))


def test_undirected_utilities_are_means_over_both_directions():
    senders, receivers = ordered_pairs(NODES).edges
    matrix = torch.randn(NODES, NODES)
    first, second = torch.triu_indices(NODES, NODES, 1)
    mean = ((matrix + matrix.T) / 2)[first, second]
    theta = EdgeDistribution("top-k", NODES).theta(matrix[senders, receivers][None, :, None])[0]
    torch.testing.assert_close(theta - theta[0], mean - mean[0])


def test_no_shift_of_the_utilities_has_a_smaller_kl(edges, theta):
    with torch.no_grad():
        best = edges.kl(theta)
        for shift in (-0.1, 0.1):
            assert (edges.kl(theta + shift) > best).all()
    outputs = torch.randn(BATCH, NODES * (NODES - 1), edges.outputs_per_pair)
    shifted = outputs + 50 * torch.randn(BATCH, 1, 1)
    torch.testing.assert_close(edges.theta(shifted), edges.theta(outputs), atol=1e-4, rtol=0)


def test_kl_is_that_between_gumbels_exact_near_zero_with_a_bounded_gradient(edges, theta):
    one = torch.ones_like(theta)
    every = kl_divergence(Gumbel(theta, one), Gumbel(torch.zeros_like(theta), one))
    torch.testing.assert_close(edges.kl(theta), every.flatten(1).sum(1))
    near = torch.linspace(-1e-3, 1e-3, 101).unsqueeze(-1)
    assert (edges.kl(near) >= 0).all()
    torch.testing.assert_close(edges.kl(near).double(), (near.double() + torch.expm1(-near.double())).squeeze(-1))
    outputs = torch.tensor([-60.0, 5.0, 40.0], requires_grad=True)
    both = ordered_pairs(3).from_adjacency(sst.SpanningTree.complete(3).to_adjacency(outputs))
    triangle = EdgeDistribution("top-k", 3)
    (gradient,) = torch.autograd.grad(triangle.kl(triangle.theta(both[None, :, None])).sum(), outputs)
    torch.testing.assert_close(gradient, torch.tensor([-2.0, 1.0, 1.0]))


def test_independent_edges_are_directed_and_follow_the_logistic():
    edges = EdgeDistribution("independent", NODES)
    theta = torch.zeros(20_000, 20, 2)
    theta[:, 3, 1] = 1.0
    senders, receivers = ordered_pairs(NODES).edges
    expected = torch.full((NODES, NODES), 0.5).fill_diagonal_(0)
    expected[senders[3], receivers[3]] = torch.tensor(1.0).sigmoid()
    graphs = edges.graph(trick(edges, theta).draw().discrete)
    torch.testing.assert_close(graphs.mean(0), expected, atol=0.02, rtol=0)


def test_score_functions_of_independent_edges_see_the_edges():
    edges = EdgeDistribution("independent", 2)
    theta = torch.tensor([[[0.3, -0.2], [0.0, 1.0]]], requires_grad=True)
    total = divergence = torch.zeros(())
    for graph in ([0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]):
        x = torch.tensor([graph])
        log_prob = edges.log_prob(theta, sst.estimators.Action(log_prob=x.sum(-1), utility=x, discrete=x))
        torch.testing.assert_close(log_prob, Bernoulli(logits=theta[..., 1] - theta[..., 0]).log_prob(x).sum(-1))
        total = total + log_prob.exp().sum()
        divergence = divergence + (log_prob.exp() * (log_prob - math.log(0.25))).sum()
    assert total.item() == pytest.approx(1)
    torch.testing.assert_close(edges.kl(theta, score_function=True).sum(), divergence)


@pytest.mark.parametrize("name", ["top-k", "spanning-tree"])
def test_score_functions_of_undirected_edges_see_the_utilities(name):
    edges = EdgeDistribution(name, NODES)
    theta = torch.randn(BATCH, 10, requires_grad=True)
    action = sst.estimators.draw_action(trick(edges, theta))
    noise = action.utility - theta
    torch.testing.assert_close(edges.log_prob(theta, action), (-noise - (-noise).exp()).sum(-1))
    (gradient,) = torch.autograd.grad(edges.log_prob(theta, action).sum(), theta)
    torch.testing.assert_close(gradient, 1 - (-noise.detach()).exp())


# Objective and scores


def test_elbo_is_the_gaussian_s_per_node_but_for_its_constant():
    model = tiny(num_frames=4).model()
    positions, graph, kl = torch.randn(2, 4, 5, 2), torch.rand(2, 5, 5), torch.tensor([1.0, 30.0])
    prediction, normal = model.decoder(positions, graph), Normal(positions[:, 1:], 5e-5**0.5)
    expected = (normal.log_prob(prediction) - normal.log_prob(positions[:, 1:])).sum((1, 2, 3)) / 5 - kl / 5
    torch.testing.assert_close(model.elbo(positions, graph, kl), expected)


TRUTH = torch.tensor([[1, 0, 0, 1, 0, 1], [1, 1, 1, 0, 0, 0]], dtype=torch.bool)


def symmetric(edges, num_nodes=4):
    graph = torch.zeros(len(edges), num_nodes, num_nodes)
    first, second = torch.triu_indices(num_nodes, num_nodes, 1)
    graph[:, first, second] = graph[:, second, first] = edges.float()
    return graph


@pytest.mark.parametrize("flipped", [False, True])
def test_perfect_graphs_score_one_in_either_orientation(flipped):
    graphs = symmetric(TRUTH)
    scores = edge_scores(1 - graphs if flipped else graphs, TRUTH)
    assert scores == {"edge_precision": 1.0, "edge_recall": 1.0, "complemented": float(flipped)}


def test_the_orientation_is_chosen_once_for_all_graphs():
    found = symmetric(TRUTH)
    found[1] = 1 - found[1]
    scores = edge_scores(found, TRUTH)
    assert (scores["edge_precision"], scores["edge_recall"]) == (0.5, 0.5)


def test_directed_graphs_are_scored_entry_by_entry_and_empty_ones_have_precision_zero():
    found = torch.zeros(1, 3, 3, dtype=torch.bool)
    found[0, 0, 1] = found[0, 1, 2] = found[0, 2, 1] = found[0, 0, 0] = True
    scores = edge_scores(found, torch.tensor([[True, False, False]]))
    assert (scores["edge_precision"], scores["edge_recall"]) == pytest.approx((1 / 3, 1 / 2))
    graphs = symmetric(torch.tensor([[1, 1, 1], [0, 0, 0]]), 3)
    scores = edge_scores(graphs, torch.tensor([[True, True, True], [True, True, False]]))
    assert scores == {"edge_precision": 0.5, "edge_recall": 0.5, "complemented": 0.0}


@pytest.mark.parametrize("name", NAMES)
def test_chance_is_what_the_prior_scores(name):
    torch.manual_seed(0)
    edges, trees = EdgeDistribution(name, 6), EdgeDistribution("spanning-tree", 6)
    truth = trick(trees, torch.zeros(4000, 15)).draw().discrete.bool()
    theta = edges.theta(torch.zeros(4000, 30, edges.outputs_per_pair))
    found = edge_scores(edges.graph(trick(edges, theta).draw().discrete), truth)
    chance = GraphLayout(edges=name, graph_nodes=6).facts()
    assert found["edge_precision"] == pytest.approx(chance["chance/edge_precision"], abs=0.02)
    recall = 1 - found["edge_recall"] if found["complemented"] else found["edge_recall"]
    assert recall == pytest.approx(chance["chance/edge_recall"], abs=0.02)


# Runs


@pytest.mark.parametrize(
    ("edges", "estimator"),
    [
        *itertools.product(NAMES, ("sst", "reinforce", "nvil")),
        *(("spanning-tree", name) for name in ("straight-through", "i-mle")),
        *(("independent", name) for name in ("identity", "spigot")),
    ],
)
def test_every_model_trains_and_draws(tmp_path, edges, estimator):
    result = train(tiny(edges=edges, estimator=estimator), tmp_path)
    assert {"test/elbo", "test/edge_precision", "test/edge_recall", "test/complemented"} <= result.keys()
    for name in ("graphs.png", "curves.png"):
        content = (tmp_path / name).read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", content[16:24])[0] > 900


def test_pictures_disturb_no_random_numbers(tmp_path):
    recipe = tiny(edges="independent")
    before = torch.get_rng_state()
    draw_layouts({"a": (recipe, recipe.model()), "b": (recipe, recipe.model())}, tmp_path / "a.png", (1, 9))
    torch.set_rng_state(before)
    state = torch.get_rng_state()
    model = recipe.model()
    torch.set_rng_state(state)
    draw_layouts({"a": (recipe, model)}, tmp_path / "a.png")
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(ValueError, match="there are 32 test graphs"):
        draw_layouts({"a": (recipe, model), "b": (recipe, model)}, tmp_path / "a.png", (33,))


def test_an_encoder_that_gives_nan_ends_the_training(tmp_path):
    with pytest.raises(ValueError, match=r"at step 1: the encoder's outputs are no longer finite\. Lower --lr"):
        train(tiny(lr=1e30, clip=1e30), tmp_path)


def test_restarts_in_other_processes_come_to_the_same(tmp_path):
    recipe = tiny(restarts=2)
    one, two = (train(recipe, tmp_path / str(jobs), jobs=jobs) for jobs in (1, 2))
    assert one["restart"] == two["restart"]
    assert one["test/elbo"] == pytest.approx(two["test/elbo"], rel=1e-4)
    assert one["restarts"] == 2


def test_presets_are_complete_and_the_paper_s_is_the_paper_s():
    for preset in ("quick", "cpu", "large", "paper"):
        for name in NAMES:
            GraphLayout(preset=preset, edges=name).with_preset().check()
    paper = GraphLayout(preset="paper", num_frames=20).with_preset()
    assert (paper.steps, paper.hidden, paper.batch_size, paper.horizon) == (50_000, 256, 128, 10)
    assert (paper.restarts, paper.no_edge_hold, paper.lr_decay, paper.precision) == (1, 0, 0.0, "float32")
    assert replace(paper, estimator="nvil").with_preset().weight_decay == 1e-4


def test_messages_are_differentiable_in_everything():
    torch.manual_seed(0)
    network = MessageNetwork(5, "float32").double()
    arguments = [torch.randn(2, 3, 4, 2, dtype=torch.float64), torch.randn(2, 12, dtype=torch.float64)]
    arguments += [parameter.detach() for parameter in network.parameters()]
    names = [name for name, _ in network.named_parameters()]

    def received(positions, weights, *parameters):
        return torch.func.functional_call(network, dict(zip(names, parameters, strict=True)), (positions, weights))

    assert torch.autograd.gradcheck(received, [argument.requires_grad_() for argument in arguments])
    positions, weights, *_ = arguments
    senders, receivers = ordered_pairs(4).edges
    pairs = torch.cat([positions[:, :, senders], positions[:, :, receivers]], -1)
    out = F.relu(network.message(F.relu(network.pair(pairs)))) * weights[:, None, :, None]
    expected = torch.stack([out[:, :, receivers == node].sum(2) for node in range(4)], 2)
    torch.testing.assert_close(network(positions, weights), expected)
    torch.testing.assert_close(
        ordered_pairs(4).from_adjacency(torch.arange(16.0).view(4, 4)), (4 * senders + receivers).float()
    )


def test_the_demo_trains_two_models_compares_them_and_shows_them_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(GraphLayout, "with_preset", lambda self: tiny(edges=self.edges, seed=self.seed))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert cli.main(["demo", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for text in ("spanning-tree: step 8/8", "independent: step 8/8", "precision", str(tmp_path / "curves.png")):
        assert text in printed
    before = (tmp_path / "independent" / "result.json").read_bytes()
    assert cli.main(["demo", "--out", str(tmp_path)]) == 0
    assert "step 8/8" not in capsys.readouterr().out
    assert (tmp_path / "independent" / "result.json").read_bytes() == before
    assert cli.main(["demo", "--out", str(tmp_path), "--seed", "1"]) == 2
    assert "seed is 0 there and 1 here" in " ".join(capsys.readouterr().err.split())
