"""`sst sweep`: random search with Ray Tune, as the paper selected its models (App. D.3), with ASHA if asked for.

`sweep.json` has the plan and the values of every trial, which are drawn from (seed, trial, field) alone: a sweep can be
extended. Each trial is a run in a folder of its own, and what is finished is told by these folders, never by Ray's own
record: whatever is killed, the same command continues, nothing finished is lost, and nothing is counted twice.
"""

import contextlib
import importlib.util
import json
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import tyro
from rich.console import Console

import sstricks
from sstricks.recipes.harness import files
from sstricks.recipes.harness.commands import Flag, check_least, parse, say
from sstricks.recipes.harness.files import RunError
from sstricks.recipes.harness.recipe import DivergedError, Recipe, clock, fold_in

# Read when Ray is imported: it sends no statistics, leaves Ctrl-C to us, and its workers are as nice as the command.
os.environ.update(
    RAY_worker_niceness="0",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_AIR_NEW_OUTPUT="0",
    RAY_CHDIR_TO_TRIAL_DIR="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    TUNE_DISABLE_SIGINT_HANDLER="1",
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
)


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """How to search. Options of the experiment that are given are the same in all trials; the others are searched."""

    out: Path
    """Folder of the sweep, with a run folder for each trial; on a cluster, one that all its machines share."""
    trials: int = 20
    """Runs to select from; with a larger number the same command continues a sweep that had fewer."""
    asha: Flag = False
    """End trials early that are worse in validation than most were at the same step (ASHA)."""
    jobs: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(as many as cores)")] = None
    """Trials to train at the same time, sharing cores and GPUs evenly."""
    ray_address: Annotated[
        str | None, tyro.conf.arg(metavar="HOST:PORT", help_behavior_hint="(none: this machine)")
    ] = None
    """Of a Ray cluster, or auto for the one that this machine belongs to; without it, Ray is started and ended here."""
    max_failures: int = 3
    """How often a trial whose process died is continued before the sweep does without it."""


@dataclass(frozen=True)
class Trial:
    """A run of a sweep; `path / "diverged.json"` or `"stopped.json"` says that it will not be finished."""

    index: int
    path: Path
    values: Mapping[str, Any]
    recipe: Recipe

    @property
    def state(self) -> str:
        """finished, diverged, stopped (by ASHA) or unfinished."""
        marks = {"result": "finished", "diverged": "diverged", "stopped": "stopped"}
        return next((state for file, state in marks.items() if (self.path / f"{file}.json").exists()), "unfinished")


def sweep_command(cls: type[Recipe], prog: str, words: Sequence[str], console: Console) -> None:
    """`sst sweep NAME`."""
    if importlib.util.find_spec("ray") is None:
        raise RunError("a sweep needs ray, which is not installed. Run: pip install 'sstricks[sweep]'")
    recipe, options, given = parse(cls, SweepOptions, prog, words)
    check_least(1, trials=options.trials, jobs=options.jobs)
    check_least(0, max_failures=options.max_failures)
    out, trials, failures = options.out.resolve(), [], {}
    with files.hold(out):
        drawn = draw_trials(recipe, given, out, options.trials)
        for index, values in enumerate(drawn[: options.trials]):
            try:
                one = recipe.from_json({**recipe.to_json(), **values})
            except (TypeError, ValueError) as error:
                raise RunError(f"trial {index}: {error}") from None
            trials.append(Trial(index, out / f"trial-{index:03d}", values, one))
        unfinished = [trial for trial in trials if trial.state == "unfinished"]
        if len(drawn) > len(trials):
            say(console, f"{out}: the sweep has {len(drawn)} trials, of which these are the first {len(trials)}.")
        if not unfinished:
            say(console, f"{out}: all {len(trials)} trials are finished; nothing was trained.")
        else:
            if len(unfinished) < len(trials):
                say(console, f"{out}: {len(trials) - len(unfinished)} of {len(trials)} trials are finished and kept.")
            say(console, f"{out}: starting Ray; trials to train: {len(unfinished)}.")
            failures = train_on_ray(unfinished, options)
    print_trials(console, trials)
    if failures:
        told = "; ".join(f"trial {index}: {why}" for index, why in sorted(failures.items()))
        raise RunError(
            f"{len(failures)} of {len(trials)} trials could not be trained to the end ({told.rstrip('.')}). "
            "The others are kept; mend the cause and give the same command again to continue."
        )


