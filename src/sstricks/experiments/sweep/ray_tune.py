"""The only file that knows Ray; to be imported where a sweep really runs, since that takes seconds."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# Ray reads these when it is imported: it reports nothing, leaves Ctrl-C to us, and writes no results of its own.
os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_AIR_NEW_OUTPUT="0",
    RAY_CHDIR_TO_TRIAL_DIR="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    TUNE_DISABLE_SIGINT_HANDLER="1",
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
)

import ray
from ray import tune

from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.sweep.machines import Machines, share_of_a_trial
from sstricks.experiments.sweep.trial import Trial
from sstricks.experiments.sweep.worker import train_trial

_SCRATCH = ".ray-"
_OBJECT_STORE_BYTES = 80 * 2**20  # about the least that Ray takes; nothing is exchanged but configurations


class StopWhenRefused(tune.Stopper):
    """Ends the whole sweep when the system refuses to write: it would refuse the other trials too."""

    def __init__(self) -> None:
        self._refused = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether a trial has to stop.

        Args:
            trial_id: not used.
            result: what it reported.

        Returns:
            Whether it was refused.
        """
        self._refused |= result.get("stops_all", False)
        return "refused" in result

    def stop_all(self) -> bool:
        """Whether all have to stop."""
        return self._refused


def train_on_ray(trials: Sequence[Trial], machines: Machines) -> dict[int, str]:
    """Train trials with Ray Tune until all are finished, or known to diverge, or have failed too often.

    Tune decides when and where, and tries again what died. Its own record of the experiment is thrown away: what is
    finished is told by the trials' folders.

    Args:
        trials: the unfinished ones.
        machines: where to train them.

    Returns:
        Why a trial could not be trained, by its index.

    Raises:
        RunError: if there is no cluster at the address.
    """
    with _connected(machines.address), _scratch(machines.address, trials[0].path.parent) as scratch:
        cores = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
        gpus = ray.cluster_resources().get("GPU", 0.0)
        jobs = max(1, min(len(trials), machines.jobs or int(sum(cores))))
        share = share_of_a_trial(sum(cores), gpus, jobs, cores)
        trainable = tune.with_parameters(
            _train, trials={trial.index: trial for trial in trials}, threads=max(1, int(share["cpu"]))
        )
        tuner = tune.Tuner(
            tune.with_resources(trainable, share),
            param_space={"trial": tune.grid_search([trial.index for trial in trials])},
            tune_config=tune.TuneConfig(max_concurrent_trials=jobs, reuse_actors=True),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(scratch),
                failure_config=tune.FailureConfig(max_failures=machines.max_failures),
                stop=StopWhenRefused(),
                verbose=0,
            ),
        )
        found = tuner.fit()
        return {result.config["trial"]: why for result in found if result.config and (why := _why(result))}


def _train(config: dict[str, int], *, trials: Mapping[int, Trial], threads: int) -> None:
    try:
        train_trial(trials[config["trial"]], threads)
    except RunError as error:
        tune.report({"refused": str(error)})
    except OSError as error:  # a folder that cannot be written, a full disk
        tune.report({"refused": str(error), "stops_all": True})


def _why(result: tune.Result) -> str | None:
    if result.error is not None:
        return str(result.error).strip().splitlines()[-1]
    return (result.metrics or {}).get("refused")


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    try:
        if address is None:
            ray.init("local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES, **quiet)
        else:
            ray.init(address, **quiet)
    except (ConnectionError, ValueError) as error:
        raise RunError(
            f"--ray-address {address}: no Ray cluster answers there ({error}). "
            "Start one with `ray start --head`, give its address, or leave the option out to train on this machine."
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _scratch(address: str | None, sweep: Path) -> Iterator[Path]:
    # All nodes of a cluster must see it; on one machine it is kept away from the disk that the results may fill.
    for left_behind in sweep.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left_behind, ignore_errors=True)
    place = None if address is None else sweep
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=place, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
