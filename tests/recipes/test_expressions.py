import io
import json
import random
import re
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy.stats import chi2

from recipes.sentences import describe, generate, parse, texts, tree
from sstricks.recipes.expressions import (
    PrepareListOps,
    Specification,
    columns,
    draw,
    make_splits,
    read,
    splitmix64,
    tables,
    tree_weights,
)
from sstricks.recipes.harness.files import RunError

LEAST_P = 1e-4
SMALL = Specification(train=3000, valid=500, test=502, seed=3)


# Values and parse trees


@pytest.fixture(scope="module")
def trees():
    rng = random.Random(0)
    described = [describe(generate(rng)) for _ in range(5000)]
    return [tree for tree in described if len(tree[-1]) <= 100]


def test_values_depths_and_heads_are_those_of_a_recursive_evaluation(trees):
    written, values, depths, heads = map(list, zip(*trees, strict=True))
    expressions = parse(*written)
    assert max(depths) > 5
    assert texts(expressions) == written
    assert expressions.answers.tolist() == values
    assert expressions.depths.tolist() == depths
    for row, expected in zip(expressions.heads.tolist(), heads, strict=True):
        assert row == expected + [-1] * (len(row) - len(expected))


def test_median_is_rounded_down():
    found = parse("[MED 1 4 ]", "[MED 9 0 3 ]", "[MED 7 1 9 2 ]", "[MED 5 5 1 1 9 ]", "[MIN 3 ]", "8")
    assert found.answers.tolist() == [2, 3, 4, 5, 3, 8]


def test_a_batch_is_as_wide_as_its_longest_expression(trees):
    written, chosen = [tree[0] for tree in trees], [7, 3, 11, 3]
    batch = parse(*written)[torch.tensor(chosen)].to(torch.device("cpu"))
    lengths = [len(written[i].split()) for i in chosen]
    assert batch.tokens.shape == batch.heads.shape == (4, max(lengths))
    assert texts(batch) == [written[i] for i in chosen]
    assert batch.mask.sum(-1).tolist() == batch.lengths.tolist() == lengths
    assert batch[torch.empty(0, dtype=torch.long)].tokens.shape == (0, 0)


# The law of the grammar


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
    counts = [leaves_and_operators(child) for child in shape]
    return (sum(c[0] for c in counts), 1 + sum(c[1] for c in counts)) if shape else (1, 0)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_counts_and_probabilities_are_those_of_an_enumeration(depth):
    for length in range(1, 14):
        shapes = [(s, p) for s, p in enumerate_shapes(depth, length) if shape_depth(s) == depth]
        count = sum(10**leaves * 3**operators for leaves, operators in (leaves_and_operators(s) for s, _ in shapes))
        assert tree_weights(10, 3, 3, 13)[1][depth + 1][1][length] == count
        assert tables(3, 13)[1, depth + 1, 1, length] == pytest.approx(float(sum(p for _, p in shapes)), rel=1e-14)


def goodness_of_fit(counts, probabilities):
    expected = np.array(probabilities) * sum(counts) / sum(probabilities)
    rare = expected < 5
    counts, expected = (np.append(x[~rare], x[rare].sum() + 1) for x in (np.array(counts), expected))
    return chi2.sf(((counts - expected) ** 2 / expected).sum(), len(counts) - 1)


def shape_of(node):
    return () if isinstance(node, int) else tuple(shape_of(child) for child in node[1:])


@pytest.mark.parametrize(("depth", "low", "high"), [(1, 4, 7), (2, 10, 12), (3, 13, 13), (3, 10, 14), (4, 1, 13)])
def test_draws_have_the_probability_of_each_tree(depth, low, high):
    shapes = {
        s: float(p) for m in range(low, high + 1) for s, p in enumerate_shapes(depth, m) if shape_depth(s) == depth
    }
    expressions = read(draw(30_000, depth, (low, high), 17))
    counts = Counter(shape_of(tree(text.split())) for text in texts(expressions))
    assert counts.keys() <= shapes.keys()
    assert len(shapes) >= 4
    assert goodness_of_fit([counts[s] for s in shapes], list(shapes.values())) > LEAST_P


@pytest.mark.parametrize(("ids", "places"), [(slice(1, 11), (1, 4, 9)), (slice(11, 14), (0, 1, 5))])
def test_digits_and_operators_are_uniform_in_every_place(ids, places):
    tokens = draw(20_000, 3, (1, 50), 5)
    for place in places:
        counts = np.bincount(tokens[:, place], minlength=15)[ids]
        assert goodness_of_fit(counts, [1] * len(counts)) > LEAST_P


def test_draws_are_numbered_and_within_their_bounds():
    for depth, low, high in ((1, 4, 7), (4, 10, 40), (5, 16, 16), (1, 7, 7), (5, 50, 50)):
        tokens = draw(300, depth, (low, high), 9)
        np.testing.assert_array_equal(draw(5, depth, (low, high), 9, first=7), tokens[7:12])
        assert not np.array_equal(tokens, draw(300, depth, (low, high), 10))
        expressions = read(tokens)
        assert low <= expressions.lengths.min() <= expressions.lengths.max() <= high
        assert expressions.depths.unique().tolist() == [depth]


def test_the_generator_is_splitmix64():
    # The first numbers of seed 1234567, as its author's program prints them.
    assert splitmix64(1234567, 3).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


# Splits


@pytest.fixture(scope="module")
def splits():
    return make_splits(SMALL)


