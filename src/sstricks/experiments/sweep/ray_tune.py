"""The only file that knows Ray; to be imported where a sweep really runs, since that takes seconds."""

import contextlib
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# Ray reads these when it is imported: it reports nothing, leaves Ctrl-C to us, writes no results of its own, and its
# workers are as nice as the command.
os.environ.update(
    RAY_worker_niceness="0",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_AIR_NEW_OUTPUT="0",
    RAY_CHDIR_TO_TRIAL_DIR="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    TUNE_DISABLE_SIGINT_HANDLER="1",
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
)

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback

from sstricks.experiments.runs.errors import RunError, first_line
from sstricks.experiments.sweep.machines import Machines, share_of_a_trial
from sstricks.experiments.sweep.trial import Trial
from sstricks.experiments.sweep.worker import train_trial

_SCRATCH = ".ray-tune-"
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


class Mute(TrialProgressCallback):
    """Stands where Tune would put a callback that prints; the sweep has its own display."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Nothing.

        Args:
            iteration: not used.
            trials: not used.
            trial: not used.
            **info: not used.
        """

    def log_result(self, trial: Any, result: dict[str, Any], error: bool = False) -> None:
        """Nothing.

        Args:
            trial: not used.
            result: not used.
            error: not used.
        """


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
        # However few trials are left, they keep their share: the number of threads changes the last digits.
        jobs = machines.jobs or max(1, int(sum(cores)))
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
                callbacks=[Mute()],
                verbose=0,
            ),
        )
        return _failures(tuner.fit(), {trial.index: trial for trial in trials})


def _train(config: dict[str, int], *, trials: Mapping[int, Trial], threads: int) -> None:
    refusal = train_trial(trials[config["trial"]], threads)
    if refusal:
        tune.report(refusal)


def _failures(found: tune.ResultGrid, trials: Mapping[int, Trial]) -> dict[int, str]:
    failures: dict[int, str] = {}
    for result in found:
        assert result.config is not None
        index = result.config["trial"]
        if result.error is not None:
            failures[index] = trials[index].explain(str(result.error))
        elif result.metrics and "refused" in result.metrics:
            failures[index] = result.metrics["refused"]
    return failures


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # failures are told at the end, once
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if address is None:
        ray.init("local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES, **quiet)
    else:
        try:
            _knock(address)
            ray.init(address, **quiet)
        except (OSError, RuntimeError, ValueError) as error:
            raise RunError(
                f"--ray-address {address}: no Ray cluster answers there ({first_line(error)}). "
                "Start one with `ray start --head`, give its address, or leave the option out to train on this machine."
            ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    # Ray itself asks for minutes, and aloud.
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


@contextlib.contextmanager
def _scratch(address: str | None, sweep: Path) -> Iterator[Path]:
    # All nodes of a cluster must see it; on one machine it is kept away from the disk that the results may fill.
    for left_behind in sweep.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left_behind, ignore_errors=True)
    place = None if address is None else sweep
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=place, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
