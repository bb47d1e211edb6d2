from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
import tyro
from rich.console import Console

from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.experiment import Experiment
from sstricks.experiments.runs.progress import display_on
from sstricks.experiments.runs.run import train


@dataclass(frozen=True, kw_only=True)
class TrainCommand(ABC):
    """Train an experiment; a subclass says which, and how it is reported.

    Attributes:
        report: prints results, each the content of a run's `result.json`.
        drawn: what there is to see in the folder of a finished run.
    """

    report: ClassVar[Callable[[Console, Sequence[Mapping[str, Any]]], None]]
    drawn: ClassVar[str] = "pictures, curves"

    out: Path
    """Folder of the run: configuration, checkpoints, metrics, pictures, result."""
    seed: int = 0
    """Of the initial weights, the order of the examples and the noise."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")] = False
    """Continue the run that is in the folder; if there is none, start it."""
    jobs: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(as many as cores)")] = None
    """Trials to train at the same time, sharing the cores."""

    @abstractmethod
    def experiment(self) -> Experiment:
        """What to train.

        Raises:
            ValueError: if the values do not fit together.
        """

    def run(self, console: Console) -> None:
        """Train, and print the result.

        Args:
            console: where to print.

        Raises:
            RunError: if the values do not fit together, or a folder cannot be used.
        """
        try:
            experiment = self.experiment()
        except ValueError as error:
            raise RunError(str(error)) from None
        jobs = torch.get_num_threads() if self.jobs is None else max(1, self.jobs)
        result = train(experiment, self.out, resume=self.resume, jobs=jobs, display=display_on(console))
        self.report(console, [result])
        written = f"Result, {self.drawn} and checkpoints are in {self.out}"
        console.print(written, soft_wrap=True, highlight=False)
