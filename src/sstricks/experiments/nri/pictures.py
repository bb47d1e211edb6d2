"""What a finished run shows: recovered graphs beside the true ones, and the learning curves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from sstricks.experiments.nri.data import Layouts
from sstricks.experiments.nri.datamodule import GraphLayouts, select
from sstricks.experiments.nri.module import GraphLayoutModel
from sstricks.experiments.nri.objective import edge_scores
from sstricks.experiments.runs.metrics import column, read_metrics
from sstricks.experiments.runs.pictures import (
    CORRECT,
    FALSE,
    INK,
    MISSED,
    STYLES,
    LearningCurves,
    Panel,
    finish_axis,
    focus,
    plot_curve,
    save_figure,
)
from sstricks.experiments.runs.seeds import fold_in

_NODE = "#FFFFFF"
_DASHED, _BROKEN = (0, (3, 2)), (0, (6, 1, 1, 1))
_EXAMPLES = 3


def draw_graphs(module: GraphLayoutModel, data: GraphLayouts, path: Path) -> Path:
    """Draw the first three test graphs: the true edges above, the recovered ones below, nodes at their final places.

    Whether the sampled graphs or their complements are shown is decided as in the evaluation, on the test split.

    Args:
        module: a trained model.
        data: has the test split.
        path: the PNG to write.

    Returns:
        The path.
    """
    layouts = select(data.splits.test, slice(0, 500))
    graphs = recovered_graphs(module, layouts)
    count = min(_EXAMPLES, len(layouts))
    figure = Figure(figsize=(3.3 * count, 7.2), layout="constrained")
    axes = figure.subplots(2, count, squeeze=False)
    for example in range(count):
        truth, positions = layouts.edges[example], layouts.positions[example, -1]
        above, below = axes[0, example], axes[1, example]
        draw_truth(above, positions, truth)
        share = draw_recovered(below, positions, truth, graphs[example])
        above.set_title(f"test graph {example + 1}: true edges", fontsize=11)
        below.set_title(f"recovered, {share}", fontsize=11)
    explain_colors(figure)
    c = module.config
    figure.suptitle(f"Latent graphs recovered by {c.edges} ({c.estimator}, preset {c.preset})", fontsize=13)
    return save_figure(figure, path)


draw_curves = LearningCurves(
    (
        Panel(
            "ELBO per node (nats, higher is better)",
            {"train/elbo": "training, relaxed samples", "valid/elbo": "validation, hard samples"},
            shares=False,
        ),
        Panel(
            "Edges recovered in validation",
            {"valid/edge_precision": "precision", "valid/edge_recall": "recall"},
            shares=True,
        ),
    )
)
"""Draws the ELBO, of training and validation, and the validation's edge precision and recall, against steps."""


def draw_comparison(runs: Mapping[str, Path], path: Path) -> Path:
    """Draw the validation ELBO and edge precision of several runs against steps.

    Args:
        runs: the folders by name.
        path: the PNG to write.

    Returns:
        The path.
    """
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    curves = {name: read_metrics(folder) for name, folder in runs.items()}
    for (name, rows), (color, style) in zip(curves.items(), STYLES, strict=False):
        for axis, metric in ((left, "valid/elbo"), (right, "valid/edge_precision")):
            plot_curve(axis, rows, metric, name, color, style)
    focus(left, [value for rows in curves.values() for value in column(rows, "valid/elbo")[1]])
    finish_axis(left, "Validation ELBO per node (nats, higher is better)", shares=False)
    finish_axis(right, "Edge precision in validation", shares=True)
    return save_figure(figure, path)


def recovered_graphs(module: GraphLayoutModel, layouts: Layouts) -> Tensor:
    """Sampled graphs, or their complements if those have the higher precision over all examples, as undirected ones.

    A directed model's pair of nodes counts as an edge if either direction does.

    Args:
        module: a trained model.
        layouts: N examples.

    Returns:
        bool (N, E), in the order of `torch.triu_indices(n, n, 1)`.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(fold_in(module.config.run_seed, "pictures"))
        graphs, _ = module.eval().sample_graphs(layouts.positions.to(module.device))
    graphs = graphs.cpu()
    found = graphs > 0.5
    if edge_scores(graphs, layouts.edges).complemented:
        found = ~found
    first, second = torch.triu_indices(module.config.num_nodes, module.config.num_nodes, 1)
    return found[:, first, second] | found[:, second, first]


def draw_truth(axis: Axes, positions: Tensor, truth: Tensor) -> None:
    """Draw a graph.

    Args:
        axis: where.
        positions: of the nodes, (n, 2).
        truth: its edges, bool (E,).
    """
    _draw_edges(axis, positions, truth, color=INK, linewidth=2)
    _draw_nodes(axis, positions)


def draw_recovered(axis: Axes, positions: Tensor, truth: Tensor, found: Tensor) -> str:
    """Draw a recovered graph such that one sees which edges are correct, false or missed.

    Args:
        axis: where.
        positions: of the nodes, (n, 2).
        truth: the true edges, bool (E,).
        found: the recovered ones, bool (E,).

    Returns:
        The precision, in words.
    """
    hits, count = int((truth & found).sum()), int(found.sum())
    _draw_edges(axis, positions, truth & ~found, color=MISSED, linewidth=1.8, linestyle=_DASHED)
    width = 2.2 if count < 2 * len(positions) else 0.9
    _draw_edges(axis, positions, found & ~truth, color=FALSE, linewidth=width, linestyle=_BROKEN)
    _draw_edges(axis, positions, found & truth, color=CORRECT, linewidth=2.6)
    _draw_nodes(axis, positions)
    return f"precision {hits / max(1, count):.0%} ({hits} of {count})"


def explain_colors(figure: Figure) -> None:
    """Say below a figure what the lines of recovered graphs mean.

    Args:
        figure: with such graphs.
    """
    figure.legend(
        handles=[
            Line2D([], [], color=CORRECT, linewidth=2.6, label="recovered, correct"),
            Line2D([], [], color=FALSE, linewidth=2.2, linestyle=_BROKEN, label="recovered, false"),
            Line2D([], [], color=MISSED, linewidth=1.8, linestyle=_DASHED, label="missed"),
        ],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        handlelength=3.2,
    )


def _draw_edges(axis: Axes, positions: Tensor, edges: Tensor, **style: Any) -> None:
    first, second = torch.triu_indices(len(positions), len(positions), 1)[:, edges]
    for a, b in zip(positions[first].tolist(), positions[second].tolist(), strict=True):
        axis.plot([a[0], b[0]], [a[1], b[1]], solid_capstyle="round", zorder=1, **style)


def _draw_nodes(axis: Axes, positions: Tensor) -> None:
    x, y = positions.T.tolist()
    axis.scatter(x, y, s=190, color=_NODE, edgecolors=INK, linewidths=1.2, zorder=2)
    for node, place in enumerate(zip(x, y, strict=True)):
        axis.annotate(str(node), place, ha="center", va="center_baseline", fontsize=8, zorder=3)
    axis.margins(0.12)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set_axis_off()
