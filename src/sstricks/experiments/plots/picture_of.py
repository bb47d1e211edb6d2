from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro
from rich.console import Console

from sstricks.experiments.plots.group import Group, groups_of
from sstricks.experiments.plots.trained import TrainedRun, trained_runs
from sstricks.experiments.tables.description import Description
from sstricks.experiments.tables.descriptions import DESCRIPTIONS
from sstricks.experiments.tables.runs import runs_of
from sstricks.experiments.targets import PICTURES, check_targets

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class PictureOf:
    """A picture of runs; a subclass says which.

    Attributes:
        experiment: of which the runs have to be; none for any.
    """

    experiment: ClassVar[str | None] = None

    runs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="PATH [PATH ...]", help_behavior_hint="")
    ]
    """Folders of runs, or folders that hold such folders (of sweeps, for instance)."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """The picture to write: .png, .pdf or .svg."""
    force: Flag = False
    """Replace the picture if it exists."""

    def run(self, console: Console) -> None:
        """Read the runs and draw.

        Args:
            console: where to say what was written.
        """
        check_targets([self.out], PICTURES, force=self.force)
        records = runs_of(self.runs, self.experiment, console)
        description = DESCRIPTIONS[str(records[0].facts["experiment"])]
        self._draw(description, groups_of(description, records), console)
        console.print(f"Picture: {self.out}", soft_wrap=True, highlight=False, markup=False)

    @abstractmethod
    def _draw(self, description: Description, groups: Sequence[Group], console: Console) -> None:
        """Draw to `out`; the console is where to say what is left out."""


@dataclass(frozen=True, kw_only=True)
class PictureOfModels(PictureOf):
    """A picture of what trained models do, of one run of each group; a subclass says which."""

    def _draw(self, description: Description, groups: Sequence[Group], console: Console) -> None:
        self._draw_models(trained_runs(groups, console))

    @abstractmethod
    def _draw_models(self, runs: Sequence[TrainedRun]) -> None:
        """Draw to `out`."""
