"""Pictures: learning curves, graphs in the plane, trees over words. Used by recipes, `sst plot` and the field guide.

Colours are Okabe and Ito's, which remain apart for the colour-blind; widths and line styles repeat what they say.
matplotlib takes a second to load, so other modules import this one where they draw.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path as Curve
from matplotlib.text import Text
from torch import Tensor

from sstricks.recipes.harness.files import write_atomically
from sstricks.recipes.harness.metrics import column, read_metrics

INK, CORRECT, FALSE, MISSED, THIRD, LIGHT = "#000000", "#0072B2", "#D55E00", "#8A8A8A", "#009E73", "#C8C8C8"
COLORS = (CORRECT, FALSE, THIRD, "#CC79A7", "#E69F00", "#56B4E9", INK)
STYLES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)))
DASHED, BROKEN = (0, (3, 2)), (0, (6, 1, 1, 1))
PICTURES = (".png", ".pdf", ".svg")
"""The suffixes of pictures that can be written."""


def save_figure(figure: Figure, path: Path, dpi: int = 150) -> Path:
    """Write a figure, whole or not at all; a dollar sign in it begins no formula, since some words are a user's."""
    FigureCanvasAgg(figure)
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
    write_atomically(path, lambda file: figure.savefig(file, format=path.suffix[1:], dpi=dpi))
    return path


def draw_curves(folders: Mapping[str, Path], panels: Mapping[str, Mapping[str, str]], path: Path) -> Path:
    """Draw metrics of runs by name against steps; each title has a panel with labels by metric."""
    figure = Figure(figsize=(4.8 * len(panels), 3.9), layout="constrained")
    for axis, (title, labels) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        drawn: list[list[float]] = []
        for name, folder in folders.items():
            rows = read_metrics(folder)
            for metric, label in labels.items():
                steps, values = column(rows, metric)
                style = {"color": COLORS[len(drawn) % 7], "linestyle": STYLES[len(drawn) % 3], "linewidth": 2}
                named = ", ".join(filter(None, (name, label)))
                axis.plot(steps, values, marker="o" if len(rows) < 3 else "", label=named, **style)
                drawn.append(values)
        values = [value for curve in drawn for value in curve]
        finish_axis(axis, title)
        axis.legend(frameon=False, loc="best")
        if values and min(values) >= 0 and max(values) <= 1:
            axis.set_ylim(0, 1)
        else:
            focus(axis, values, [value for curve in drawn for value in curve[-3:]])
    return save_figure(figure, path)


def focus(axis: Axes, points: Sequence[float], inside: Sequence[float]) -> None:
    """Limit an axis to the values of interest, as first ones are often orders of magnitude worse; say what is outside.

    The values `inside` are never left out.
    """
    values = np.array(points)
    if len(values) > 8:
        low, high = min(float(np.quantile(values, 0.25)), *inside), max(float(np.quantile(values, 0.75)), *inside)
        room = 0.6 * (high - low) + 0.02 * abs(high)
        axis.set_ylim(max(low - room, values.min() - 0.1 * room), min(high + room, values.max() + 0.1 * room))
        if outside := int(((values < low - room) | (values > high + room)).sum()):
            axis.set_xlabel(f"step ({outside} of {len(values)} points are outside)")


def finish_axis(axis: Axes, title: str) -> None:
    """Title, grid and the label of steps."""
    axis.set_title(title, fontsize=11)
    axis.set_xlabel("step")
    axis.set_xlim(left=0)
    axis.grid(color="#DDDDDD", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)


def visible(weight: float) -> tuple[float, float]:
    """Width and opacity of a line that stands for a weight in [0, 1]; thin ones stay visible."""
    return 0.8 + 3.7 * weight, min(1.0, max(0.0, weight)) ** 0.75


def draw_nodes(axis: Axes, places: Tensor, names: Sequence[str] | None = None, root: int | None = None) -> None:
    """Draw the nodes of a graph at their places, (n, 2); a root is dark."""
    for node, (x, y) in enumerate(places.tolist()):
        color, ink = (INK, "#FFFFFF") if node == root else ("#FFFFFF", INK)
        axis.scatter(x, y, s=180, color=color, edgecolors=INK, linewidths=1.2, zorder=3)
        name = str(node) if names is None else names[node]
        axis.annotate(name, (x, y), ha="center", va="center_baseline", fontsize=8, color=ink, zorder=4)
    axis.margins(0.13)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set_axis_off()


def draw_edges(axis: Axes, places: Tensor, edges: Iterable[tuple[int, int]], **style: Any) -> None:
    """Draw straight edges between places."""
    at = places.tolist()
    for a, b in edges:
        axis.plot([at[a][0], at[b][0]], [at[a][1], at[b][1]], solid_capstyle="round", zorder=1, **style)