def draw_trials(recipe: Recipe, given: frozenset[str], out: Path, count: int) -> list[dict[str, Any]]:
    """The values of all trials that a sweep's folder has, at least `count`, each with a seed of its own.

    They depend on the recipe's seed, the trial and the name alone, so that a search can be extended, and searching one
    more hyperparameter leaves the others as they were. Numbers have four digits, so that they can be typed again.
    """
    space = {name: domain for name, domain in recipe.space().items() if name not in given}
    configuration = {name: value for name, value in recipe.to_json().items() if name not in space}
    ranges = {name: f"{domain.get_sampler()} {domain.domain_str}" for name, domain in space.items()}
    plan = json.loads(json.dumps({"configuration": configuration, "ranges": ranges}))
    file, drawn = out / "sweep.json", []
    if file.exists():
        remedy = "Restore the file, or choose another --out."
        content = files.read_object(file, remedy, configuration=dict, ranges=dict, trials=list)
        there, here = (
            one["configuration"] | {f"the range of {name}": text for name, text in one["ranges"].items()}
            for one in (content, plan)
        )
        if different := files.differences(there, here):
            raise RunError(
                f"--out {out}: the sweep in the folder is another one: {different}. "
                "Nothing in it was touched. Repeat the command that started it, or choose another --out."
            )
        drawn = content["trials"]
    else:
        files.refuse_foreign_files(out, {".lock"}, "sweep")
    if len(drawn) < count:
        for trial in range(len(drawn), count):
            values = {"seed": fold_in(recipe.seed, "sweep", trial) % 2**31}
            for name, domain in space.items():
                state = np.random.RandomState(fold_in(recipe.seed, "sweep", trial, name) % 2**32)
                value = domain.sample(random_state=state)
                values[name] = float(f"{value:.4g}") if isinstance(value, float) else value
            drawn.append(values)
        files.write_json(file, {"version": sstricks.__version__, **plan, "trials": drawn})
    return drawn


