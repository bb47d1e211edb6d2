from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, distributed

from sstricks.experiments.runs.training import DivergedError

Batch = TypeVar("Batch")


class EvaluatedModule(LightningModule, Generic[Batch]):
    """A module whose validation and test are the same: batches are gathered, then their summary is logged.

    A subclass says how an evaluation begins, what it keeps of a batch, and what it comes to.
    """

    @abstractmethod
    def begin_evaluation(self) -> None:
        """Forget the last evaluation."""

    @abstractmethod
    def evaluate(self, batch: Batch) -> None:
        """Take a batch into the evaluation.

        Args:
            batch: examples.
        """

    @abstractmethod
    def summary(self) -> Mapping[str, float]:
        """What the evaluation has come to.

        Returns:
            Metrics by name.
        """

    def on_validation_start(self) -> None:
        """Begin an evaluation."""
        self.begin_evaluation()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Take a batch into the evaluation.

        Args:
            batch: examples.
            batch_idx: not used.
        """
        self.evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """Log what the validation came to."""
        self.log_split("valid", self.summary(), 1)

    def on_test_start(self) -> None:
        """Begin an evaluation."""
        self.begin_evaluation()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Take a batch into the evaluation.

        Args:
            batch: examples.
            batch_idx: not used.
        """
        self.evaluate(batch)

    def on_test_epoch_end(self) -> None:
        """Log what the test came to."""
        self.log_split("test", self.summary(), 1)

    def check_finite(self, what: str, *values: Tensor) -> None:
        """End a training that has reached numbers with which it cannot go on.

        Args:
            what: what the numbers are, with its verb, for the message.
            *values: the numbers.

        Raises:
            DivergedError: if one of them is infinite or NaN.
        """
        if not all(bool(value.isfinite().all()) for value in values):
            raise DivergedError(
                f"the training diverged at step {self.global_step}: {what} no longer finite. "
                "Lower --lr or --clip, or change --temperature or --seed."
            )

    def log_split(self, split: str, values: Mapping[str, float | Tensor], batch_size: int) -> None:
        """Log metrics of a split, averaged over its batches and over the processes that train together.

        Args:
            split: train, valid or test.
            values: metrics by name.
            batch_size: examples that they are of.
        """
        named = {f"{split}/{name}": value for name, value in values.items()}
        processes = distributed.get_world_size() if distributed.is_initialized() else 1
        # Times their number, as Lightning rounds the mean of the processes' weights to an integer.
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=batch_size * processes, sync_dist=True)


def mean_of(parts: Sequence[Tensor]) -> float:
    """The mean over the examples of all batches of an evaluation.

    Args:
        parts: of each batch, (B,).

    Returns:
        The mean, NaN without any example.
    """
    return torch.cat(list(parts)).double().mean().item()
