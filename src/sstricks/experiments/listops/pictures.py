"""What a finished run shows: parses beside the gold ones, and the learning curves."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path as Curve
from torch import Tensor

from sstricks.experiments.listops.datamodule import ListOpsData
from sstricks.experiments.listops.links import gold_graph
from sstricks.experiments.listops.module import ListOpsModel
from sstricks.experiments.listops.scores import edge_scores
from sstricks.experiments.listops.sentences import Sentences
from sstricks.experiments.listops.vocabulary import decode
from sstricks.experiments.runs.pictures import CORRECT, FALSE, INK, MISSED, LearningCurves, Panel, save_figure
from sstricks.experiments.runs.seeds import fold_in

_EXAMPLES = 4
_MOST_TOKENS = 26  # of an expression that is drawn
_LIGHT = "#C8C8C8"
_DASHED, _BROKEN = (0, (3, 2)), (0, (6, 1, 1, 1))
_LABEL = 0.42  # half the height that a row of tokens takes

Edge = tuple[int, int]


def draw_parses(module: ListOpsModel, data: ListOpsData, path: Path) -> Path:
    """Draw test expressions of rising depth: gold edges above the tokens, those of a hard sample below.

    Args:
        module: a trained model over graphs.
        data: has the test split.
        path: the PNG to write.

    Returns:
        The path.
    """
    sentences = readable_examples(data)
    graphs, answers = parses_of(module, sentences)
    count = len(sentences)
    figure = Figure(figsize=(11.5, 2.9 * count + 0.6), layout="constrained")
    for row, axis in enumerate(figure.subplots(count, 1, squeeze=False)[:, 0]):
        shown = draw_parse(axis, sentences, row, graphs, answers)
        axis.set_title(shown, fontsize=10, loc="left")
    explain_arcs(figure)
    c = module.config
    of = f"{c.edges}, {c.utility} utilities" if c.utility else str(c.edges)
    figure.suptitle(f"Parses of test expressions: gold above, {of} below (preset {c.preset})", fontsize=12)
    return save_figure(figure, path)


draw_curves = LearningCurves(
    (
        Panel(
            "Task accuracy",
            {"train/accuracy": "training, relaxed graphs", "valid/accuracy": "validation, hard graphs"},
            shares=True,
        ),
        Panel(
            "Edges recovered in validation",
            {"valid/edge_precision": "precision", "valid/edge_recall": "recall"},
            shares=True,
        ),
    )
)
"""Draws the accuracy in training and validation, and the validation's edge precision and recall, against steps."""

draw_curves_without_edges = LearningCurves(
    (Panel("Task accuracy", {"train/accuracy": "training", "valid/accuracy": "validation"}, shares=True),)
)
"""Draws the accuracy of a model that has no edges."""


def readable_examples(data: ListOpsData) -> Sentences:
    """The first test expression of each depth that is not too long to be read; of depth 1 only if there is no other.

    Args:
        data: has the test split.

    Returns:
        A few expressions, by depth; at least one.
    """
    test = data.splits.test
    short = test.lengths <= _MOST_TOKENS
    depths = test.depths[short].unique().tolist()
    shown = [depth for depth in depths if depth > 1] or depths
    chosen = [int((short & (test.depths == depth)).nonzero()[0]) for depth in shown]
    return test.select(torch.tensor(chosen[:_EXAMPLES]))


def parses_of(module: ListOpsModel, sentences: Sentences) -> tuple[Tensor, Tensor]:
    """Hard samples of the graphs of some expressions, and the values that are predicted from them.

    Args:
        module: a trained model over graphs.
        sentences: N expressions.

    Returns:
        Graphs, bool (N, L, L), and values, (N,).
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(fold_in(module.config.run_seed, "pictures"))
        graphs, logits = module.eval().predict(sentences.to(module.device))
    assert graphs is not None
    return graphs.cpu() > 0.5, logits.cpu().argmax(-1)


def draw_parse(axis: Axes, sentences: Sentences, row: int, graphs: Tensor, answers: Tensor) -> str:
    """Draw an expression with its gold edges above the tokens and those that were found below.

    Args:
        axis: where.
        sentences: N expressions.
        row: which of them.
        graphs: found in them, bool (N, L, L).
        answers: the predicted values, (N,).

    Returns:
        Values and scores, in words.
    """
    tokens = decode(sentences.tokens[row].tolist())
    _draw_tokens(axis, tokens, sentences.max_length)
    gold, found = (_edges(g[row]) for g in (gold_graph(sentences), graphs))
    aside = {edge for edge in found if "]" in (tokens[edge[0]], tokens[edge[1]])}
    _draw_arcs(axis, gold, 1, INK, linewidth=1.6)
    _draw_arcs(axis, aside, -1, _LIGHT, linewidth=0.8)
    _draw_arcs(axis, gold - found, -1, MISSED, linewidth=1.2, linestyle=_DASHED)
    _draw_arcs(axis, found - gold - aside, -1, FALSE, linewidth=1.6, linestyle=_BROKEN)
    _draw_arcs(axis, found & gold, -1, CORRECT, linewidth=2.0)
    precision, recall = edge_scores(graphs, sentences)
    return (
        f"value {int(sentences.answer[row])}, predicted {int(answers[row])}; "
        f"edge precision {float(precision[row]):.0%}, recall {float(recall[row]):.0%}"
    )


def explain_arcs(figure: Figure) -> None:
    """Say below a figure what the arcs of parses mean.

    Args:
        figure: with such parses.
    """
    figure.legend(
        handles=[
            Line2D([], [], color=INK, linewidth=1.6, label="gold"),
            Line2D([], [], color=CORRECT, linewidth=2.0, label="found, correct"),
            Line2D([], [], color=FALSE, linewidth=1.6, linestyle=_BROKEN, label="found, false"),
            Line2D([], [], color=MISSED, linewidth=1.2, linestyle=_DASHED, label="missed"),
            Line2D([], [], color=_LIGHT, linewidth=0.8, label="of a closing bracket, not counted"),
        ],
        loc="outside lower center",
        ncols=5,
        frameon=False,
        handlelength=3.2,
    )


def _edges(graph: Tensor) -> set[Edge]:
    return {(int(head), int(modifier)) for head, modifier in graph.nonzero()}


def _draw_tokens(axis: Axes, tokens: list[str], width: int) -> None:
    for place, token in enumerate(tokens):
        axis.text(place, 0, token, ha="center", va="center", family="monospace", fontsize=10)
    axis.set_xlim(-0.8, width - 0.2)
    axis.set_ylim(-4.2, 4.2)
    axis.set_axis_off()


def _draw_arcs(axis: Axes, edges: Iterable[Edge], side: int, color: str, **style: Any) -> None:
    # From head to modifier; a cubic with controls at 4/3 of the height rises to the height.
    for head, modifier in sorted(edges):
        height = _LABEL + min(3.6, 0.45 + 0.28 * abs(modifier - head))
        lift = side * (_LABEL + (height - _LABEL) * 4 / 3)
        start, end = head + 0.12 * (1 if modifier > head else -1), float(modifier)
        points = [(start, side * _LABEL), (start, lift), (end, lift), (end, side * _LABEL)]
        curve = Curve(points, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
        tip = "-|>,head_length=3.5,head_width=1.8"
        axis.add_patch(FancyArrowPatch(path=curve, arrowstyle=tip, edgecolor=color, facecolor=color, **style))
