from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sstricks.experiments.tables.caption import caption
from sstricks.experiments.tables.cell import Cell, Estimate
from sstricks.experiments.tables.description import Label, Metric
from sstricks.experiments.tables.published import Published, published
from sstricks.experiments.tables.tabulation import Row, Tabulation

NOTHING = "–"


@dataclass(frozen=True)
class Line:
    """A row of text.

    Attributes:
        labels: one for each heading of rows; those that the row above has too are empty.
        values: all columns of all blocks.
        ours: whether these are our runs; otherwise the paper's figures.
        begins: whether the outermost label is new.
    """

    labels: Sequence[str]
    values: Sequence[str]
    ours: bool
    begins: bool


@dataclass(frozen=True)
class Grid:
    """A table as text, from which Markdown, LaTeX and what a terminal shows are made.

    Attributes:
        title: above it.
        notes: sentences below it.
        row_headings: of the columns with labels.
        blocks: headings of the groups of columns, empty for a single group without one.
        columns: headings of the columns of each group.
        lines: from the top.
    """

    title: str
    notes: Sequence[str]
    row_headings: Sequence[str]
    blocks: Sequence[str]
    columns: Sequence[str]
    lines: Sequence[Line]

    def only(self, block: int) -> "Grid":
        """The same with one of its blocks, for where there is no room for all.

        Args:
            block: which.

        Returns:
            A narrower table.
        """
        width = len(self.columns)
        part = slice(width * block, width * (block + 1))
        lines = [Line(line.labels, line.values[part], line.ours, line.begins) for line in self.lines]
        return Grid(self.title, self.notes, self.row_headings, [self.blocks[block]], self.columns, lines)


def grid_of(table: Tabulation, *, paper: bool) -> Grid:
    """Write a table out.

    Args:
        table: the cells.
        paper: whether each row is followed by the paper's figures for it.

    Returns:
        The text.
    """
    counts = {len(cell.ranked) for cell in table.cells.values()}
    metrics, blocks = table.description.metrics, table.blocks
    printed = {where: _published(table, cell) for where, cell in table.cells.items()} if paper else {}
    lines: list[Line] = []
    above: Row = ()
    for row in table.rows:
        values = [
            text for block in blocks for text in _ours(table.cells.get((row, block)), metrics, runs=len(counts) > 1)
        ]
        same = next((i for i, (a, b) in enumerate(zip(above, row, strict=False)) if a != b), 0)
        labels = ["" if i < same else label.text for i, label in enumerate(row)]
        lines.append(Line(labels, values, ours=True, begins=not above or above[0] != row[0]))
        theirs = {block: found for block in blocks if (found := printed.get((row, block))) is not None}
        if theirs:
            lines.append(_printed(theirs, row, blocks, metrics, runs=len(counts) > 1))
        above = row
    columns = [metric.heading for metric in metrics] + (["Runs"] if len(counts) > 1 else [])
    heads = [block.text for block in blocks]
    notes = caption(table, printed.values())
    return Grid(table.title.text, notes, table.description.row_headings, heads, columns, lines)


def show(metric: Metric, estimate: Estimate) -> str:
    """A value with its standard error.

    Args:
        metric: says how many digits.
        estimate: in the table's unit.

    Returns:
        The text.
    """
    value = metric.show(estimate.value)
    return value if estimate.error is None else f"{value} ± {metric.show(estimate.error)}"


def _published(table: Tabulation, cell: Cell) -> Published | None:
    return published(table.description, cell.facts)


def _ours(cell: Cell | None, metrics: Sequence[Metric], *, runs: bool) -> list[str]:
    estimates = {} if cell is None else cell.estimates
    values = [show(metric, estimate) if (estimate := estimates.get(metric.name)) else NOTHING for metric in metrics]
    return values + ([str(len(cell.ranked)) if cell else ""] if runs else [])


def _printed(
    theirs: Mapping[Label, Published], row: Row, blocks: Sequence[Label], metrics: Sequence[Metric], *, runs: bool
) -> Line:
    values = []
    for block in blocks:
        found = theirs.get(block)
        values += [(found and found.show(metric.name)) or NOTHING for metric in metrics]
        values += [""] if runs else []
    one = next(iter(theirs.values()))
    label = f"paper, {one.table}" + (" (other data)" if one.other_data else "")
    return Line(["" for _ in row[1:]] + [label], values, ours=False, begins=False)