def train_on_ray(trials: Sequence[Trial], options: SweepOptions) -> dict[int, str]:
    """Train trials with Ray Tune until all are finished, stopped or diverged; why the others failed, by their index."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    class MarkStopped(tune.Callback):
        """Says at once that ASHA ended a trial, since this command may be killed before the others end."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ours = by_index[trial.config["trial"]]
            if ours.state == "unfinished":
                files.write_json(ours.path / "stopped.json", {"step": trial.last_result.get("step"), "by": "ASHA"})

    logging.getLogger("ray").setLevel(logging.CRITICAL)  # failures are told at the end, once
    recipe, by_index, out = trials[0].recipe, {trial.index: trial for trial in trials}, trials[0].path.parent
    here: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 80 * 2**20}
    for left_behind in out.glob(".ray-tune-*"):  # by a command that was killed
        shutil.rmtree(left_behind, ignore_errors=True)
    try:
        host, _, port = (options.ray_address or "").rpartition(":")
        if host and port.isdecimal():  # Ray itself tries for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        more = {} if options.ray_address else here
        ray.init(options.ray_address or "local", log_to_driver=False, configure_logging=False, **more)
    except (OSError, RuntimeError, ValueError) as error:
        why = str(error).strip().splitlines()[0]
        raise RunError(
            f"--ray-address {options.ray_address}: no Ray cluster answers there ({why}). "
            "Start one with `ray start --head`, give its address, or leave the option out to train on this machine."
        ) from None
    try:
        cores = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
        # However few trials are left, they keep their share: the number of threads changes the last digits.
        jobs = options.jobs or max(1, int(sum(cores)))
        share = {"cpu": whole_or_part(min(sum(cores) / jobs, max(cores)))}
        if gpus := ray.cluster_resources().get("GPU", 0.0):
            share["gpu"] = whole_or_part(min(gpus / jobs, 1.0))
        train = tune.with_parameters(_train, trials=by_index, threads=max(1, int(share["cpu"])))
        asha = ASHAScheduler(
            time_attr="step",
            metric=recipe.monitor,
            mode="max",
            max_t=recipe.steps,
            grace_period=max(recipe.valid_every, recipe.steps // 8),
            reduction_factor=2,
        )
        # All nodes of a cluster must see Tune's own files; on one machine they are kept off the disk of the results.
        place = out if options.ray_address else None
        with tempfile.TemporaryDirectory(prefix=".ray-tune-", dir=place, ignore_cleanup_errors=True) as scratch:
            found = tune.Tuner(
                tune.with_resources(train, share),
                param_space={"trial": tune.grid_search(sorted(by_index))},
                tune_config=tune.TuneConfig(
                    scheduler=asha if options.asha else None, max_concurrent_trials=jobs, reuse_actors=True
                ),
                run_config=tune.RunConfig(
                    storage_path=scratch,
                    failure_config=tune.FailureConfig(max_failures=options.max_failures),
                    callbacks=[MarkStopped()],
                    progress_reporter=tune.CLIReporter(
                        metric_columns=["step", recipe.monitor], max_report_frequency=30
                    ),
                    verbose=1,
                ),
            ).fit()
    finally:
        ray.shutdown()
    failures: dict[int, str] = {}
    for result in found:
        if result.error is not None:
            assert result.config is not None
            trial, traceback = by_index[result.config["trial"]], str(result.error).strip()
            file = out / f"error-{trial.index:03d}.txt"
            failures[trial.index] = traceback.splitlines()[-1]
            with contextlib.suppress(OSError):  # a full disk may be the reason
                file.write_text(traceback)
                failures[trial.index] += f" (see {file})"
    return failures


def whole_or_part(amount: float) -> float:
    """Whole cores or GPUs, or a part of one: Ray counts in ten-thousandths."""
    return int(amount) if amount >= 1 else int(amount * 10_000) / 10_000


def _train(config: dict[str, int], *, trials: Mapping[int, Trial], threads: int) -> None:
    # In a process of Ray's.
    from ray import tune

    from sstricks.recipes.harness.processes import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(threads)
    trial = trials[config["trial"]]

    def report(metrics: dict[str, Any]) -> None:
        if metrics["step"] < trial.recipe.steps:  # after the last validation comes the test: nothing may stop it
            tune.report(metrics)

    train_trial(trial, report)


def train_trial(trial: Trial, report: Callable[[dict[str, Any]], object] | None = None) -> None:
    """Train a trial from its last checkpoint to its end, or until it diverges."""
    from sstricks.recipes.harness.run import train

    end = time.monotonic() + 120
    while True:
        try:
            train(trial.recipe, trial.path, resume=True, report=report)
        except DivergedError as error:
            files.write_json(trial.path / "diverged.json", {"reason": str(error)})
        except files.FolderInUseError:  # by a process of a killed sweep, which is about to notice
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
            continue
        return


def print_trials(console: Console, trials: Sequence[Trial]) -> None:
    """A table of trials: hyperparameters, what was measured, and which of them is best in validation."""
    from sstricks.recipes.harness.run import or_worst, read_result  # Lightning takes seconds to load

    recipe, metrics = trials[0].recipe, trials[0].recipe.layout().metrics
    results = {trial.index: read_result(trial.path) for trial in trials if trial.state == "finished"}
    best = max(results, key=lambda index: or_worst(results[index][recipe.monitor]), default=None)
    rows = []
    for trial in trials:
        result, star = results.get(trial.index, {}), "* " if trial.index == best else ""
        score, seconds = result.get(recipe.monitor), result.get("seconds")
        row = {"trial": f"{star}{trial.index}", **trial.values}
        row[recipe.monitor] = trial.state if score is None else f"{score:.4g}"
        row |= {f"test {metric.heading}": metric.show(result.get(metric.name)) for metric in metrics}
        rows.append({**row, "time": "" if seconds is None else clock(seconds)})
    shown = pd.DataFrame(rows).drop(columns="seed").to_string(index=False, line_width=console.width)
    say(console, f"{recipe.title}: {len(trials)} trials\n{shown}")
    if best is not None:
        say(console, f"* Best by {recipe.monitor}, which alone selects: {trials[best].path}")
