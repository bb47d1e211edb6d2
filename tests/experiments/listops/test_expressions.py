import random

import nodes
import pytest
import torch

from sstricks.experiments.listops.expressions import parse


@pytest.fixture(scope="module")
def trees():
    rng = random.Random(0)
    found = (nodes.generate(rng) for _ in range(5000))
    return [tree for tree in found if nodes.length(tree) <= 100]


@pytest.fixture(scope="module")
def expressions(trees):
    return parse([nodes.write(tree) for tree in trees])


def test_values_depths_and_lengths_are_those_of_a_recursive_evaluation(trees, expressions):
    assert max(nodes.depth(tree) for tree in trees) > 5
    assert expressions.answers.tolist() == [nodes.value(tree) for tree in trees]
    assert expressions.depths.tolist() == [nodes.depth(tree) for tree in trees]
    assert expressions.lengths.tolist() == [nodes.length(tree) for tree in trees]


def test_heads_are_the_operators_of_the_tree(trees, expressions):
    for row, tree in zip(expressions.heads, trees, strict=True):
        expected = nodes.heads(tree)
        assert row.tolist() == expected + [-1] * (len(row) - len(expected))


def test_text_and_parsing_are_inverse(trees, expressions):
    assert all(expressions.text(i) == nodes.write(tree) for i, tree in enumerate(trees))


@pytest.mark.parametrize(
    ("text", "answer"),
    [("[MED 1 4 ]", 2), ("[MED 9 0 3 ]", 3), ("[MED 7 1 9 2 ]", 4), ("[MED 5 5 1 1 9 ]", 5), ("[MIN 3 ]", 3), ("8", 8)],
)
def test_a_median_is_rounded_down(text, answer):
    assert parse([text]).answers.item() == answer


@pytest.mark.parametrize("text", ["", "]", "1 2", "[MAX 1 2", "[MAX ]", "[MAX 1 ] ]", "[MAX 1 ] 2", "[MAX [MIN ] 1 ]"])
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(ValueError, match="expected a digit, or an operator"):
        parse(["[MAX 1 2 ]", text])


def test_unknown_words_are_refused():
    with pytest.raises(ValueError, match="SM"):
        parse(["[SM 1 2 ]"])


def test_expressions_that_are_too_long_are_refused():
    with pytest.raises(ValueError, match="at most 127"):
        parse(["[MAX " + "1 " * 126 + "]"])


def test_a_batch_is_as_wide_as_its_longest_expression(expressions, trees):
    chosen = torch.tensor([7, 3, 11, 3])
    batch = expressions.select(chosen)
    assert len(batch) == 4
    assert batch.max_length == max(nodes.length(trees[i]) for i in chosen)
    assert batch.tokens.dtype == batch.parents.dtype == batch.answer.dtype == torch.int64
    for row, i in enumerate(chosen.tolist()):
        length = nodes.length(trees[i])
        assert batch.mask[row].tolist() == [at < length for at in range(batch.max_length)]
        assert batch.tokens[row, :length].tolist() == expressions.tokens[i, :length].tolist()
        assert not batch.tokens[row, length:].any()
        assert batch.parents[row, :length].tolist() == nodes.heads(trees[i])
        assert [bool(c) for c in batch.closing[row, :length]] == [w == "]" for w in nodes.write(trees[i]).split()]
        assert not batch.closing[row, length:].any()
    assert batch.answer.tolist() == [nodes.value(trees[i]) for i in chosen.tolist()]


def test_an_empty_batch_is_a_batch(expressions):
    batch = expressions.select(torch.empty(0, dtype=torch.long))
    assert batch.tokens.shape == (0, 0)
