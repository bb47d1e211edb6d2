"""`sst plot`: learning curves, searches at a glance, and what trained models do, side by side."""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import tyro
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from rich.console import Console

from sstricks.recipes.drawing import COLORS, FALSE, PICTURES, STYLES, finish_axis, focus, save_figure
from sstricks.recipes.harness.commands import Flag, recipe_class, recipe_of, say
from sstricks.recipes.harness.files import RunError, check_new_files
from sstricks.recipes.harness.metrics import column, read_metrics
from sstricks.recipes.harness.recipe import Recipe
from sstricks.recipes.table import NOT_COMPARED, Cell, Paths, Record, Tabulation, find_runs, tabulate


class Group(NamedTuple):
    """The runs of a cell of a table, with the name, the colour and the line that tell it from the others."""

    name: str
    cell: Cell
    color: str
    style: Any

    @property
    def records(self) -> list[Record]:
        """The best first, those that are not finished last."""
        return [*self.cell.ranked, *self.cell.unfinished, *self.cell.diverged]


def groups_of(tables: Sequence[Tabulation]) -> list[Group]:
    """The cells of tables, in the paper's order, each named by those of its labels in which it differs from others."""
    cells, names = [], []
    for table in tables:
        apart = ", ".join(f"{name} {value}" for name, value in sorted(table.distinction.items()))
        for (row, block), cell in table.cells.items():
            labels = [label.text for label in row]
            labels = [text if text != "–" else labels[max(0, i - 1)] for i, text in enumerate(labels)]
            cells.append(cell)
            names.append((table.title, apart, *labels, block.text))
    telling = [part for part in range(len(names[0])) if len({labels[part] for labels in names}) > 1]
    for part in (0, *range(2, len(names[0]) - 2)):  # title and outer labels only if it takes them
        fewer = [other for other in telling if other != part]
        if len({tuple(labels[other] for other in fewer) for labels in names}) == len(names):
            telling = fewer
    looks = ((color, style) for style in itertools.cycle(STYLES) for color in COLORS)
    told = (", ".join(filter(None, dict.fromkeys(labels[part] for part in telling or [-2]))) for labels in names)
    return [Group(name, cell, *look) for name, cell, look in zip(told, cells, looks, strict=False)]


