"""Learning curves: one row a validation, in metrics.jsonl, metrics.csv and TensorBoard's events."""

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path

from sstricks.recipes.harness.files import RunError, naming, write_atomically

Row = dict[str, float | None]


class MetricsLog:
    """Records metrics of a run. `metrics.jsonl` is the record; the others are copies, made anew at each resumption.

    Rows beyond the checkpoint from which a run resumes are dropped, so that none is there twice. NaN becomes null.

    Args:
        folder: of the run.
        step: of that checkpoint, 0 at the start.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter  # takes a second to load

        self.folder = folder
        self.rows = [row for row in read_metrics(folder) if (row["step"] or 0) <= step]
        text = "".join(map(_line, self.rows))
        write_atomically(folder / "metrics.jsonl", lambda file: file.write(text.encode()))
        for events in (folder / "tensorboard").glob("events.*"):
            events.unlink()
        self._events = SummaryWriter(str(folder / "tensorboard"))
        self._write_csv()
        for row in self.rows:
            self._write_events(row)

    def append(self, metrics: Mapping[str, float]) -> None:
        """Record a row, which has a `step`."""
        row: Row = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        self.rows.append(row)
        with naming(self.folder / "metrics.jsonl"), (self.folder / "metrics.jsonl").open("a") as file:
            file.write(_line(row))
        self._write_csv()
        self._write_events(row)
        self._events.flush()

    def close(self) -> None:
        """End the file of events."""
        self._events.close()

    def _write_csv(self) -> None:
        text = io.StringIO()
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.folder / "metrics.csv", lambda file: file.write(text.getvalue().encode()))

    def _write_events(self, row: Row) -> None:
        for name, value in row.items():
            if name != "step" and value is not None:
                self._events.add_scalar(name, value, int(row["step"] or 0))


def read_metrics(folder: Path) -> list[Row]:
    """The rows recorded so far, also while the run goes on; a last line that was cut off is left out."""
    file = folder / "metrics.jsonl"
    if not file.exists():
        return []
    *lines, _ = file.read_text(encoding="utf-8", errors="replace").split("\n")
    return [_row(file, number, line) for number, line in enumerate(lines, start=1)]


def column(rows: list[Row], name: str) -> tuple[list[float], list[float]]:
    """The steps at which a metric was finite, and its values there."""
    points = [(float(row["step"] or 0), value) for row in rows if (value := row.get(name)) is not None]
    return [step for step, _ in points], [value for _, value in points]


def _row(file: Path, number: int, line: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if (
        not isinstance(row, dict)
        or row.get("step") is None
        or not all(isinstance(value, int | float | None) for value in row.values())
    ):
        raise RunError(
            f"{file}: line {number} is {line[:40]!r}, expected a row of numbers by name with a step. Restore the file, "
            "or remove the line."
        )
    return row


def _line(row: Row) -> str:
    return json.dumps(row, allow_nan=False) + "\n"
