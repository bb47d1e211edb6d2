from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from sstricks.experiments.plots.group import Group
from sstricks.experiments.runs.config import RunConfig
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.folder import RunFolder
from sstricks.experiments.tables.record import Record

Config = TypeVar("Config", bound=RunConfig)


@dataclass(frozen=True)
class TrainedRun:
    """The run of a group that is looked at: the one that validation selects among those that have a checkpoint.

    Attributes:
        name: of the group.
        folder: of the run.
        config: its configuration, with the trial that went on.
    """

    name: str
    folder: Path
    config: dict[str, Any]

    def configuration(self, kind: type[Config]) -> Config:
        """The configuration as the experiment has it.

        Args:
            kind: of its configurations.

        Returns:
            The configuration.

        Raises:
            RunError: if it does not fit.
        """
        try:
            return kind.from_json(self.config)
        except ValueError as error:
            raise RunError(f"{RunFolder(self.folder).config_file}: {error}") from None


def trained_runs(groups: Sequence[Group], console: Console) -> list[TrainedRun]:
    """One run of each group.

    Args:
        groups: the runs.
        console: where to say which groups have none.

    Returns:
        At least one run.

    Raises:
        RunError: if no run has a checkpoint.
    """
    found = {group.name: next(filter(_has_checkpoint, group.records), None) for group in groups}
    missing = [name or "these runs" for name, record in found.items() if record is None]
    if len(missing) == len(found):
        raise RunError("found no checkpoint, expected folders of runs. Results from JSON files have none.")
    if missing:
        console.print(f"Left out for want of a checkpoint: {', '.join(missing)}.", highlight=False, markup=False)
    return [
        TrainedRun(name, record.folder, {**record.config, "trial": record.facts.get("trial", 0)})
        for name, record in found.items()
        if record is not None and record.folder is not None and record.config is not None
    ]


def agree_on_data(runs: Sequence[TrainedRun], names: Sequence[str]) -> None:
    """Refuse runs that were trained on different data.

    Args:
        runs: of one experiment.
        names: of the fields of their configurations that make the data.

    Raises:
        RunError: if they differ in one.
    """
    for name in names:
        values = {repr(run.config.get(name)): run for run in runs}
        if len(values) > 1:
            listed = " and ".join(f"{value} ({run.folder})" for value, run in list(values.items())[:2])
            raise RunError(f"{name} is {listed}, expected runs on the same data. Name folders of one kind only.")


def _has_checkpoint(record: Record) -> bool:
    return record.folder is not None and RunFolder(record.folder).best.exists()
