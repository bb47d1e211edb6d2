"""Learning curves: one row a validation, in metrics.jsonl, metrics.csv and TensorBoard's events."""

import contextlib
import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sstricks.recipes.harness.files import RunError, naming, write_atomically

Row = dict[str, float | None]


class MetricsLog:
    """Records metrics of a run. `metrics.jsonl` is the record; the others are copies, made anew at each resumption.

    Rows beyond `step`, the checkpoint from which a run resumes, are dropped, so that none is there twice.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter  # takes a second to load

        self.folder = folder
        self.rows = [row for row in read_metrics(folder) if (row["step"] or 0) <= step]
        write_atomically(folder / "metrics.jsonl", "".join(map(_line, self.rows)).encode())
        for events in (folder / "tensorboard").glob("events.*"):
            events.unlink()
        self._events = SummaryWriter(str(folder / "tensorboard"))
        self._copy(self.rows)

    def append(self, metrics: Mapping[str, float]) -> None:
        """Record a row, which has a `step`."""
        row: Row = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        self.rows.append(row)
        with naming(self.folder / "metrics.jsonl"), (self.folder / "metrics.jsonl").open("a") as file:
            file.write(_line(row))
        self._copy([row])

    def close(self) -> None:
        self._events.close()

    def _copy(self, new: list[Row]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, dict.fromkeys(name for row in self.rows for name in row), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.folder / "metrics.csv", text.getvalue().encode())
        for row in new:
            for name, value in row.items():
                if name != "step" and value is not None:
                    self._events.add_scalar(name, value, int(row["step"] or 0))
        self._events.flush()


def read_metrics(folder: Path) -> list[Row]:
    """The rows recorded so far, also while the run goes on; a last line that was cut off is left out."""
    file, rows = folder / "metrics.jsonl", []
    *lines, _ = file.read_text(encoding="utf-8", errors="replace").split("\n") if file.exists() else [""]
    for number, line in enumerate(lines, start=1):
        row: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(line)
        numbers = isinstance(row, dict) and all(isinstance(value, int | float | None) for value in row.values())
        if not numbers or row.get("step") is None:
            raise RunError(
                f"{file}: line {number} is {line[:40]!r}, expected a row of numbers by name with a step. Restore the "
                "file, or remove the line."
            )
        rows.append(row)
    return rows


def column(rows: list[Row], name: str) -> tuple[list[float], list[float]]:
    """The steps at which a metric was finite, and its values there."""
    points = [(float(row["step"] or 0), value) for row in rows if (value := row.get(name)) is not None]
    return [step for step, _ in points], [value for _, value in points]


def _line(row: Row) -> str:
    return json.dumps(row, allow_nan=False) + "\n"
