"""Batches as functions of (seed, step): a run that resumes at a step sees what it would have seen."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sstricks.recipes.harness.recipe import Split, fold_in


class TrainingBatches:
    """The training batches from the present step to the next validation, which is what Lightning calls an epoch.

    Each pass over the data is a fresh permutation, without the incomplete batch at its end. Where examples have
    lengths, a batch is of about equally long ones: a pass sorts them by length, equal ones at random, cuts them into
    batches, and takes these in random order.

    `interval` is the number of steps between two validations, `step` how many were taken before.
    """

    def __init__(self, split: Split, batch_size: int, seed: int, interval: int, step: int = 0) -> None:
        self.split, self.batch_size, self.seed, self.interval, self.step = split, batch_size, seed, interval, step
        self.rank, self.world_size = 0, 1
        self._pass, self._batches = -1, []

    def __len__(self) -> int:
        return self.interval

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self.interval - self.step % self.interval):
            self.step += 1
            yield self.split[self.indices(self.step - 1)]

    def indices(self, step: int) -> Tensor:
        """This process's share of the examples of a step: every `world_size`-th, since neighbours may be alike.

        A batch of fewer examples than processes goes to all of them.
        """
        lengths = getattr(self.split, "lengths", None)
        count = len(self.split) // self.batch_size if lengths is None else -(-len(self.split) // self.batch_size)
        number, turn = divmod(step, count)
        if number != self._pass:
            generator = torch.Generator().manual_seed(fold_in(self.seed, "order", number))
            order = torch.randperm(len(self.split), generator=generator)
            if lengths is None:
                self._batches = list(order.split(self.batch_size))
            else:
                batches = order[lengths[order].sort(stable=True).indices].split(self.batch_size)
                self._batches = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
            self._pass = number
        chosen = self._batches[turn]
        return chosen if len(chosen) < self.world_size else chosen[self.rank :: self.world_size]


class AllBatches:
    """All examples of a split once, for evaluations: in order, or the shortest first."""

    def __init__(self, split: Split, batch_size: int = 500) -> None:
        lengths = getattr(split, "lengths", None)
        order = torch.arange(len(split)) if lengths is None else lengths.sort(stable=True).indices
        self.split, self.chosen = split, order.split(batch_size)

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[Any]:
        return map(self.split.__getitem__, self.chosen)
