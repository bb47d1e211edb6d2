from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from sstricks.experiments.runs.seeds import fold_in


class ShuffledIndices:
    """The training examples of one step after another: a fresh permutation each epoch, a function of (seed, step).

    A run that resumes at a step sees what it would have seen without the interruption.

    Args:
        num_examples: the size of the training split.
        batch_size: examples a step; the incomplete batch at the end of a permutation is left out.
        seed: the run's seed.

    Raises:
        ValueError: if a batch is larger than the split, or empty.
    """

    def __init__(self, num_examples: int, batch_size: int, seed: int) -> None:
        if not 1 <= batch_size <= num_examples:
            raise ValueError(
                f"batch_size={batch_size} must be between 1 and the number of training examples, {num_examples}."
            )
        self.num_examples = num_examples
        self.batch_size = batch_size
        self.seed = seed
        self._epoch = -1
        self._permutation = torch.empty(0, dtype=torch.long)

    def __getitem__(self, step: int) -> Tensor:
        """The examples of a step.

        Args:
            step: from 0.

        Returns:
            Indices of shape (batch_size,).
        """
        epoch, batch = divmod(step, self.num_examples // self.batch_size)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(fold_in(self.seed, "order", epoch))
            self._permutation = torch.randperm(self.num_examples, generator=generator)
            self._epoch = epoch
        return self._permutation[batch * self.batch_size : (batch + 1) * self.batch_size]


class StepIndices(Protocol):
    """The training examples of one step after another, a function of the step alone."""

    def __getitem__(self, step: int) -> Tensor:
        """The examples of a step, from 0."""
        ...


class Share:
    """The examples that one of several processes takes of each step.

    Their numbers differ by at most one. A batch of fewer examples than processes goes to all of them.

    Args:
        indices: the examples of each step.
        rank: the process, from 0.
        count: the number of processes.

    Example:
        >>> batches = [torch.tensor([7, 1, 4, 0, 2])]
        >>> Share(batches, 0, 2)[0], Share(batches, 1, 2)[0]
        (tensor([7, 4, 2]), tensor([1, 0]))
    """

    def __init__(self, indices: StepIndices, rank: int, count: int) -> None:
        self.indices = indices
        self.rank = rank
        self.count = count

    def __getitem__(self, step: int) -> Tensor:
        """The process's examples of a step.

        Args:
            step: from 0.

        Returns:
            Indices, in the order of the batch; every `count`-th, since neighbours may be alike.
        """
        chosen = self.indices[step]
        return chosen if len(chosen) < self.count else chosen[self.rank :: self.count]


Batch = TypeVar("Batch")


class StepBatches(Generic[Batch]):
    """The batches from the present step to the next validation, ready-made; what a trainer takes as its loader.

    Args:
        indices: the examples of each step.
        select: makes a batch of indices.
        present_step: the number of steps that were taken, asked at the start of each iteration.
        interval: steps between two validations.
    """

    def __init__(
        self,
        indices: StepIndices,
        select: Callable[[Tensor], Batch],
        present_step: Callable[[], int],
        interval: int,
    ) -> None:
        self.indices = indices
        self.select = select
        self.present_step = present_step
        self.interval = interval

    def share(self, rank: int, count: int) -> "StepBatches[Batch]":
        """The part of these batches that one of several processes trains on.

        Args:
            rank: the process, from 0.
            count: the number of processes.

        Returns:
            As many batches.
        """
        return StepBatches(Share(self.indices, rank, count), self.select, self.present_step, self.interval)

    def __len__(self) -> int:
        return self.interval

    def __iter__(self) -> Iterator[Batch]:
        first = self.present_step()
        for step in range(first, first - first % self.interval + self.interval):
            yield self.select(self.indices[step])
