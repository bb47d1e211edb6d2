"""Results that outlive what fails: one line of JSON for each, written as soon as it is known."""

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

LINES = 15


class Recorder:
    """Appends results of one subject to a file."""

    def __init__(self, subject: str, path: Path) -> None:
        self.subject, self.path = subject, path
        self.seen: set[str] = set()

    def note(self, kind: str, what: str, **values: Any) -> None:
        """Write a result."""
        line = {"subject": self.subject, "kind": kind, "what": what, **values}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def attempt(self, kind: str, what: str, call: Callable[[], dict[str, Any] | None]) -> bool:
        """Write what a call returns, or how it failed, whose beginning is printed once for each kind of failure."""
        try:
            values = call() or {}
        except Exception as error:
            trace = traceback.format_exc()
            self.note(kind, what, ok=False, error=f"{type(error).__name__}: {error}"[:2000], traceback=trace[-6000:])
            found = f"{type(error).__name__}: {str(error)[:60]}"
            if found not in self.seen:
                self.seen.add(found)
                ours = [line for line in trace.splitlines() if "File" in line][-6:]
                said = str(error).splitlines()[: LINES - len(ours)]
                print(
                    f"## {self.subject} {kind} {what}: {type(error).__name__}", *ours, *said, sep="\n", file=sys.stderr
                )
                sys.stderr.flush()
            return False
        self.note(kind, what, **{"ok": True, **values})
        return True


def read(path: Path) -> list[dict[str, Any]]:
    """All lines that were written."""
    return [json.loads(line) for line in path.read_text().splitlines()]
