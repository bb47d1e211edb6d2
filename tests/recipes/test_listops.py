import dataclasses
import itertools
import json
import math
import struct

import pytest
import torch
from torch.nn.functional import pad

import sstricks as sst
from recipes.sentences import parse
from sstricks.recipes.harness.metrics import read_metrics
from sstricks.recipes.harness.recipe import ESTIMATORS, DivergedError, draw_hard, draw_soft
from sstricks.recipes.harness.run import train
from sstricks.recipes.listops import (
    EdgeEncoder,
    GraphNetwork,
    ListOps,
    MessageNetwork,
    SequenceNetwork,
    edge_scores,
    edge_trick,
    gold_graphs,
    graph_over,
    links_of,
)

TEXTS = ("[MAX 3 [MIN 8 2 ] ]", "[MED 1 4 ]", "[MIN [MAX 1 9 ] 5 [MED 2 2 7 ] 6 ]", "[MAX [MIN [MED 3 1 ] 8 ] 0 ]")
EDGES = ("arborescence", "spanning-tree", "independent-directed", "independent-undirected")
ALLOWED = [(edges, utility) for edges in EDGES for utility in ("gumbel", "normal")]
ALLOWED += [("arborescence", "negative-exponential"), ("spanning-tree", "negative-exponential")]
MODELS = [("lstm", None, None), ("gnn", "ground-truth", None), *(("gnn", *pair) for pair in ALLOWED)]


@pytest.fixture(name="sentences")
def batch_of_sentences():
    return parse(*TEXTS)


@pytest.fixture(name="theta")
def numbers(sentences):
    torch.manual_seed(0)
    return torch.randn(len(sentences), *[sentences.tokens.shape[1]] * 2, requires_grad=True)


# Edge distributions


@pytest.mark.parametrize(("edges", "utility"), ALLOWED)
def test_padding_has_no_edges_and_the_rest_gets_gradients(edges, utility, sentences, theta):
    draw = edge_trick(edges, utility, theta, sentences.mask, 0.5)[0].draw()
    hard, soft = (graph_over(edges, theta.shape[-1]).to_adjacency(x) for x in (draw.discrete, draw.relaxed))
    present = sentences.mask.unsqueeze(-1) & sentences.mask.unsqueeze(-2)
    assert set(hard.unique().tolist()) <= {0.0, 1.0}
    for graph in (hard, soft):
        assert not graph[~present].any()
        assert not graph.diagonal(dim1=-2, dim2=-1).any()
        if edges == "arborescence":  # every token but the first has one head
            heads = sentences.mask.float()
            heads[:, 0] = 0
            torch.testing.assert_close(graph.sum(-2), heads)
        if edges == "spanning-tree":
            torch.testing.assert_close(graph.sum((-2, -1)), 2.0 * (sentences.lengths - 1))
    soft.square().sum().backward()
    assert theta.grad.isfinite().all()
    assert theta.grad.any()
    assert not theta.grad[~present].any()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("edges", EDGES)
def test_every_estimator_draws_hard_graphs_whose_gradients_leave_padding_alone(edges, estimator, sentences, theta):
    trick, vector = edge_trick(edges, "gumbel", theta, sentences.mask, 0.5)
    present_edges = trick.structure.masked(vector > -torch.inf)
    soft, hard = draw_soft(estimator, trick, vector), draw_hard(estimator, trick.structure, trick.utility, vector)
    for x in (hard, *([] if estimator == "sst" else [soft])):
        torch.testing.assert_close(x.round(), x.detach())
        assert present_edges.contains(x.round()).all()
    assert not hard.requires_grad
    (soft - torch.randn(soft.shape)).square().sum().backward()
    assert theta.grad.isfinite().all()
    assert theta.grad.any()
    present = sentences.mask.unsqueeze(-1) & sentences.mask.unsqueeze(-2)
    assert not theta.grad[~present].any()


