"""The results on disk, one JSON file per subject with its environment, and on the screen, as a table."""

import json
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.contest import OURS, Row
from benchmarks.environment import Environment

YARDSTICK = "yardstick"
# a peer that is off by more has not done the work
RIGHT = 0.1
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
NOTE_WIDTH = 60


def save(subject: str, rows: list[Row], folder: Path) -> Path:
    """Write `folder/subject.json` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{subject}.json"
    content = {
        "subject": subject,
        "environment": asdict(Environment.capture()),
        "rows": [row.to_json() for row in rows],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def show(subject: str, rows: list[Row], console: Console) -> None:
    """Print the rows: median ± deviation, target, how many times ours it takes, errors against the truth."""
    table = Table(title=subject, title_justify="left")
    memory = any(row.memory is not None for row in rows)
    headings = ["work", "contender", "median", "± MAD", "min", "cpu", "target", "verdict", "× ours", "error"]
    for column in headings + ["peak memory"] * memory:
        table.add_column(column, justify="left" if column in {"work", "contender", "error"} else "right")
    last = None
    for row in rows:
        work = heading(row.work, row.parameters)
        if last is not None and work != last:
            table.add_section()
        table.add_row(
            work if work != last else "",
            f"[bold]{row.contender}[/bold]" if row.contender.startswith(OURS) else row.contender,
            readable(row.timing.median) if row.timing else "—",
            readable(row.timing.mad) if row.timing else "—",
            readable(row.timing.minimum) if row.timing else "—",
            readable(row.timing.cpu) if row.timing and row.timing.cpu else "",
            readable(row.target) if row.target else "",
            {True: "[green]met[/green]", False: "[red]missed[/red]", None: ""}[row.passed],
            f"{row.ratio:.1f}" if row.ratio else "",
            textwrap.shorten(row.note, NOTE_WIDTH)
            or ", ".join(f"{name} {'nan' if error is None else f'{error:.0e}'}" for name, error in row.errors.items()),
            *[mebibytes(row.memory)] * memory,
        )
        last = work
    console.print(table)


def heading(work: str, parameters: Mapping[str, float]) -> str:
    """Return the name of a contest."""
    return f"{work} ({describe(parameters)})" if parameters else work


def describe(parameters: Mapping[str, float]) -> str:
    """Return `name value` pairs, such as `nodes 10, batch 128, range 1e+06`."""
    return ", ".join(f"{name} {value:g}" for name, value in parameters.items())


def readable(seconds: float) -> str:
    """Return a duration with three digits and its unit."""
    size, unit = next(((size, unit) for size, unit in UNITS if abs(seconds) >= size), UNITS[-1])
    return f"{seconds / size:.3g} {unit}"


def mebibytes(memory: float | None) -> str:
    """Return a number of bytes with three digits and its unit; nothing where it was not measured."""
    return "" if memory is None else f"{memory / 2**20:.3g} MiB"


def is_peer(row: dict[str, Any]) -> bool:
    """Whether another than ours did the work: yardsticks do less of it."""
    return not row["contender"].startswith((OURS, YARDSTICK))


def is_right(row: dict[str, Any]) -> bool:
    """Whether it ran, and no error is NaN or beyond `RIGHT`."""
    return bool(row["timing"]) and all(error is not None and error <= RIGHT for error in row["errors"].values())
