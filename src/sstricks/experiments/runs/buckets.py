import torch
from torch import Tensor

from sstricks.experiments.runs.seeds import fold_in


class LengthBuckets:
    """The training sequences of each step, about equally long within a step: a function of (seed, step).

    Each epoch sorts the sequences by length, those of the same length at random, cuts them into batches of equal size
    but for the last, and takes the batches in random order. Every sequence comes once an epoch.

    Args:
        lengths: tokens of each sequence, int64 (N,).
        max_sentences: the most sequences of a batch.
        seed: the run's seed.

    Raises:
        ValueError: if there is no sequence, or no room for one in a batch.
    """

    def __init__(self, lengths: Tensor, max_sentences: int, seed: int) -> None:
        if len(lengths) == 0 or max_sentences < 1:
            raise ValueError(
                f"there are {len(lengths)} sequences and max_sentences is {max_sentences}, "
                "expected at least 1 of either: use more data or a larger batch."
            )
        self.lengths = lengths
        self.seed = seed
        self.max_sentences = max_sentences
        self._epoch = -1
        self._batches: list[Tensor] = []

    @property
    def batches_per_epoch(self) -> int:
        """The number of steps in which every sequence comes once."""
        return -(-len(self.lengths) // self.max_sentences)

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
            batches = shuffled[self.lengths[shuffled].sort(stable=True).indices].split(self.max_sentences)
            self._batches = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
            self._epoch = epoch
        return self._batches[turn]


def in_order_of_length(lengths: Tensor, max_sentences: int) -> list[Tensor]:
    """All sequences once, the shortest first, in batches of equal size but for the last.

    Args:
        lengths: tokens of each sequence, (N,).
        max_sentences: sequences of a batch.

    Returns:
        Indices of each batch.
    """
    return list(lengths.sort(stable=True).indices.split(max_sentences))
