from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro
from rich.console import Console

from sstricks.experiments.extras import missing_packages
from sstricks.experiments.runs.command import TrainCommand
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.overrides import RunOverrides
from sstricks.experiments.sweep.folder import Plan, SweepFolder
from sstricks.experiments.sweep.machines import Machines
from sstricks.experiments.sweep.progress import watching_trials
from sstricks.experiments.sweep.ranges import Ranges, Values
from sstricks.experiments.sweep.report import Columns, print_trials
from sstricks.experiments.sweep.trial import Trial, TrialState

_NEEDED = ("ray", "pandas", "pyarrow")
_Address = Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT", help_behavior_hint="(none: this machine)")]
_Jobs = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(as many as cores)")]


@dataclass(frozen=True, kw_only=True)
class SweepCommand(TrainCommand):
    """Search the hyperparameters of an experiment at random; a subclass says of which, and over what.

    Attributes:
        columns: what the table at the end shows of a result.
        ranges: what the paper searched, given the configuration of the runs that are asked for.
    """

    columns: ClassVar[Columns]
    ranges: ClassVar[Callable[[Any], Ranges]]

    out: Path
    """Folder of the sweep, with a run folder for each trial; on a cluster, one that all its machines share."""
    trials: int = 20
    """Runs to select from; with a larger number the same command continues a sweep that had fewer."""
    seed: int = 0
    """From which the trials' hyperparameters are drawn, and their own seeds."""
    resume: tyro.conf.SuppressFixed[tyro.conf.Fixed[bool]] = True
    """Always."""
    devices: tyro.conf.SuppressFixed[tyro.conf.Fixed[int]] = 1
    """Of a trial; a sweep has other trials for the rest."""
    machines: tyro.conf.SuppressFixed[tyro.conf.Fixed[int]] = 1
    """Of a trial."""
    jobs: _Jobs = None
    """Trials to train at the same time, sharing the cores evenly."""
    ray_address: _Address = None
    """Of a Ray cluster, or auto for the one that this machine belongs to; without it, Ray is started and ended here."""
    max_failures: int = 3
    """How often a trial whose process died is continued before the sweep does without it."""
    preset_overrides: RunOverrides = field(default_factory=RunOverrides)

    def run(self, console: Console) -> None:
        """Train what is not trained yet, and print a table of the trials.

        Args:
            console: where to print.

        Raises:
            RunError: if the values do not fit together, a folder cannot be used, a package is missing, or a trial
                could not be trained.
        """
        missing = missing_packages("a sweep needs", _NEEDED, "sweep")
        if missing:
            raise RunError(missing)
        for option, found, least in (
            ("--trials", self.trials, 1),
            ("--jobs", self.jobs, 1),
            ("--max-failures", self.max_failures, 0),
        ):
            if found is not None and found < least:
                raise RunError(f"{option} is {found}, expected at least {least}: pass a larger number.")
        plan = self._plan()
        with SweepFolder(self.out.resolve()) as folder:
            drawn = folder.open(plan, self.trials)
            trials = [self._trial(folder, index, values) for index, values in enumerate(drawn[: self.trials])]
            failures = self._train(console, trials, len(drawn))
        print_trials(console, trials, self.columns)
        if failures:
            told = "; ".join(f"trial {index}: {why}" for index, why in sorted(failures.items()))
            raise RunError(
                f"{len(failures)} of {len(trials)} trials could not be trained to the end ({told.rstrip('.')}). "
                "The others are kept; mend the cause and give the same command again to continue."
            )

    def _train(self, console: Console, trials: Sequence[Trial], num_drawn: int) -> dict[int, str]:
        unfinished = [trial for trial in trials if trial.state is TrialState.UNFINISHED]
        kept = len(trials) - len(unfinished)
        if num_drawn > len(trials):
            _say(console, f"{self.out}: the sweep has {num_drawn} trials, of which these are the first {len(trials)}.")
        if not unfinished:
            _say(console, f"{self.out}: all {len(trials)} trials are finished; nothing was trained.")
            return {}
        if kept:
            _say(console, f"{self.out}: {kept} of {len(trials)} trials are finished and kept.")
        _say(console, f"{self.out}: starting Ray; trials to train: {len(unfinished)}.")
        from sstricks.experiments.sweep.ray_tune import train_on_ray  # Ray takes seconds to load

        with watching_trials(console, trials):
            return train_on_ray(unfinished, Machines(self.ray_address, self.jobs, self.max_failures))

    def _plan(self) -> Plan:
        try:
            config = self.experiment().config
        except ValueError as error:
            raise RunError(str(error)) from None
        given = self.preset_overrides.given()
        ranges = {name: range_ for name, range_ in self.ranges(config).items() if name not in given}
        configuration = config.to_json()
        return Plan({name: value for name, value in configuration.items() if name not in ranges}, ranges)

    def _trial(self, folder: SweepFolder, index: int, values: Values) -> Trial:
        searched = {name: value for name, value in values.items() if name != "seed"}
        overrides = replace(self.preset_overrides, **searched)
        experiment = replace(self, seed=values["seed"], preset_overrides=overrides).experiment()
        return Trial(index, folder.trial(index), values, experiment)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
