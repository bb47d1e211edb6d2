"""`sst table`: finished runs in the paper's tables, selected on validation, with errors of that selection (App. D.3).

Every recipe has a `Layout`, which says where a run belongs. Runs of different presets, data or sizes never share a
table; runs that differ only in their seeds and in what is tuned share a cell.
"""

import dataclasses
import functools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import tyro
from rich.console import Console
from rich.text import Text

from sstricks.recipes.harness.commands import Flag, recipe_class, say
from sstricks.recipes.harness.files import (
    RunError,
    check_metrics,
    check_new_files,
    read_json,
    read_section,
    write_atomically,
    write_section,
)
from sstricks.recipes.harness.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

Facts = Mapping[str, Any]
"""What a result says: configuration and more, by name."""


class Label(NamedTuple):
    """A heading and its place among its like: `Label(10, "k = 10")` comes before `Label(15, "k = 15")`."""

    rank: int
    text: str


@dataclass(frozen=True)
class Metric:
    """A metric as a table shows it: values times `scale`, with so many `digits`."""

    name: str
    heading: str
    digits: int
    scale: float = 1.0

    def show(self, value: float) -> str:
        """A scaled value, with a minus sign instead of a hyphen."""
        return f"{value:.{self.digits}f}".replace("-", "−")


class Place(NamedTuple):
    """Where a run belongs: the table's title, the labels of its row from the outermost, and the block of columns."""

    table: Label
    row: tuple[Label, ...]
    block: Label


@dataclass(frozen=True)
class Layout:
    """How the tables of an experiment are made.

    Attributes:
        subject: what titles of pictures call the experiment.
        selected_by: what a caption calls the metric that selects runs.
        validation: the metric that learning curves show.
        falls: whether that is better the smaller it is.
        metrics: the columns of a block.
        rows: headings of the columns with row labels.
        place: where a run belongs, given facts and metrics; KeyError if it has a value that this version does not know.
        placing: the fields that `place` reads.
        tuned: the fields that a search may vary; runs that differ in any other field are not comparable.
        setup: what a caption says of runs that are.
        counterpart: the facts by which a run is looked up in the paper's tables (`paper/*.csv`).
        other_data: whether the paper's figures are of other data than a run's.
        caution: what a caption has to say beside the paper's figures; `None` if they are not comparable at all.
    """

    subject: str
    selected_by: str
    validation: Metric
    falls: bool
    metrics: tuple[Metric, ...]
    rows: tuple[str, ...]
    place: Callable[[Facts], Place]
    placing: frozenset[str]
    tuned: frozenset[str]
    setup: Callable[[Facts], str]
    caution: Callable[[Facts], str | None]
    counterpart: Callable[[Facts], Facts] = lambda facts: facts
    other_data: Callable[[Facts], bool] = lambda facts: False


# ------------------------------------------------------------------------------------------------- runs on disk

# Results of earlier versions are still read.
_RENAMED = {
    "num_nodes": "graph_nodes",
    "model": "network",
    **{old: old.replace("trial", "restart") for old in ("trial", "trials", "trial_steps", "trial_factor")},
}
NOT_COMPARED = frozenset({"seed", "restart", "restart_steps", "restart_factor", "valid_every", "data_folder"})
"""Fields that do not tell setups apart: chance, and how a run proceeds."""


@dataclass(frozen=True)
class Record:
    """What is known of a run: facts, and metrics by names such as `test/elbo`, empty if it is not finished."""

    facts: Facts
    metrics: Mapping[str, float | None]
    config: Mapping[str, Any] | None = None  # that of its folder
    folder: Path | None = None
    diverged: bool = False

    @classmethod
    def of(cls, content: Mapping[str, Any], **more: Any) -> "Record":
        """Of the content of a `result.json`, or of a `config.json` if the run is not finished."""
        renamed = {_RENAMED.get(name, name): value for name, value in content.items()}
        facts = {name: value for name, value in renamed.items() if "/" not in name}
        more["diverged"] = more.get("diverged", False) or bool(facts.pop("diverged", False))
        return cls(facts, {name: value for name, value in content.items() if "/" in name}, **more)

    def score(self, metric: str) -> float | None:
        """The value of a metric, none if there is none or it is not finite."""
        value = self.metrics.get(metric)
        return value if value is not None and math.isfinite(value) else None

    @property
    def identities(self) -> frozenset[str]:
        """Two records that share one of these are the same run: copied, repeated with the same seed, or read twice."""
        differs = {"seconds", "version", "data_folder", "data"}
        contents = [self.config, {**self.facts, **self.metrics}]
        kept = [{key: value for key, value in one.items() if key not in differs} for one in contents if one]
        return frozenset(json.dumps(one, sort_keys=True) for one in kept)


