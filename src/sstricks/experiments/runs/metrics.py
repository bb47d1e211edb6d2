import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch.utils.tensorboard.writer import SummaryWriter

from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.files import naming, write_atomically

Row = dict[str, float | None]


class MetricsLog:
    """The learning curves of a run: one row a validation, in `metrics.jsonl`, `metrics.csv` and TensorBoard's events.

    `metrics.jsonl` is the record; the other two are copies, made anew whenever a run is resumed. A row is on the disk
    before the checkpoint of its step is, and rows beyond the checkpoint from which a run resumes are dropped, so that
    no resumption duplicates or loses one. What is not finite is recorded as null.

    Args:
        folder: the directory of the three.
        step: the step of the checkpoint from which the run goes on, 0 at its start.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        self.rows = [row for row in read_metrics(folder) if _step(row) <= step]
        text = "".join(_encode(row) for row in self.rows)
        write_atomically(folder / "metrics.jsonl", lambda file: file.write(text.encode()))
        self._write_csv()
        for events in (folder / "tensorboard").glob("events.*"):
            events.unlink()
        self._events = SummaryWriter(str(folder / "tensorboard"))
        for row in self.rows:
            self._write_events(row)

    def append(self, row: Mapping[str, float]) -> None:
        """Record what was measured at a step.

        Args:
            row: the values by name; `step` among them.
        """
        finite: Row = {name: value if math.isfinite(value) else None for name, value in row.items()}
        self.rows.append(finite)
        record = self.folder / "metrics.jsonl"
        with naming(record), record.open("a") as file:
            file.write(_encode(finite))
        self._write_csv()
        self._write_events(finite)
        self._events.flush()

    def close(self) -> None:
        """End the events file."""
        self._events.close()

    def _write_csv(self) -> None:
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.folder / "metrics.csv", lambda file: file.write(text.getvalue().encode()))

    def _write_events(self, row: Row) -> None:
        for name, value in row.items():
            if name != "step" and value is not None:
                self._events.add_scalar(name, value, _step(row))


def read_metrics(folder: Path) -> list[Row]:
    """The rows that a run has recorded so far, also while it is running.

    Args:
        folder: the run's directory.

    Returns:
        The rows in the order of their steps, none if nothing was recorded. A last line that was cut off is left out.

    Raises:
        RunError: if another line is damaged.
    """
    file = folder / "metrics.jsonl"
    try:
        text = file.read_text(encoding="utf-8", errors="replace")  # such a line is no row, or at least none of ours
    except FileNotFoundError:
        return []
    complete, found, _ = text.rpartition("\n")
    return [_decode(file, number, line) for number, line in enumerate(complete.split("\n") if found else [], start=1)]


def column(rows: Sequence[Row], name: str) -> tuple[list[float], list[float]]:
    """One learning curve.

    Args:
        rows: what `read_metrics` returned.
        name: the metric.

    Returns:
        The steps at which the metric was recorded as a finite number, and its values there.
    """
    points = [(float(_step(row)), value) for row in rows if (value := row.get(name)) is not None]
    return [step for step, _ in points], [value for _, value in points]


def _step(row: Row) -> int:
    step = row["step"]
    assert step is not None
    return int(step)


def _decode(file: Path, number: int, line: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not (
        isinstance(row, dict)
        and all(isinstance(value, int | float | None) for value in row.values())
        and row.get("step") is not None
    ):
        raise RunError(
            f"{file}: line {number} is {line[:40]!r}, expected a row of numbers by name with a step. Restore the file, "
            "or remove the line."
        )
    return row


def _encode(row: Row) -> str:
    return json.dumps(row, allow_nan=False) + "\n"
