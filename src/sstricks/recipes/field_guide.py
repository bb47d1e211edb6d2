"""`sst field-guide`: one realization of every structure, relaxed more and more tightly, as in Fig. 2 of the paper.

A point of a polytope is drawn as the thing that it is a relaxation of, not as an array: bars, marked words, edges of a
graph, arcs over a sentence. The table of what has a solver is read from the registry.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from rich.console import Console
from torch import Tensor

import sstricks as sst
from sstricks.recipes.drawing import CORRECT, INK, draw_arcs, draw_nodes, save_figure, visible
from sstricks.recipes.harness.files import write_section
from sstricks.solvers import look_up

LEAST = 0.01  # weights below are not drawn
ARROW = "-|>,head_length=0.5,head_width=0.25"
Paint = Callable[[Axes, Tensor, bool], None]
"""Draws weights in [0, 1], or, if the last argument is true, a utility."""


@dataclass(frozen=True)
class FieldGuide:
    """Draw one realization of every structure at three temperatures, and print the table of what has a solver.

    In every picture it is the same utility that is relaxed more and more tightly, as in Fig. 2 of the paper.
    """

    out: Path = Path("field-guide")
    """Folder of the pictures; those of the same names are replaced."""
    seed: int = 0
    """Random seed of the utilities."""
    page: Path | None = None
    """A Markdown page whose table, between the markers that docs/field-guide.md has, is brought up to date."""

    def run(self, console: Console) -> None:
        table = table_of_pairs()
        if self.page is not None:
            write_section(self.page, "sst field-guide: pairs", table, option="--page")
        self.out.mkdir(parents=True, exist_ok=True)
        pictures = [exhibit.draw(self.out, self.seed) for exhibit in exhibits()]
        pictures.append(draw_regularizers(self.out))
        console.print(table, markup=False, soft_wrap=True, highlight=False)
        console.print("Pictures:", *map(str, pictures), sep="\n  ", soft_wrap=True, highlight=False)


@dataclass(frozen=True)
class Exhibit:
    """A structure small enough to be drawn, with a utility and a regularizer, and how its points look."""

    name: str
    structure: sst.Structure
    paint: Paint
    size: tuple[float, float]  # of a panel, in inches
    utility: torch.distributions.Distribution | None = None  # standard Gumbel if none
    regularizer: sst.Regularizer = field(default_factory=sst.ExponentialFamilyEntropy)
    solver: sst.Solver | None = None

    def draw(self, folder: Path, seed: int) -> Path:
        """Draw a utility, its X_t from warm to cold, and its argmax."""
        zeros = torch.zeros(self.structure.event_shape, dtype=torch.float64)
        utility = sst.Gumbel(zeros) if self.utility is None else self.utility
        trick = sst.StochasticSoftmaxTrick(self.structure, utility, 1.0, self.regularizer, solver=self.solver)
        with torch.no_grad():
            u = trick.draw(generator=torch.Generator().manual_seed(seed % 2**64)).utility
        points = {f"t = {t:g}": self.structure.softmax(u, t, self.regularizer, solver=self.solver) for t in (5, 1, 0.2)}
        points = {"utility U": u, **points, "argmax, t = 0": self.structure.argmax(u)}
        return draw_panels(points, self.paint, self.size, folder / f"{self.name}.png")


def draw_panels(points: Mapping[str, Tensor], paint: Paint, size: tuple[float, float], path: Path) -> Path:
    """Draw points beside each other, a panel of this size for each title, the utility first."""
    (width, height), count = size, len(points)
    stacked = width > 4 * height  # panels of sentences stand below each other
    figure = Figure(figsize=(width, height * count) if stacked else (width * count, height), layout="constrained")
    axes = figure.subplots(*((count, 1) if stacked else (1, count)), sharey=not stacked)
    for axis, (title, x) in zip(axes, points.items(), strict=True):
        if stacked:
            axis.annotate(title, (-0.005, 0.63), xycoords="axes fraction", ha="right", va="center", fontsize=10)
        else:
            axis.set_title(title, fontsize=11)
        paint(axis, x, title == "utility U")
    return save_figure(figure, path, dpi=110)


def exhibits() -> list[Exhibit]:
    """One for each structure, in the order of the guide."""
    review = ["pours", "a", "deep", "amber", "with", "a", "sweet", "malty", "nose", "and", "a", "dry", "finish"]
    marked, ranks = sentence(review), bars(tuple("ABCDE"), 5)
    n, parsed, heads = len(review), ("root", "she", "reads", "old", "maps", "daily"), (-1, 2, 0, 4, 2, 2)
    trees, rooted = sst.SpanningTree.complete(7), sst.Arborescence.complete(6)
    projective = sst.ProjectiveArborescence(len(parsed))
    log_odds = torch.tensor([0.5, -2.5, 1.0, -2.0, 0.0])
    things = bars(("umbrella", "gloves", "sunglasses", "scarf", "camera"))
    pairs = sst.ChainUtility(sst.Gumbel(torch.zeros(n).double()), torch.full((n - 1,), 1.5).double())
    gold = torch.tensor(heads)[projective.edges[1]] == projective.edges[0]
    phrases, dull = sst.LinearOracle(best_phrases, (n,)), sst.Gumbel(torch.full((n,), -1.0).double())
    alignments = sst.Path.alignment(4, 4)
    matched = torch.tensor([[3.0 * (a == b) for b in "PAHT"] for a in "PATH"]).double()
    moves = torch.stack([torch.nn.functional.pad(matched, (0, 1, 0, 1)), *torch.zeros(2, 5, 5).double()], -1)
    columns = torch.stack([torch.arange(10) // 5 * 3, -(torch.arange(10) % 5)], -1).double()
    matching = graph(torch.cartesian_prod(torch.arange(5), torch.arange(5, 10)).T, columns, "ABCDE12345")
    directed = graph(rooted.edges, circle(6), "rABCDE", directed=True, bend=0.13, root=0)
    plausible = sst.Gumbel(2 * gold.double())  # so that the parse makes some sense
    return [
        Exhibit("one-hot", sst.OneHot(5), bars(("bus", "tram", "bicycle", "taxi", "on foot")), (2.3, 2.0)),
        Exhibit("subset", sst.Subset(5), things, (2.3, 2.0), sst.Logistic(log_odds)),
        Exhibit("k-subset", sst.KSubset(n, 4), marked, (10.5, 0.62)),
        Exhibit("bounded-subset", sst.BoundedSubset(5, 1, 3), things, (2.3, 2.0), sst.Logistic(log_odds + 1.5)),
        Exhibit("chain-k-subset", sst.ChainKSubset(n, 4), marked, (10.5, 0.62), pairs),
        Exhibit("path", alignments, edit_graph(alignments, "PATH", "PAHT"), (2.5, 2.3), sst.Gumbel(moves.flatten())),
        Exhibit("permutahedron", sst.Permutahedron(5), ranks, (2.3, 2.0), regularizer=sst.Euclidean()),
        Exhibit("matching", sst.Matching(5), matching, (2.35, 2.1), regularizer=sst.CategoricalEntropy()),
        Exhibit("spanning-tree", trees, graph(trees.edges, circle(7), "ABCDEFG"), (2.5, 2.3)),
        Exhibit("arborescence", rooted, directed, (2.5, 2.3)),
        Exhibit("projective-arborescence", projective, arcs(projective.edges, parsed), (2.75, 1.45), plausible),
        Exhibit("linear-oracle", phrases, marked, (10.5, 0.62), dull, sst.Euclidean(), solver=sst.FrankWolfe()),
    ]


def draw_regularizers(folder: Path) -> Path:
    """Draw the relaxations of the best two of five under every regularizer, at t = 1."""
    u = torch.tensor([1.6, 0.9, 0.6, -0.4, -1.2], dtype=torch.float64)
    regularizers = {
        "Euclidean": sst.Euclidean(),
        "categorical": sst.CategoricalEntropy(),
        "binary": sst.BinaryEntropy(),
        "exponential family": sst.ExponentialFamilyEntropy(),
    }
    points = {name: sst.KSubset(5, 2).softmax(u, 1.0, f) for name, f in regularizers.items()}
    return draw_panels({"utility U": u, **points}, bars(tuple("abcde")), (2.3, 2.0), folder / "regularizers.png")


# ----------------------------------------------------------------------------------------------- how points look


def told(x: Tensor, is_utility: bool) -> list[str]:
    """The numbers that stand beside bars and below words."""
    return [f"{value:+z.1f}" if is_utility else f"{value:.2f}" for value in x.tolist()]


def bars(names: Sequence[str], most: float = 1) -> Paint:
    """Named items, each with a bar as long as its coordinate, of at most this, and its number."""

    def paint(axis: Axes, x: Tensor, is_utility: bool) -> None:
        lengths, color = (x.tolist(), INK) if is_utility else ([most] * len(names), "#EEEEEE")
        drawn = axis.barh(names, lengths, height=0.62, color=color)
        axis.bar_label(drawn, told(x, is_utility), padding=3, fontsize=8)
        if is_utility:
            axis.axvline(0, color="#8A8A8A", linewidth=0.8)
        else:
            axis.barh(names, x.tolist(), height=0.62, color=CORRECT)
        axis.margins(x=0.3)
        axis.set(ylim=(len(names) - 0.5, -0.5), xticks=[])
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0, labelsize=9)

    return paint


def weighted(draw: Callable[[Axes, Tensor, str], None]) -> Paint:
    """A utility drawn as weights: the largest as if it were 1, the least as if it were 0."""

    def paint(axis: Axes, x: Tensor, is_utility: bool) -> None:
        draw(axis, (x - x.min()) / (x.max() - x.min()) if is_utility else x, INK if is_utility else CORRECT)

    return paint


def seen(edges: Tensor, weights: Tensor) -> Iterator[tuple[int, int, float, float, float]]:
    """Ends, weight, width and opacity of edges that have some weight."""
    for a, b, weight in zip(*edges.tolist(), weights.tolist(), strict=True):
        if weight > LEAST:
            yield a, b, weight, *visible(weight)


def sentence(words: Sequence[str]) -> Paint:
    """Words, marked as a pen marks them; a bridge between two words is the coordinate of their pair."""

    def paint(axis: Axes, x: Tensor, is_utility: bool) -> None:
        n, color = len(words), INK if is_utility else CORRECT
        shade = x.clamp(0, 1)
        if is_utility:  # pairs are on no scale of the items': what is positive is drawn
            items, pairs = x[:n], x[n:].clamp(min=0)
            height = (items - items.min()) / (items.max() - items.min())
            shade = torch.cat([height, pairs / max([1.0, *pairs.tolist()])]) * 0.45
        end = 0.0
        bridges = [*shade[n:].tolist(), *[0.0] * n]  # none after the last word, and none where there are no pairs
        for word, number, alpha, bridge in zip(words, told(x, is_utility), shade.tolist(), bridges, strict=False):
            begin, end = end, end + len(word) + 3.2
            box = {"facecolor": (*to_rgb(color), alpha), "edgecolor": "#DDDDDD", "linewidth": 0.8, "zorder": 2}
            axis.add_patch(Rectangle((begin + 0.75, 0.42), end - begin - 1.5, 0.44, **box))
            ink, middle = "#FFFFFF" if alpha > 0.55 and not is_utility else INK, (begin + end) / 2
            axis.annotate(word, (middle, 0.63), ha="center", va="center", fontsize=10, color=ink, zorder=3)
            axis.annotate(number, (middle, 0.2), ha="center", va="center", fontsize=7.5)
            line = {"linewidth": 7, "solid_capstyle": "butt", "zorder": 1, "alpha": bridge}
            axis.plot([end - 0.75, end + 0.75], [0.64, 0.64], color=color, **line)
        axis.set(xlim=(0, end), ylim=(0, 1))
        axis.set_axis_off()

    return paint


def graph(
    edges: Tensor, places: Tensor, names: Sequence[str], directed: bool = False, bend: float = 0, root: int = -1
) -> Paint:
    """Nodes in the plane, and edges as wide and as dark as their coordinates; those that bend tell there from back."""

    def draw(axis: Axes, weights: Tensor, color: str) -> None:
        at, ends = places.tolist(), (7, 8) if directed else (0, 0)
        for a, b, weight, width, alpha in seen(edges, weights.flatten()):
            shape = {"arrowstyle": ARROW if directed else "-", "shrinkA": ends[0], "shrinkB": ends[1]}
            shape |= {"connectionstyle": f"arc3,rad={bend}", "mutation_scale": 5 + 7 * weight}
            shape |= {"linewidth": 0.7 * width if directed else width, "zorder": 1 + weight / 2}
            axis.add_patch(FancyArrowPatch(at[a], at[b], color=color, alpha=alpha, **shape))
        draw_nodes(axis, places, names, root)

    return weighted(draw)


def edit_graph(paths: sst.Path, first: str, second: str) -> Paint:
    """The grid of an alignment; a letter stands where it has been passed, a diagonal move passes two."""
    names = ["", *second, *(name for letter in first for name in (letter, *[""] * len(second)))]
    down, right = torch.cartesian_prod(torch.arange(len(first) + 1), torch.arange(len(second) + 1)).double().T
    inside = torch.ones(paths.event_shape, dtype=torch.bool) if paths.mask is None else paths.mask
    draw = graph(paths.edges[:, inside], torch.stack([right, -down], -1), names, directed=True)
    return lambda axis, x, is_utility: draw(axis, x[inside], is_utility)


def arcs(edges: Tensor, words: Sequence[str]) -> Paint:
    """A sentence, and arcs above it from each head to its dependents; node 0 is the root."""

    def draw(axis: Axes, weights: Tensor, color: str) -> None:
        for head, dependent, weight, width, alpha in seen(edges, weights):
            style = {"linewidth": 0.65 * width, "alpha": alpha, "zorder": 1 + weight}
            draw_arcs(axis, [(head, dependent)], 1, color, **style)
        for node, word in enumerate(words):
            axis.annotate(word, (node, 0), ha="center", va="center", fontsize=7.5)
        axis.set(xlim=(-0.5, len(words) - 0.5), ylim=(-0.4, 2.4))
        axis.set_axis_off()

    return weighted(draw)


def circle(n: int) -> Tensor:
    """Places on a circle, the first on top."""
    angle = torch.arange(n).double() * (2 * math.pi / n)
    return torch.stack([angle.sin(), angle.cos()], -1)


def best_phrases(u: Tensor) -> Tensor:
    """The runs of words with the largest sums."""
    n = u.shape[-1]
    sums = torch.nn.functional.pad(u.cumsum(-1), (1, 0))
    begin, end = torch.triu_indices(n + 1, n + 1, 1)
    best = (sums[..., end] - sums[..., begin]).argmax(-1, keepdim=True)
    word = torch.arange(n)
    return ((begin[best] <= word) & (word < end[best])).to(u)


# ---------------------------------------------------------------------------------------------- the table of pairs


def table_of_pairs() -> str:
    """The table of structures and regularizers in Markdown, and why some pairs have no solver."""
    regularizers = (sst.Euclidean, sst.CategoricalEntropy, sst.BinaryEntropy, sst.TsallisEntropy)
    regularizers += (sst.SeparableRegularizer, sst.ExponentialFamilyEntropy)
    classes = [getattr(sst, name) for name in sorted(sst.__all__) if inspect.isclass(getattr(sst, name))]
    structures = [one for one in classes if issubclass(one, sst.Structure) and not inspect.isabstract(one)]
    methods = ("_log_partition", "_sample")
    head = ("structure", *(f"`{f.__name__}`" for f in regularizers), "`log_partition`, `entropy`", "`sample`")
    rows, reasons = [head, ("---",) * len(head)], []
    for structure in structures:
        cells = [f"`{structure.__name__}`"]
        for f in regularizers:
            known = look_up(structure, f)
            if known.solver is not None:
                cells.append("direct" if known.iteration is None else f"iterative: {known.iteration}")
            elif known.reason is not None:
                cells.append("intractable")
                reasons += ["", f"`{structure.__name__}` with `{f.__name__}`: {known.reason}."]
            else:
                cells.append("on request" if issubclass(f, sst.SeparableRegularizer) else "–")
        own = (getattr(structure, method) is not getattr(sst.Structure, method) for method in methods)
        rows.append((*cells, *("exact" if exact else "–" for exact in own)))
    return "\n".join([*("| " + " | ".join(row) + " |" for row in rows), *reasons]) + "\n"