@dataclass(frozen=True, kw_only=True)
class _Plot:
    experiment: ClassVar[str | None] = None

    runs: Paths
    """Folders of runs, or folders that hold such folders (of sweeps, for instance)."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """The picture to write: .png, .pdf or .svg."""
    force: Flag = False
    """Replace the picture if it exists."""

    def run(self, console: Console) -> None:
        check_new_files([self.out], PICTURES, force=self.force)
        records = find_runs(self.runs, self.experiment, console)
        recipe = recipe_class(str(records[0].facts["experiment"]))
        self.draw(recipe, groups_of(tabulate(recipe, records)), console)
        say(console, f"Picture: {self.out}")

    def draw(self, recipe: type[Recipe], groups: Sequence[Group], console: Console) -> None:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class PlotCurves(_Plot):
    """Draw learning curves, also of unfinished runs: the validation metric by step, a colour for each row of a table.

    The best run of each kind is heavier. The beginning of a curve may be out of sight: it is often far worse.
    """

    def draw(self, recipe: type[Recipe], groups: Sequence[Group], console: Console) -> None:
        layout = recipe.layout()
        metric, better = layout.validation, min if layout.falls else max
        figure = Figure(figsize=(9.2, 5.2), layout="constrained")
        axis, handles, bests, points, count = figure.subplots(), [], [], [], 0
        for group in groups:
            curves = [column(read_metrics(one.folder), metric.name) for one in group.records if one.folder is not None]
            curves = [(steps, [metric.scale * value for value in values]) for steps, values in curves if steps]
            if not curves:
                continue
            best = better(curves, key=lambda curve: better(curve[1]))
            look: dict[str, Any] = {"color": group.color, "linestyle": group.style}
            for steps, values in curves:
                points += values
                axis.plot(steps, values, **look, linewidth=0.9, alpha=0.45)
            axis.plot(*best, **look, linewidth=2.2, zorder=3)
            bests.append(better(best[1]))
            axis.plot(best[0][best[1].index(bests[-1])], bests[-1], "o", color=group.color, markersize=6, zorder=4)
            label = f"{group.name} ({len(curves)} runs)" if len(curves) > 1 else group.name
            handles.append(Line2D([], [], **look, linewidth=2.2, label=label))
            count += len(curves)
        if not handles:
            raise RunError(
                "found no learning curves, expected run folders with a metrics.jsonl that has a line at least. "
                "Results from JSON files have none."
            )
        finish_axis(axis, f"{layout.subject}: learning curves of {count} {'run' if count == 1 else 'runs'}")
        focus(axis, points, bests)
        axis.set_ylabel(f"{metric.heading}, {'lower' if layout.falls else 'higher'} is better")
        dot = "heavy: the best run, dot: its best checkpoint" if count > len(handles) else "dot: the best checkpoint"
        columns = max(1, 105 // max(len(str(handle.get_label())) + 6 for handle in handles))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, title=dot)
        save_figure(figure, self.out)


@dataclass(frozen=True, kw_only=True)
class PlotParallel(_Plot):
    """Draw a search at a glance: a line for each run through its hyperparameters, coloured by the validation metric."""

    def draw(self, recipe: type[Recipe], groups: Sequence[Group], console: Console) -> None:
        layout = recipe.layout()
        metric, defaults = layout.validation, {field.name: field.default for field in dataclasses.fields(recipe)}
        scored, lost = [], []
        for cell in (group.cell for group in groups):
            scored += [(one.score(metric.name), {**defaults, **one.facts}) for one in cell.ranked]
            lost += [{**defaults, **one.facts} for one in cell.diverged]
        finished = [(metric.scale * value, facts) for value, facts in scored if value is not None]
        if len(finished) < 2:
            raise RunError(f"found {len(finished)} finished runs, expected at least 2 to compare. Name more folders.")
        finished.sort(key=lambda one: one[0], reverse=layout.falls)  # the best last
        everything = [facts for _, facts in finished] + lost
        names = [name for name in defaults if name not in NOT_COMPARED]
        varied = [name for name in names if len({repr(facts[name]) for facts in everything}) > 1]
        if not varied:
            raise RunError("found runs that differ in their seeds only, expected some hyperparameter to vary.")
        figure = Figure(figsize=(max(6.4, 1.75 * len(varied) + 2.2), 5.2), layout="constrained")
        axis, colors = figure.subplots(), colormaps["viridis_r" if not layout.falls else "viridis"]
        axis.set(xlim=(-0.55, len(varied) - 0.7), ylim=(0, 1), yticks=[], xticks=range(len(varied)))
        axis.set_xticklabels([name.replace("_", " ") for name in varied], fontsize=10)
        axis.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0, pad=12)
        axis.spines[:].set_visible(False)
        heights = [heights_on(axis, i, [facts[name] for facts in everything]) for i, name in enumerate(varied)]
        lines = np.stack(heights, axis=1)
        values = np.array([value for value, _ in finished])
        low, high = np.quantile(values, (0, 0.9) if layout.falls else (0.1, 1))
        norm = Normalize(low, high if high > low else low + 1, clip=True)
        for order, (value, line) in enumerate(zip(values, lines, strict=False)):
            axis.plot(line, color=colors(norm(value)), linewidth=1.6, alpha=0.8, zorder=2 + order / len(values))
        dashed: Any = {"color": FALSE, "linewidth": 1.1, "linestyle": (0, (4, 3))}
        for line in lines[len(values) :]:
            axis.plot(line, **dashed)
        best: Any = {"color": colors(norm(values[-1])), "linewidth": 3.4, "marker": "o"}
        edge = [Stroke(linewidth=6, foreground="white"), Normal()]
        axis.plot(lines[len(values) - 1], **best, zorder=3, path_effects=edge, clip_on=False)
        axis.set_title(f"{layout.subject}: {len(finished)} runs by validation {layout.selected_by}", fontsize=13)
        extend = "max" if layout.falls else "min"
        figure.colorbar(ScalarMappable(norm, colors), ax=axis, label=metric.heading, extend=extend, shrink=0.8)
        chosen = ", ".join(f"{name.replace('_', ' ')} {_short(finished[-1][1][name])}" for name in varied)
        handles = [Line2D([], [], label=f"best: {chosen}", **best)]
        if lost:
            handles.append(Line2D([], [], label=f"diverged ({len(lost)})", **dashed))
        figure.legend(handles=handles, loc="outside lower center", frameon=False)
        save_figure(figure, self.out)


def heights_on(axis: Axes, place: int, values: Sequence[Any]) -> np.ndarray:
    """Draw an axis for a hyperparameter, and say where its values are on it, from 0 to 1.

    Few values, and words, are at equal distances; numbers that differ by a large factor have a logarithmic scale.
    """
    own = axis.twinx()
    distinct = {repr(value): value for value in values}
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct.values())
    order = sorted(distinct, key=distinct.__getitem__ if numbers else None)
    low, high = distinct[order[0]], distinct[order[-1]]
    if numbers and len(order) > 6:
        own.set_yscale("log" if 0 < 8 * low < high else "linear")
        own.set_ylim(low, high)
    else:
        own.set_yticks(range(len(order)), [_short(distinct[name]) for name in order])
        own.set_ylim(0, max(1, len(order) - 1))
        values = [order.index(repr(value)) for value in values]
    own.spines["right"].set_position(("data", place))
    own.spines[["left", "top", "bottom"]].set_visible(False)
    own.tick_params(labelsize=9)
    for text in own.get_yticklabels():
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.9})
    return (own.transScale + own.transLimits).transform([(0, value) for value in values])[:, 1]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True)
class PlotLayout(_Plot):
    """Draw true graphs of the graph layout experiment and what the best run of each kind recovers (Fig. 3)."""

    experiment: ClassVar = "nri"
    graphs: tuple[int, ...] = (1,)
    """Numbers of test graphs, from 1, a row each."""

    def draw(self, recipe: type[Recipe], groups: Sequence[Group], console: Console) -> None:
        from sstricks.recipes.nri import draw_layouts

        draw_layouts(trained_models(groups, console), self.out, self.graphs)


@dataclass(frozen=True, kw_only=True)
class PlotParses(_Plot):
    """Draw the parse of a ListOps expression that the best run of each kind finds, below the gold one."""

    experiment: ClassVar = "listops"
    example: int = 2
    """Which of the expressions that a run's parses.png shows, from 1: later ones are deeper."""

    def draw(self, recipe: type[Recipe], groups: Sequence[Group], console: Console) -> None:
        from sstricks.recipes.listops import draw_parses

        models = {name: one for name, one in trained_models(groups, console).items() if one[0].edges is not None}
        if not models:
            raise RunError("found LSTMs only, expected runs with edges: an LSTM has no parses. Name other folders.")
        draw_parses(models, self.out, self.example)


