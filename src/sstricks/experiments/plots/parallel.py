"""A sweep at a glance: one line for each run through its hyperparameters to its validation metric."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke

from sstricks.experiments.plots.axis import Axis, axis_of, is_number, number, range_of
from sstricks.experiments.plots.group import Group
from sstricks.experiments.runs.config import NOT_REPEATED
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.pictures import FALSE, INK, save_figure
from sstricks.experiments.tables.description import Description, Facts
from sstricks.experiments.tables.record import Record

_COLORS = colormaps["viridis_r"]
_NOT_SEARCHED = NOT_REPEATED | {"seed", "trial", "data", "data_digest"}
_WORST = 0.1  # share of the runs that may be below the last axis


@dataclass(frozen=True)
class _Entry:
    facts: Facts
    record: Record
    value: float | None  # in the unit of the axis; none if the run diverged


def draw_parallel(description: Description, groups: Sequence[Group], path: Path) -> Path:
    """Draw a line for each finished or diverged run; the best is on top.

    Args:
        description: of the experiment.
        groups: the runs.
        path: the picture to write.

    Returns:
        The path.

    Raises:
        RunError: if fewer than two runs are finished, or they do not differ in any hyperparameter.
    """
    entries = _entries(description, groups)
    finished = [entry for entry in entries if entry.value is not None]
    if len(finished) < 2:
        raise RunError(f"found {len(finished)} finished runs, expected at least 2 to compare. Name more folders.")
    names = [field.name for field in fields(description.config) if field.name not in _NOT_SEARCHED]  # pyright: ignore[reportArgumentType]
    varied = [name for name in names if len({repr(entry.facts.get(name)) for entry in entries}) > 1]
    if not varied:
        raise RunError("found runs that differ in their seeds only, expected some hyperparameter to vary.")
    axes = [_axis(name, entries) for name in varied]
    figure = Figure(figsize=(max(6.4, 1.75 * (len(axes) + 1) + 1.2), 5.2), layout="constrained")
    _draw(figure, description, axes, entries)
    return save_figure(figure, path)


def _entries(description: Description, groups: Sequence[Group]) -> list[_Entry]:
    metric, found = description.validation, []
    for group in groups:
        for record in group.cell.ranked:
            value = record.score(metric.name)
            if value is not None:
                found.append(_Entry(description.completed(record.facts), record, metric.scale * value))
        found += [_Entry(description.completed(record.facts), record, None) for record in group.cell.diverged]
    return found


def _axis(name: str, entries: Sequence[_Entry]) -> Axis:
    ranges = [range_of(entry.record.folder, name) for entry in entries]
    known = ranges[0] if all(range_ == ranges[0] for range_ in ranges) else None
    return axis_of(name, [entry.facts.get(name) for entry in entries], known)


def _draw(figure: Figure, description: Description, axes: Sequence[Axis], entries: Sequence[_Entry]) -> None:
    axis = figure.subplots()
    finished = sorted((e for e in entries if e.value is not None), key=lambda e: _badness(e, description), reverse=True)
    values = np.array([entry.value for entry in finished], dtype=float)
    best = values[-1]
    limit = float(np.quantile(values, 1 - _WORST if description.falls else _WORST, method="nearest"))
    span = abs(best - limit) or 1.0
    for entry in entries:
        if entry.value is None:
            _line(axis, [*_places(axes, entry), 0.0], color=FALSE, linewidth=1.1, linestyle=(0, (4, 3)), zorder=1.5)
    for order, (entry, value) in enumerate(zip(finished, values, strict=True)):
        share = float(np.clip(1 - abs(best - value) / span, 0, 1))
        chosen = order == len(finished) - 1
        style: dict[str, Any] = {"color": _COLORS(0.04 + 0.92 * share), "linewidth": 3.4 if chosen else 1.6}
        style |= {"alpha": 1.0 if chosen else 0.8, "zorder": 3 if chosen else 2 + order / 1000}
        if chosen:
            style |= {"path_effects": [Stroke(linewidth=6, foreground="white"), Normal()], "marker": "o"}
        _line(axis, [*_places(axes, entry), share], **style)
    outside = bool(np.any(np.abs(best - values) > span))
    marks = [(description.validation.show(best - (best - limit) * step), 1 - step) for step in (0.0, 0.5, 1.0)]
    worse = "≥ " if description.falls else "≤ "
    marks[-1] = (worse + marks[-1][0] if outside else marks[-1][0], marks[-1][1])
    last = Axis(description.validation.heading, {}, marks, "")
    for place, one in enumerate([*axes, last]):
        _draw_axis(axis, place, one, is_last=one is last)
    _finish(axis, description, axes, finished[-1], diverged=len(entries) - len(finished), finished=len(finished))


def _badness(entry: _Entry, description: Description) -> float:
    assert entry.value is not None
    return entry.value if description.falls else -entry.value


def _places(axes: Sequence[Axis], entry: _Entry) -> list[float]:
    return [axis.place(entry.facts.get(axis.name)) for axis in axes]


def _line(axis: Axes, places: Sequence[float], **style: Any) -> None:
    axis.plot(range(len(places)), places, solid_joinstyle="round", **style)


def _draw_axis(axis: Axes, place: int, one: Axis, *, is_last: bool) -> None:
    axis.plot([place, place], [0, 1], color=INK, linewidth=1.1, zorder=4)
    for text, height in one.marks:
        axis.plot([place - 0.02, place + 0.02], [height, height], color=INK, linewidth=1.1, zorder=4)
        axis.text(
            *(place + (0.08 if is_last else -0.08), height, text),
            ha="left" if is_last else "right",
            va="center",
            fontsize=9,
            zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.9},
        )
    words = one.name.replace(" per ", "\nper ").replace("_", " ") if is_last else one.name.replace("_", " ")
    axis.text(place, 1.06, f"{words}\n({one.scale})" if one.scale else words, ha="center", va="bottom", fontsize=10)


def _finish(
    axis: Axes, description: Description, axes: Sequence[Axis], best: _Entry, *, diverged: int, finished: int
) -> None:
    axis.set_xlim(-0.55, len(axes) + 0.55)
    axis.set_ylim(-0.05, 1.22)
    axis.set_axis_off()
    values = ", ".join(f"{one.name.replace('_', ' ')} {_shown(best.facts.get(one.name))}" for one in axes)
    axis.set_title(f"{description.subject}: {finished} runs by validation {description.selected_by}", fontsize=13)
    handles = [Line2D([], [], color=_COLORS(0.96), linewidth=3.4, marker="o", label=f"best: {values}")]
    if diverged:
        style: Any = (0, (4, 3))
        handles.append(Line2D([], [], color=FALSE, linewidth=1.1, linestyle=style, label=f"diverged ({diverged})"))
    axis.figure.legend(handles=handles, loc="outside lower center", frameon=False)


def _shown(value: Any) -> str:
    return number(value) if is_number(value) else str(value)
