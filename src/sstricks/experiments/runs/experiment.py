from pathlib import Path
from typing import Any, Protocol, Self

from lightning.pytorch import LightningDataModule, LightningModule

from sstricks.experiments.runs.halving import Search
from sstricks.experiments.runs.training import Schedule


class Experiment(Protocol):
    """What a run needs to know of what it trains; picklable, since trials may run in other processes."""

    @property
    def title(self) -> str:
        """What progress displays call it."""
        ...

    @property
    def schedule(self) -> Schedule:
        """How its training proceeds."""
        ...

    @property
    def search(self) -> Search:
        """The trials to choose from."""
        ...

    def trial(self, index: int, interval: int) -> Self:
        """One of the trials: the same experiment with another seed, temperature or whatever is searched.

        It has the given interval between validations: short at first, the experiment's own if it goes on.
        """
        ...

    def to_json(self) -> dict[str, Any]:
        """The configuration, from which the run can be told apart and reconstructed."""
        ...

    def summary(self) -> dict[str, Any]:
        """The part of the configuration that its result repeats."""
        ...

    def module(self) -> LightningModule:
        """The model with its initial weights."""
        ...

    def data(self) -> LightningDataModule:
        """The three splits."""
        ...

    def illustrate(self, folder: Path) -> list[Path]:
        """Draw the pictures of a run, given the folder of its best checkpoint, and say which files they are."""
        ...
