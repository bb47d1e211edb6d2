"""What a finished run shows: recovered graphs beside the true ones, and the learning curves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from sstricks.experiments.nri.data import Layouts
from sstricks.experiments.nri.datamodule import GraphLayouts, select
from sstricks.experiments.nri.module import GraphLayoutModel
from sstricks.experiments.nri.objective import edge_scores
from sstricks.experiments.runs.files import write_atomically
from sstricks.experiments.runs.metrics import column, read_metrics
from sstricks.experiments.runs.seeds import fold_in

# Okabe and Ito's colours, which remain apart for the colour-blind; line styles repeat what they say.
_TRUE, _CORRECT, _FALSE, _MISSED, _NODE = "#000000", "#0072B2", "#D55E00", "#8A8A8A", "#FFFFFF"
_STYLES = ((_CORRECT, "-"), (_FALSE, (0, (4, 2))), ("#009E73", (0, (1, 1))))
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
    graphs = _recover(module, layouts)
    count = min(_EXAMPLES, len(layouts))
    figure = Figure(figsize=(3.3 * count, 7.2), layout="constrained")
    axes = figure.subplots(2, count, squeeze=False)
    for example in range(count):
        truth, found = layouts.edges[example], graphs[example]
        hits = int((truth & found).sum())
        share = hits / max(1, int(found.sum()))
        positions = layouts.positions[example, -1]
        above, below = axes[0, example], axes[1, example]
        _draw_edges(above, positions, truth, color=_TRUE, linewidth=2)
        _draw_edges(below, positions, truth & ~found, color=_MISSED, linewidth=1.8, linestyle=(0, (3, 2)))
        width = 2.2 if int(found.sum()) < 2 * len(positions) else 0.9
        _draw_edges(below, positions, found & ~truth, color=_FALSE, linewidth=width, linestyle=(0, (6, 1, 1, 1)))
        _draw_edges(below, positions, found & truth, color=_CORRECT, linewidth=2.6)
        above.set_title(f"test graph {example + 1}: true edges", fontsize=11)
        below.set_title(f"recovered, precision {share:.0%} ({hits} of {int(found.sum())})", fontsize=11)
        for axis in (above, below):
            _draw_nodes(axis, positions)
    figure.legend(
        handles=[
            Line2D([], [], color=_CORRECT, linewidth=2.6, label="recovered, correct"),
            Line2D([], [], color=_FALSE, linewidth=2.2, linestyle=(0, (6, 1, 1, 1)), label="recovered, false"),
            Line2D([], [], color=_MISSED, linewidth=1.8, linestyle=(0, (3, 2)), label="missed"),
        ],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        handlelength=3.2,
    )
    c = module.config
    figure.suptitle(f"Latent graphs recovered by {c.edges} ({c.estimator}, preset {c.preset})", fontsize=13)
    return _save(figure, path)


def draw_curves(folder: Path, path: Path) -> Path:
    """Draw the ELBO, of training and validation, and the validation's edge precision and recall, against steps.

    Args:
        folder: of the run.
        path: the PNG to write.

    Returns:
        The path.
    """
    rows = read_metrics(folder)
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, label, color, style in (
        ("train/elbo", "training, relaxed samples", _FALSE, (0, (4, 2))),
        ("valid/elbo", "validation, hard samples", _CORRECT, "-"),
    ):
        left.plot(*column(rows, name), color=color, linestyle=style, linewidth=2, marker=_marker(rows), label=label)
    _focus(left, [value for name in ("train/elbo", "valid/elbo") for value in column(rows, name)[1]])
    left.set_title("ELBO per node (nats, higher is better)", fontsize=11)
    for name, label, color, style in (
        ("valid/edge_precision", "precision", _CORRECT, "-"),
        ("valid/edge_recall", "recall", _FALSE, (0, (4, 2))),
    ):
        right.plot(*column(rows, name), color=color, linestyle=style, linewidth=2, marker=_marker(rows), label=label)
    right.set_title("Edges recovered in validation", fontsize=11)
    _finish_axes(left, right)
    return _save(figure, path)


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
    for (name, rows), (color, style) in zip(curves.items(), _STYLES, strict=False):
        for axis, metric in ((left, "valid/elbo"), (right, "valid/edge_precision")):
            axis.plot(*column(rows, metric), color=color, linestyle=style, linewidth=2, label=name)
    _focus(left, [value for rows in curves.values() for value in column(rows, "valid/elbo")[1]])
    left.set_title("Validation ELBO per node (nats, higher is better)", fontsize=11)
    right.set_title("Edge precision in validation", fontsize=11)
    _finish_axes(left, right)
    return _save(figure, path)


def _recover(module: GraphLayoutModel, layouts: Layouts) -> Tensor:
    # Undirected: a directed model's pair counts as an edge if either direction does.
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(fold_in(module.config.run_seed, "pictures"))
        graphs, _ = module.eval().sample_graphs(layouts.positions.to(module.device))
    graphs = graphs.cpu()
    found = graphs > 0.5
    if edge_scores(graphs, layouts.edges).complemented:
        found = ~found
    first, second = torch.triu_indices(module.config.num_nodes, module.config.num_nodes, 1)
    return found[:, first, second] | found[:, second, first]


def _draw_edges(axis: Axes, positions: Tensor, edges: Tensor, **style: Any) -> None:
    first, second = torch.triu_indices(len(positions), len(positions), 1)[:, edges]
    for a, b in zip(positions[first].tolist(), positions[second].tolist(), strict=True):
        axis.plot([a[0], b[0]], [a[1], b[1]], solid_capstyle="round", zorder=1, **style)


def _draw_nodes(axis: Axes, positions: Tensor) -> None:
    x, y = positions.T.tolist()
    axis.scatter(x, y, s=190, color=_NODE, edgecolors=_TRUE, linewidths=1.2, zorder=2)
    for node, place in enumerate(zip(x, y, strict=True)):
        axis.annotate(str(node), place, ha="center", va="center_baseline", fontsize=8, zorder=3)
    axis.margins(0.12)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set_axis_off()


def _finish_axes(left: Axes, right: Axes) -> None:
    right.set_ylim(0, 1)
    for axis in (left, right):
        axis.set_xlabel("step")
        axis.set_xlim(left=0)
        axis.grid(color="#DDDDDD", linewidth=0.7)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, loc="best")


def _focus(axis: Axes, values: list[float]) -> None:
    # The first values are orders of magnitude below the rest and would flatten it.
    if len(values) > 4:
        ordered = sorted(values)
        middle, top = ordered[len(ordered) // 4], ordered[-1]
        axis.set_ylim(middle - 0.6 * (top - middle) - 1, top + 0.1 * (top - middle) + 1)


def _marker(rows: list) -> str:
    return "o" if len(rows) < 3 else ""


def _save(figure: Figure, path: Path) -> Path:
    FigureCanvasAgg(figure)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))
    return path
