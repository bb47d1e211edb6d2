"""A contest: our call and its peers do the same work on the same input, and one judge scores them all."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import Any

from benchmarks.measure import Timing, interleave

OURS = "sstricks"


@dataclass(frozen=True)
class Contender:
    """A named way to do the work; without a `call` it could not run, and `note` says why."""

    name: str
    call: Callable[[], Any] | None
    note: str = ""

    @classmethod
    def installed(cls, name: str, module: str, requirement: str, make: Callable[[], Callable[[], Any]]) -> "Contender":
        """Build the call only if `module` can be imported; else keep the row and say what to install."""
        if find_spec(module) is None:
            return cls(name, None, f"not installed (pip install {requirement})")
        return cls(name, make())


@dataclass(frozen=True)
class Row:
    """One contender's result in one contest, as it goes to the JSON file. Times in seconds, memory in bytes."""

    work: str
    parameters: Mapping[str, float]
    contender: str
    timing: Timing | None
    target: float | None = None
    ratio: float | None = None
    errors: dict[str, float | None] = field(default_factory=dict)
    note: str = ""
    memory: float | None = None

    @property
    def passed(self) -> bool | None:
        """Whether the median meets the target, which a call that fails does not; None where none was set."""
        if self.target is None:
            return None
        return self.timing is not None and self.timing.median <= self.target

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain dictionaries."""
        return {**asdict(self), "passed": self.passed}


@dataclass(frozen=True)
class Contest:
    """The work, its parameters, who does it (ours first), our target in seconds and the judge of an output.

    The judge maps what a call returned to named absolute errors against the truth, None where it is not a number.
    """

    work: str
    parameters: Mapping[str, float]
    contenders: list[Contender]
    target: float | None = None
    judge: Callable[[Any], dict[str, float | None]] | None = None

    def hold(self, seconds: float) -> list[Row]:
        """Score one output of each contender and time all that ran, `seconds` each."""
        errors: dict[str, dict[str, float | None]] = {}
        notes = {c.name: c.note for c in self.contenders}
        running: dict[str, Callable[[], Any]] = {}
        for c in self.contenders:
            if c.call is None:
                continue
            try:
                output = c.call()
            except Exception as failure:  # a peer that breaks on this input is a result
                notes[c.name] = f"fails: {type(failure).__name__}: {failure}"
                continue
            running[c.name] = c.call
            errors[c.name] = self.judge(output) if self.judge else {}
        timings = interleave(running, seconds=seconds)
        ours = timings.get(OURS)
        return [
            Row(
                work=self.work,
                parameters=self.parameters,
                contender=c.name,
                timing=(timing := timings.get(c.name)),
                target=self.target if c.name == OURS else None,
                ratio=timing.median / ours.median if timing and ours else None,
                errors=errors.get(c.name, {}),
                note=notes[c.name],
            )
            for c in self.contenders
        ]