@pytest.mark.parametrize("edges", ["spanning-tree", "independent-undirected"])
def test_undirected_graphs_are_symmetric_in_what_they_are_made_of(edges, sentences, theta):
    draws = []
    for numbers in (theta, theta.mT, (theta + theta.mT) / 2):
        torch.manual_seed(1)
        trick, _ = edge_trick(edges, "gumbel", numbers, sentences.mask, 0.5)
        draws.append(graph_over(edges, theta.shape[-1]).to_adjacency(trick.rsample()))
    for graph in draws:
        torch.testing.assert_close(graph, graph.mT)
        torch.testing.assert_close(graph, draws[0])


def test_a_padded_sentence_is_the_sentence(sentences, theta):
    structure, entropy = sst.Arborescence.complete(theta.shape[-1]), sst.ExponentialFamilyEntropy()
    first, second = structure.edges
    present = sentences.mask[:, first] & sentences.mask[:, second]
    padded = structure.softmax(theta.detach()[:, first, second].masked_fill(~present, -torch.inf), 1.0, entropy)
    graphs = graph_over("arborescence", theta.shape[-1]).to_adjacency(padded)
    for u, graph, length in zip(theta.detach(), graphs, sentences.lengths.tolist(), strict=True):
        alone = sst.Arborescence.complete(length)
        x = alone.softmax(u[alone.edges[0], alone.edges[1]], 1.0, entropy)
        torch.testing.assert_close(graph[:length, :length], alone.to_adjacency(x))


def test_independent_gumbel_edges_are_coins():
    theta, mask = torch.zeros(20_000, 3, 3), torch.ones(20_000, 3, dtype=torch.bool)
    theta[:, 0, 2] = 1.0
    draw = edge_trick("independent-directed", "gumbel", theta, mask, 1.0)[0].draw()
    expected = torch.full((3, 3), 0.5).fill_diagonal_(0)
    expected[0, 2] = torch.tensor(1.0).sigmoid()
    graphs = graph_over("independent-directed", 3).to_adjacency(draw.discrete)
    torch.testing.assert_close(graphs.mean(0), expected, atol=0.02, rtol=0)


def test_a_small_rate_is_a_low_utility():
    mask = torch.ones(20_000, 2, dtype=torch.bool)
    for shift in (3.0, -3.0):
        theta = torch.full((20_000, 2, 2), shift)
        trick, _ = edge_trick("arborescence", "negative-exponential", theta, mask, 1.0)
        assert trick.utility.sample().mean().item() == pytest.approx(-1 / math.log1p(math.exp(shift)), rel=0.05)


@pytest.mark.parametrize("edges", ["arborescence", "spanning-tree"])
@pytest.mark.parametrize("lowest", [-30.0, -44.0, -75.0, -1000.0])
def test_an_edge_of_vanishing_rate_is_absent_and_its_gradient_finite(edges, lowest):
    theta = torch.randn(2, 6, 6, generator=torch.Generator().manual_seed(0))
    theta[:, 1, 2] = theta[:, 2, 1] = lowest
    theta.requires_grad_()
    torch.manual_seed(0)
    trick, _ = edge_trick(edges, "negative-exponential", theta, torch.ones(2, 6, dtype=torch.bool), 1.0)
    graph = graph_over(edges, 6).to_adjacency(trick.rsample())
    assert (graph[:, 1, 2] == 0).all()
    graph.square().sum().backward()
    assert theta.grad.isfinite().all()
    assert theta.grad.any()


# Scores


def test_scores_leave_out_closing_brackets_and_padding(sentences):
    gold = gold_graphs(sentences)
    ignored = (sentences.tokens == 14) | ~sentences.mask
    for graphs, precision, recall in (
        (gold, 1.0, 1.0),
        (gold | ignored.unsqueeze(-1) | ignored.unsqueeze(-2), 1.0, 1.0),
        (gold | gold.mT, 0.5, 1.0),
        (torch.zeros_like(gold), 0.0, 0.0),
    ):
        assert [scores.tolist() for scores in edge_scores(graphs, sentences)] == [[precision] * 4, [recall] * 4]
    # [MAX 3 [MIN 8 2 ] ]: gold 0>1, 0>2, 2>3, 2>4.
    graph = torch.zeros(1, 7, 7, dtype=torch.bool)
    for head, modifier in ((0, 1), (0, 3), (2, 4), (0, 5), (5, 2)):
        graph[0, head, modifier] = True
    precision, recall = edge_scores(graph, parse(TEXTS[0]))
    assert (precision.item(), recall.item()) == pytest.approx((2 / 3, 2 / 4))


