import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.files import read_json

_FEW = 6  # as many different numbers are marked one by one
_WIDE = 8.0  # times the smallest, from which on a logarithm shows more


@dataclass(frozen=True)
class Axis:
    """A vertical axis of the parallel view: where values are on it, from 0 to 1, and which of them are marked.

    Attributes:
        name: of the hyperparameter.
        places: of the values, by their text.
        marks: text and place of each mark.
        scale: how values are spread, in a word; empty where they are spread evenly one by one.
    """

    name: str
    places: Mapping[str, float]
    marks: Sequence[tuple[str, float]]
    scale: str

    def place(self, value: Any) -> float:
        """Where a value is.

        Args:
            value: one of those that the axis was made for.

        Returns:
            From 0 to 1.
        """
        return self.places[_text(value)]


def axis_of(name: str, values: Sequence[Any], range_: Mapping[str, Any] | None) -> Axis:
    """An axis for the values that a hyperparameter has in some runs.

    What was searched log-uniformly, as the sweep's description says, has a logarithmic axis; without a description,
    numbers above 0 that differ by a large factor have one.

    Args:
        name: of the hyperparameter.
        values: of all runs.
        range_: what `sweep.json` says of it, none if nothing does.

    Returns:
        The axis.
    """
    kind = None if range_ is None else range_.get("kind")
    numbers = [value for value in values if is_number(value)]
    distinct = Counter(map(_text, values))
    few = len(distinct) <= _FEW and max(distinct.values()) > 1
    if len(numbers) < len(values) or kind == "Choice" or (kind is None and few):
        return _one_by_one(name, values)
    bounds = [*numbers, *([range_["low"], range_["high"]] if range_ is not None else [])]
    low, high = min(bounds), max(bounds)
    if kind == "LogUniform" or (kind is None and low > 0 and high > _WIDE * low):
        return _continuous(name, numbers, low, high, "log")
    return _continuous(name, numbers, low, high, "linear")


def range_of(folder: Path | None, name: str) -> Mapping[str, Any] | None:
    """What the sweep of a run says of a hyperparameter.

    Args:
        folder: of the run, none if it has none.
        name: of the hyperparameter.

    Returns:
        Its range in JSON's types, none if the run is of no sweep, or it is not searched.

    Raises:
        RunError: if `sweep.json` is damaged.
    """
    file = None if folder is None else folder.resolve().parent / "sweep.json"
    if file is None or not file.is_file():
        return None
    remedy = "Restore the file, or move it away to do without the ranges."
    content = read_json(file, remedy)
    ranges = content.get("ranges") if isinstance(content, dict) else None
    range_ = ranges.get(name) if isinstance(ranges, dict) else None  # the file may be another program's
    if range_ is not None and not (
        isinstance(range_, dict) and ({"low", "high"} <= range_.keys() or "values" in range_)
    ):
        raise RunError(f"{file}: found {range_!r} as the range of {name}, expected bounds or values. {remedy}")
    return range_


def number(value: float) -> str:
    """A number with few digits.

    Args:
        value: the number.

    Returns:
        The text.

    Example:
        >>> [number(value) for value in (0.000123456, 0.5, 1e-6, 0, 123456)]
        ['1.23e-4', '0.5', '1e-6', '0', '123456']
    """
    if value and not 1e-3 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}".replace("-", "−" if value < 0 else "-")
    return f"{value:.6g}" if abs(value) >= 1000 else f"{value:.3g}"


def is_number(value: Any) -> bool:
    """Whether a value is a number, which a truth value is not here.

    Args:
        value: of a hyperparameter.

    Returns:
        Whether it is.
    """
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return json.dumps(value)


def _one_by_one(name: str, values: Sequence[Any]) -> Axis:
    # Numbers by size, then everything else by its text, each as far from the next as any other.
    known = {_text(value): value for value in values}
    order = sorted(known, key=lambda text: (0, known[text], "") if is_number(known[text]) else (1, 0.0, text))
    places = {text: index / max(1, len(order) - 1) for index, text in enumerate(order)}
    shown = {text: number(value) if is_number(value) else text.strip('"') for text, value in known.items()}
    return Axis(name, places, [(shown[text], places[text]) for text in order], "")


def _continuous(name: str, values: Sequence[float], low: float, high: float, scale: str) -> Axis:
    f = math.log if scale == "log" else float
    span = f(high) - f(low) or 1.0
    places = {_text(value): (f(value) - f(low)) / span for value in values}
    ticks = _log_ticks(low, high) if scale == "log" else []
    inner = [tick for tick in ticks if 0.08 < (f(tick) - f(low)) / span < 0.92]
    middle = [] if inner or low == high else [low + (high - low) / 2] if scale == "linear" else []
    marks = [(number(value), (f(value) - f(low)) / span) for value in dict.fromkeys((low, *inner, *middle, high))]
    return Axis(name, places, marks, scale)


def _log_ticks(low: float, high: float) -> list[float]:
    return [float(f"1e{power}") for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
