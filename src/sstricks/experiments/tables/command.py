from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from sstricks.experiments.marked import MarkedPart
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.tables.descriptions import DESCRIPTIONS
from sstricks.experiments.tables.grid import grid_of
from sstricks.experiments.tables.markdown import markdown
from sstricks.experiments.tables.output import Contents, check_tables, write_tables
from sstricks.experiments.tables.runs import runs_of
from sstricks.experiments.tables.tabulation import tabulate
from sstricks.experiments.tables.terminal import print_grid


@dataclass(frozen=True)
class TableOf:
    """Put finished runs into the paper's tables: test metrics of the run that validation selects (App. D.3).

    Standard errors are those of the whole selection. Runs of different presets, data or sizes are never mixed: they go
    into tables of their own. See docs/tables.md.
    """

    experiment: tyro.conf.Positional[Literal["nri", "listops", "l2x"]]
    """Whose tables; runs of other experiments are left out."""
    runs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="PATH [PATH ...]", help_behavior_hint="")
    ]
    """Folders of runs, folders that hold such folders (of sweeps, for instance), or JSON files with results."""
    paper: Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")] = False
    """Add the paper's figures, in lines of their own."""
    out: Annotated[
        tuple[Path, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="FILE", help_behavior_hint="(repeatable)")
    ] = ()
    """Write the tables to FILE.md, .csv or .tex as well, or all results, from which they can be redrawn, to .json."""
    force: Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")] = False
    """Replace files that exist."""
    into: Annotated[Path | None, tyro.conf.arg(metavar="PAGE", help_behavior_hint="")] = None
    """A Markdown page of which a section is to be replaced by the tables; the rest of it is left as it is."""
    section: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """Which: what stands between the lines <!-- table: NAME --> and <!-- end -->."""

    def run(self, console: Console) -> None:
        """Read, select, print, write.

        Args:
            console: where to print.

        Raises:
            RunError: if there are no such runs, or a file cannot be read or must not be written.
        """
        check_tables(self.out, force=self.force)
        part = self._part()
        if part is not None:
            part.read()  # which refuses a page without the section, before the work
        records = runs_of(self.runs, self.experiment, console)
        tables = tabulate(DESCRIPTIONS[self.experiment], records)
        grids = [grid_of(table, paper=self.paper) for table in tables]
        for grid in grids:
            print_grid(console, grid)
        write_tables(self.out, Contents(records, tables, grids, self.paper))
        if part is not None:
            part.write(f"{markdown(grids)}")
        written = [*map(str, self.out), *([] if part is None else [f"{self.into}, section {self.section}"])]
        if written:
            console.print("Written:", *written, sep="\n  ", soft_wrap=True, highlight=False, markup=False)

    def _part(self) -> MarkedPart | None:
        if (self.into is None) != (self.section is None):
            raise RunError(
                f"--into is {self.into} and --section is {self.section}, expected both or neither: a page and the "
                "NAME of a section <!-- table: NAME --> in it."
            )
        return None if self.into is None else MarkedPart(self.into, f"table: {self.section}", "--into")
