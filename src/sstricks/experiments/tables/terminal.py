from rich.console import Console
from rich.table import Table
from rich.text import Text

from sstricks.experiments.tables.grid import Grid

_UNLIMITED = 10_000  # columns


def print_grid(console: Console, grid: Grid) -> None:
    """Print a table with its notes; if there is no room for all blocks side by side, one below the other.

    Args:
        console: where to print.
        grid: the table.
    """
    whole = _table(grid)
    unlimited = console.options.update(width=_UNLIMITED)
    if len(grid.blocks) == 1 or console.measure(whole, options=unlimited).maximum <= console.width:
        console.print(whole)
    else:
        for block in range(len(grid.blocks)):
            console.print(_table(grid.only(block)))
    console.print(" ".join(grid.notes), highlight=False, markup=False)
    console.print()


def _table(grid: Grid) -> Table:
    table = Table(title=Text(grid.title))
    for heading in grid.row_headings:
        table.add_column(_heading("", heading, grid))
    for block in grid.blocks:
        for column in grid.columns:
            table.add_column(_heading(block, column, grid), justify="right", no_wrap=True)
    for number, line in enumerate(grid.lines):
        if number and line.begins and len(grid.row_headings) > 1:
            table.add_section()
        table.add_row(*map(Text, [*line.labels, *line.values]), style=None if line.ours else "dim italic")
    return table


def _heading(above: str, below: str, grid: Grid) -> Text:
    return Text(f"{above}\n{below}" if any(grid.blocks) else below)
