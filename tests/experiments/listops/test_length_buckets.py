import pytest
import torch

from sstricks.experiments.runs.buckets import LengthBuckets, in_order_of_length

LENGTHS = torch.randint(4, 51, (1234,), generator=torch.Generator().manual_seed(0))


def epoch(buckets, number):
    first = number * buckets.batches_per_epoch
    return [buckets[step] for step in range(first, first + buckets.batches_per_epoch)]


def test_every_expression_comes_once_an_epoch():
    buckets = LengthBuckets(LENGTHS, 100, 7)
    for number in range(3):
        batches = epoch(buckets, number)
        assert torch.equal(torch.cat(batches).sort().values, torch.arange(len(LENGTHS)))
        assert all(1 <= len(batch) <= 100 for batch in batches)


def test_batches_are_about_equally_long():
    batches = epoch(LengthBuckets(LENGTHS, 20, 7), 0)
    padded = sum(len(batch) * int(LENGTHS[batch].max()) for batch in batches)
    assert padded < 1.02 * int(LENGTHS.sum())


def test_a_step_does_not_depend_on_those_before_it():
    steps = list(range(40))
    buckets = LengthBuckets(LENGTHS, 100, 7)
    forwards = [buckets[step] for step in steps]
    for step in (37, 2, 25, 13):
        assert torch.equal(LengthBuckets(LENGTHS, 100, 7)[step], forwards[step])
        assert torch.equal(buckets[step], forwards[step])


def test_epochs_and_seeds_differ_in_their_order():
    buckets, other = LengthBuckets(LENGTHS, 100, 7), LengthBuckets(LENGTHS, 100, 8)
    assert not torch.equal(torch.cat(epoch(buckets, 0)), torch.cat(epoch(buckets, 1)))
    assert not torch.equal(torch.cat(epoch(buckets, 0)), torch.cat(epoch(other, 0)))
    lengths = [LENGTHS[batch].max().item() for batch in epoch(buckets, 0)]
    assert lengths != sorted(lengths)


def test_expressions_of_a_length_are_mixed_anew():
    same = torch.full((1000,), 9)
    buckets = LengthBuckets(same, 100, 7)
    first = {frozenset(batch.tolist()) for batch in epoch(buckets, 0)}
    second = {frozenset(batch.tolist()) for batch in epoch(buckets, 1)}
    assert len(first) == 10
    assert not first & second


def test_in_order_of_length():
    batches = in_order_of_length(LENGTHS, 500)
    assert [len(batch) for batch in batches] == [500, 500, 234]
    order = torch.cat(batches)
    assert torch.equal(order.sort().values, torch.arange(len(LENGTHS)))
    assert torch.equal(LENGTHS[order], LENGTHS.sort().values)


@pytest.mark.parametrize(("size", "max_sentences"), [(0, 10), (5, 0)])
def test_bounds_that_make_no_sense_are_refused(size, max_sentences):
    with pytest.raises(ValueError, match="expected at least"):
        LengthBuckets(torch.full((size,), 4), max_sentences, 0)


def test_batches_are_those_that_runs_under_way_have_seen():
    buckets = LengthBuckets(torch.tensor([3, 1, 2, 1, 3, 2, 1]), 2, seed=5)
    assert [buckets[step].tolist() for step in range(8)] == [[1, 5], [3, 6], [0], [2, 4], [6, 1], [3, 5], [2, 4], [0]]
