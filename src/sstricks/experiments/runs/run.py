import math
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule

import sstricks
from sstricks.experiments.runs.checkpoints import recorded_outcome
from sstricks.experiments.runs.devices import Devices
from sstricks.experiments.runs.experiment import Experiment
from sstricks.experiments.runs.files import write_json
from sstricks.experiments.runs.folder import RunFolder, RunState
from sstricks.experiments.runs.halving import TrialRecord
from sstricks.experiments.runs.metrics import read_metrics
from sstricks.experiments.runs.progress import Display
from sstricks.experiments.runs.together import fit_together
from sstricks.experiments.runs.training import fit, test
from sstricks.experiments.runs.trials import choose_trial, seconds_of_others

Result = dict[str, Any]


def train(
    experiment: Experiment, path: Path, *, resume: bool, jobs: int, display: Display, devices: Devices | None = None
) -> Result:
    """Train an experiment in a folder to its end: trials if it has any, training, test, pictures, result.

    Args:
        experiment: what to train.
        path: the run's folder.
        resume: whether to continue a run that is there already.
        jobs: trials to train at the same time.
        display: shows the progress.
        devices: that train together, each on its share of a batch, once the trials are over; by default there is one.

    Returns:
        The content of `result.json`.

    Raises:
        RunError: if the folder cannot be used, or the training diverges.
    """
    with RunFolder(path) as folder:
        state = folder.open(experiment.to_json(), resume=resume)
        if state is RunState.FINISHED:
            display.say(f"{path}: this run is finished; nothing was trained.")
            return folder.read_result()
        if resume and state is RunState.NEW:
            display.say(f"{path}: no run to resume there; a new one begins.")
        chosen = experiment
        if experiment.search.num_trials > 1:
            chosen = experiment.trial(choose_trial(experiment, folder, jobs, display), experiment.schedule.interval)
        module, data = chosen.module(), chosen.data()
        if devices is None or devices.count == 1:
            fit(module, data, folder, chosen.schedule, display, experiment.title)
        else:
            fit_together(chosen, path, devices, display, experiment.title)
        return _conclude(experiment, folder, module, data)


def assist(experiment: Experiment, path: Path, *, display: Display, devices: Devices) -> None:
    """Lend this machine's devices to a training that the first of several machines has in its folder.

    Args:
        experiment: what to train; it has no trials.
        path: the run's folder, in a file system that the machines share; only the first one writes there.
        display: shows the progress.
        devices: of all machines.

    Raises:
        RunError: if the machines were given different commands, or the training diverges.
    """
    if RunFolder(path).result_file.exists():
        display.say(f"{path}: this run is finished; nothing was trained.")
        return
    fit_together(experiment, path, devices, display, experiment.title)


def evaluate(experiment: Experiment, path: Path) -> tuple[Result, bool]:
    """Measure a run's best checkpoint on the test split again.

    If the run is finished, its `result.json` and its pictures are written anew; if not, nothing is.

    Args:
        experiment: the one that the folder's configuration describes.
        path: the run's folder.

    Returns:
        The result, and whether the run is finished.

    Raises:
        RunError: if there is no checkpoint, or a process is training there.
    """
    with RunFolder(path) as folder:
        finished = folder.open(folder.read_config(), resume=True) is RunState.FINISHED
        chosen, _ = _chosen(experiment, folder)
        module, data = chosen.module(), chosen.data()
        if finished:
            return _conclude(experiment, folder, module, data), True
        return _measure(experiment, folder, module, data), False


def _conclude(experiment: Experiment, folder: RunFolder, module: LightningModule, data: LightningDataModule) -> Result:
    result = _measure(experiment, folder, module, data)
    try:
        _chosen(experiment, folder)[0].illustrate(folder.path)
    except Exception as error:
        write_json(folder.result_file, result)
        error.add_note(
            f"The run is finished and its result is in {folder.result_file}; pictures are missing, which "
            f"`sst evaluate {folder.path}` draws."
        )
        raise
    write_json(folder.result_file, result)
    return result


def _measure(experiment: Experiment, folder: RunFolder, module: LightningModule, data: LightningDataModule) -> Result:
    chosen, survivor = _chosen(experiment, folder)
    metrics = test(module, data, folder, chosen.schedule)
    outcome = recorded_outcome(folder)
    best = next((row for row in read_metrics(folder.path) if row["step"] == outcome.best_step), {})
    seconds = outcome.seconds + (0.0 if survivor is None else seconds_of_others(experiment, folder, survivor))
    return {
        **{name: _finite(value) for name, value in metrics.items()},
        **{name: value for name, value in best.items() if name.startswith("valid/")},
        **chosen.summary(),
        "version": sstricks.__version__,
        "steps": outcome.step,
        "best_step": outcome.best_step,
        "runs": 1,
        "trials": experiment.search.num_trials,
        "seconds": round(seconds, 1),
    }


def _chosen(experiment: Experiment, folder: RunFolder) -> tuple[Experiment, int | None]:
    survivor = TrialRecord.load(folder.trials_file).survivor
    return (
        (experiment, None) if survivor is None else (experiment.trial(survivor, experiment.schedule.interval), survivor)
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