# Networks


def by_definition(sent, received, graph, matrix, bias):
    batch, length, _ = graph.shape
    out = torch.zeros(batch * length, len(bias), dtype=sent.dtype)
    for b, i, j in itertools.product(range(batch), range(length), range(length)):
        hidden = (sent[b * length + j] + received[b * length + i]).relu()
        out[b * length + i] += graph[b, i, j] * (matrix @ hidden + bias).relu()
    return out


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-12), ("bfloat16", 0.02)])
def test_messages_and_their_gradients_are_those_of_the_definition(precision, error, monkeypatch):
    monkeypatch.setattr("sstricks.recipes.harness.recipe.has_bfloat16", lambda device_type: True)
    torch.manual_seed(0)
    network = MessageNetwork(4, 0.0, precision).double()
    nodes = torch.randn(18, 4, dtype=torch.float64, requires_grad=True)
    graph = torch.randn(3, 6, 6, dtype=torch.float64).clamp_(min=0).requires_grad_()  # with absent edges
    outputs = (
        network(nodes, links_of(graph), 6),
        by_definition(*network.ends(nodes).chunk(2, -1), graph, *network.message.parameters()),
    )
    arguments = [nodes, *network.parameters(), graph]
    found, expected = ([y, *torch.autograd.grad(y.square().sum(), arguments)] for y in outputs)
    expected[-1] = expected[-1] * (graph > 0)  # an absent edge gets no gradient
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= error * other.norm()


def test_a_message_runs_from_operand_to_operator():
    senders, receivers, _ = links_of(gold_graphs(parse(*TEXTS[:2])).float())
    assert senders.tolist() == [1, 2, 3, 4, 8, 9]
    assert receivers.tolist() == [0, 0, 2, 2, 7, 7]


def test_graphs_without_edges_pass_no_messages():
    network = GraphNetwork(8, 2, 0.0)
    assert network(parse(*TEXTS).tokens, torch.zeros(4, 13, 13)).isfinite().all()


def test_negligible_edges_change_little():
    torch.manual_seed(0)
    network, tokens, graph = GraphNetwork(8, 2, 0.0), parse(*TEXTS).tokens, torch.rand(4, 13, 13)
    graph[graph < 0.3] *= 1e-6
    assert len(links_of(graph, 1e-6)[0]) < 0.8 * len(links_of(graph)[0])
    exact, network.negligible = network(tokens, graph), 1e-6
    torch.testing.assert_close(network(tokens, graph), exact, atol=1e-4, rtol=0)


def test_padding_changes_no_utility_and_no_prediction(sentences):
    torch.manual_seed(0)
    tokens, graph = sentences.tokens, gold_graphs(sentences).float()
    wider, length = pad(tokens, (0, 4)), tokens.shape[1]
    encoder, lstm, network = (
        m.eval() for m in (EdgeEncoder(8, 0.1), SequenceNetwork(8, 30, 0.1), GraphNetwork(8, 3, 0.1))
    )
    torch.testing.assert_close(encoder(wider)[:, :length, :length], encoder(tokens))
    torch.testing.assert_close(lstm(wider), lstm(tokens))
    torch.testing.assert_close(network(wider, pad(graph, (0, 4, 0, 4))), network(tokens, graph))


