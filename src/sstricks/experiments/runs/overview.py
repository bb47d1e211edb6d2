from pathlib import Path

from sstricks.experiments.runs.experiment import Experiment
from sstricks.experiments.runs.folder import RunFolder
from sstricks.experiments.runs.halving import TrialRecord
from sstricks.experiments.runs.metrics import Row, read_metrics


def last_row(folder: Path) -> Row:
    """What a run, or a trial, measured last.

    Args:
        folder: its folder.

    Returns:
        The metrics by name, none before the first validation.
    """
    rows = read_metrics(folder)
    return rows[-1] if rows else {}


def last_step(folder: Path) -> int:
    """The step at which a run, or a trial, measured last.

    Args:
        folder: its folder.

    Returns:
        The step, 0 before the first validation.
    """
    return int(last_row(folder).get("step") or 0)


def total_steps(experiment: Experiment) -> int:
    """The steps of all trainings of a run together: those of its trials, and of the survivor to the end.

    Args:
        experiment: what is trained.

    Returns:
        A number of steps.
    """
    total, before = 0, 0
    for steps, count in experiment.search.rounds:
        total, before = total + count * (steps - before), steps
    return total + experiment.schedule.steps - before


def steps_done(experiment: Experiment, path: Path) -> int:
    """How many of those steps are done, as seen from outside while the run is going on.

    Args:
        experiment: what is trained.
        path: the run's folder.

    Returns:
        A number of steps.
    """
    if experiment.search.num_trials == 1:
        return last_step(path)
    folder = RunFolder(path)
    trials = [last_step(folder.trial(trial).path) for trial in range(experiment.search.num_trials)]
    survivor = TrialRecord.load(folder.trials_file).survivor
    return sum(trials) + (0 if survivor is None else max(0, last_step(path) - trials[survivor]))
