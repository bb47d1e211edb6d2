import math
import random
from collections import Counter
from fractions import Fraction

import nodes
import numpy as np
import pytest
from scipy.stats import chi2, chi2_contingency, kstest

from sstricks.experiments.listops import expression_kernels as kernels
from sstricks.experiments.listops.expressions import read
from sstricks.experiments.listops.grammar import Grammar

LEAST_P = 1e-4


def partitions(total, parts):
    if parts == 0:
        return [()] if total == 0 else []
    return [(first, *rest) for first in range(1, total + 1) for rest in partitions(total - first, parts - 1)]


def enumerate_shapes(max_depth, length):
    """All trees without their labels, as nested tuples, with the probability of each."""
    if length == 1:
        return [((), Fraction(3, 4))]
    if max_depth == 0:
        return []
    found = []
    for number in range(2, 6):
        for lengths in partitions(length - 2, number):
            combined = [((), Fraction(1, 16))]
            for operand in lengths:
                options = enumerate_shapes(max_depth - 1, operand)
                combined = [((*shape, s), p * q) for shape, p in combined for s, q in options]
            found += combined
    return found


def shape_depth(shape):
    return 1 + max(shape_depth(child) for child in shape) if shape else 0


def leaves_and_operators(shape):
    if not shape:
        return 1, 0
    counts = [leaves_and_operators(child) for child in shape]
    return sum(leaves for leaves, _ in counts), 1 + sum(operators for _, operators in counts)


def shape_of(node):
    return () if isinstance(node, int) else tuple(shape_of(child) for child in node[1:])


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_counts_and_lengths_are_those_of_an_enumeration(depth):
    grammar = Grammar(3, 13)
    weights = []
    for length in range(1, 14):
        shapes = [(s, p) for s, p in enumerate_shapes(depth, length) if shape_depth(s) == depth]
        weights.append(sum(p for _, p in shapes))
        labelled = [leaves_and_operators(shape) for shape, _ in shapes]
        assert grammar.count(depth, length) == sum(10**leaves * 3**operators for leaves, operators in labelled)
    expected = [float(w / sum(weights)) for w in weights]
    np.testing.assert_allclose(grammar.lengths(depth)[1:], expected, rtol=1e-14)


def test_depths_have_the_probability_that_rejection_gives_them():
    # Without a bound of the length, P(depth ≤ d) follows the recursion of the generator.
    grammar = Grammar(3, 300)
    at_most = [0.75]
    for _ in range(3):
        at_most.append(0.75 + 0.25 * sum(at_most[-1] ** k for k in range(2, 6)) / 4)
    below, _ = grammar._tables
    np.testing.assert_allclose(below[1:, 1].sum(-1), at_most, rtol=1e-12)


@pytest.fixture(scope="module")
def rejected():
    rng = random.Random(1)
    return [nodes.generate(rng) for _ in range(150_000)]


def drawn_trees(depth, size, min_length=1, max_length=50):
    tokens, lengths = Grammar(5, max_length).draw(size, depth, 17, min_length=min_length)
    expressions = read(tokens, lengths)
    return [nodes.read(expressions.text(i)) for i in range(size)]


def same_law(first, second):
    keys = [key for key in first.keys() | second.keys() if first[key] + second[key] >= 10]
    table = [[counts[key] for key in keys] for counts in (first, second)]
    for row, counts in zip(table, (first, second), strict=True):
        row.append(sum(counts.values()) - sum(row) + 1)  # the rare ones together, and never none
    return len(keys), chi2_contingency(table).pvalue


def describe_operands(node):
    """How deep and how long the operands are, in their order."""
    return tuple((nodes.depth(child), nodes.length(child)) for child in node[1:])