def find_runs(paths: Sequence[Path], experiment: str | None, console: Console) -> list[Record]:
    """The runs of one experiment in folders at whatever depth, and in JSON files with results, each once.

    Args:
        paths: of folders and files. A folder with a `config.json` is a run, and what is inside belongs to it.
        experiment: which one; none if there must be one only.
        console: where to say what was left out.
    """
    if not paths:
        raise RunError("found no PATH, expected folders of runs or JSON files with results. Name at least one.")
    found: list[Record] = []
    for path in paths:
        records = list(_in_file(path) if path.is_file() else _in_folder(path))
        if not records:
            raise RunError(
                f"{path}: found no run there, expected a folder that --out named in `sst train`, a folder of such "
                "folders, or a JSON file with results. Name one of them."
            )
        found += records
    counts = Counter(str(record.facts["experiment"]) for record in found)
    kinds = ", ".join(f"{count} of {name}" for name, count in sorted(counts.items()))
    if experiment is None and len(counts) > 1:
        raise RunError(f"found runs of several experiments there, {kinds}. Name the folders of one of them.")
    wanted = next(iter(counts)) if experiment is None else experiment
    if not counts[wanted]:
        raise RunError(f"found no runs of {wanted} there, but {kinds}. Name other folders.")
    own = [record for record in found if record.facts["experiment"] == wanted]
    kept = _each_once(own)
    for count, what in (
        (len(own) - len(kept), "given more than once"),
        (len(found) - len(own), "of other experiments"),
    ):
        if count:
            say(console, f"Left out: {count} {'run' if count == 1 else 'runs'} {what}.")
    return kept


def _each_once(records: Sequence[Record]) -> list[Record]:
    # Of a run that is there finished and unfinished, the finished one.
    seen: set[str] = set()
    kept = []
    for place, record in sorted(enumerate(records), key=lambda item: not item[1].metrics):
        if not record.identities & seen:
            kept.append((place, record))
        seen |= record.identities
    return [record for _, record in sorted(kept, key=lambda item: item[0])]


def _in_folder(path: Path) -> Iterator[Record]:
    if not path.is_dir():
        raise RunError(f"{path}: found nothing there, expected a folder or a JSON file. Check the path.")
    inside = next(filter(_is_run, path.resolve().parents), None)
    if inside is not None:
        raise RunError(f"{path}: it is a part of the run {inside}, such as one of its restarts. Name that run instead.")
    yield from _walk(path, set())


def _walk(path: Path, seen: set[Path]) -> Iterator[Record]:
    if path.resolve() in seen:  # by way of a link
        return
    seen.add(path.resolve())
    if _is_run(path):
        config = _load(path / "config.json")
        result = path / "result.json"
        more = {"config": config, "folder": path}
        if result.is_file():
            yield Record.of(_load(result), **more)
        else:
            yield Record.of(config, diverged=(path / "diverged.json").is_file(), **more)
        return
    if (path / "sweep.json").is_file():
        yield from _not_begun(path)
    for inside in sorted(path.iterdir()):
        if inside.is_dir() and not inside.name.startswith("."):
            yield from _walk(inside, seen)


def _is_run(folder: Path) -> bool:
    # A file of this name that is no object or has no experiment is another program's; a damaged one may be a run's.
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except OSError:
        return False
    except ValueError:
        return (folder / "checkpoints").is_dir()
    return isinstance(content, dict) and "experiment" in content


def _not_begun(sweep: Path) -> Iterator[Record]:
    content = read_json(sweep / "sweep.json", "Restore the file, or leave it out.")
    if not isinstance(content, dict) or "configuration" not in content or "trials" not in content:
        return
    if not (isinstance(content["trials"], list) and all(isinstance(values, dict) for values in content["trials"])):
        raise RunError(f"{sweep / 'sweep.json'}: found no list of trials. Restore the file, or leave it out.")
    for index, values in enumerate(content["trials"]):
        if not (sweep / f"trial-{index:03d}" / "config.json").is_file():
            config = {**_checked(sweep / "sweep.json", content["configuration"]), **values}
            yield Record.of(config, config=config)


