from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import tyro
from rich.console import Console

from sstricks.experiments.plots.group import Group
from sstricks.experiments.plots.picture_of import PictureOf, PictureOfModels
from sstricks.experiments.plots.trained import TrainedRun
from sstricks.experiments.tables.description import Description

# matplotlib and the models take seconds to load: each picture loads what it needs.


@dataclass(frozen=True, kw_only=True)
class PlotCurves(PictureOf):
    """Draw learning curves, also of unfinished runs: the validation metric by step, a colour for each row of a table.

    The best run of each kind is heavier. The beginning of a curve may be out of sight: it is often far worse.
    """

    def _draw(self, description: Description, groups: Sequence[Group], console: Console) -> None:
        from sstricks.experiments.plots.curves import draw_learning_curves

        draw_learning_curves(description, groups, self.out)


@dataclass(frozen=True, kw_only=True)
class PlotParallel(PictureOf):
    """Draw a search at a glance: a line for each run through its hyperparameters, coloured by the validation metric."""

    def _draw(self, description: Description, groups: Sequence[Group], console: Console) -> None:
        from sstricks.experiments.plots.parallel import draw_parallel

        draw_parallel(description, groups, self.out)


@dataclass(frozen=True, kw_only=True)
class PlotLayout(PictureOfModels):
    """Draw true graphs of the graph layout experiment and what the best run of each kind recovers (Fig. 3)."""

    experiment: ClassVar[str | None] = "nri"

    graphs: tuple[int, ...] = (1,)
    """Numbers of test graphs, from 1, a row each."""

    def _draw_models(self, runs: Sequence[TrainedRun]) -> None:
        from sstricks.experiments.plots.layouts import draw_layouts

        draw_layouts(runs, self.graphs, self.out)


@dataclass(frozen=True, kw_only=True)
class PlotParses(PictureOfModels):
    """Draw the parse of a ListOps expression that the best run of each kind finds, below the gold one."""

    experiment: ClassVar[str | None] = "listops"

    example: int = 2
    """Which of the expressions that a run's parses.png shows, from 1: later ones are deeper."""

    def _draw_models(self, runs: Sequence[TrainedRun]) -> None:
        from sstricks.experiments.plots.parses import draw_parses_of_runs

        draw_parses_of_runs(runs, self.example, self.out)


@dataclass(frozen=True, kw_only=True)
class PlotWords(PictureOfModels):
    """Draw a review with the words that the best run of each kind explains its rating by (Fig. 4)."""

    experiment: ClassVar[str | None] = "l2x"

    review: int = 0
    """Which test review, from 0, as in `sst explain`."""

    def _draw_models(self, runs: Sequence[TrainedRun]) -> None:
        from sstricks.experiments.plots.words import draw_words

        draw_words(runs, self.review, self.out)


@dataclass(frozen=True)
class Plot:
    """Draw pictures of runs."""

    picture: (
        Annotated[PlotCurves, tyro.conf.subcommand("curves")]
        | Annotated[PlotParallel, tyro.conf.subcommand("parallel")]
        | Annotated[PlotLayout, tyro.conf.subcommand("layout")]
        | Annotated[PlotParses, tyro.conf.subcommand("parses")]
        | Annotated[PlotWords, tyro.conf.subcommand("words")]
        | Annotated[None, tyro.conf.Suppress]
    )

    def run(self, console: Console) -> None:
        """Draw it.

        Args:
            console: where to say what was written.
        """
        assert self.picture is not None
        self.picture.run(console)
