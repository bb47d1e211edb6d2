from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from sstricks.experiments.diagnosis.command import Diagnose
from sstricks.experiments.field_guide.command import FieldGuide
from sstricks.experiments.kinds import kind_of
from sstricks.experiments.l2x.command import TrainL2X
from sstricks.experiments.l2x.explain import Explain
from sstricks.experiments.l2x.prepare import PrepareBeer, PrepareHotels, PrepareSynthetic
from sstricks.experiments.l2x.reference_command import ReferenceOf
from sstricks.experiments.l2x.sweep import SweepL2X
from sstricks.experiments.listops.command import TrainListOps
from sstricks.experiments.listops.prepare import PrepareListOps
from sstricks.experiments.listops.sweep import SweepListOps
from sstricks.experiments.nri.command import TrainNRI
from sstricks.experiments.nri.demo import Demo
from sstricks.experiments.nri.sweep import SweepNRI
from sstricks.experiments.plots.command import Plot
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.folder import RunFolder
from sstricks.experiments.runs.memory import keep_freed_memory
from sstricks.experiments.runs.run import evaluate
from sstricks.experiments.tables.command import TableOf


@dataclass(frozen=True)
class Train:
    """Train an experiment of the paper."""

    experiment: (
        Annotated[TrainNRI, tyro.conf.subcommand("nri")]
        | Annotated[TrainListOps, tyro.conf.subcommand("listops")]
        | Annotated[TrainL2X, tyro.conf.subcommand("l2x")]
        | Annotated[None, tyro.conf.Suppress]
    )

    def run(self, console: Console) -> None:
        """Train it.

        Args:
            console: where to print.
        """
        keep_freed_memory()
        assert self.experiment is not None
        self.experiment.run(console)


@dataclass(frozen=True)
class Sweep:
    """Search hyperparameters at random as the paper did: many runs, of which validation selects one (App. D.3)."""

    experiment: (
        Annotated[SweepNRI, tyro.conf.subcommand("nri")]
        | Annotated[SweepListOps, tyro.conf.subcommand("listops")]
        | Annotated[SweepL2X, tyro.conf.subcommand("l2x")]
        | Annotated[None, tyro.conf.Suppress]
    )

    def run(self, console: Console) -> None:
        """Train what is not trained yet, and print a table of the trials.

        Args:
            console: where to print.
        """
        assert self.experiment is not None
        self.experiment.run(console)


@dataclass(frozen=True)
class Evaluate:
    """Measure the best checkpoint of a run on its test split again.

    If the run is finished, its result.json and its pictures are written anew.
    """

    folder: tyro.conf.Positional[Path]
    """The folder that --out named."""

    def run(self, console: Console) -> None:
        """Measure, and print the result.

        Args:
            console: where to print.

        Raises:
            RunError: if there is no run in the folder, or a file of it is damaged.
        """
        folder = RunFolder(self.folder)
        config = folder.read_config()
        try:
            kind = kind_of(config)
            experiment = kind.restore(config)
        except ValueError as error:
            raise RunError(f"{folder.config_file}: {error}") from None
        result, finished = evaluate(experiment, self.folder)
        kind.report(console, [result])
        if not finished:
            console.print("The run is not finished: this is its best checkpoint so far, and nothing was written.")


@dataclass(frozen=True)
class Prepare:
    """Write data into a compact folder: reviews, which `sst train l2x --data` reads, or expressions."""

    data: (
        Annotated[PrepareHotels, tyro.conf.subcommand("hotels")]
        | Annotated[PrepareBeer, tyro.conf.subcommand("beer")]
        | Annotated[PrepareSynthetic, tyro.conf.subcommand("synthetic")]
        | Annotated[PrepareListOps, tyro.conf.subcommand("listops")]
    )

    def run(self, console: Console) -> None:
        """Prepare it.

        Args:
            console: where to print.
        """
        self.data.run(console)


Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Sweep, tyro.conf.subcommand("sweep")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[TableOf, tyro.conf.subcommand("table")]
    | Annotated[Plot, tyro.conf.subcommand("plot")]
    | Annotated[Explain, tyro.conf.subcommand("explain")]
    | Annotated[Prepare, tyro.conf.subcommand("prepare")]
    | Annotated[ReferenceOf, tyro.conf.subcommand("reference")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Diagnose, tyro.conf.subcommand("diagnose")]
    | Annotated[FieldGuide, tyro.conf.subcommand("field-guide")]
)


def run_command(arguments: Sequence[str] | None) -> None:
    """Parse a command line and do what it says.

    Args:
        arguments: the words after `sst`; by default those of the process.
    """
    command = tyro.cli(
        Command,  # pyright: ignore[reportArgumentType]  # a union of types is not a type to pyright
        prog="sst",
        description="Stochastic softmax tricks: train, sweep, evaluate and demonstrate the experiments of the paper; "
        "diagnose gradient estimators; draw the structures.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )
    command.run(Console())
