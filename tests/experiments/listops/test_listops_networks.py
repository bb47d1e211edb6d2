import pytest
import sentences_of
import torch

from sstricks.experiments.listops.encoder import EdgeEncoder
from sstricks.experiments.listops.links import gold_graph, links_of
from sstricks.experiments.listops.network import GraphNetwork
from sstricks.experiments.listops.sequence import SequenceNetwork


def padded(tokens, more):
    return torch.nn.functional.pad(tokens, (0, more))


def test_padding_changes_no_utility_and_no_prediction():
    torch.manual_seed(0)
    sentences = sentences_of.batch()
    length = sentences.max_length
    tokens, mask = padded(sentences.tokens, 4), padded(sentences.mask, 4)
    encoder = EdgeEncoder(8, 0.1).eval()
    torch.testing.assert_close(encoder(tokens)[:, :length, :length], encoder(sentences.tokens))
    lstm = SequenceNetwork(8, 30, 0.1).eval()
    torch.testing.assert_close(lstm(tokens, mask), lstm(sentences.tokens, sentences.mask))
    network = GraphNetwork(8, 3, 0.1).eval()
    graph = gold_graph(sentences).float()
    wider = torch.nn.functional.pad(graph, (0, 4, 0, 4))
    torch.testing.assert_close(network(tokens, links_of(wider)), network(sentences.tokens, links_of(graph)))


def test_a_token_is_encoded_from_what_stands_before_it():
    torch.manual_seed(0)
    encoder = EdgeEncoder(8, 0.0)
    one, two = (encoder(sentences_of.batch(text).tokens)[0] for text in ("[MAX 1 2 3 ]", "[MAX 1 2 7 ]"))
    torch.testing.assert_close(one[:3, :3], two[:3, :3])
    assert not torch.equal(one[3, 3], two[3, 3])


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_answer_sees_operands_as_deep_as_there_are_steps(steps):
    torch.manual_seed(0)
    network = GraphNetwork(8, steps, 0.0)
    sentences = sentences_of.batch("[MAX 1 [MIN 2 [MED 3 4 ] ] ]")
    # Positions of the operands 1, 2 and 3, at depths 1, 2 and 3.
    for depth, position in enumerate((1, 3, 5), start=1):
        changed = sentences.tokens.clone()
        changed[0, position] += 1
        links = links_of(gold_graph(sentences).float())
        assert torch.equal(network(changed, links), network(sentences.tokens, links)) == (depth > steps)


def test_operands_have_no_order():
    torch.manual_seed(0)
    network = GraphNetwork(8, 2, 0.0)
    logits = []
    for text in ("[MAX 1 2 [MIN 3 4 ] ]", "[MAX 2 [MIN 4 3 ] 1 ]"):
        sentences = sentences_of.batch(text)
        logits.append(network(sentences.tokens, links_of(gold_graph(sentences).float())))
    torch.testing.assert_close(*logits)


def test_dropout_is_for_training_and_keeps_the_mean_of_what_is_hidden():
    torch.manual_seed(0)
    network = GraphNetwork(8, 2, 0.5)
    sentences = sentences_of.batch()
    links = links_of(gold_graph(sentences).float())
    one, two = (network(sentences.tokens, links) for _ in range(2))
    assert not torch.equal(one, two)
    network.eval()
    one, two = (network(sentences.tokens, links) for _ in range(2))
    assert torch.equal(one, two)


def test_every_parameter_learns():
    torch.manual_seed(0)
    sentences = sentences_of.batch()
    encoder, network = EdgeEncoder(8, 0.1), GraphNetwork(8, 3, 0.1)
    weights = encoder(sentences.tokens).sigmoid()
    network(sentences.tokens, links_of(weights)).square().sum().backward()
    for module in (encoder, network):
        assert all(parameter.grad.any() for parameter in module.parameters())
