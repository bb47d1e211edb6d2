from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sstricks.experiments.tables.cell import Cell
from sstricks.experiments.tables.description import Description
from sstricks.experiments.tables.grid import NOTHING
from sstricks.experiments.tables.record import Record
from sstricks.experiments.tables.tabulation import Row, tabulate

# Okabe and Ito's colours, which remain apart for the colour-blind; from the eighth group on, line styles tell apart.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)))


@dataclass(frozen=True)
class Group:
    """The runs of a cell of a table, as pictures show them.

    Attributes:
        name: what tells the group from the others.
        cell: its runs.
        color: of its lines.
        style: of its lines.
    """

    name: str
    cell: Cell
    color: str
    style: Any

    @property
    def records(self) -> list[Record]:
        """All runs, the best first, those that are not finished last."""
        return [*self.cell.ranked, *self.cell.unfinished, *self.cell.diverged]


def groups_of(description: Description, records: Sequence[Record]) -> list[Group]:
    """Runs by the cell of the table that they belong to, in the paper's order.

    Args:
        description: of the experiment.
        records: of that experiment, each once.

    Returns:
        The groups.
    """
    found = [
        ((table.title.text, _apart(table.distinction), *_texts(row), block.text), cell)
        for table in tabulate(description, records)
        for row in table.rows
        for block in table.blocks
        if (cell := table.cells.get((row, block))) is not None
    ]
    names = [labels for labels, _ in found]
    told = _telling(names)
    return [
        Group(
            ", ".join(filter(None, dict.fromkeys(labels[part] for part in told))),
            cell,
            _COLORS[number % len(_COLORS)],
            _STYLES[number // len(_COLORS) % len(_STYLES)],
        )
        for number, (labels, cell) in enumerate(found)
    ]


def _telling(names: Sequence[tuple[str, ...]]) -> list[int]:
    # The parts that differ; of title and outer labels only as many as it takes to tell all names apart.
    told = [part for part in range(len(names[0])) if len({labels[part] for labels in names}) > 1]
    outer = (0, *range(2, len(names[0]) - 2))
    for part in outer:
        others = [other for other in told if other != part]
        if len({tuple(labels[other] for other in others) for labels in names}) == len(names):
            told = others
    return told or [-2]


def _texts(row: Row) -> list[str]:
    # What has no distribution is called by the label before, its model's.
    texts = [label.text for label in row]
    return [text if text != NOTHING else texts[max(0, place - 1)] for place, text in enumerate(texts)]


def _apart(distinction: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(distinction.items()))
