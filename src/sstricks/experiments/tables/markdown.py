from collections.abc import Sequence

from sstricks.experiments.tables.grid import Grid


def markdown(grids: Sequence[Grid]) -> str:
    """Tables as Markdown, each with its title above and its notes below.

    Args:
        grids: the tables.

    Returns:
        The text, with a line break at its end.
    """
    return "\n".join(_one(grid) for grid in grids)


def _one(grid: Grid) -> str:
    heads = [f"{block}: {column}" if block else column for block in grid.blocks for column in grid.columns]
    lines = [
        _line([*grid.row_headings, *heads]),
        _line(["---"] * len(grid.row_headings) + ["---:"] * len(heads)),
    ]
    for line in grid.lines:
        cells = [*line.labels, *line.values]
        lines.append(_line(cells if line.ours else [f"*{cell}*" if cell else "" for cell in cells]))
    return "\n".join([f"**{_escape(grid.title)}**", "", *lines, "", _escape(" ".join(grid.notes)), ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escape, cells))} |"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