def test_a_token_is_encoded_from_what_stands_before_it():
    one, two = EdgeEncoder(8, 0.0)(parse("[MAX 1 2 3 ]", "[MAX 1 2 7 ]").tokens)
    torch.testing.assert_close(one[:3, :3], two[:3, :3])
    assert not torch.equal(one[3, 3], two[3, 3])


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_answer_sees_operands_as_deep_as_there_are_steps(steps):
    torch.manual_seed(0)
    network, sentences = GraphNetwork(8, steps, 0.0), parse("[MAX 1 [MIN 2 [MED 3 4 ] ] ]")
    graphs = gold_graphs(sentences).float()
    for depth, position in enumerate((1, 3, 5), start=1):  # of the operands 1, 2 and 3
        changed = sentences.tokens.clone()
        changed[0, position] += 1
        assert torch.equal(network(changed, graphs), network(sentences.tokens, graphs)) == (depth > steps)


def test_operands_have_no_order():
    both = parse("[MAX 1 2 [MIN 3 4 ] ]", "[MAX 2 [MIN 4 3 ] 1 ]")
    torch.testing.assert_close(*GraphNetwork(8, 2, 0.0)(both.tokens, gold_graphs(both).float()))


def test_dropout_is_for_training_and_every_parameter_learns(sentences):
    torch.manual_seed(0)
    encoder, network = EdgeEncoder(8, 0.1), GraphNetwork(8, 3, 0.5)
    graphs = encoder(sentences.tokens).sigmoid()
    one, two = (network(sentences.tokens, graphs) for _ in range(2))
    assert not torch.equal(one, two)
    (one + two).square().sum().backward()
    assert all(parameter.grad.any() for module in (encoder, network) for parameter in module.parameters())
    network.eval()
    assert torch.equal(*(network(sentences.tokens, graphs) for _ in range(2)))


# Runs


def tiny(network="gnn", edges=None, utility=None, **changes):
    recipe = ListOps(network=network, edges=edges, utility=utility).with_preset()
    sizes = {"train_examples": 100, "valid_examples": 40, "test_examples": 40, "train_share": 1.0, "valid_share": 1.0}
    sizes |= {"hidden": 8, "message_steps": 2, "batch_size": 20, "steps": 8, "valid_every": 4}
    return dataclasses.replace(recipe, **{**sizes, **changes})


def width(picture):
    return struct.unpack(">I", picture.read_bytes()[16:20])[0]


@pytest.mark.parametrize(("network", "edges", "utility"), MODELS)
def test_every_model_trains_and_reports(tmp_path, capsys, network, edges, utility):
    recipe = tiny(network, edges, utility)
    result = train(recipe, tmp_path, verbose=True)
    said = capsys.readouterr().out
    if network == "lstm":
        assert result["test/edge_precision"] is result["test/edge_recall"] is None
        assert "edge" not in said
        assert "nan" not in said
    else:
        assert 0 <= result["test/edge_precision"] <= 1
        assert "edge precision" in said
    assert 0 <= result["test/accuracy"] <= 1
    assert (result["test/edge_recall"] == 1) == (edges == "ground-truth")
    assert (result["network"], result["edges"], result["utility"]) == (network, edges, utility)
    assert (result["preset"], result["seed"], result["steps"], result["epochs"]) == ("quick", 0, 8, 1.6)
    assert ListOps.from_json(json.loads((tmp_path / "config.json").read_text())) == recipe
    assert (tmp_path / "parses.png").exists() == (network != "lstm")
    assert width(tmp_path / "curves.png") == (720 if network == "lstm" else 1440)


def test_a_single_test_expression_is_drawn_and_leaves_the_noise_alone(tmp_path):
    recipe = tiny(test_examples=1)
    model, before = recipe.model(), torch.get_rng_state()
    read = tmp_path / "metrics.jsonl"
    read.write_text('{"step": 4, "valid/accuracy": 0.5}\n')
    assert width(recipe.draw(model, tmp_path)[1]) > 1200
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_gold_edges_teach_the_values(tmp_path, precision, monkeypatch):
    monkeypatch.setattr("sstricks.recipes.harness.recipe.has_bfloat16", lambda device_type: True)
    sizes = {"hidden": 24, "message_steps": 5, "lr": 5e-3, "dropout": 0.0, "steps": 240, "valid_every": 60}
    train(tiny(edges="ground-truth", precision=precision, **sizes), tmp_path)
    rows = read_metrics(tmp_path)
    assert rows[-1]["train/accuracy"] > rows[0]["train/accuracy"] + 0.2


