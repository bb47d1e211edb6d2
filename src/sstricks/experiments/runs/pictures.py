"""What the pictures of all experiments share: colours, learning curves, and how a figure becomes a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from sstricks.experiments.runs.files import write_atomically
from sstricks.experiments.runs.metrics import Row, column, read_metrics

# Okabe and Ito's colours, which remain apart for the colour-blind; line styles repeat what they say.
INK, CORRECT, FALSE, MISSED, THIRD = "#000000", "#0072B2", "#D55E00", "#8A8A8A", "#009E73"
STYLES: tuple[tuple[str, Any], ...] = ((CORRECT, "-"), (FALSE, (0, (4, 2))), (THIRD, (0, (1, 1))))
"""Colour and line style of the first, second and third curve."""


@dataclass(frozen=True)
class Panel:
    """One plot of learning curves.

    Attributes:
        title: above it.
        curves: the label of each metric.
        shares: whether the metrics are between 0 and 1.
    """

    title: str
    curves: Mapping[str, str]
    shares: bool


@dataclass(frozen=True)
class LearningCurves:
    """Draws the learning curves of an experiment's runs.

    Attributes:
        panels: from left to right.
    """

    panels: tuple[Panel, ...]

    def __call__(self, folder: Path, path: Path) -> Path:
        """Draw those of a run, against steps.

        Args:
            folder: of the run.
            path: the PNG to write.

        Returns:
            The path.
        """
        rows, count = read_metrics(folder), len(self.panels)
        figure = Figure(figsize=(4.8 * count, 3.9), layout="constrained")
        for axis, panel in zip(figure.subplots(1, count, squeeze=False)[0], self.panels, strict=True):
            for (metric, label), (color, style) in zip(panel.curves.items(), STYLES, strict=False):
                plot_curve(axis, rows, metric, label, color, style)
            if not panel.shares:
                focus(axis, [value for metric in panel.curves for value in column(rows, metric)[1]])
            finish_axis(axis, panel.title, shares=panel.shares)
        return save_figure(figure, path)


def plot_curve(axis: Axes, rows: Sequence[Row], metric: str, label: str, color: str, style: Any) -> None:
    """Plot one metric against steps; single points are marked.

    Args:
        axis: where.
        rows: what `read_metrics` returned.
        metric: its name.
        label: for the legend.
        color: of the line.
        style: of the line.
    """
    marker = "o" if len(rows) < 3 else ""
    axis.plot(*column(rows, metric), color=color, linestyle=style, linewidth=2, marker=marker, label=label)


def focus(axis: Axes, values: Sequence[float]) -> None:
    """Limit an axis to the interesting values: the first are often orders of magnitude below, and flatten the rest.

    Args:
        axis: whose limits to set.
        values: all that are plotted.
    """
    if len(values) > 4:
        ordered = sorted(values)
        middle, top = ordered[len(ordered) // 4], ordered[-1]
        axis.set_ylim(middle - 0.6 * (top - middle) - 1, top + 0.1 * (top - middle) + 1)


def finish_axis(axis: Axes, title: str, *, shares: bool) -> None:
    """Title, grid, legend and the label of steps.

    Args:
        axis: with its curves.
        title: above it.
        shares: whether the values are between 0 and 1.
    """
    if shares:
        axis.set_ylim(0, 1)
    axis.set_title(title, fontsize=11)
    axis.set_xlabel("step")
    axis.set_xlim(left=0)
    axis.grid(color="#DDDDDD", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="best")


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure, whole or not at all, with its words as they are: a dollar sign begins no formula.

    Args:
        figure: what was drawn.
        path: the picture, whose suffix says the format: .png, .pdf or .svg.

    Returns:
        The path.
    """
    FigureCanvasAgg(figure)
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)  # some are a user's
    write_atomically(path, lambda file: figure.savefig(file, format=path.suffix[1:], dpi=150))
    return path
