import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sstricks.experiments.runs.seeds import fold_in


class LengthBuckets:
    """The training sequences of each step, about equally long within a step: a function of (seed, step).

    Each epoch sorts the sequences by length, those of the same length at random, cuts them into batches, and takes
    the batches in random order. Where the cuts are depends on the lengths alone, so all epochs have as many batches.
    Every sequence comes once an epoch.

    Args:
        lengths: tokens of each sequence, int64 (N,).
        max_sentences: the most sequences of a batch.
        seed: the run's seed.
        max_tokens: the most tokens of a batch, padding included; by default there is no such bound.

    Raises:
        ValueError: if there is no sequence, or a bound is too small for one.
    """

    def __init__(self, lengths: Tensor, max_sentences: int, seed: int, max_tokens: int | None = None) -> None:
        if len(lengths) == 0 or max_sentences < 1:
            raise ValueError(
                f"there are {len(lengths)} sequences and max_sentences is {max_sentences}, "
                "expected at least 1 of either: use more data or a larger batch."
            )
        if max_tokens is not None and max_tokens < int(lengths.max()):
            raise ValueError(
                f"max_tokens is {max_tokens}, expected at least {int(lengths.max())}, "
                "the length of the longest sequence: pass a larger one."
            )
        self.lengths = lengths
        self.seed = seed
        self._cuts = _cuts(lengths.sort().values.numpy(), max_sentences, max_tokens)
        self._epoch = -1
        self._order = self._batches = torch.empty(0, dtype=torch.long)

    @property
    def batches_per_epoch(self) -> int:
        """The number of steps in which every sequence comes once."""
        return len(self._cuts) - 1

    def __getitem__(self, step: int) -> Tensor:
        """The sequences of a step.

        Args:
            step: from 0.

        Returns:
            Indices, at most `max_sentences`.
        """
        epoch, turn = divmod(step, self.batches_per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(fold_in(self.seed, "order", epoch))
            shuffled = torch.randperm(len(self.lengths), generator=generator)
            self._order = shuffled[self.lengths[shuffled].sort(stable=True).indices]
            self._batches = torch.randperm(self.batches_per_epoch, generator=generator)
            self._epoch = epoch
        batch = int(self._batches[turn])
        return self._order[self._cuts[batch] : self._cuts[batch + 1]]


def in_order_of_length(lengths: Tensor, max_sentences: int) -> list[Tensor]:
    """All sequences once, the shortest first, in batches of equal size but for the last.

    Args:
        lengths: tokens of each sequence, (N,).
        max_sentences: sequences of a batch.

    Returns:
        Indices of each batch.
    """
    return list(lengths.sort(stable=True).indices.split(max_sentences))


def _cuts(increasing: NDArray[np.int64], max_sentences: int, max_tokens: int | None) -> list[int]:
    cuts = [0]
    while cuts[-1] < len(increasing):
        candidates = increasing[cuts[-1] : cuts[-1] + max_sentences]
        size = len(candidates)
        if max_tokens is not None:
            padded = candidates * np.arange(1, size + 1)  # the last of a batch is its longest
            size = int(np.searchsorted(padded, max_tokens, side="right"))
        cuts.append(cuts[-1] + size)
    return cuts
