from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sstricks.diagnosis.row import Row
from sstricks.diagnosis.truth import Truth

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Diagnosis:
    """Bias, variance, cosine and RMSE of every gradient estimator on one problem; what `sst.diagnose` returns.

    Attributes:
        title: The problem.
        truth: The gradient that the estimators are held against.
        rows: One for each estimator and temperature.
        samples: How many utilities each estimator was given.
        has_others: Whether there are estimators beside those that are always diagnosed.
    """

    title: str
    truth: Truth
    rows: tuple[Row, ...]
    samples: int
    has_others: bool = False

    def best(self, estimates: int = 1) -> Row:
        """The row of the least RMSE of the mean of so many estimates (as a batch takes), at equal numbers of losses.

        Estimators of another law are left out.

        Args:
            estimates: How many losses are evaluated for one step.
        """
        own = [row for row in self.rows if row.law == "argmax"]
        return min(own, key=lambda row: row.rmse_of_mean(max(1, estimates // row.evaluations)))

    def __str__(self) -> str:
        table = self._table()
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join((row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:]))) for row in table]
        return "\n".join([self.title, *lines, *self._notes()])

    def __rich__(self) -> Table:
        """The same for a rich console."""
        from rich.table import Table

        table = Table(title=self.title, caption="\n".join(self._notes()), caption_justify="left", collapse_padding=True)
        head, *body = self._table()
        for place, name in enumerate(head):
            table.add_column(name, justify="right" if place else "left", overflow="fold", no_wrap=place > 0)
        last = self.rows[0].estimator
        for row, cells in zip(self.rows, body, strict=True):
            if row.temperature is not None and row.estimator != last:
                table.add_section()
            last = row.estimator
            table.add_row(*cells)
        return table

    def show(self) -> None:
        """Print the table, with rich if it is installed."""
        if find_spec("rich") is None:
            print(self)
            return
        from rich.console import Console

        Console().print(self)

    def to_csv(self, path: Path | str) -> Path:
        """Write the rows as CSV.

        Args:
            path: A file that does not exist yet.

        Returns:
            The path.

        Raises:
            FileExistsError: The file exists.
        """
        with Path(path).open("x", newline="") as file:
            writer = csv.writer(file)
            names = [field.name for field in fields(Row)]
            writer.writerow(names)
            writer.writerows([getattr(row, name) for name in names] for row in self.rows)
        return Path(path)

    def plot(self, path: Path | str) -> Path:
        """Draw bias, standard deviation, cosine and RMSE against temperature, with matplotlib.

        If there are further estimators, all of them are drawn in the plane of bias and standard deviation.

        Args:
            path: A file that does not exist yet; its suffix names the format, as in .png, .svg and .pdf.

        Returns:
            The path.

        Raises:
            FileExistsError: The file exists.
            ImportError: Matplotlib is not installed.
            ValueError: Matplotlib does not know the format.
        """
        if find_spec("matplotlib") is None:
            raise ImportError("plot needs matplotlib, which is not installed. Run: pip install 'sstricks[recipes]'")
        from sstricks.diagnosis.picture import draw, draw_plane

        title = f"{self.title}\ntrue gradient: {self.truth.method}"
        return (draw_plane if self.has_others else draw)(self.rows, title, Path(path))

    def _table(self) -> list[list[str]]:
        """Headings and rows."""
        rows = [row.cells() for row in self.rows]
        return [list(rows[0]), *(list(row.values()) for row in rows)]

    def _notes(self) -> list[str]:
        norm = float(self.truth.gradient.norm())
        error = "" if self.truth.exact else f" ± {float(self.truth.standard_error.norm()):.2g}"
        warning = "The true gradient is zero, so no estimate has its direction. Is the loss the same for all vertices?"
        is_zero = norm <= 1e-6 * max(1.0, max(row.rmse for row in self.rows))
        return [
            *[warning] * is_zero,
            f"Truth: {self.truth.method}; norm {norm:.4g}{error}. {self.samples:,} utilities for each estimator.",
            "bias ± its standard error; std, cosine, RMSE of one estimate. Least RMSE at equal numbers of losses:",
            *(f"  {count:>4} losses a step: {_named(self.best(count))}" for count in (1, 32, 1024)),
        ]


def _named(row: Row) -> str:
    return row.estimator if row.temperature is None else f"{row.estimator} at t = {row.temperature:g}"
