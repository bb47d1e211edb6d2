"""Bias, spread, direction and error of the estimators against temperature."""

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from sstricks.diagnosis.row import Row

# Okabe and Ito's colours, which remain apart for the colour-blind; line styles and markers repeat what they say.
_RELAXED = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"))
_VARIANTS = ("#8A8A8A", "#CC79A7", "#009E73")  # no baseline, moving average, leave-one-out
_ACTIONS = ((0, (6, 2)), (0, (1, 1.2)))


def draw(rows: Sequence[Row], title: str, path: Path) -> Path:
    """Draw the four measures; estimators without a temperature are horizontal lines.

    Args:
        rows: What to draw.
        title: Of the picture.
        path: A file that does not exist yet.

    Returns:
        The path.

    Raises:
        FileExistsError: The file exists.
        ValueError: Matplotlib does not know the format that its suffix names.
    """
    names = dict.fromkeys(row.estimator for row in rows if row.temperature is not None)
    curves = [[row for row in rows if row.estimator == name] for name in names]
    levels = [row for row in rows if row.temperature is None]
    figure = Figure(figsize=(10.5, 8.4), layout="constrained")
    bias, spread, direction, error = figure.subplots(2, 2).flat
    for curve, (color, style, marker) in zip(curves, _RELAXED, strict=True) if curves else ():
        t = [row.temperature for row in curve]
        for axis, values, bars in (
            (bias, [row.bias for row in curve], [row.bias_error for row in curve]),
            (spread, [math.sqrt(row.variance) for row in curve], None),
            (direction, [row.cosine for row in curve], None),
            (error, [row.rmse for row in curve], None),
        ):
            look = {"color": color, "linestyle": style, "marker": marker, "linewidth": 2, "label": curve[0].estimator}
            axis.errorbar(t, values, bars, capsize=3, **look)
    for index, row in enumerate(levels):
        action, variant = divmod(index, len(_VARIANTS))
        look = {"color": _VARIANTS[variant], "linestyle": _ACTIONS[action], "linewidth": 1.8, "label": row.estimator}
        for axis, value in zip((spread, direction, error), row.measures()[1:], strict=True):
            axis.axhline(value, **look)
    bias.text(0.02, 0.97, "REINFORCE and RLOO are unbiased", va="top", fontsize=9, transform=bias.transAxes)
    for axis, measure, logarithmic in (
        (bias, "bias, with its standard error", bool(curves)),
        (spread, "standard deviation of one estimate", True),
        (direction, "mean cosine with the true gradient", False),
        (error, "RMSE of one estimate", True),
    ):
        _finish(axis, measure, sorted({row.temperature for curve in curves for row in curve if row.temperature}))
        if logarithmic:
            _plain_logarithms(axis)
    handles, labels = spread.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, handlelength=3.2, fontsize=9)
    return _saved(figure, title, path)


def draw_plane(rows: Sequence[Row], title: str, path: Path) -> Path:
    """Draw every estimator as a point, bias across and spread upwards, for more than the four measures can show.

    Args:
        rows: What to draw.
        title: Of the picture.
        path: A file that does not exist yet.

    Returns:
        The path.

    Raises:
        FileExistsError: The file exists.
        ValueError: Matplotlib does not know the format that its suffix names.
    """
    figure = Figure(figsize=(10.5, 6.5), layout="constrained")
    axis = figure.subplots()
    spreads = [math.sqrt(row.variance * row.evaluations) for row in rows]  # of an estimate that costs one loss
    floor = 0.3 * min(spread for spread in spreads if spread > 1e-3 * max(spreads))
    points = [
        (max(row.bias, row.bias_error), max(spread, floor), row) for row, spread in zip(rows, spreads, strict=True)
    ]
    names = dict.fromkeys(row.estimator for row in rows if row.temperature is not None)
    for name, (color, style, marker) in zip(names, _RELAXED, strict=False):
        x, y = zip(*((x, y) for x, y, row in points if row.estimator == name), strict=True)
        axis.plot(x, y, color=color, linestyle=style, marker=marker, linewidth=1.5, markersize=4)
    marked = []
    for x, y, row in points:
        told = row.bias > 2 * row.bias_error
        text = row.cells()["estimator"] + ("" if row.temperature is None else f", t = {row.temperature:g}")
        if row.temperature is None:
            color = "#009E73" if row.law == "argmax" else "#CC79A7"
            axis.plot(x, y, "D", color=color, fillstyle="full" if told else "none", markersize=6)
        marked.append((x, y, text))
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("bias (hollow: not told from 0, drawn at its standard error)")
    axis.set_ylabel("standard deviation at the cost of one loss")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="#DDDDDD", linewidth=0.7)
    # Names stand in a column at the right, in the order of their points, so that none covers another.
    marked.sort(key=lambda one: one[1])
    for place, (x, y, text) in enumerate(marked):
        at = (1.03, (place + 0.5) / len(marked))
        line = {"arrowstyle": "-", "color": "#BBBBBB", "linewidth": 0.6}
        axis.annotate(text, (x, y), at, "data", "axes fraction", arrowprops=line, fontsize=8, va="center")
    return _saved(figure, title, path)


def _saved(figure: Figure, title: str, path: Path) -> Path:
    figure.suptitle(title, fontsize=11)
    FigureCanvasAgg(figure)
    content = BytesIO()
    figure.savefig(content, format=path.suffix.removeprefix(".") or "png", dpi=150)
    with path.open("xb") as file:
        file.write(content.getbuffer())
    return path


def _finish(axis: Axes, title: str, temperatures: list[float]) -> None:
    axis.set_title(title, fontsize=11)
    axis.grid(color="#DDDDDD", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)
    if temperatures:
        axis.set_xscale("log")
        axis.set_xticks(temperatures, [f"{t:g}" for t in temperatures])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel("temperature t")
    else:
        axis.set_xticks([])


def _plain_logarithms(axis: Axes) -> None:
    """A logarithmic scale with 0.2, 0.5, 1, 2 beside it."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.margins(y=0.12)
