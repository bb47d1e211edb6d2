"""A run: a folder in which a recipe is trained to its end, through restarts, training, test, pictures and result.

`config.json` is written first and `result.json` last, so that its existence means that the run is finished. In between
the process may be killed at any instant: `resume` continues from the last checkpoint.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch

import sstricks
from sstricks.recipes.harness import files
from sstricks.recipes.harness.files import RunError, hold, write_json
from sstricks.recipes.harness.metrics import read_metrics
from sstricks.recipes.harness.processes import run_tasks
from sstricks.recipes.harness.recipe import DivergedError, Recipe, describe
from sstricks.recipes.harness.training import (
    Devices,
    Report,
    best_checkpoint,
    cluster,
    evaluate,
    fit,
    last_checkpoint,
    load_best,
    recorded,
)

Result = dict[str, Any]

NOT_IN_RESULTS = {"valid_every", "restart_steps", "restart_factor", "restarts", "data_folder"}


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    devices: Devices = Devices(),  # noqa: B008  # frozen
    jobs: int = 1,
    verbose: bool = False,
    report: Report | None = None,
) -> Result:
    """Train a recipe to its end in a folder that is new or empty or, with `resume`, holds a run of the same recipe.

    Up to `jobs` restarts are trained at the same time. `report` is called with the metrics of each validation of the
    run itself, not of its restarts.

    Return the content of `result.json`; nothing in the processes of a cluster that only help the first one. A RunError
    tells if the folder cannot be used, or the training diverges.
    """
    processes = cluster()
    count = processes[0] * processes[1] if processes else devices.count
    if count > recipe.batch_size:
        shared = f"{count} devices share the {recipe.batch_size} examples of a step, expected at most one for each"
        raise RunError(f"{shared}: use fewer devices or a larger --batch-size.")
    if processes and recipe.restarts > 1:
        raise RunError(f"restarts is {recipe.restarts}, but several machines or processes share no restarts: pass 1.")
    if processes and processes[2] > 0:
        if not (folder / "result.json").exists():
            fit(recipe, folder, devices, recipe.steps)
        return {}
    with hold(folder):
        if _begin(recipe, folder, resume=resume):
            if verbose:
                print(f"{folder}: this run is finished; nothing was trained.")
            return read_result(folder)
        if recipe.restarts > 1:
            _choose_restart(recipe, folder, devices, jobs, verbose=verbose)
        fit(chosen_recipe(recipe, folder), folder, devices, recipe.steps, verbose=verbose, report=report)
        return _conclude(recipe, folder, devices)


def evaluate_again(recipe: Recipe, folder: Path, devices: Devices = Devices()) -> tuple[Result, bool]:  # noqa: B008
    """Test a run's best checkpoint; if the run is finished, which is returned too, write result and pictures anew."""
    with hold(folder):
        finished = (folder / "result.json").exists()
        return _conclude(recipe, folder, devices, write=finished), finished


def read_config(folder: Path) -> dict[str, Any]:
    """The content of a run's `config.json`; a RunError if there is none or it is damaged."""
    return _read(folder, "config.json", "no run was ever started in it", "Restore the file, or start a new run.")


def read_result(folder: Path) -> Result:
    """The content of a run's `result.json`; a RunError if the run is not finished or the file is damaged."""
    remedy = f"`sst evaluate {folder}` writes it anew."
    result = _read(folder, "result.json", "its run is not finished", remedy, steps=int, seconds=int | float)
    files.check_metrics(folder / "result.json", result, remedy)
    return result


def _read(folder: Path, name: str, meaning: str, remedy: str, **fields: Any) -> dict[str, Any]:
    try:
        return files.read_object(folder / name, remedy, **fields)
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{folder}: it holds no {name}, so {meaning}. Name the folder that --out named.") from None


def _begin(recipe: Recipe, folder: Path, *, resume: bool) -> bool:
    """Check that the run may begin or go on in the folder, and return whether it is finished already."""
    config = json.loads(json.dumps(recipe.to_json()))
    if not (folder / "config.json").exists():
        files.refuse_foreign_files(folder, {".lock", "checkpoints"}, "run")
        write_json(folder / "config.json", config)
    elif not resume:
        raise RunError(f"--out {folder}: the folder already holds a run. Add --resume to continue it, or name another.")
    elif different := files.differences(read_config(folder), config):
        raise RunError(
            f"--out {folder}: the run in the folder has another configuration: {different}. "
            "Repeat the command that started it, or choose another --out."
        )
    (folder / "checkpoints").mkdir(exist_ok=True)
    return (folder / "result.json").exists()


