"""`sst plot`: learning curves, searches at a glance, and what trained models do, side by side."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

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

from sstricks.recipes.drawing import COLORS, FALSE, INK, MISSED, PICTURES, STYLES, save_figure
from sstricks.recipes.harness.commands import Flag, recipe_class, recipe_of, say
from sstricks.recipes.harness.files import RunError, check_new_files
from sstricks.recipes.harness.metrics import column, read_metrics
from sstricks.recipes.harness.recipe import Model, Recipe
from sstricks.recipes.table import NOT_COMPARED, Cell, Layout, Record, Tabulation, find_runs, tabulate


@dataclass(frozen=True)
class Group:
    """The runs of a cell of a table, with the name and the colour that tell it from the others."""

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
    found = []
    for table in tables:
        apart = ", ".join(f"{name} {value}" for name, value in sorted(table.distinction.items()))
        for row in table.rows:
            for block in table.blocks:
                if (row, block) in table.cells:
                    labels = [label.text for label in row]
                    labels = [text if text != "–" else labels[max(0, i - 1)] for i, text in enumerate(labels)]
                    found.append(((table.title, apart, *labels, block.text), table.cells[row, block]))
    names = [labels for labels, _ in found]
    telling = [part for part in range(len(names[0])) if len({labels[part] for labels in names}) > 1]
    for part in (0, *range(2, len(names[0]) - 2)):  # title and outer labels only if it takes them
        fewer = [other for other in telling if other != part]
        if len({tuple(labels[other] for other in fewer) for labels in names}) == len(names):
            telling = fewer
    telling = telling or [-2]
    return [
        Group(
            ", ".join(filter(None, dict.fromkeys(labels[part] for part in telling))),
            cell,
            COLORS[number % len(COLORS)],
            STYLES[number // len(COLORS) % len(STYLES)],
        )
        for number, (labels, cell) in enumerate(found)
    ]


@dataclass(frozen=True, kw_only=True)
class _Plot:
    runs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="PATH [PATH ...]", help_behavior_hint="")
    ]
    """Folders of runs, or folders that hold such folders (of sweeps, for instance)."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """The picture to write: .png, .pdf or .svg."""
    force: Flag = False
    """Replace the picture if it exists."""

    def groups(self, experiment: str | None, console: Console) -> tuple[type[Recipe], list[Group]]:
        """The recipe and the runs, once it is sure that the picture can be written."""
        check_new_files([self.out], PICTURES, force=self.force)
        records = find_runs(self.runs, experiment, console)
        recipe = recipe_class(str(records[0].facts["experiment"]))
        return recipe, groups_of(tabulate(recipe, records))


@dataclass(frozen=True, kw_only=True)
class PlotCurves(_Plot):
    """Draw learning curves, also of unfinished runs: the validation metric by step, a colour for each row of a table.

    The best run of each kind is heavier. The beginning of a curve may be out of sight: it is often far worse.
    """

    def run(self, console: Console) -> None:
        recipe, groups = self.groups(None, console)
        draw_learning_curves(recipe.layout(), groups, self.out)
        say(console, f"Picture: {self.out}")


def draw_learning_curves(layout: Layout, groups: Sequence[Group], path: Path) -> Path:
    """Draw the validation metric of each run against steps."""
    metric, better = layout.validation, min if layout.falls else max
    drawn: list[tuple[Group, list[tuple[list[float], list[float]]]]] = []
    for group in groups:
        curves = [column(read_metrics(one.folder), metric.name) for one in group.records if one.folder is not None]
        curves = [(steps, [metric.scale * value for value in values]) for steps, values in curves if steps]
        if curves:
            drawn.append((group, curves))
    if not drawn:
        raise RunError(
            "found no learning curves, expected run folders with a metrics.jsonl that has a line at least. "
            "Results from JSON files have none."
        )
    figure = Figure(figsize=(9.2, 5.2), layout="constrained")
    axis, handles = figure.subplots(), []
    for group, curves in drawn:
        best = better(range(len(curves)), key=lambda i: better(curves[i][1]))
        for i, (steps, values) in enumerate(curves):
            heavy: dict[str, Any] = {"linewidth": 2.2, "zorder": 3} if i == best else {"linewidth": 0.9, "alpha": 0.45}
            axis.plot(steps, values, color=group.color, linestyle=group.style, **heavy)
        steps, values = curves[best]
        place = values.index(better(values))
        axis.plot(steps[place], values[place], "o", color=group.color, markersize=6, zorder=4)
        label = f"{group.name} ({len(curves)} runs)" if len(curves) > 1 else group.name
        handles.append(Line2D([], [], color=group.color, linestyle=group.style, linewidth=2.2, label=label))
    _limit(axis, [[value for _, values in curves for value in values] for _, curves in drawn], falls=layout.falls)
    count = sum(len(curves) for _, curves in drawn)
    axis.set_title(f"{layout.subject}: learning curves of {count} {'run' if count == 1 else 'runs'}", fontsize=12)
    axis.set_xlim(left=0)
    axis.set_xlabel("step")
    axis.set_ylabel(f"{metric.heading}, {'lower' if layout.falls else 'higher'} is better")
    axis.grid(color="#DDDDDD", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=max(1, 105 // max(len(str(handle.get_label())) + 6 for handle in handles)),
        frameon=False,
        title="heavy: the best run, dot: its best checkpoint" if count > len(drawn) else "dot: the best checkpoint",
    )
    return save_figure(figure, path)


def _limit(axis: Axes, groups: Sequence[Sequence[float]], *, falls: bool) -> None:
    # The first values are often orders of magnitude worse and would flatten the rest; every curve's best is inside.
    values = np.array([value for group in groups for value in group])
    best, worst = (min, max) if falls else (max, min)
    limit = worst(values)
    if len(values) > 8:
        limit = worst(float(np.quantile(values, 0.85 if falls else 0.15)), *map(best, groups))
    room = 0.06 * abs(best(values) - limit) or 0.02 * abs(limit) or 1.0
    low, high = sorted((best(values), limit))
    axis.set_ylim(low - room, high + room)
    outside = int(((values < low - room) | (values > high + room)).sum())
    if outside:
        note = f"{outside} of {len(values)} points are worse than the picture shows"
        axis.annotate(note, (0.01, 0.97 if falls else 0.02), xycoords="axes fraction", fontsize=8, color=MISSED)


@dataclass(frozen=True, kw_only=True)
class PlotParallel(_Plot):
    """Draw a search at a glance: a line for each run through its hyperparameters, coloured by the validation metric."""

    def run(self, console: Console) -> None:
        recipe, groups = self.groups(None, console)
        draw_parallel(recipe, groups, self.out)
        say(console, f"Picture: {self.out}")


def draw_parallel(recipe: type[Recipe], groups: Sequence[Group], path: Path) -> Path:
    """Draw a line for each finished or diverged run; the best lies on top, and darker is better."""
    layout = recipe.layout()
    metric = layout.validation
    finished = [
        (metric.scale * value, record.facts)
        for group in groups
        for record in group.cell.ranked
        if (value := record.score(metric.name)) is not None
    ]
    diverged = [record.facts for group in groups for record in group.cell.diverged]
    if len(finished) < 2:
        raise RunError(f"found {len(finished)} finished runs, expected at least 2 to compare. Name more folders.")
    finished.sort(key=lambda one: one[0], reverse=layout.falls)  # the best last
    everything = [facts for _, facts in finished] + diverged
    names = [field.name for field in dataclasses.fields(recipe) if field.name not in NOT_COMPARED]
    varied = [name for name in names if len({repr(facts.get(name)) for facts in everything}) > 1]
    if not varied:
        raise RunError("found runs that differ in their seeds only, expected some hyperparameter to vary.")
    scales = [Scale.of([facts.get(name) for facts in everything]) for name in varied]
    figure = Figure(figsize=(max(6.4, 1.75 * len(varied) + 2.2), 5.2), layout="constrained")
    axis, colors = figure.subplots(), colormaps["viridis_r" if not layout.falls else "viridis"]
    values = np.array([value for value, _ in finished])
    low, high = np.quantile(values, (0, 0.9) if layout.falls else (0.1, 1))
    norm = Normalize(low, high if high > low else low + 1, clip=True)

    def places(facts: Mapping[str, Any]) -> list[float]:
        return [scale.place(facts.get(name)) for name, scale in zip(varied, scales, strict=True)]

    across = range(len(varied))
    for facts in diverged:
        axis.plot(across, places(facts), color=FALSE, linewidth=1.1, linestyle=(0, (4, 3)))
    for order, (value, facts) in enumerate(finished):
        best = order == len(finished) - 1
        style: dict[str, Any] = {"linewidth": 1.6, "alpha": 0.8, "zorder": 2 + order / 1000}
        if best:
            style = {"linewidth": 3.4, "marker": "o", "zorder": 3}
            style["path_effects"] = [Stroke(linewidth=6, foreground="white"), Normal()]
        axis.plot(across, places(facts), color=colors(norm(value)), **style)
    for place, (name, scale) in enumerate(zip(varied, scales, strict=True)):
        axis.plot([place, place], [0, 1], color=INK, linewidth=1.1, zorder=4)
        for text, height in scale.marks:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.9}
            axis.text(place - 0.08, height, text, ha="right", va="center", fontsize=9, zorder=5, bbox=box)
        kind = "\n(log)" if scale.log else ""
        axis.text(place, 1.06, name.replace("_", " ") + kind, ha="center", va="bottom", fontsize=10)
    axis.set_xlim(-0.55, len(varied) - 0.7)
    axis.set_ylim(-0.05, 1.22)
    axis.set_axis_off()
    axis.set_title(f"{layout.subject}: {len(finished)} runs by validation {layout.selected_by}", fontsize=13)
    extend = "max" if layout.falls else "min"
    figure.colorbar(ScalarMappable(norm, colors), ax=axis, label=metric.heading, extend=extend, shrink=0.8)
    chosen = ", ".join(f"{name.replace('_', ' ')} {_short(finished[-1][1].get(name))}" for name in varied)
    handles = [Line2D([], [], color=colors(norm(values[-1])), linewidth=3.4, marker="o", label=f"best: {chosen}")]
    if diverged:
        dashed: Any = (0, (4, 3))
        handles.append(Line2D([], [], color=FALSE, linestyle=dashed, label=f"diverged ({len(diverged)})"))
    figure.legend(handles=handles, loc="outside lower center", frameon=False)
    return save_figure(figure, path)


@dataclass(frozen=True)
class Scale:
    """Where values are on a vertical axis, from 0 to 1: numbers by size or logarithm, everything else one by one."""

    places: Mapping[str, float]
    marks: Sequence[tuple[str, float]]
    log: bool

    @classmethod
    def of(cls, values: Sequence[Any]) -> "Scale":
        """Numbers above 0 that differ by a large factor get a logarithmic scale; few values are marked one by one."""
        distinct = list({repr(value): value for value in values}.values())
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct)
        order = sorted(distinct) if numbers else sorted(distinct, key=repr)
        if not numbers or len(order) <= 6:
            places = {repr(value): i / max(1, len(order) - 1) for i, value in enumerate(order)}
            return cls(places, [(_short(value), places[repr(value)]) for value in order], log=False)
        log = order[0] > 0 and order[-1] > 8 * order[0]
        f = math.log if log else float
        ends = f(order[0]), f(order[-1])

        def place(value: float) -> float:
            return (f(value) - ends[0]) / (ends[1] - ends[0])

        powers = range(math.ceil(math.log10(order[0])), math.ceil(math.log10(order[-1]))) if log else ()
        inner = [10.0**power for power in powers if 0.08 < place(10.0**power) < 0.92]
        marked = [order[0], *inner, order[-1]]
        return cls(
            {repr(value): place(value) for value in order}, [(_short(value), place(value)) for value in marked], log
        )

    def place(self, value: Any) -> float:
        """Where one of the values is."""
        return self.places[repr(value)]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True)
class PlotLayout(_Plot):
    """Draw true graphs of the graph layout experiment and what the best run of each kind recovers (Fig. 3)."""

    graphs: tuple[int, ...] = (1,)
    """Numbers of test graphs, from 1, a row each."""

    def run(self, console: Console) -> None:
        from sstricks.recipes.nri import draw_layouts

        data = ("data_seed", "graph_nodes", "num_frames", "train_examples", "valid_examples", "test_examples")
        models: Any = trained_models(self.groups("nri", console)[1], console, data)
        say(console, f"Picture: {draw_layouts(models, self.out, self.graphs)}")


@dataclass(frozen=True, kw_only=True)
class PlotParses(_Plot):
    """Draw the parse of a ListOps expression that the best run of each kind finds, below the gold one."""

    example: int = 2
    """Which of the expressions that a run's parses.png shows, from 1: later ones are deeper."""

    def run(self, console: Console) -> None:
        from sstricks.recipes.listops import draw_parses

        data = ("data_seed", "train_examples", "valid_examples", "test_examples")
        models: Any = trained_models(self.groups("listops", console)[1], console, data)
        models = {name: (recipe, model) for name, (recipe, model) in models.items() if recipe.edges is not None}
        if not models:
            raise RunError("found LSTMs only, expected runs with edges: an LSTM has no parses. Name other folders.")
        say(console, f"Picture: {draw_parses(models, self.out, self.example)}")


