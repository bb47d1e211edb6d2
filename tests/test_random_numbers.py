"""Tests that draw without a seed of their own draw the same, whatever ran before them in their process."""

import pytest
import torch

FIRST: set[float] = set()


@pytest.mark.parametrize("again", [False, True])
def test_every_test_begins_with_the_same_random_numbers(again: bool):
    FIRST.add(torch.rand(()).item())
    assert len(FIRST) == 1