def _conclude(recipe: Recipe, folder: Path, devices: Devices, *, write: bool = True) -> Result:
    chosen = chosen_recipe(recipe, folder)
    model = load_best(chosen, folder, devices.device)
    metrics = evaluate(model, chosen.data().test, chosen.run_seed)
    outcome = recorded(folder)
    best = next((row for row in read_metrics(folder) if row["step"] == outcome["best_step"]), {})
    given_up = [i for i in range(recipe.restarts) if i != chosen.restart] if recipe.restarts > 1 else []
    rows = [read_metrics(_restart_folder(folder, index)) for index in given_up]
    result = {
        **{name: value if math.isfinite(value) else None for name, value in metrics.items()},
        **{name: value for name, value in best.items() if name.startswith("valid/")},
        **chosen.facts(),
        **{name: value for name, value in chosen.to_json().items() if name not in NOT_IN_RESULTS},
        "version": sstricks.__version__,
        "steps": outcome["step"],
        "best_step": outcome["best_step"],
        "restarts": recipe.restarts,
        "seconds": round(outcome["seconds"] + sum(row[-1].get("seconds") or 0.0 for row in rows if row), 1),
    }
    if write:
        file = folder / "result.json"
        try:
            chosen.draw(model, folder)
        except Exception as error:  # a picture must not cost what was measured
            write_json(file, result)
            error.add_note(f"Now its result is in {file}; pictures are missing, which `sst evaluate {folder}` draws.")
            raise
        write_json(file, result)
    return result


def chosen_recipe(recipe: Recipe, folder: Path) -> Recipe:
    survivor = read_restarts(folder)["survivor"] if recipe.restarts > 1 else None
    return recipe if survivor is None else recipe.of_restart(survivor)


# Restarts: several short trainings, of which the best goes on (successive halving). `restarts.json` has
# scores[steps][restart], null for one that diverged, and the survivor once it is known.


def _restart_folder(folder: Path, index: int) -> Path:
    return folder / "restarts" / f"{index:02d}"


def read_restarts(folder: Path) -> dict[str, Any]:
    file = folder / "restarts.json"
    if not file.exists():
        return {"scores": {}, "survivor": None}
    remedy = "Restore the file, or start a new run in another folder."
    return files.read_object(file, remedy, scores=dict, survivor=int | None)


def _choose_restart(recipe: Recipe, folder: Path, devices: Devices, jobs: int, *, verbose: bool) -> None:
    record = read_restarts(folder)
    if record["survivor"] is None:
        alive = list(range(recipe.restarts))
        for steps, count in recipe.rounds:
            alive = alive[:count]
            known = record["scores"].setdefault(str(steps), {})
            missing = [index for index in alive if str(index) not in known]
            if missing and verbose:
                print(f"{recipe.title}: {len(missing)} restarts, each up to step {steps}", flush=True)
            tasks = [(recipe, folder, index, steps, devices) for index in missing]
            for (_, _, index, _, _), score in run_tasks(_train_restart, tasks, jobs):
                known[str(index)] = score
                write_json(folder / "restarts.json", record)
                if verbose:
                    measured = read_metrics(_restart_folder(folder, index))
                    told = "diverged" if score is None else describe(measured[-1], recipe.shown)
                    print(f"{recipe.title}: restart {index} at step {steps}  {told}", flush=True)
            # Stable, so the lower number wins a tie.
            alive.sort(key=lambda index: or_worst(known[str(index)]), reverse=True)
        record["survivor"] = alive[0]
        write_json(folder / "restarts.json", record)
    if not last_checkpoint(folder).exists():
        source = _restart_folder(folder, record["survivor"])
        # The last checkpoint comes last: as long as it is missing, all of this is done again.
        for file in (best_checkpoint(source), source / "metrics.jsonl", last_checkpoint(source)):
            files.write_atomically(folder / file.relative_to(source), file.read_bytes())


def or_worst(score: float | None) -> float:
    return -math.inf if score is None else score


def _train_restart(task: tuple[Recipe, Path, int, int, Devices]) -> float | None:
    recipe, run, index, steps, devices = task
    one, folder = recipe.of_restart(index, valid_every=recipe.restart_steps), _restart_folder(run, index)
    gpus = torch.cuda.device_count() if devices.device.type == "cuda" else 1
    with hold(folder):
        _begin(one, folder, resume=True)
        try:
            score = fit(one, folder, Devices(devices.accelerator, index=index % max(1, gpus)), steps)
        except DivergedError:
            return None
    return score if math.isfinite(score) else None
