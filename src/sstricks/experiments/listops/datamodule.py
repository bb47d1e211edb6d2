import functools
import math
from dataclasses import dataclass

from torch import Tensor

from sstricks.experiments.listops.data import Specification, Splits, make_splits
from sstricks.experiments.listops.expressions import Expressions
from sstricks.experiments.listops.sentences import Sentences
from sstricks.experiments.runs.batches import StepBatches
from sstricks.experiments.runs.buckets import LengthBuckets, in_order_of_length
from sstricks.experiments.runs.data import RunData, WholeSplit

_EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Batching:
    """How a run goes through the data.

    Attributes:
        seed: of the order of the training expressions.
        valid_every: steps between two validations.
        max_sentences: expressions of a training batch, which are about equally long.
        subset: the share of the training split that is used, with all depths in equal parts.
        valid_subset: the same of the validation split.
    """

    seed: int
    valid_every: int
    max_sentences: int = 100
    subset: float = 1.0
    valid_subset: float = 1.0

    def __post_init__(self) -> None:
        for name in ("subset", "valid_subset"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, expected a share above 0 and at most 1: pass such a number."
                )


class ListOpsData(RunData):
    """The three splits of ListOps, drawn when they are first needed (App. D.5.1).

    Args:
        specification: of the data.
        batching: how to go through it.
    """

    def __init__(self, specification: Specification, batching: Batching) -> None:
        super().__init__()
        self.specification = specification
        self.batching = batching

    @property
    def splits(self) -> Splits:
        """The whole data; the trials of one process share it."""
        return _splits(self.specification)

    @property
    def train(self) -> Expressions:
        """The training expressions that are used."""
        return _share(self.splits.train, self.batching.subset)

    @property
    def valid(self) -> Expressions:
        """The validation expressions that are used."""
        return _share(self.splits.valid, self.batching.valid_subset)

    def train_dataloader(self) -> StepBatches[Sentences]:
        """The batches up to the next validation.

        Returns:
            Batches of training expressions.
        """
        train, b = self.train, self.batching
        indices = LengthBuckets(train.lengths, b.max_sentences, b.seed)
        return StepBatches(indices, train.select, self.present_step, b.valid_every)

    def val_dataloader(self) -> WholeSplit[Tensor, Sentences]:
        """All validation expressions that are used.

        Returns:
            Batches of expressions of about the same length.
        """
        return _by_length(self.valid)

    def test_dataloader(self) -> WholeSplit[Tensor, Sentences]:
        """All of the test split.

        Returns:
            Batches of expressions of about the same length.
        """
        return _by_length(self.splits.test)


def _by_length(expressions: Expressions) -> WholeSplit[Tensor, Sentences]:
    return WholeSplit(in_order_of_length(expressions.lengths, _EVALUATION_BATCH), expressions.select)


def _share(expressions: Expressions, share: float) -> Expressions:
    # The depths take turns, so the first expressions have all of them in equal parts.
    return expressions.take(slice(0, math.ceil(share * len(expressions))))


@functools.lru_cache(maxsize=1)
def _splits(specification: Specification) -> Splits:
    return make_splits(specification)
