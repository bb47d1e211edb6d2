import functools
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule

from sstricks.experiments.l2x.config import L2XConfig
from sstricks.experiments.l2x.corpus import Splits, digest_of, read_splits, read_vocabulary
from sstricks.experiments.l2x.reviews import Batch, Reviews
from sstricks.experiments.l2x.text import Vocabulary
from sstricks.experiments.runs.batches import StepBatches
from sstricks.experiments.runs.buckets import LengthBuckets, in_order_of_length
from sstricks.experiments.runs.errors import RunError

_EVALUATION_BATCH = 250


class AspectReviews(LightningDataModule):
    """The three splits of an aspect's reviews, read when they are first needed.

    Args:
        config: the folder, the aspect, sizes and seeds.
    """

    def __init__(self, config: L2XConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def splits(self) -> Splits:
        """The reviews; the trials of one process share them."""
        self._check()
        return _splits(Path(self.config.data), self.config.aspect, self.config.data_digest)

    @property
    def vocabulary(self) -> Vocabulary:
        """The words of the reviews."""
        self._check()
        return _vocabulary(Path(self.config.data), self.config.data_digest)

    def train_dataloader(self) -> StepBatches[Batch]:
        """The batches up to the next validation, of reviews of about the same length.

        Returns:
            Batches of training reviews.
        """
        c, train = self.config, self.splits.train
        indices = LengthBuckets(train.lengths.clamp(max=c.max_words), c.batch_size, c.run_seed)

        def select(chosen: torch.Tensor) -> Batch:
            return train.select(chosen, c.max_words, c.k)

        return StepBatches(indices, select, self._step, c.valid_every)

    def val_dataloader(self) -> "ByLength":
        """All of the validation split.

        Returns:
            Batches of validation reviews.
        """
        return ByLength(self.splits.valid, self.config)

    def test_dataloader(self) -> "ByLength":
        """All of the test split.

        Returns:
            Batches of test reviews.
        """
        return ByLength(self.splits.test, self.config)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Lightning's own way assigns to the fields of a batch.

        Args:
            batch: reviews.
            device: where they should be.
            dataloader_idx: not used.

        Returns:
            The reviews there.
        """
        return batch.to(device)

    def _check(self) -> None:
        c = self.config
        if digest_of(Path(c.data), c.aspect) != c.data_digest:
            raise RunError(
                f"{c.data}: its reviews are not those that the run was started with. Restore them, or start a new run."
            )

    def _step(self) -> int:
        assert self.trainer is not None
        return self.trainer.global_step


class ByLength:
    """A split in batches of equal size but for the last, the shortest reviews first.

    Args:
        reviews: the split.
        config: where to cut, and how wide a batch must be.
    """

    def __init__(self, reviews: Reviews, config: L2XConfig) -> None:
        self.reviews = reviews
        self.config = config
        self.batches = in_order_of_length(reviews.lengths, _EVALUATION_BATCH)

    def __iter__(self) -> Iterator[Batch]:
        for chosen in self.batches:
            yield self.reviews.select(chosen, self.config.max_words, self.config.k)

    def __len__(self) -> int:
        return len(self.batches)


@functools.lru_cache(maxsize=1)
def _splits(folder: Path, aspect: str, digest: str) -> Splits:
    return read_splits(folder, aspect)


@functools.lru_cache(maxsize=1)
def _vocabulary(folder: Path, digest: str) -> Vocabulary:
    return read_vocabulary(folder)