@dataclass(frozen=True, kw_only=True)
class PlotWords(_Plot):
    """Draw a review with the words that the best run of each kind explains its rating by (Fig. 4)."""

    experiment: ClassVar = "l2x"
    review: int = 0
    """Which test review, from 0, as in `sst explain`."""

    def draw(self, recipe: type[Recipe], groups: Sequence[Group], console: Console) -> None:
        from sstricks.recipes.l2x import draw_words, explain

        draw_words(explain(trained_models(groups, console), self.review), self.out)


def trained_models(groups: Sequence[Group], console: Console) -> dict[str, tuple[Any, Any]]:
    """Recipe and model of the best run with a checkpoint in each group; they must be of the same generated data."""
    from sstricks.recipes.harness.run import chosen_recipe
    from sstricks.recipes.harness.training import best_checkpoint, load_best

    found: dict[str, tuple[Recipe, Path]] = {}
    for group in groups:
        folders = (one.folder for one in group.records if one.folder and best_checkpoint(one.folder).exists())
        if folder := next(folders, None):
            found[group.name] = chosen_recipe(recipe_of(folder), folder), folder
    missing = [group.name or "these runs" for group in groups if group.name not in found]
    if not found:
        raise RunError("found no checkpoint, expected folders of runs. Results from JSON files have none.")
    if missing:
        say(console, f"Left out for want of a checkpoint: {', '.join(missing)}.")
    for name in ("data_seed", "graph_nodes", "num_frames", "train_examples", "valid_examples", "test_examples"):
        values = {repr(getattr(recipe, name, None)): folder for recipe, folder in found.values()}
        if len(values) > 1:
            listed = " and ".join(f"{value} ({folder})" for value, folder in list(values.items())[:2])
            raise RunError(f"{name} is {listed}, expected runs on the same data. Name folders of one kind only.")
    return {name: (recipe, load_best(recipe, folder)) for name, (recipe, folder) in found.items()}
