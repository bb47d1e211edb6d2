import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID

from sstricks.experiments.runs.experiment import Experiment
from sstricks.experiments.runs.overview import last_row, steps_done, total_steps
from sstricks.experiments.runs.progress import clock, describe, progress_bars
from sstricks.experiments.runs.workers import polling

_POLL_SECONDS = 0.5
_LINES = 10  # for each run, where there is no terminal to redraw


@contextlib.contextmanager
def watching(console: Console, runs: Mapping[Path, Experiment]) -> Iterator[None]:
    """Show how far some runs are that go on in other processes, as their metrics tell.

    Args:
        console: where to show it: bars on a terminal, a few lines elsewhere.
        runs: what is trained in each folder.

    Yields:
        Once, for the time during which to watch.
    """
    if not console.is_terminal:
        watchers = [_Lines(console, path, experiment) for path, experiment in runs.items()]
        with polling(lambda: [watcher.poll() for watcher in watchers], _POLL_SECONDS):
            yield
        return
    with progress_bars(console) as bars:
        tasks = {
            path: bars.add_task(experiment.title, total=total_steps(experiment), measured="starting")
            for path, experiment in runs.items()
        }
        with polling(lambda: [_redraw(bars, tasks[path], run, path) for path, run in runs.items()], _POLL_SECONDS):
            yield


def _redraw(bars: Progress, task: TaskID, experiment: Experiment, path: Path) -> None:
    bars.update(task, completed=steps_done(experiment, path), measured=_measured(experiment, path))


def _measured(experiment: Experiment, path: Path) -> str:
    row = last_row(path)
    if not row:
        return (
            "starting" if steps_done(experiment, path) == 0 else f"choosing among {experiment.search.num_trials} trials"
        )
    return describe(row, experiment.schedule.shown)


class _Lines:
    def __init__(self, console: Console, path: Path, experiment: Experiment) -> None:
        self._console, self._path, self._experiment = console, path, experiment
        self._total = total_steps(experiment)
        self._first = self._shown = steps_done(experiment, path)
        self._since = time.monotonic()

    def poll(self) -> None:
        done = steps_done(self._experiment, self._path)
        if done * _LINES // self._total == self._shown * _LINES // self._total:
            return
        self._shown = done
        left = (time.monotonic() - self._since) / max(1, done - self._first) * (self._total - done)
        self._console.print(
            f"{self._experiment.title}: step {done}/{self._total}  {_measured(self._experiment, self._path)}  "
            f"{clock(left)} left",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
