"""The learning curves of several runs in one picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sstricks.experiments.plots.group import Group
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.metrics import column, read_metrics
from sstricks.experiments.runs.pictures import save_figure
from sstricks.experiments.tables.description import Description, Metric
from sstricks.experiments.tables.record import Record

Curve = tuple[list[float], list[float]]

_CHARACTERS = 105  # that fit below the axes
_SHOWN = 0.85  # share of all points that the picture has room for, the worst are below it


def draw_learning_curves(description: Description, groups: Sequence[Group], path: Path) -> Path:
    """Draw the validation metric of each run against steps, a colour for each group, its best run heavier.

    Args:
        description: of the experiment.
        groups: the runs.
        path: the picture to write.

    Returns:
        The path.

    Raises:
        RunError: if no run has recorded anything.
    """
    metric = description.validation
    curves = {group.name: [_curve(record, metric) for record in group.records] for group in groups}
    curves = {name: [curve for curve in found if curve[0]] for name, found in curves.items()}
    if not any(curves.values()):
        raise RunError(
            "found no learning curves, expected run folders with a metrics.jsonl that has a line at least. "
            "Results from JSON files have none."
        )
    figure = Figure(figsize=(9.2, 5.2), layout="constrained")
    axis = figure.subplots()
    shown = [group for group in groups if curves[group.name]]
    for group in shown:
        _draw_group(axis, group, curves[group.name], falls=description.falls)
    _finish(axis, description, [[v for _, values in found for v in values] for found in curves.values() if found])
    count = sum(map(len, curves.values()))
    axis.set_title(f"{description.subject}: learning curves of {count} {'run' if count == 1 else 'runs'}", fontsize=12)
    handles = [
        Line2D([], [], color=group.color, linestyle=group.style, linewidth=2.2, label=_entry(group, curves[group.name]))
        for group in shown
    ]
    several = any(len(found) > 1 for found in curves.values())
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=max(1, _CHARACTERS // max(len(str(handle.get_label())) + 6 for handle in handles)),
        frameon=False,
        title="heavy: the best run, dot: its best checkpoint" if several else "dot: the best checkpoint",
    )
    return save_figure(figure, path)


def _curve(record: Record, metric: Metric) -> Curve:
    if record.folder is None:
        return [], []
    steps, values = column(read_metrics(record.folder), metric.name)
    return steps, [metric.scale * value for value in values]


def _entry(group: Group, curves: Sequence[Curve]) -> str:
    return f"{group.name} ({len(curves)} runs)" if len(curves) > 1 else group.name


def _draw_group(axis: Axes, group: Group, curves: Sequence[Curve], *, falls: bool) -> None:
    best_of = min if falls else max
    best = best_of(range(len(curves)), key=lambda index: best_of(curves[index][1]))
    for index, (steps, values) in enumerate(curves):
        chosen = index == best
        marker = "o" if len(steps) == 1 else ""
        axis.plot(
            *(steps, values),
            color=group.color,
            linestyle=group.style,
            marker=marker,
            linewidth=2.2 if chosen else 0.9,
            alpha=1.0 if chosen else 0.45,
            zorder=3 if chosen else 2,
        )
        if chosen:
            place = values.index(best_of(values))
            axis.plot(steps[place], values[place], "o", color=group.color, markersize=6, zorder=4)


def _finish(axis: Axes, description: Description, groups: Sequence[Sequence[float]]) -> None:
    values = [value for group in groups for value in group]
    best_of, worst_of = (min, max) if description.falls else (max, min)
    best, share = best_of(values), _SHOWN if description.falls else 1 - _SHOWN
    # The first values are often orders of magnitude worse and would flatten the rest.
    limit = worst_of(float(np.quantile(values, share)), *map(best_of, groups)) if len(values) > 8 else worst_of(values)
    room = 0.06 * abs(best - limit) or 0.02 * abs(best) or 1.0
    axis.set_ylim(min(best, limit) - room, max(best, limit) + room)
    axis.set_xlim(left=0)
    axis.set_xlabel("step")
    heading = description.validation.heading
    axis.set_ylabel(f"{heading}, lower is better" if description.falls else f"{heading}, higher is better")
    axis.grid(color="#DDDDDD", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)
