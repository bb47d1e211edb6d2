from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from lightning.pytorch import LightningDataModule, LightningModule

from sstricks.experiments.runs.config import NOT_REPEATED, RunConfig
from sstricks.experiments.runs.halving import Search
from sstricks.experiments.runs.training import Schedule

Config = TypeVar("Config", bound=RunConfig)


@dataclass(frozen=True)
class ConfiguredRun(ABC, Generic[Config]):
    """An `Experiment` whose schedule, trials and JSON are what its configuration says.

    A subclass says what its title, its model, its data and its pictures are, and which metrics matter.

    Attributes:
        config: the run's configuration.
        monitor: the metric of which the best checkpoint has the largest value.
        shown: a format for each metric that the progress shows.
    """

    config: Config
    monitor: ClassVar[str]
    shown: ClassVar[Mapping[str, str]]

    @property
    @abstractmethod
    def title(self) -> str:
        """What progress displays call it."""

    @property
    def schedule(self) -> Schedule:
        """How its training proceeds."""
        c = self.config
        return Schedule(c.run_seed, c.steps, c.valid_every, c.clip, monitor=self.monitor, shown=self.shown)

    @property
    def search(self) -> Search:
        """The trials to choose from."""
        return self.config.search

    def trial(self, index: int, interval: int) -> Self:
        """One of the trials, as the configuration has it.

        Args:
            index: from 0.
            interval: steps between two validations.

        Returns:
            A run without trials.
        """
        return replace(self, config=self.config.of_trial(index, interval))

    def to_json(self) -> dict[str, Any]:
        """The configuration in JSON's types."""
        return self.config.to_json()

    def summary(self) -> dict[str, Any]:
        """The part of the configuration that the result repeats."""
        return {name: value for name, value in self.to_json().items() if name not in NOT_REPEATED}

    @abstractmethod
    def module(self) -> LightningModule:
        """The model with its initial weights."""

    @abstractmethod
    def data(self) -> LightningDataModule:
        """The three splits."""

    @abstractmethod
    def illustrate(self, folder: Path) -> list[Path]:
        """Draw the pictures of a run.

        Args:
            folder: of the run, with its best checkpoint.

        Returns:
            The pictures.
        """
