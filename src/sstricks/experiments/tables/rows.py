"""Tables for programs: one line for each cell, with numbers in full."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from sstricks.experiments.tables.cell import Cell
from sstricks.experiments.tables.published import published
from sstricks.experiments.tables.tabulation import Tabulation


def comma_separated(tables: Sequence[Tabulation], *, paper: bool) -> str:
    """Tables as comma-separated values.

    Args:
        tables: all of the same experiment.
        paper: whether there are columns with the paper's figures.

    Returns:
        The text, with a line break at its end.
    """
    rows = [
        {
            "table": table.title.text,
            **dict(zip(table.description.row_headings, (label.text for label in row), strict=True)),
            "block": block.text,
            **_fields(table, table.cells[row, block], paper=paper),
        }
        for table in tables
        for row in table.rows
        for block in table.blocks
        if (row, block) in table.cells
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _fields(table: Tabulation, cell: Cell, *, paper: bool) -> dict[str, Any]:
    description = table.description
    best = cell.ranked[0] if cell.ranked else None
    fields: dict[str, Any] = {"preset": cell.facts["preset"], "runs": len(cell.ranked)}
    fields |= {"unfinished": len(cell.unfinished), "diverged": len(cell.diverged)}
    fields["seeds"] = " ".join(map(str, cell.seeds))
    for metric in description.metrics:
        estimate = cell.estimates.get(metric.name)
        fields[metric.heading] = None if estimate is None else estimate.value
        fields[f"± {metric.heading}"] = None if estimate is None else estimate.error
    theirs = published(description, cell.facts) if paper else None
    if paper:
        fields["paper"] = None if theirs is None else theirs.table + (", other data" if theirs.other_data else "")
        for metric in description.metrics:
            fields[f"paper {metric.heading}"] = None if theirs is None else theirs.values.get(metric.name)
            fields[f"paper ± {metric.heading}"] = None if theirs is None else theirs.errors.get(metric.name)
    fields["selected run"] = best.folder if best is not None else None
    fields["selected seed"] = best.facts.get("seed", 0) if best is not None else None
    tuned = {} if best is None else {name: best.facts.get(name) for name in sorted(description.tuned)}
    fields["selected hyperparameters"] = json.dumps(tuned) if tuned else None
    fields["setup"] = json.dumps(dict(table.setup))
    return fields