@dataclass(frozen=True, kw_only=True)
class PlotWords(_Plot):
    """Draw a review with the words that the best run of each kind explains its rating by (Fig. 4)."""

    review: int = 0
    """Which test review, from 0, as in `sst explain`."""

    def run(self, console: Console) -> None:
        from sstricks.recipes.l2x import draw_words, explain

        models: Any = trained_models(self.groups("l2x", console)[1], console, ())
        say(console, f"Picture: {draw_words(explain(models, self.review), self.out)}")


def trained_models(groups: Sequence[Group], console: Console, data: Sequence[str]) -> dict[str, tuple[Recipe, Model]]:
    """Of each group, the best run that has a checkpoint; the runs must agree in the fields that make their data."""
    from sstricks.recipes.harness.training import best_checkpoint, load_best

    found = {}
    for group in groups:
        folders = [one.folder for one in group.records if one.folder and best_checkpoint(one.folder).exists()]
        if folders:
            restart = next((one.facts.get("restart", 0) for one in group.records if one.folder == folders[0]), 0)
            recipe = recipe_of(folders[0])
            found[group.name] = (recipe.of_restart(restart) if recipe.restarts > 1 else recipe), folders[0]
    missing = [group.name or "these runs" for group in groups if group.name not in found]
    if not found:
        raise RunError("found no checkpoint, expected folders of runs. Results from JSON files have none.")
    if missing:
        say(console, f"Left out for want of a checkpoint: {', '.join(missing)}.")
    for name in data:
        values = {repr(getattr(recipe, name)): folder for recipe, folder in found.values()}
        if len(values) > 1:
            listed = " and ".join(f"{value} ({folder})" for value, folder in list(values.items())[:2])
            raise RunError(f"{name} is {listed}, expected runs on the same data. Name folders of one kind only.")
    return {name: (recipe, load_best(recipe, folder)) for name, (recipe, folder) in found.items()}
