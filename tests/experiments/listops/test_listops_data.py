import json
import re
from dataclasses import replace

import nodes
import pytest
import torch

from sstricks.experiments.listops.data import Specification, checksum, make_splits
from sstricks.experiments.listops.datamodule import Batching, ListOpsData

SMALL = Specification(train=3000, valid=500, test=502, seed=3)


@pytest.fixture(scope="module")
def splits():
    return make_splits(SMALL)


def texts(expressions):
    return [expressions.text(i) for i in range(len(expressions))]


def everything(splits):
    return [*texts(splits.train), *texts(splits.valid), *texts(splits.test)]


def test_no_expression_occurs_twice(splits):
    found = everything(splits)
    assert len(found) == 4002
    assert len(set(found)) == 4002


def test_depths_take_turns_and_lengths_are_within_their_bounds(splits):
    for part, size in ((splits.train, 3000), (splits.valid, 500), (splits.test, 502)):
        assert len(part) == size
        trees = [nodes.read(text) for text in texts(part)]
        assert [nodes.depth(tree) for tree in trees] == [1 + i % 5 for i in range(size)]
        assert part.lengths.tolist() == [nodes.length(tree) for tree in trees]
        assert part.answers.tolist() == [nodes.value(tree) for tree in trees]
        assert all(4 <= n <= 7 if d == 1 else 10 <= n <= 50 for d, n in zip(part.depths, part.lengths, strict=True))


def test_the_splits_have_the_same_law():
    # All 300 of the shortest expressions have been drawn: each split gets its share of them.
    splits = make_splits(Specification(train=20_000, valid=20_000, test=2_500, max_depth=1))
    short = [int((part.lengths == 4).sum()) for part in (splits.train, splits.valid, splits.test)]
    assert sum(short) == 300
    assert splits.metadata["strata"][0]["exhausted_lengths"] == [4, 5]
    assert abs(short[0] - 300 * 20_000 / 42_500) < 35  # four standard deviations
    assert abs(short[2] - 300 * 2_500 / 42_500) < 17


def test_the_account_of_the_draws_is_true(splits):
    strata = splits.metadata["strata"]
    assert [stratum["depth"] for stratum in strata] == [1, 2, 3, 4, 5]
    assert strata[0]["possible"] == 3 * (10**2 + 10**3 + 10**4 + 10**5)
    for stratum in strata:
        lengths = torch.cat(
            [part.lengths[part.depths == stratum["depth"]] for part in (splits.train, splits.valid, splits.test)]
        )
        assert stratum["expressions"] == len(lengths) <= stratum["draws"]
        counts = {int(m): cell["expressions"] for m, cell in stratum["lengths"].items()}
        assert counts == {m: int((lengths == m).sum()) for m in counts}
        assert sum(counts.values()) == len(lengths)
        assert all(cell["expressions"] <= cell["possible"] for cell in stratum["lengths"].values())
    assert [strata[0]["lengths"][m]["possible"] for m in "4567"] == [300, 3000, 30_000, 300_000]
    assert json.loads(json.dumps(splits.metadata)) == splits.metadata


def test_the_same_specification_gives_the_same_data_and_another_seed_other_data(splits):
    assert make_splits(SMALL).metadata == splits.metadata
    other = make_splits(replace(SMALL, seed=4))
    assert other.metadata["checksum"] != splits.metadata["checksum"]
    assert len(set(everything(other)) & set(everything(splits))) < 200  # of depth 1, most


def test_the_data_is_the_same_on_every_machine(splits):
    assert splits.train.text(2) == "[MED [MAX [MAX 0 4 0 ] 7 1 1 1 ] 3 9 ]"
    assert splits.metadata["checksum"] == "3f621135ef35fcf891cee3ea17a2cd6eb8d8b446be1601e37b487ac4e178277c"


def test_the_whole_data_is_distinct_and_the_same_on_every_machine():
    splits = make_splits(Specification())
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [100_000, 10_000, 10_000]
    assert len(torch.cat([p.tokens for p in (splits.train, splits.valid, splits.test)]).unique(dim=0)) == 120_000
    assert splits.train.depths.bincount().tolist() == [0, *[20_000] * 5]
    assert splits.metadata["checksum"] == "cc0a1a4cd762ef1e572669c927f1142240a8fab2c26bb7bc8827a1c6a1085108"


def test_the_checksum_sees_every_token_and_the_borders(splits):
    whole = checksum(splits.train, splits.valid)
    assert whole != checksum(splits.valid, splits.train)
    tokens = splits.valid.tokens.clone()
    tokens[17, 2] = 11 - tokens[17, 2] if tokens[17, 2] <= 10 else tokens[17, 2] % 3 + 11
    assert whole != checksum(splits.train, replace(splits.valid, tokens=tokens))
    assert whole != checksum(splits.train, splits.valid.take(slice(1, None)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": 0}, "train is 0, expected at least 1"),
        ({"seed": -1}, "seed is -1"),
        ({"max_length": 9}, "max_length is 9, expected from min_length=10"),
        ({"max_length": 128}, "to 127"),
    ],
)
def test_specifications_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(SMALL, **changes)


def test_a_depth_without_expressions_of_such_lengths_is_refused():
    with pytest.raises(ValueError, match="expressions of depth 1 have from 4 to 7 tokens"):
        make_splits(replace(SMALL, min_length_from=1))
    with pytest.raises(ValueError, match="expressions of depth 5 have more tokens"):
        make_splits(replace(SMALL, max_length=15))


def test_fewer_expressions_than_depths_leave_some_depths_empty():
    splits = make_splits(Specification(3, 1, 2))
    assert [part.depths.tolist() for part in (splits.train, splits.valid, splits.test)] == [[1, 2, 3], [1], [1, 2]]
    assert [stratum["expressions"] for stratum in splits.metadata["strata"]] == [3, 2, 1, 0, 0]


def test_more_expressions_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="take 301 different expressions of depth 1, of which there are 300"):
        make_splits(Specification(299, 1, 1, max_depth=1, min_length=1, max_length=4))
    splits = make_splits(Specification(298, 1, 1, max_depth=1, min_length=1, max_length=4))
    assert splits.metadata["strata"][0]["exhausted_lengths"] == [4]


class Trainer:
    global_step = 0


def batches(data, step):
    data.trainer = Trainer()
    data.trainer.global_step = step
    return list(data.train_dataloader())


def test_the_loader_goes_from_the_present_step_to_the_next_validation():
    data = ListOpsData(SMALL, Batching(seed=1, valid_every=8))
    first, second = batches(data, 0), batches(data, 8)
    resumed = batches(data, 11)
    assert (len(first), len(second), len(resumed)) == (8, 8, 5)
    for batch, expected in zip(resumed, second[3:], strict=True):
        assert torch.equal(batch.tokens, expected.tokens)
    assert not torch.equal(first[3].answer, second[3].answer)


def test_a_subset_has_all_depths_in_equal_parts(splits):
    data = ListOpsData(SMALL, Batching(seed=1, valid_every=8, subset=0.1, valid_subset=0.5))
    assert data.train.depths.bincount().tolist() == [0, 60, 60, 60, 60, 60]
    assert texts(data.train) == texts(splits.train)[:300]
    assert len(data.valid) == 250
    assert sum(len(batch) for batch in data.val_dataloader()) == 250
    assert sum(len(batch) for batch in data.test_dataloader()) == len(splits.test) == 502


@pytest.mark.parametrize("share", [0.0, 1.1, float("nan")])
def test_shares_that_make_no_sense_are_refused(share):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        Batching(seed=1, valid_every=8, subset=share)