def draw_recovered_graph(axis: Axes, places: Tensor, true: set[tuple[int, int]], found: set[tuple[int, int]]) -> None:
    """Draw a graph such that one sees which edges are correct, false and missed. False ones bend.

    A straight false edge might lie on two others that join its ends by way of a third node.
    """
    draw_edges(axis, places, true - found, color=MISSED, linewidth=1.8, linestyle=DASHED)
    draw_edges(axis, places, found & true, color=CORRECT, linewidth=2.6)
    at = places.tolist()
    width = 2.2 if len(found) < 2 * len(at) else 0.9
    for a, b in found - true:
        curve = {"arrowstyle": "-", "connectionstyle": "arc3,rad=0.12", "shrinkA": 0, "shrinkB": 0}
        axis.add_patch(FancyArrowPatch(at[a], at[b], color=FALSE, linewidth=width, linestyle=BROKEN, zorder=1, **curve))
    draw_nodes(axis, places)


def draw_arcs(axis: Axes, edges: Iterable[tuple[int, int]], side: int, color: str, **style: Any) -> None:
    """Draw arcs from heads to modifiers, above the words (side 1) or below them (side -1)."""
    label = 0.42  # half the height that a row of words takes
    for head, modifier in sorted(edges):
        # A cubic with controls at 4/3 of a height rises to the height.
        lift = side * (label + min(3.6, 0.45 + 0.28 * abs(modifier - head)) * 4 / 3)
        start, end = head + 0.12 * (1 if modifier > head else -1), float(modifier)
        points = [(start, side * label), (start, lift), (end, lift), (end, side * label)]
        curve = Curve(points, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
        tip = "-|>,head_length=3.5,head_width=1.8"
        axis.add_patch(FancyArrowPatch(path=curve, arrowstyle=tip, edgecolor=color, facecolor=color, **style))


def explain_edges(figure: Figure, more: Mapping[str, str] | None = None) -> None:
    """Say below a figure what the lines of recovered graphs and trees mean; `more` has colours by label."""
    lines = [
        Line2D([], [], color=CORRECT, linewidth=2.6, label="found, correct"),
        Line2D([], [], color=FALSE, linewidth=2.2, linestyle=BROKEN, label="found, false"),
        Line2D([], [], color=MISSED, linewidth=1.8, linestyle=DASHED, label="missed"),
        *(Line2D([], [], color=color, linewidth=1.2, label=label) for label, color in (more or {}).items()),
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=5, frameon=False, handlelength=3.2)


def draw_parses(
    parses: Sequence[tuple[str, Sequence[str], Tensor, Tensor]],
    heading: str,
    path: Path,
    room: int = 0,
    aside: Mapping[str, str] | None = None,
) -> Path:
    """Draw trees over words below each other: gold edges above the words, found ones below them.

    Each has a title, words, and gold and found edges, (L, L) with entry ij for i -> j. There is room for at least
    `room` words. Found edges of the words in `aside` do not count; the legend says what these are.
    """
    figure = Figure(figsize=(13, 2.9 * len(parses) + 0.7), layout="constrained")
    aside, axes = aside or {}, figure.subplots(len(parses), 1, squeeze=False)[:, 0]
    for axis, (title, words, *graphs) in zip(axes, parses, strict=True):
        gold, found = ({(int(a), int(b)) for a, b in graph.nonzero()} for graph in graphs)
        apart = {(a, b) for a, b in found if aside.keys() & {words[a], words[b]}}
        for place, word in enumerate(words):
            axis.text(place, 0, word, ha="center", va="center", family="monospace", fontsize=10)
        draw_arcs(axis, gold, 1, INK, linewidth=1.6)
        draw_arcs(axis, apart, -1, LIGHT, linewidth=0.8)
        draw_arcs(axis, gold - found, -1, MISSED, linewidth=1.2, linestyle=DASHED)
        draw_arcs(axis, found - gold - apart, -1, FALSE, linewidth=1.6, linestyle=BROKEN)
        draw_arcs(axis, found & gold, -1, CORRECT, linewidth=2.0)
        axis.set(xlim=(-0.8, max(room, len(words)) - 0.2), ylim=(-4.2, 4.2))
        axis.set_axis_off()
        axis.set_title(title, fontsize=10, loc="left")
    explain_edges(figure, {"gold": INK, **dict.fromkeys(aside.values(), LIGHT)})
    figure.suptitle(heading, fontsize=12)
    return save_figure(figure, path)
