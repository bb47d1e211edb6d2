import functools
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from sstricks.experiments.l2x.config import L2XConfig
from sstricks.experiments.l2x.corpus import Splits, digest_of, read_splits, read_vocabulary
from sstricks.experiments.l2x.reviews import Batch, Reviews
from sstricks.experiments.l2x.text import Vocabulary
from sstricks.experiments.runs.batches import StepBatches
from sstricks.experiments.runs.buckets import LengthBuckets, in_order_of_length
from sstricks.experiments.runs.data import RunData, WholeSplit
from sstricks.experiments.runs.errors import RunError

_EVALUATION_BATCH = 250


class AspectReviews(RunData):
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
        return StepBatches(indices, self._select(train), self.present_step, c.valid_every)

    def val_dataloader(self) -> WholeSplit[Tensor, Batch]:
        """All of the validation split.

        Returns:
            Batches of validation reviews.
        """
        return self._by_length(self.splits.valid)

    def test_dataloader(self) -> WholeSplit[Tensor, Batch]:
        """All of the test split.

        Returns:
            Batches of test reviews.
        """
        return self._by_length(self.splits.test)

    def _by_length(self, reviews: Reviews) -> WholeSplit[Tensor, Batch]:
        return WholeSplit(in_order_of_length(reviews.lengths, _EVALUATION_BATCH), self._select(reviews))

    def _select(self, reviews: Reviews) -> Callable[[Tensor], Batch]:
        return lambda chosen: reviews.select(chosen, self.config.max_words, self.config.k)

    def _check(self) -> None:
        c = self.config
        if digest_of(Path(c.data), c.aspect) != c.data_digest:
            raise RunError(
                f"{c.data}: its reviews are not those that the run was started with. Restore them, or start a new run."
            )


@functools.lru_cache(maxsize=1)
def _splits(folder: Path, aspect: str, digest: str) -> Splits:
    return read_splits(folder, aspect)


@functools.lru_cache(maxsize=1)
def _vocabulary(folder: Path, digest: str) -> Vocabulary:
    return read_vocabulary(folder)
