from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, Self, TypeVar

import torch
from lightning.pytorch import LightningDataModule


class Movable(Protocol):
    """A batch that knows how it goes to a device."""

    def to(self, device: torch.device) -> Self:
        """The same batch there."""
        ...


Moved = TypeVar("Moved", bound=Movable)
Chosen = TypeVar("Chosen")
Batch = TypeVar("Batch")


class RunData(LightningDataModule):
    """The three splits of a run, in batches that are frozen dataclasses."""

    def transfer_batch_to_device(self, batch: Moved, device: torch.device, dataloader_idx: int) -> Moved:
        """Lightning's own way assigns to the fields of a batch.

        Args:
            batch: examples.
            device: where they should be.
            dataloader_idx: not used.

        Returns:
            The examples there.
        """
        return batch.to(device)

    def present_step(self) -> int:
        """The number of steps that were taken; what `StepBatches` asks.

        Returns:
            A number from 0.
        """
        assert self.trainer is not None
        return self.trainer.global_step


class WholeSplit(Generic[Chosen, Batch]):
    """All examples of a split once, batch by batch; what a trainer takes as its loader of an evaluation.

    Args:
        chosen: the examples of each batch.
        select: makes a batch of some examples.
    """

    def __init__(self, chosen: Sequence[Chosen], select: Callable[[Chosen], Batch]) -> None:
        self.chosen = chosen
        self.select = select

    def __iter__(self) -> Iterator[Batch]:
        return map(self.select, self.chosen)

    def __len__(self) -> int:
        return len(self.chosen)