def _in_file(path: Path) -> Iterator[Record]:
    content = read_json(path, "Restore the file, or leave it out.")
    if isinstance(content, dict) and "experiment" in content:
        content = [content]
    if not isinstance(content, (dict, list)):
        raise RunError(f"{path}: found {type(content).__name__}, expected results by name or in a list.")
    for entry in content.values() if isinstance(content, dict) else content:
        yield Record.of(_checked(path, entry))


def _load(path: Path) -> dict[str, Any]:
    return _checked(path, read_json(path, "Restore the file, or leave it out."))


def _checked(path: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or "experiment" not in content:
        raise RunError(
            f"{path}: found something without the field 'experiment', expected what `sst train` writes to "
            "config.json or result.json. Name other files or folders."
        )
    check_metrics(path, content, "Restore the file, or leave it out.")
    return content


# --------------------------------------------------------------------------------------------------- selection


def rank_by_score(scores: Sequence[float]) -> np.ndarray:
    """The runs from the best to the worst; of equals the first comes first."""
    return np.argsort(-np.asarray(scores, dtype=float), kind="stable")


RESAMPLES = 100_000  # as many as in the paper


@functools.cache
def selected_ranks(num_runs: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each run is selected if as many runs as there are, N, are drawn from them with replacement.

    Runs are numbered by rank r = 0, …, N − 1, so the best of a resample is the smallest number in it, whose law is
    P(r) = ((N − r)^N − (N − r − 1)^N) / N^N.
    """
    ranks = np.arange(num_runs + 1)
    tail = ((num_runs - ranks) / num_runs) ** num_runs
    return np.random.default_rng(seed).multinomial(resamples, tail[:-1] - tail[1:])


def selection_error(ranked: Sequence[float], counts: np.ndarray) -> float:
    """The standard deviation of the selected run's value over the resamples; values in the order of the ranks."""
    values = np.asarray(ranked, dtype=float)
    mean = np.average(values, weights=counts)
    return float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))


class Estimate(NamedTuple):
    """What a cell says of a metric, in the table's unit; no error if there is one run only."""

    value: float
    error: float | None


@dataclass(frozen=True)
class Cell:
    """Runs that differ in their seeds and in what is tuned, and what the one that validation selects among them says.

    Attributes:
        facts: of one of the runs, complete.
        ranked: the finished runs, the best in validation first.
        diverged: runs that reached numbers that are not finite.
        unfinished: other runs that have not come to their end.
        estimates: of the first of `ranked`, by metric.
    """

    facts: Facts
    ranked: Sequence[Record]
    diverged: Sequence[Record]
    unfinished: Sequence[Record]
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True)
class Tabulation:
    """A table filled with comparable runs.

    Attributes:
        recipe: of the runs.
        layout: its layout.
        title: which table.
        setup: what all runs have in common.
        distinction: the part of it by which this table differs from others of the same title.
        cells: by row and block.
    """

    recipe: type[Recipe]
    layout: Layout
    title: str
    setup: Mapping[str, Any]
    distinction: Mapping[str, Any]
    cells: Mapping[tuple[tuple[Label, ...], Label], Cell]

    @property
    def rows(self) -> list[tuple[Label, ...]]:
        """In the paper's order."""
        return sorted({row for row, _ in self.cells})

    @property
    def blocks(self) -> list[Label]:
        """In the paper's order."""
        return sorted({block for _, block in self.cells})