def test_splits_share_no_expression_and_depths_take_turns(splits):
    found = [text for part in splits[0] for text in texts(part)]
    assert len(found) == len(set(found)) == 4002
    for part, size in zip(splits[0], (3000, 500, 502), strict=True):
        written, values, depths, heads = map(list, zip(*(describe(tree(t.split())) for t in texts(part)), strict=True))
        assert texts(part) == written
        assert part.depths.tolist() == depths == [1 + i % 5 for i in range(size)]
        assert part.lengths.tolist() == list(map(len, heads))
        assert part.answers.tolist() == values
        assert all(4 <= n <= 7 if d == 1 else 10 <= n <= 50 for d, n in zip(part.depths, part.lengths, strict=True))


def test_metadata_tells_how_the_expressions_were_drawn(splits):
    assert json.loads(json.dumps(splits[1])) == splits[1]
    first = splits[1]["strata"][0]
    assert first["possible"] == 3 * (10**2 + 10**3 + 10**4 + 10**5)
    assert [first["lengths"][m]["possible"] for m in "4567"] == [300, 3000, 30_000, 300_000]
    for depth, stratum in enumerate(splits[1]["strata"], start=1):
        lengths = torch.cat([part.lengths[part.depths == depth] for part in splits[0]])
        assert stratum["expressions"] == len(lengths) <= stratum["draws"]
        for m, cell in stratum["lengths"].items():
            assert cell["expressions"] == (lengths == int(m)).sum() <= cell["possible"]


def test_a_specification_gives_the_same_data_on_every_machine(splits):
    assert texts(splits[0][0])[2] == "[MED [MAX [MAX 0 4 0 ] 7 1 1 1 ] 3 9 ]"
    assert splits[1]["checksum"] == "3f621135ef35fcf891cee3ea17a2cd6eb8d8b446be1601e37b487ac4e178277c"
    assert make_splits(replace(SMALL, seed=4))[1]["checksum"] != splits[1]["checksum"]
    full, metadata = make_splits(Specification())
    assert [len(part) for part in full] == [100_000, 10_000, 10_000]
    assert len(torch.cat([part.tokens for part in full]).unique(dim=0)) == 120_000
    assert full[0].depths.bincount().tolist() == [0, *[20_000] * 5]
    assert metadata["checksum"] == "cc0a1a4cd762ef1e572669c927f1142240a8fab2c26bb7bc8827a1c6a1085108"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": 0}, "train is 0, expected at least 1"),
        ({"seed": -1}, "seed is -1"),
        ({"max_length": 9}, "max_length is 9, expected from min_length=10"),
        ({"max_length": 128}, "to 127"),
        ({"min_length_from": 1}, "of depth 1, of which there are 0 within the bounds"),
        ({"train": 299, "valid": 1, "test": 1, "max_depth": 1, "min_length": 1, "max_length": 4}, "take 301 different"),
    ],
)
def test_specifications_that_cannot_be_met_are_refused(changes, message):
    with pytest.raises(RunError, match=re.escape(message)):
        make_splits(replace(SMALL, **changes))


def test_splits_may_have_fewer_expressions_than_depths_or_all_there_are():
    splits = make_splits(Specification(train=3, valid=1, test=2))
    assert [part.depths.tolist() for part in splits[0]] == [[1, 2, 3], [1], [1, 2]]
    assert [stratum["expressions"] for stratum in splits[1]["strata"]] == [3, 2, 1, 0, 0]
    splits = make_splits(Specification(train=298, valid=1, test=1, max_depth=1, min_length=1, max_length=4))
    assert splits[1]["strata"][0]["exhausted_lengths"] == [4]  # all that there are


# sst prepare listops


def prepare(folder, **changes):
    said = io.StringIO()
    sizes = {"train": 3000, "valid": 500, "test": 502, "seed": 3, **changes}
    PrepareListOps(out=folder, **sizes).run(Console(file=said, width=300))
    return said.getvalue()


def content(folder):
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.iterdir() if file.is_file()}


def test_prepare_writes_what_training_draws_and_checks_it_the_next_time(tmp_path, splits):
    folder = tmp_path / "a" / "data"
    said = prepare(folder)
    before = content(folder)
    assert prepare(folder) == said
    assert splits[1]["checksum"][:16] in said
    assert set(before) == {"listops.npz", "metadata.json"}
    assert content(folder) == before
    assert json.loads((folder / "metadata.json").read_text()) == splits[1]
    with np.load(folder / "listops.npz") as stored:
        for name, values in columns(splits[0]).items():
            np.testing.assert_array_equal(stored[name], values)


def test_prepare_overwrites_nothing(tmp_path):
    prepare(tmp_path)
    before = content(tmp_path)
    with pytest.raises(RunError, match="seed is 3 there and 4 here"):
        prepare(tmp_path, seed=4)
    with pytest.raises(RunError, match="train is 0, expected at least 1"):
        prepare(tmp_path, train=0)
    assert content(tmp_path) == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match=r"not empty \(letter.txt\)"):
        prepare(tmp_path / "other")
    with pytest.raises(RunError, match="cannot write there"):
        prepare(tmp_path / "other" / "letter.txt")


def test_prepare_starts_anew_where_it_was_interrupted(tmp_path):
    (tmp_path / "listops.npz").write_bytes(b"half")
    (tmp_path / ".partial-123-metadata.json").write_bytes(b"{")
    assert prepare(tmp_path) == prepare(tmp_path)


def test_prepare_refuses_damaged_data(tmp_path):
    prepare(tmp_path)
    data, metadata = tmp_path / "listops.npz", tmp_path / "metadata.json"
    whole, text = data.read_bytes(), metadata.read_text()
    for broken, described in (
        (whole[: len(whole) // 2], text),
        (whole, re.sub(r'"checksum": "..', '"checksum": "zz', text)),
        (whole, "{}"),
        (whole, "{"),
    ):
        data.write_bytes(broken)
        metadata.write_text(described)
        with pytest.raises(RunError, match="damaged"):
            prepare(tmp_path)