def test_shares_have_all_depths_in_equal_parts():
    recipe = tiny(train_examples=1000, train_share=0.1, valid_share=0.5)
    assert recipe.data().train.depths.bincount().tolist() == [0, *[20] * 5]
    assert [len(recipe.data().valid), len(recipe.data().test)] == [20, 40]


def test_evaluation_takes_hard_graphs_whatever_the_temperature():
    graphs = []
    for t in (1e6, 1e-3):
        recipe = tiny(temperature=t)
        torch.manual_seed(0)
        graphs.append(recipe.model().eval().graphs(recipe.data().test[:20]))
        assert set(graphs[-1].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(*graphs)


def test_the_temperature_falls_by_a_constant_factor():
    recipe = tiny(temperature=1.0, final_temperature=0.25, steps=400, valid_every=100)
    assert [recipe.temperature_at(step) for step in (0, 200, 400)] == pytest.approx([1.0, 0.5, 0.25])
    assert tiny(temperature=0.5).temperature_at(5) == 0.5


def test_diverged_parameters_are_told():
    recipe = tiny()
    model = recipe.model()
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.fill_(math.nan)
    with pytest.raises(DivergedError, match="Lower --lr"):
        model.graphs(recipe.data().test[:20])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "lstm"}, "none for the LSTM"),
        ({"edges": None, "utility": None}, "edges is None, expected edges for the network"),
        ({"utility": None}, "utility is None .* a utility where edges are learnt"),
        ({"edges": "ground-truth"}, "and none elsewhere"),
        ({"edges": "independent-directed", "utility": "negative-exponential"}, "where their utility is positive"),
        ({"edges": "ground-truth", "utility": None, "estimator": "i-mle"}, "no edges are learnt"),
        ({"dropout": 1.0}, "dropout is 1.0, expected below 1"),
        ({"negligible": -0.1}, "negligible is -0.1"),
        ({"temperature": 0.0}, "temperature is 0.0, expected a number above 0"),
        ({"final_temperature": 0.0}, "final_temperature is 0.0, expected a number above 0"),
        ({"data_seed": -1}, "data_seed is -1, expected at least 0"),
        ({"train_share": 2.0}, "train_share is 2.0, expected at most 1"),
        ({"valid_share": 0.0}, "valid_share is 0.0, expected a number above 0"),
        ({"restarts": 4, "restart_steps": 6}, "steps is 8, expected at least 12"),
    ],
)
def test_values_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(tiny(), **changes).check()


@pytest.mark.parametrize("preset", ["paper", "cpu", "quick"])
def test_presets_are_valid_for_every_model(preset):
    for network, edges, utility in MODELS:
        ListOps(network=network, edges=edges, utility=utility, preset=preset).with_preset().check()
    recipe = ListOps(preset=preset, seed=3).with_preset()
    assert (recipe.edges, recipe.utility, recipe.seed, recipe.restarts) == ("arborescence", "gumbel", 3, 1)
    assert (recipe.hidden, recipe.message_steps, recipe.dropout, recipe.batch_size) == (60, 5, 0.1, 100)
    if preset == "paper":
        assert (recipe.train_examples, recipe.valid_examples, recipe.test_examples) == (100_000, 10_000, 10_000)
        assert (recipe.valid_every, recipe.precision) == (800, "float32")
        assert recipe.steps / 1000 == pytest.approx(50, abs=1)
        assert (recipe.lr_factor(50_000), recipe.negligible, recipe.train_share, recipe.valid_share) == (1, 0, 1, 1)
        assert recipe.temperature_at(50_000) == recipe.temperature