@pytest.mark.parametrize(
    ("depth", "min_length", "max_length"), [(1, 1, 50), (2, 10, 50), (2, 10, 14), (3, 10, 30), (4, 1, 40)]
)
def test_draws_have_the_law_of_rejection(rejected, depth, min_length, max_length):
    kept = [t for t in rejected if nodes.depth(t) == depth and min_length <= nodes.length(t) <= max_length]
    drawn = drawn_trees(depth, 20_000, min_length, max_length)
    assert len(kept) > 300
    for described in (nodes.length, describe_operands, lambda t: (t[0], len(t), nodes.value(t))):
        cells, p = same_law(Counter(map(described, kept)), Counter(map(described, drawn)))
        assert cells >= 4
        assert p > LEAST_P


def test_draws_given_depth_and_length_have_the_probability_of_each_shape():
    drawn = [shape_of(tree) for tree in drawn_trees(3, 30_000, 13, 13)]
    shapes = {s: float(p) for s, p in enumerate_shapes(3, 13) if shape_depth(s) == 3}
    counts = Counter(drawn)
    assert counts.keys() == shapes.keys()
    expected = np.array(list(shapes.values())) * len(drawn) / sum(shapes.values())
    statistic = (((np.array([counts[s] for s in shapes]) - expected) ** 2) / expected).sum()
    assert chi2.sf(statistic, len(shapes) - 1) > LEAST_P


def test_digits_and_operators_are_uniform_and_independent_of_their_place():
    tokens, _ = Grammar(5, 50).draw(20_000, 3, 5)
    for ids, columns in ((range(1, 11), [1, 4, 9]), (range(11, 14), [0, 1, 5])):
        table = [np.bincount(tokens[:, column], minlength=15)[list(ids)] for column in columns]
        for counts in table:
            statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
            assert chi2.sf(statistic, len(ids) - 1) > LEAST_P


def test_draws_are_numbered():
    grammar = Grammar(4, 40)
    tokens, lengths = grammar.draw(20, 4, 9)
    part, part_lengths = grammar.draw(5, 4, 9, first=7)
    np.testing.assert_array_equal(part, tokens[7:12])
    np.testing.assert_array_equal(part_lengths, lengths[7:12])
    assert not np.array_equal(tokens, grammar.draw(20, 4, 10)[0])


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_draws_have_their_depth_and_fit_their_bounds(depth):
    tokens, lengths = Grammar(5, 50).draw(3000, depth, 2, min_length=10 if depth > 1 else 1)
    expressions = read(tokens, lengths)
    assert expressions.depths.unique().tolist() == [depth]
    assert lengths.min() >= (10 if depth > 1 else 4)
    assert lengths.max() <= (50 if depth > 1 else 7)
    assert ((tokens > 0).sum(1) == lengths).all()


def test_the_shortest_and_the_longest_are_found_even_where_one_length_is_left():
    assert {nodes.length(t) for t in drawn_trees(5, 50, 1, 16)} == {16}
    assert {nodes.length(t) for t in drawn_trees(1, 50, 7)} == {7}
    assert {nodes.length(t) for t in drawn_trees(5, 50, 50)} == {50}


def test_the_generator_is_splitmix64():
    # The first numbers of seed 1234567, as its author's program prints them.
    found = np.empty(3, np.uint64)
    kernels.keys(np.uint64(1234567), found)
    assert found.tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_keys_are_uniform():
    found = np.empty(10_000, np.uint64)
    kernels.keys(np.uint64(3), found)
    assert kstest(found / 2.0**64, "uniform").pvalue > LEAST_P
    assert len(set(found.tolist())) == 10_000


@pytest.mark.parametrize("changes", [(0, 50), (5, 0)])
def test_bounds_that_make_no_sense_are_refused(changes):
    with pytest.raises(ValueError, match="expected at least 1"):
        Grammar(*changes)


def test_the_number_of_expressions_of_fifty_tokens_is_enormous():
    grammar = Grammar(5, 50)
    assert math.log10(sum(grammar.count(5, m) for m in range(51))) > 45