def tabulate(recipe: type[Recipe], records: Sequence[Record]) -> list[Tabulation]:
    """Put runs into tables in the paper's order; those of different presets, data or sizes go into different ones."""
    layout, defaults = recipe.layout(), {}
    for field in dataclasses.fields(recipe):
        if field.default is not MISSING:
            defaults[field.name] = field.default
    compared = [name for name in defaults if name not in layout.placing | layout.tuned | NOT_COMPARED]
    setups: dict[tuple[Label, str], dict[str, Any]] = {}
    cells: dict[tuple[Label, str], dict[Any, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        where = record.folder or f"a result of {recipe.name}"
        try:
            for name in sorted(layout.placing | {"preset"}):
                if name not in record.facts:
                    raise ValueError(f"its configuration lacks the field {name!r}")
            facts = {**defaults, **record.facts}
            for name, default in defaults.items():
                if isinstance(default, int | float) and not _is_number(facts[name], default):
                    raise ValueError(f"its configuration has {name} = {facts[name]!r}, expected a number")
            place = layout.place({**facts, **record.metrics})
        except (KeyError, ValueError, TypeError) as error:
            why = str(error)
            if not isinstance(error, ValueError):
                why = f"its configuration has {error}, which is not known here"
            raise RunError(
                f"{where}: {why}. Use the version of sstricks that started the run, or restore the file."
            ) from None
        setup = {name: facts[name] for name in compared}
        key = place.table, repr(sorted(setup.items()))
        setups[key] = setup
        cells[key][place.row, place.block].append(record)
    tables = []
    for key in sorted(cells):
        others = [other for (title, _), other in setups.items() if title == key[0]]
        apart = {name: value for name, value in setups[key].items() if any(one[name] != value for one in others)}
        filled = {where: _cell(recipe, layout, some, defaults) for where, some in cells[key].items()}
        tables.append(Tabulation(recipe, layout, key[0].text, setups[key], apart, filled))
    return tables


def _is_number(value: Any, default: Any) -> bool:
    return isinstance(value, bool) if isinstance(default, bool) else isinstance(value, int | float | None)


def _cell(recipe: type[Recipe], layout: Layout, records: Sequence[Record], defaults: Mapping[str, Any]) -> Cell:
    scores = [record.score(recipe.monitor) for record in records]
    scored = [record for record, score in zip(records, scores, strict=True) if score is not None]
    ranked = [scored[i] for i in rank_by_score([score for score in scores if score is not None])]
    estimates = {}
    for metric in layout.metrics:
        values = [metric.scale * v for record in ranked if (v := record.score(metric.name)) is not None]
        if ranked and ranked[0].score(metric.name) is not None:
            complete = 1 < len(ranked) == len(values)
            error = selection_error(values, selected_ranks(len(ranked))) if complete else None
            estimates[metric.name] = Estimate(values[0], error)
    lost = [
        record.diverged or (bool(record.metrics) and score is None)
        for record, score in zip(records, scores, strict=True)
    ]
    return Cell(
        facts={**defaults, **(ranked or records)[0].facts},
        ranked=ranked,
        diverged=[record for record, gone in zip(records, lost, strict=True) if gone],
        unfinished=[one for one, gone in zip(records, lost, strict=True) if not one.metrics and not gone],
        estimates=estimates,
    )


# ------------------------------------------------------------------------------------------------ the paper's figures


class Published(NamedTuple):
    """A row of `paper/*.csv`: a cell of the paper's tables as it is printed, values and standard errors by metric."""

    table: str
    values: Mapping[str, str]
    errors: Mapping[str, str]

    def show(self, metric: str) -> str:
        """A value with its standard error; a dash if nothing is printed."""
        value, error = self.values.get(metric), self.errors.get(metric)
        return ("–" if value is None else value if error is None else f"{value} ± {error}").replace("-", "−")


def published(recipe: type[Recipe], layout: Layout, facts: Facts) -> Published | None:
    """What the paper has for runs like this one; none if it has nothing, or nothing comparable."""
    import pandas as pd

    counterpart = layout.counterpart(facts)
    file = resources.files("sstricks.recipes").joinpath("paper", f"{recipe.name}.csv")
    if not file.is_file() or layout.caution(facts) is None:
        return None
    with file.open(encoding="utf-8") as lines:
        rows = pd.read_csv(lines, dtype=str, keep_default_na=False).to_dict("records")
    for row in rows:
        filled = {str(name): str(value) for name, value in row.items() if value}
        table, fields = filled.pop("table"), {name: value for name, value in filled.items() if "/" not in name}
        if all(str(counterpart[name]) == value for name, value in fields.items()):
            values = {name: value for name, value in filled.items() if "/" in name and not name.startswith("± ")}
            errors = {name[2:]: value for name, value in filled.items() if name.startswith("± ")}
            return Published(table, values, errors)
    return None


# ---------------------------------------------------------------------------------------------------- as text


class Grid(NamedTuple):
    """A table as text.

    Attributes:
        title: above it.
        notes: below it.
        frame: whose columns are pairs of a block and a heading; the first `labels` of them are labels.
        labels: how many.
        ours: which rows are our runs; the others are the paper's figures.
    """

    title: str
    notes: str
    frame: "pd.DataFrame"
    labels: int
    ours: Sequence[bool]


def grid_of(table: Tabulation, *, paper: bool) -> Grid:
    """Write a table out; with `paper`, each row is followed by the paper's figures for it."""
    import pandas as pd

    layout, metrics = table.layout, table.layout.metrics
    counts = {len(cell.ranked) for cell in table.cells.values()}
    headings = [metric.heading for metric in metrics] + (["Runs"] if len(counts) > 1 else [])
    columns = [("", name) for name in layout.rows]
    columns += [(block.text, heading) for block in table.blocks for heading in headings]
    theirs = (
        {where: published(table.recipe, layout, cell.facts) for where, cell in table.cells.items()} if paper else {}
    )
    lines, ours, above = [], [], ()
    for row in table.rows:
        same = next((i for i, (a, b) in enumerate(zip(above, row, strict=False)) if a != b), 0)
        line = ["" if i < same else label.text for i, label in enumerate(row)]
        beside = [""] * (len(row) - 1)
        printed = next((one for block in table.blocks if (one := theirs.get((row, block)))), None)
        if printed is not None:
            other = any(
                layout.other_data(table.cells[row, block].facts) for block in table.blocks if theirs.get((row, block))
            )
            beside.append(f"paper, {printed.table}" + (" (other data)" if other else ""))
        for block in table.blocks:
            cell, figures = table.cells.get((row, block)), theirs.get((row, block))
            for metric in metrics:
                line.append(_shown(metric, cell))
                beside.append("–" if figures is None else figures.show(metric.name))
            if len(counts) > 1:
                line.append("" if cell is None else str(len(cell.ranked)))
                beside.append("")
        lines.append(line)
        ours.append(True)
        if printed is not None:
            lines.append(beside)
            ours.append(False)
        above = row
    frame = pd.DataFrame(lines, columns=pd.MultiIndex.from_tuples(columns))
    return Grid(
        table.title, " ".join(_caption(table, [one for one in theirs.values() if one])), frame, len(layout.rows), ours
    )


def _shown(metric: Metric, cell: Cell | None) -> str:
    estimate = None if cell is None else cell.estimates.get(metric.name)
    if estimate is None:
        return "–"
    value = metric.show(estimate.value)
    return value if estimate.error is None else f"{value} ± {metric.show(estimate.error)}"


def _caption(table: Tabulation, theirs: Sequence[Published]) -> list[str]:
    cells = list(table.cells.values())
    known = next((cell for cell in cells if cell.ranked), cells[0])
    counts = sorted({len(cell.ranked) for cell in cells})
    seeds = _ranges({int(record.facts.get("seed", 0)) for cell in cells for record in cell.ranked})
    seeds = seeds if len(seeds) <= 50 else f"{seeds.count(',') + 1} different ones"
    apart = ", ".join(f"{name} = {str(value)[:16]}" for name, value in sorted(table.distinction.items()))
    setup = table.layout.setup(known.facts)
    notes = [
        f"{setup[0].upper()}{setup[1:]}; runs per cell: {counts[0]}"
        + (f" to {counts[-1]}" if len(counts) > 1 else "")
        + (f"; seeds: {seeds}" if seeds else "")
        + (f"; unlike in other tables of this title: {apart}" if apart else "")
        + "."
    ]
    if counts == [0]:
        notes.append("No run has come to its end yet.")
    elif counts[-1] > 1:
        notes.append(
            f"Test metrics of the run with the best validation {table.layout.selected_by} in each cell ± the standard "
            f"error of this selection, from {RESAMPLES:,} bootstrap resamples of the runs."
        )
    if 1 in counts:
        only = "Cells with one run have" if counts[-1] > 1 else "Test metrics of one run a cell, so there is"
        notes.append(f"{only} no standard error.")
    kinds = (
        ("not finished (waiting, running, interrupted or broken off)", sum(len(cell.unfinished) for cell in cells)),
        ("diverged", sum(len(cell.diverged) for cell in cells)),
    )
    left_out = [f"{count} {'run' if count == 1 else 'runs'} {kind}" for kind, count in kinds if count]
    if left_out:
        notes.append(f"Left out: {' and '.join(left_out)}.")
    if theirs:
        where = " and ".join(sorted({one.table for one in theirs}))
        notes.append(f"Lines marked “paper”: {where} of Paulus et al. (2020), {table.layout.caution(known.facts)}.")
    return notes


def _ranges(numbers: set[int]) -> str:
    """Integers in few words: 0–2, 4, 9."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{part[0]}–{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def print_grid(console: Console, grid: Grid) -> None:
    """Print a table with its notes; if there is no room for all blocks side by side, one below the other."""
    from rich.table import Table as RichTable

    columns = list(enumerate(grid.frame.columns))
    labels, values = columns[: grid.labels], columns[grid.labels :]

    def table(some: Sequence[tuple[int, tuple[str, str]]]) -> RichTable:
        shown = RichTable(title=Text(grid.title))
        for place, (block, heading) in [*labels, *some]:
            above = f"{block}\n" if values[0][1][0] else ""
            right: Any = {} if place < grid.labels else {"justify": "right", "no_wrap": True}
            shown.add_column(Text(above + heading), **right)
        for row, ours in zip(grid.frame.itertuples(index=False), grid.ours, strict=True):
            cells = [Text(str(row[place])) for place, _ in [*labels, *some]]
            shown.add_row(*cells, style=None if ours else "dim italic")
        return shown

    blocks = list(dict.fromkeys(block for _, (block, _) in values))
    unlimited = console.options.update(width=10_000)
    if len(blocks) == 1 or console.measure(table(values), options=unlimited).maximum <= console.width:
        console.print(table(values))
    else:
        for block in blocks:
            console.print(table([one for one in values if one[1][0] == block]))
    console.print(grid.notes, highlight=False, markup=False)
    console.print()


def markdown(grids: Sequence[Grid]) -> str:
    """Tables in Markdown, each with its title above and its notes below."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    parts = []
    for grid in grids:
        heads = [f"{block}: {heading}" if block else heading for block, heading in grid.frame.columns]
        rules = ["---"] * grid.labels + ["---:"] * (len(heads) - grid.labels)
        rows = [
            line([cell if ours or not cell else f"*{cell}*" for cell in map(str, row)])
            for row, ours in zip(grid.frame.itertuples(index=False), grid.ours, strict=True)
        ]
        title, notes = (text.replace("|", "\\|") for text in (grid.title, grid.notes))
        parts.append("\n".join([f"**{title}**", "", line(heads), line(rules), *rows, "", notes, ""]))
    return "\n".join(parts)


def latex(grids: Sequence[Grid]) -> str:
    """Tables for LaTeX with the package booktabs."""
    import pandas as pd

    parts = []
    for grid in grids:
        italic = pd.DataFrame("", index=grid.frame.index, columns=grid.frame.columns)
        italic.loc[[not ours for ours in grid.ours]] = "textit:--rwrap;"
        style: Any = grid.frame.style.hide(axis="index").apply(lambda _, italic=italic: italic, axis=None)
        style = style.format(escape="latex").format_index(escape="latex", axis="columns")
        form = "l" * grid.labels + "r" * (len(grid.frame.columns) - grid.labels)
        # The escapes of a caption are those of a cell.
        caption: Any = pd.DataFrame([[f"{grid.title}. {grid.notes}"]]).style.hide(axis="index").hide(axis="columns")
        words = caption.format(escape="latex").to_latex().split("\n")[1].removesuffix(" \\\\")
        parts.append(
            style.to_latex(
                hrules=True, column_format=form, multicol_align="c", caption=words, position_float="centering"
            )
        )
    symbols = {"±": r"$\pm$", "−": "$-$", "×": r"$\times$", "–": "--", "“": "``", "”": "''", "…": r"\dots{}"}
    text = "% needs \\usepackage{booktabs}\n" + "\n".join(parts)
    return text.translate(str.maketrans(symbols))


def csv(tables: Sequence[Tabulation], *, paper: bool) -> str:
    """One line for each cell, with numbers in full, as comma-separated values."""
    import pandas as pd

    lines = []
    for table in tables:
        layout = table.layout
        for row in table.rows:
            for block in table.blocks:
                cell = table.cells.get((row, block))
                if cell is None:
                    continue
                best = cell.ranked[0] if cell.ranked else None
                line: dict[str, Any] = {"table": table.title}
                line |= dict(zip(layout.rows, (label.text for label in row), strict=True))
                line |= {"block": block.text, "preset": cell.facts["preset"], "runs": len(cell.ranked)}
                line |= {"unfinished": len(cell.unfinished), "diverged": len(cell.diverged)}
                line["seeds"] = " ".join(map(str, sorted({one.facts.get("seed", 0) for one in cell.ranked})))
                for metric in layout.metrics:
                    value, error = cell.estimates.get(metric.name, (None, None))
                    line |= {metric.heading: value, f"± {metric.heading}": error}
                if paper:
                    theirs = published(table.recipe, layout, cell.facts)
                    other = ", other data" if layout.other_data(cell.facts) else ""
                    line["paper"] = None if theirs is None else theirs.table + other
                    for metric in layout.metrics:
                        value, error = (
                            (None, None)
                            if theirs is None
                            else (theirs.values.get(metric.name), theirs.errors.get(metric.name))
                        )
                        line |= {f"paper {metric.heading}": value, f"paper ± {metric.heading}": error}
                line["selected run"] = best.folder if best else None
                line["selected seed"] = best.facts.get("seed", 0) if best else None
                tuned = {name: best.facts.get(name) for name in sorted(layout.tuned)} if best else None
                line["selected hyperparameters"] = json.dumps(tuned) if tuned else None
                line["setup"] = json.dumps(dict(table.setup))
                lines.append(line)
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


# -------------------------------------------------------------------------------------------------------- command


@dataclass(frozen=True)
class Table:
    """Put finished runs into the paper's tables: test metrics of the run that validation selects (App. D.3).

    Standard errors are those of the whole selection. Runs of different presets, data or sizes are never mixed: they go
    into tables of their own. See docs/tables.md.
    """

    experiment: tyro.conf.Positional[Literal["nri", "listops", "l2x", "parsing"]]
    """Whose tables; runs of other experiments are left out."""
    runs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="PATH [PATH ...]", help_behavior_hint="")
    ]
    """Folders of runs, folders that hold such folders (of sweeps, for instance), or JSON files with results."""
    paper: Flag = False
    """Add the paper's figures, in lines of their own."""
    out: Annotated[
        tuple[Path, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="FILE", help_behavior_hint="(repeatable)")
    ] = ()
    """Write the tables to FILE.md, .csv or .tex as well, or all results, from which they can be redrawn, to .json."""
    force: Flag = False
    """Replace files that exist."""
    into: Annotated[Path | None, tyro.conf.arg(metavar="PAGE", help_behavior_hint="")] = None
    """A Markdown page of which a section is to be replaced by the tables; the rest of it is left as it is."""
    section: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """Which: what stands between the lines <!-- table: NAME --> and <!-- end -->."""

    def run(self, console: Console) -> None:
        check_new_files(self.out, (".md", ".csv", ".tex", ".json"), force=self.force)
        if (self.into is None) != (self.section is None):
            raise RunError(
                f"--into is {self.into} and --section is {self.section}, expected both or neither: a page and the "
                "NAME of a section <!-- table: NAME --> in it."
            )
        if self.into is not None:
            read_section(self.into, f"table: {self.section}", "--into")  # before the work
        records = find_runs(self.runs, self.experiment, console)
        tables = tabulate(recipe_class(self.experiment), records)
        grids = [grid_of(table, paper=self.paper) for table in tables]
        for grid in grids:
            print_grid(console, grid)
        contents = [{**one.metrics, **one.facts, **({"diverged": True} if one.diverged else {})} for one in records]
        formats: dict[str, Callable[[], str]] = {
            ".md": lambda: markdown(grids),
            ".tex": lambda: latex(grids),
            ".csv": lambda: csv(tables, paper=self.paper),
            ".json": lambda: json.dumps(contents, indent=1) + "\n",
        }
        for path in self.out:
            text = formats[path.suffix]()
            write_atomically(path, lambda file, text=text: file.write(text.encode()))
        if self.into is not None:
            write_section(self.into, f"table: {self.section}", markdown(grids), "--into")
        written = [*map(str, self.out), *([] if self.into is None else [f"{self.into}, section {self.section}"])]
        if written:
            console.print("Written:", *written, sep="\n  ", soft_wrap=True, highlight=False, markup=False)
