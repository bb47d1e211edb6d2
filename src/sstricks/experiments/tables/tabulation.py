from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.tables.cell import Cell, cell_of
from sstricks.experiments.tables.description import Description, Label
from sstricks.experiments.tables.record import Record

Row = tuple[Label, ...]


@dataclass(frozen=True)
class Tabulation:
    """One of the paper's tables, filled with runs that are comparable.

    Attributes:
        description: of the experiment.
        title: which table.
        setup: what all runs have in common.
        distinction: the part of it by which this table differs from others of the same title.
        cells: by row and block.
    """

    description: Description
    title: Label
    setup: Mapping[str, Any]
    distinction: Mapping[str, Any]
    cells: Mapping[tuple[Row, Label], Cell]

    @property
    def rows(self) -> list[Row]:
        """In the paper's order."""
        return sorted({row for row, _ in self.cells})

    @property
    def blocks(self) -> list[Label]:
        """In the paper's order."""
        return sorted({block for _, block in self.cells})


def tabulate(description: Description, records: Sequence[Record]) -> list[Tabulation]:
    """Put runs into the paper's tables; those of different presets, data or sizes go into different ones.

    Args:
        description: of the experiment.
        records: of that experiment, each once.

    Returns:
        The tables in the paper's order.

    Raises:
        RunError: if a record has a value that this version does not know.
    """
    setups: dict[tuple[Label, str], Mapping[str, Any]] = {}
    cells: dict[tuple[Label, str], dict[tuple[Row, Label], list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        facts = description.completed(record.facts)
        try:
            description.check(facts)
            place = description.place(facts)
        except (KeyError, ValueError) as error:
            where = record.folder or f"a result of {description.experiment}"
            unknown = f"its configuration has {error}, which is not known here"
            raise RunError(
                f"{where}: {unknown if isinstance(error, KeyError) else error}. Use the version of sstricks that "
                "started the run, or restore the file."
            ) from None
        setup = description.setup_of(facts)
        key = place.table, repr(sorted(setup.items()))
        setups[key] = setup
        cells[key][place.row, place.block].append(record)
    return [
        Tabulation(
            description,
            key[0],
            setups[key],
            _distinction(setups[key], [other for (title, _), other in setups.items() if title == key[0]]),
            {where: cell_of(description, some) for where, some in cells[key].items()},
        )
        for key in sorted(cells)
    ]


def _distinction(setup: Mapping[str, Any], setups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in setup.items() if any(other.get(name) != value for other in setups)}
