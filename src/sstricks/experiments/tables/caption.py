"""What is written below a table: everything that a reader needs to judge its numbers."""

from collections.abc import Iterable, Sequence

from sstricks.experiments.tables.bootstrap import RESAMPLES
from sstricks.experiments.tables.cell import Cell
from sstricks.experiments.tables.published import SOURCE, Published
from sstricks.experiments.tables.tabulation import Tabulation

_MOST_OF_SEEDS = 50  # characters


def caption(table: Tabulation, printed: Iterable[Published | None]) -> list[str]:
    """Setup and number of runs, how they were selected, what the errors are, what was left out, what is the paper's.

    Args:
        table: the cells.
        printed: those of the paper that stand beside.

    Returns:
        Sentences.
    """
    cells = list(table.cells.values())
    notes = [_runs(table, cells), *_selection(table, cells), *_left_out(cells)]
    theirs = [found for found in printed if found is not None]
    if theirs:
        where = " and ".join(sorted({found.table for found in theirs}))
        notes.append(f"Lines marked “paper”: {where} of {SOURCE}, {table.description.caution(cells[0].facts)}.")
    return notes


def ranges(numbers: Iterable[int]) -> str:
    """Integers in few words.

    Args:
        numbers: in any order.

    Returns:
        The text.

    Example:
        >>> ranges([4, 0, 1, 2, 9])
        '0–2, 4, 9'
    """
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{part[0]}–{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def _runs(table: Tabulation, cells: Sequence[Cell]) -> str:
    known = next((cell for cell in cells if cell.ranked), cells[0])
    counts = sorted({len(cell.ranked) for cell in cells})
    number = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    seeds = _seeds({seed for cell in cells for seed in cell.seeds})
    apart = ", ".join(f"{name} = {_short(value)}" for name, value in sorted(table.distinction.items()))
    setup = table.description.setup(known.facts)
    return (
        f"{setup[0].upper()}{setup[1:]}; runs per cell: {number}"
        + (f"; seeds: {seeds}" if seeds else "")
        + (f"; unlike in other tables of this title: {apart}" if apart else "")
        + "."
    )


def _selection(table: Tabulation, cells: Sequence[Cell]) -> list[str]:
    counts = {len(cell.ranked) for cell in cells}
    if counts == {0}:
        return ["No run has come to its end yet."]
    notes = []
    if max(counts) > 1:
        best = table.description.selected_by
        notes.append(
            f"Test metrics of the run with the best validation {best} in each cell ± the standard error of this "
            f"selection, from {RESAMPLES:,} bootstrap resamples of the runs."
        )
    if 1 in counts:
        only = "Cells with one run have" if max(counts) > 1 else "Test metrics of one run a cell, so there is"
        notes.append(f"{only} no standard error.")
    return notes


def _left_out(cells: Sequence[Cell]) -> list[str]:
    kinds = (
        ("not finished (waiting, running, interrupted or broken off)", sum(len(cell.unfinished) for cell in cells)),
        ("diverged", sum(len(cell.diverged) for cell in cells)),
    )
    found = [f"{count} {'run' if count == 1 else 'runs'} {kind}" for kind, count in kinds if count]
    return [f"Left out: {' and '.join(found)}."] if found else []


def _seeds(seeds: set[int]) -> str:
    text = ranges(seeds)
    return text if len(text) <= _MOST_OF_SEEDS else f"{len(seeds)} different ones"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 16 else f"{text[:8]}…"
