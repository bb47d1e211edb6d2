import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import Progress, TaskID

from sstricks.experiments.runs.overview import last_row, steps_done, total_steps
from sstricks.experiments.runs.progress import clock, describe, progress_bars
from sstricks.experiments.runs.workers import polling
from sstricks.experiments.sweep.trial import Trial, TrialState

_POLL_SECONDS = 1.0


@contextlib.contextmanager
def watching_trials(console: Console, trials: Sequence[Trial]) -> Iterator[None]:
    """Show how far a sweep is whose trials are trained by other processes, as their folders tell.

    Args:
        console: where to show it: a bar for all and one for each trial under way on a terminal, lines elsewhere.
        trials: all of the sweep.

    Yields:
        Once, for the time during which to watch.
    """
    if console.is_terminal:
        with progress_bars(console) as progress, polling(_Bars(progress, trials).poll, _POLL_SECONDS):
            yield
    else:
        with polling(_Lines(console, trials).poll, _POLL_SECONDS):
            yield


@dataclass(frozen=True)
class _Glance:
    state: TrialState
    steps: int

    @classmethod
    def at(cls, trial: Trial) -> "_Glance":
        return cls(trial.state, steps_done(trial.experiment, trial.path))

    def of_total(self, total: int) -> int:
        return self.steps if self.state is TrialState.UNFINISHED else total


def _described(trial: Trial) -> str:
    return describe(last_row(trial.path), trial.experiment.schedule.shown)


class _Bars:
    def __init__(self, progress: Progress, trials: Sequence[Trial]) -> None:
        self._progress, self._trials = progress, trials
        self._totals = [total_steps(trial.experiment) for trial in trials]
        self._all = progress.add_task(f"{len(trials)} trials", total=sum(self._totals), measured="")
        self._bars: list[TaskID] = [
            progress.add_task(trial.title, total=total, measured="", visible=False)
            for trial, total in zip(trials, self._totals, strict=True)
        ]
        self.poll()

    def poll(self) -> None:
        glances = [_Glance.at(trial) for trial in self._trials]
        done = [glance.of_total(total) for glance, total in zip(glances, self._totals, strict=True)]
        finished = sum(glance.state is not TrialState.UNFINISHED for glance in glances)
        self._progress.update(self._all, completed=sum(done), measured=f"{finished} finished")
        for trial, bar, glance, steps in zip(self._trials, self._bars, glances, done, strict=True):
            busy = glance.state is TrialState.UNFINISHED and (trial.path / "config.json").exists()
            self._progress.update(bar, completed=steps, measured=_described(trial) if busy else "", visible=busy)


class _Lines:
    def __init__(self, console: Console, trials: Sequence[Trial]) -> None:
        self._console = console
        self._waiting = [trial for trial in trials if trial.state is TrialState.UNFINISHED]
        self._total = len(trials)

    def poll(self) -> None:
        for trial in list(self._waiting):
            state = trial.state
            if state is TrialState.UNFINISHED:
                continue
            self._waiting.remove(trial)
            told = "diverged"
            if state is TrialState.FINISHED:
                told = f"{_described(trial)}  in {clock(last_row(trial.path).get('seconds') or 0.0)}"
            count = f"{self._total - len(self._waiting)}/{self._total} trials"
            self._console.print(f"{count}  {trial.title}: {told}", highlight=False, markup=False, soft_wrap=True)
