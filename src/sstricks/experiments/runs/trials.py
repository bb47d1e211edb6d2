import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sstricks.experiments.runs.experiment import Experiment
from sstricks.experiments.runs.files import write_atomically
from sstricks.experiments.runs.folder import RunFolder
from sstricks.experiments.runs.halving import TrialRecord, successive_halving
from sstricks.experiments.runs.overview import last_row, last_step
from sstricks.experiments.runs.progress import Display, Silence, describe
from sstricks.experiments.runs.training import DivergedError, fit
from sstricks.experiments.runs.workers import polling, run_tasks

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class TrialTask:
    """A trial to be trained up to a step, in whatever process.

    Attributes:
        experiment: the trial's own.
        path: its folder.
        steps: where to stop.
    """

    experiment: Experiment
    path: Path
    steps: int


def choose_trial(experiment: Experiment, folder: RunFolder, jobs: int, display: Display) -> int:
    """Run the trials of an experiment, each in a folder of its own, and let the best one's run become the main one.

    Args:
        experiment: has several trials.
        folder: of the main run, opened.
        jobs: trials to train at the same time.
        display: shows the progress of each round.

    Returns:
        The trial that goes on from its checkpoint.
    """
    interval = experiment.search.first_steps

    def score(trials: Sequence[int], steps: int) -> Iterator[tuple[int, float | None]]:
        tasks = {
            TrialTask(experiment.trial(trial, interval), folder.trial(trial).path, steps): trial for trial in trials
        }

        def done() -> int:
            return sum(min(last_step(task.path), steps) for task in tasks)

        display.say(f"{experiment.title}: {len(tasks)} trials, each up to step {steps}")
        display.begin(f"{len(tasks)} trials", done(), steps * len(tasks))
        try:
            with polling(lambda: display.advance(done()), _POLL_SECONDS):
                for task, value in run_tasks(_train_trial, list(tasks), jobs):
                    shown = describe(last_row(task.path), experiment.schedule.shown)
                    display.measured(done(), f"trial {tasks[task]} {'diverged' if value is None else shown}")
                    yield tasks[task], value
        finally:
            display.end()

    record = TrialRecord.load(folder.trials_file)
    survivor = record.survivor
    if survivor is None:
        survivor = successive_halving(record, experiment.search, score)
    if not folder.last.exists():
        _adopt(folder.trial(survivor), folder)
    return survivor


def seconds_of_others(experiment: Experiment, folder: RunFolder, survivor: int) -> float:
    """The time that went into the trials that were given up.

    Args:
        experiment: has several trials.
        folder: of the main run.
        survivor: the one that is not counted.

    Returns:
        Seconds, those of all processes added.
    """
    rows = [last_row(folder.trial(trial).path) for trial in range(experiment.search.num_trials) if trial != survivor]
    return sum(row.get("seconds") or 0.0 for row in rows)


def _train_trial(task: TrialTask) -> float | None:
    with RunFolder(task.path) as folder:
        folder.open(task.experiment.to_json(), resume=True)
        schedule = replace(task.experiment.schedule, steps=task.steps)
        try:
            outcome = fit(task.experiment.module(), task.experiment.data(), folder, schedule, Silence(), "")
        except DivergedError:
            return None
        return outcome.score if math.isfinite(outcome.score) else None


def _adopt(trial: RunFolder, folder: RunFolder) -> None:
    # The last checkpoint comes last: as long as it is missing, all of this is done again.
    for source, target in (
        (trial.best, folder.best),
        (trial.path / "metrics.jsonl", folder.path / "metrics.jsonl"),
        (trial.last, folder.last),
    ):
        with source.open("rb") as file:
            write_atomically(target, lambda copy, file=file: shutil.copyfileobj(file, copy))
