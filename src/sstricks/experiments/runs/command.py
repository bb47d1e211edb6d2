from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
import tyro
from rich.console import Console

from sstricks.experiments.runs.configured import ConfiguredRun
from sstricks.experiments.runs.devices import Devices
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.progress import display_on
from sstricks.experiments.runs.run import assist, train


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
    devices: int = 1
    """GPUs of this machine, or processes if it has none, that train together, each on its share of a batch."""
    machines: Annotated[int, tyro.conf.arg(name="num-nodes")] = 1
    """Machines that train together, each given this same command."""

    @abstractmethod
    def experiment(self) -> ConfiguredRun[Any]:
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
        if self.jobs is not None and self.jobs < 1:
            raise RunError(f"--jobs is {self.jobs}, expected at least 1: pass a larger number.")
        try:
            experiment = self.experiment()
        except ValueError as error:
            raise RunError(str(error)) from None
        devices = self._devices(experiment)
        display = display_on(console)
        if devices.machine > 0:
            assist(experiment, self.out, display=display, devices=devices)
            console.print("This machine's part is done; machine 0 tests and writes the result.", highlight=False)
            return
        jobs = torch.get_num_threads() if self.jobs is None else self.jobs
        result = train(experiment, self.out, resume=self.resume, jobs=jobs, display=display, devices=devices)
        self.report(console, [result])
        written = f"Result, {self.drawn} and checkpoints are in {self.out}"
        console.print(written, soft_wrap=True, highlight=False)

    def _devices(self, experiment: ConfiguredRun[Any]) -> Devices:
        devices = Devices.here(self.devices, self.machines, experiment.config.batch_size)
        trials = experiment.search.num_trials
        if devices.machines > 1 and trials > 1:
            raise RunError(
                f"--num-nodes is {self.machines} and there are {trials} trials, which run on one machine while the "
                "others would wait: pass --trials 1, or use one machine."
            )
        return devices
