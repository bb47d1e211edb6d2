"""`sst train`, `sst evaluate`, and how the options of any recipe are read."""

import dataclasses
import importlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sstricks.recipes import RECIPES
from sstricks.recipes.harness.files import RunError
from sstricks.recipes.harness.recipe import OTHER_VERSION, Recipe, clock

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")]
Options = TypeVar("Options")
AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Where and how to train."""

    out: Path
    """Folder of the run: configuration, checkpoints, metrics, pictures, result."""
    resume: Flag = False
    """Continue the run that is in the folder; if there is none, start it."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """What to train on; auto takes a GPU if there is one."""
    devices: int = 1
    """Devices of this machine, or processes on a CPU, that train together, each on its share of a batch. For several
    machines, start the command with torchrun or srun on each."""
    jobs: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(cores, or 4 for each GPU)")] = None
    """Restarts to train at the same time."""


def recipe_class(name: str) -> type[Recipe]:
    """The recipe that `sst train NAME` trains."""
    return getattr(importlib.import_module(f"sstricks.recipes.{name}"), RECIPES[name])


def parse(
    cls: type[AnyRecipe], kind: type[Options], prog: str, words: Sequence[str]
) -> tuple[AnyRecipe, Options, frozenset[str]]:
    """Read a recipe and other options from a command line.

    It is read twice: first to learn what the preset depends on, then with the preset's values as defaults, which is
    what `--help` shows. Names of the recipe's fields that were given are returned too.
    """
    flat = (tyro.conf.OmitArgPrefixes,)
    without_help = [word for word in words if word not in ("-h", "--help")]
    try:
        try:
            first, _ = tyro.cli(cls, args=without_help, return_unknown_args=True, console_outputs=False, config=flat)
            default: Any = field(default=first.with_preset())
        except SystemExit:  # something required is missing: the second time says so
            default = field()
        both = dataclasses.make_dataclass("Command", [("run", kind), ("experiment", cls, default)])
        command: Any = tyro.cli(both, prog=prog, description=cls.__doc__, args=words, config=flat)
        command.experiment.check()
    except ValueError as error:
        raise RunError(str(error)) from None
    names = {word.partition("=")[0].replace("_", "-") for word in words}
    given = frozenset(one.name for one in dataclasses.fields(cls) if f"--{one.name.replace('_', '-')}" in names)
    return command.experiment, command.run, given


def check_least(least: int, **options: int | None) -> None:
    """Raise if an option that was given is smaller."""
    for name, found in options.items():
        if found is not None and found < least:
            raise RunError(f"--{name.replace('_', '-')} is {found}, expected at least {least}: pass a larger number.")


def train_command(cls: type[Recipe], prog: str, words: Sequence[str], console: Console) -> None:
    """`sst train NAME`."""
    recipe, options, _ = parse(cls, TrainOptions, prog, words)
    check_least(1, jobs=options.jobs, devices=options.devices)
    # Torch's C++ warns of layers that are idle at some steps; processes that train together read this as they start.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch

    from sstricks.recipes.harness.processes import keep_freed_memory
    from sstricks.recipes.harness.run import train  # Lightning takes seconds to load
    from sstricks.recipes.harness.training import Devices

    keep_freed_memory()
    devices = Devices(options.accelerator, options.devices)
    gpu = devices.device.type == "cuda"
    jobs = options.jobs or (4 * torch.cuda.device_count() if gpu else torch.get_num_threads())
    result = train(recipe, options.out, resume=options.resume, devices=devices, jobs=jobs, verbose=True)
    if result:
        try:
            print_results(console, cls, [result])
        except KeyError as error:
            file = options.out / "result.json"
            raise RunError(f"{file}: found no field {error}. `sst evaluate {options.out}` writes it anew.") from None
        say(console, f"Result, pictures and checkpoints are in {options.out}")
    else:
        say(console, "This process's part is done; the first one tests and writes the result.")


@dataclass(frozen=True)
class Evaluate:
    """Measure the best checkpoint of a run on its test split again.

    If the run is finished, its result.json and its pictures are written anew.
    """

    folder: tyro.conf.Positional[Path]
    """The folder that --out named."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """What to run on; auto takes a GPU if there is one."""

    def run(self, console: Console) -> None:
        from sstricks.recipes.harness.run import evaluate_again
        from sstricks.recipes.harness.training import Devices

        recipe = recipe_of(self.folder)
        result, finished = evaluate_again(recipe, self.folder, Devices(self.accelerator))
        print_results(console, type(recipe), [result])
        if not finished:
            say(console, "The run is not finished: this is its best checkpoint so far, and nothing was written.")


def rich_table(
    title: str, headings: Iterable[str], rows: Iterable[tuple[str | None, Sequence[str]]], labels: int, **numbers: Any
) -> Table:
    """Rows, each a style and its cells, under headings; columns after the first `labels` have the style `numbers`."""
    table = Table(title=Text(title))
    for place, heading in enumerate(headings):
        table.add_column(Text(heading), **({} if place < labels else {"justify": "right", **numbers}))
    for style, cells in rows:
        table.add_row(*map(Text, cells), style=style)
    return table


def print_results(console: Console, cls: type[Recipe], results: Sequence[Mapping[str, Any]]) -> None:
    """The metrics of runs on the test split, named as in the paper's tables, and what chance scores."""
    layout, chances = cls.layout(), {}
    rows: list[tuple[str | None, list[str]]] = []
    for result in results:
        place = layout.place(result)
        name = ", ".join(label.text for label in (*place.row, place.block) if label.text not in ("", "–"))
        scores = [metric.show(result[metric.name]) for metric in layout.metrics]
        rows.append((None, [name, *scores, str(result["steps"]), clock(result["seconds"])]))
        levels = ((metric, metric.name.replace("test/", "chance/")) for metric in layout.metrics)
        chances.setdefault(tuple(metric.show(result[level]) if metric.chance else "" for metric, level in levels), name)
    for levels, name in chances.items():
        if any(levels):
            rows.append(("dim", [f"chance, {name}" if len(chances) > 1 else "chance", *levels]))
    headings = ["run", *(metric.heading for metric in layout.metrics), "steps", "time"]
    console.print(rich_table(f"{layout.subject}: test split", headings, rows, 1, no_wrap=True))
    setup, first = layout.setup(results[0]), results[0]
    console.print(f"{setup[0].upper()}{setup[1:]}; seed {first['seed']}, one run each.", highlight=False)


def recipe_of(folder: Path) -> Recipe:
    """The recipe that a run's `config.json` describes."""
    from sstricks.recipes.harness.run import read_config

    config = read_config(folder)
    name = config.get("experiment")
    try:
        if name not in RECIPES:
            raise ValueError(f"found experiment {name!r}, expected one of {sorted(RECIPES)}{OTHER_VERSION}")
        return recipe_class(str(name)).from_json(config)
    except ValueError as error:
        raise RunError(f"{folder / 'config.json'}: {error}") from None


def say(console: Console, text: str) -> None:
    """Print a line as it is."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def main(cls: type[Recipe]) -> None:
    """The command line of a recipe that is run as a file: its options are those of `sst train`."""
    from sstricks_cli import explained

    sys.exit(explained(lambda: train_command(cls, Path(sys.argv[0]).name, sys.argv[1:], Console())))
