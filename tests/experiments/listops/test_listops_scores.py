import pytest
import sentences_of
import torch

from sstricks.experiments.listops.links import gold_graph
from sstricks.experiments.listops.scores import edge_scores


def test_gold_graphs_are_perfect_and_empty_ones_are_not():
    sentences = sentences_of.batch()
    gold = gold_graph(sentences)
    for scores in edge_scores(gold, sentences):
        assert scores.tolist() == [1.0] * 4
    for scores in edge_scores(torch.zeros_like(gold), sentences):
        assert scores.tolist() == [0.0] * 4


def test_undirected_gold_edges_are_half_right():
    sentences = sentences_of.batch()
    gold = gold_graph(sentences)
    precision, recall = edge_scores(gold | gold.mT, sentences)
    assert precision.tolist() == [0.5] * 4
    assert recall.tolist() == [1.0] * 4


def test_edges_of_closing_brackets_and_of_padding_do_not_count():
    sentences = sentences_of.batch()
    gold = gold_graph(sentences)
    ignored = sentences.closing | ~sentences.mask
    graph = gold | ignored.unsqueeze(-1) | ignored.unsqueeze(-2)
    for scores in edge_scores(graph, sentences):
        assert scores.tolist() == [1.0] * 4


def test_counts_by_hand():
    # [MAX 3 [MIN 8 2 ] ]: gold 0>1, 0>2, 2>3, 2>4.
    sentences = sentences_of.batch("[MAX 3 [MIN 8 2 ] ]")
    graph = torch.zeros(1, 7, 7, dtype=torch.bool)
    for head, modifier in ((0, 1), (0, 3), (2, 4), (0, 5), (5, 2)):
        graph[0, head, modifier] = True
    precision, recall = edge_scores(graph, sentences)
    assert precision.item() == pytest.approx(2 / 3)
    assert recall.item() == pytest.approx(2 / 4)
