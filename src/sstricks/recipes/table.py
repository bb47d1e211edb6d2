"""`sst table`: finished runs in the paper's tables, selected on validation, with errors of that selection (App. D.3).

Every recipe has a `Layout`, which says where a run belongs. Runs of different presets, data or sizes never share a
table; runs that differ only in their seeds and in what is tuned share a cell.
"""

import csv
import dataclasses
import functools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

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
from sstricks.recipes.harness.recipe import Facts, Label, Layout, Recipe

# ------------------------------------------------------------------------------------------------- runs on disk

# Results of earlier versions are still read.
_RENAMED = {
    "num_nodes": "graph_nodes",
    "model": "network",
    **{old: old.replace("trial", "restart") for old in ("trial", "trials", "trial_steps", "trial_factor")},
}
_REMEDY = "Restore the file, or leave it out."
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
        facts = {_RENAMED.get(name, name): value for name, value in content.items() if "/" not in name}
        if facts.get("experiment") in ("l2x", "listops"):  # which had no other once
            facts.setdefault("estimator", "sst")
        more["diverged"] = bool(facts.pop("diverged", False)) or more.get("diverged", False)
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
    """The runs of an experiment (by default of the only one there) in folders and in JSON files, each once."""
    if not paths:
        raise RunError("found no PATH, expected folders of runs or JSON files with results. Name at least one.")
    found: list[Record] = []
    for path in paths:
        if not path.exists():
            raise RunError(f"{path}: found nothing there, expected a folder or a JSON file. Check the path.")
        if path.is_dir() and (run := next(filter(_is_run, path.resolve().parents), None)):
            raise RunError(f"{path}: it is part of the run {run}, such as one of its restarts. Name that run instead.")
        records = list(_walk(path, set()) if path.is_dir() else _in_file(path))
        if not records:
            kinds = "a folder that --out named in `sst train`, a folder of such folders, or a JSON file with results"
            raise RunError(f"{path}: found no run there, expected {kinds}. Name one of them.")
        found += records
    counts = Counter(str(record.facts["experiment"]) for record in found)
    kinds = ", ".join(f"{count} of {name}" for name, count in sorted(counts.items()))
    if experiment is None and len(counts) > 1:
        raise RunError(f"found runs of several experiments there, {kinds}. Name the folders of one of them.")
    wanted = experiment or next(iter(counts))
    if not counts[wanted]:
        raise RunError(f"found no runs of {wanted} there, but {kinds}. Name other folders.")
    own = [record for record in found if record.facts["experiment"] == wanted]
    kept: list[Record] = []
    seen: set[str] = set()
    for record in sorted(own, key=lambda one: not one.metrics):  # of a run that is there unfinished too, the finished
        if not record.identities & seen:
            kept.append(record)
        seen |= record.identities
    if again := len(own) - len(kept):
        say(console, f"Left out: {_runs(again)} given more than once.")
    if others := len(found) - len(own):
        say(console, f"Left out: {_runs(others)} of other experiments.")
    return kept


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _walk(path: Path, seen: set[Path]) -> Iterator[Record]:
    if path.resolve() in seen:  # by way of a link
        return
    seen.add(path.resolve())
    result, sweep = path / "result.json", path / "sweep.json"
    if _is_run(path):  # what is inside belongs to it
        config = _checked(path / "config.json", read_json(path / "config.json", _REMEDY))
        content = _checked(result, read_json(result, _REMEDY)) if result.is_file() else config
        diverged = content is config and (path / "diverged.json").is_file()
        yield Record.of(content, config=config, folder=path, diverged=diverged)
        return
    if sweep.is_file():
        yield from _not_begun(sweep)
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
    content = read_json(sweep, _REMEDY)
    if not isinstance(content, dict) or not {"configuration", "trials"} <= content.keys():  # another program's
        return
    trials = content["trials"]
    if not (isinstance(trials, list) and all(isinstance(values, dict) for values in trials)):
        raise RunError(f"{sweep}: found no list of trials. {_REMEDY}")
    for index, values in enumerate(trials):
        if not (sweep.parent / f"trial-{index:03d}" / "config.json").is_file():
            config = {**_checked(sweep, content["configuration"]), **values}
            yield Record.of(config, config=config)


def _in_file(path: Path) -> Iterator[Record]:
    content = read_json(path, _REMEDY)
    if isinstance(content, dict):
        content = [content] if "experiment" in content else list(content.values())
    if not isinstance(content, list):
        raise RunError(f"{path}: found {type(content).__name__}, expected results by name or in a list.")
    for entry in content:
        yield Record.of(_checked(path, entry))


def _checked(path: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or "experiment" not in content:
        remedy = "expected what `sst train` writes to config.json or result.json. Name other files or folders."
        raise RunError(f"{path}: found something without the field 'experiment', {remedy}")
    check_metrics(path, content, _REMEDY)
    return content


# --------------------------------------------------------------------------------------------------- selection


def rank_by_score(scores: Sequence[float | None]) -> np.ndarray:
    """The runs from the best to the worst, then those without a score; of equals the first comes first."""
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
    return float(np.sqrt(np.cov(ranked, fweights=counts, ddof=0)))


@dataclass(frozen=True)
class Cell:
    """Runs that differ in their seeds and in what is tuned, and what the one of them that validation selects says."""

    facts: Facts  # of one of the runs, complete
    ranked: Sequence[Record]  # those that are finished, the best in validation first
    diverged: Sequence[Record]
    unfinished: Sequence[Record]
    estimates: Mapping[str, tuple[float, ...]]  # value and, of several runs, error of the first of `ranked`, by metric
    paper: Mapping[str, str]  # what the paper prints for such runs, see `published`


@dataclass(frozen=True)
class Tabulation:
    """A table filled with comparable runs."""

    recipe: type[Recipe]
    layout: Layout
    title: str
    setup: Mapping[str, Any]  # what all runs have in common
    distinction: Mapping[str, Any]  # the part of it by which this table differs from others of the same title
    cells: Mapping[tuple[tuple[Label, ...], Label], Cell]  # by row and block, in the paper's order


def tabulate(recipe: type[Recipe], records: Sequence[Record]) -> list[Tabulation]:
    """Put runs into tables in the paper's order; those of different presets, data or sizes go into different ones."""
    layout = recipe.layout()
    defaults = {one.name: one.default for one in dataclasses.fields(recipe) if one.default is not MISSING}
    compared = [name for name in defaults if name not in layout.placing | layout.tuned | NOT_COMPARED]
    setups: dict[tuple[Label, str], dict[str, Any]] = {}
    cells: dict[tuple[Label, str], dict[Any, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        facts = {**defaults, **record.facts}
        try:
            if lacking := sorted((layout.placing | {"preset"}) - record.facts.keys()):
                raise ValueError(f"lacks the field {lacking[0]!r}")
            for name, default in defaults.items():
                if isinstance(default, int | float) and not isinstance(facts[name], int | float):
                    raise ValueError(f"has {name} = {facts[name]!r}, expected a number")
            place = layout.place({**facts, **record.metrics})
        except (KeyError, ValueError, TypeError) as error:
            why = error if isinstance(error, ValueError) else f"has {error}, which is not known here"
            what = f"{record.folder or f'a result of {recipe.name}'}: its configuration {why}"
            remedy = "Use the version of sstricks that started the run, or restore the file."
            raise RunError(f"{what}. {remedy}") from None
        setup = {name: facts[name] for name in compared}
        key = place.table, repr(setup)
        setups[key] = setup
        cells[key][place.row, place.block].append(record)
    tables = []
    for key in sorted(cells):
        others = [other for (title, _), other in setups.items() if title == key[0]]
        apart = {name: value for name, value in setups[key].items() if any(one[name] != value for one in others)}
        filled = {where: _cell(recipe, layout, cells[key][where], defaults) for where in sorted(cells[key])}
        tables.append(Tabulation(recipe, layout, key[0].text, setups[key], apart, filled))
    return tables


def _cell(recipe: type[Recipe], layout: Layout, records: Sequence[Record], defaults: Facts) -> Cell:
    scores = [record.score(recipe.monitor) for record in records]
    ranked = [records[i] for i in rank_by_score(scores) if scores[i] is not None]
    estimates = {}
    for metric in layout.metrics:
        values = [metric.scale * value for one in ranked if (value := one.score(metric.name)) is not None]
        if 1 < len(ranked) == len(values):
            estimates[metric.name] = values[0], selection_error(values, selected_ranks(len(ranked)))
        elif ranked and ranked[0].score(metric.name) is not None:
            estimates[metric.name] = (values[0],)
    diverged = [one for one in records if one.diverged or (one.metrics and one.score(recipe.monitor) is None)]
    unfinished = [one for one in records if not one.metrics and not one.diverged]
    facts = {**defaults, **(ranked or records)[0].facts}
    return Cell(facts, ranked, diverged, unfinished, estimates, published(recipe, layout, facts))


# ------------------------------------------------------------------------------------------------ the paper's figures


def published(recipe: type[Recipe], layout: Layout, facts: Facts) -> dict[str, str]:
    """What the paper prints for runs like this one: `table`, values by metric and standard errors by "± metric".

    It is empty if the paper has nothing, or nothing comparable.
    """
    file = resources.files("sstricks.recipes").joinpath("paper", f"{recipe.name}.csv")
    if file.is_file() and layout.caution(facts) is not None:
        counterpart = layout.counterpart(facts)
        for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
            fields = [name for name in row if "/" not in name and name != "table" and row[name]]
            if all(str(counterpart[name]) == row[name] for name in fields):
                return {name: value for name, value in row.items() if value}
    return {}


# ---------------------------------------------------------------------------------------------------- as text


class Grid(NamedTuple):
    """A table as text."""

    title: str
    notes: str
    frame: Any  # columns are pairs of block and heading; the index says which rows are our runs', and not the paper's
    labels: int  # how many columns, at the left, are labels


def grid_of(table: Tabulation, *, paper: bool) -> Grid:
    """Write a table out; with `paper`, each row is followed by the paper's figures for it."""
    import pandas as pd

    layout, cells, blocks = table.layout, table.cells, sorted({block for _, block in table.cells})
    metrics = layout.metrics
    counted = len({len(cell.ranked) for cell in cells.values()}) > 1
    headings = [metric.heading for metric in metrics] + ["Runs"] * counted
    columns = [("", name) for name in layout.rows] + [(block.text, name) for block in blocks for name in headings]
    lines, ours, above = [], [], ()
    for row in dict.fromkeys(row for row, _ in cells):
        same = next((i for i, (a, b) in enumerate(zip(above, row, strict=False)) if a != b), 0)
        above, line = row, ["" if i < same else label.text for i, label in enumerate(row)]
        here = [cells.get((row, block)) for block in blocks]
        for cell in here:
            estimates = cell.estimates if cell else {}
            line += [_joined(map(metric.show, estimates.get(metric.name, ()))) for metric in metrics]
            line += [str(len(cell.ranked)) if cell else ""] * counted
        lines.append(line)
        ours.append(True)
        if printed := [cell for cell in here if cell and cell.paper] if paper else []:
            other = any(layout.other_data(cell.facts) for cell in printed)
            line = [""] * (len(row) - 1) + [f"paper, {printed[0].paper['table']}" + " (other data)" * other]
            for cell in here:
                figures = cell.paper if cell else {}
                pairs = ((metric.name, f"± {metric.name}") for metric in metrics)
                line += [_joined(figures[name] for name in pair if name in figures) for pair in pairs]
                line += [""] * counted
            lines.append(line)
            ours.append(False)
    frame = pd.DataFrame(lines, index=ours, columns=pd.MultiIndex.from_tuples(columns))
    return Grid(table.title, " ".join(_caption(table, paper=paper)), frame, len(layout.rows))


def _joined(numbers: Iterable[str]) -> str:
    return " ± ".join(numbers).replace("-", "−") or "–"


def _caption(table: Tabulation, *, paper: bool) -> Iterator[str]:
    cells = list(table.cells.values())
    known = next((cell for cell in cells if cell.ranked), cells[0])
    counts = sorted({len(cell.ranked) for cell in cells})
    seeds = _ranges({int(record.facts.get("seed", 0)) for cell in cells for record in cell.ranked})
    seeds = seeds if len(seeds) <= 50 else f"{seeds.count(',') + 1} different ones"
    apart = ", ".join(f"{name} = {str(value)[:16]}" for name, value in sorted(table.distinction.items()))
    setup = table.layout.setup(known.facts)
    said = [f"{setup[0].upper()}{setup[1:]}", f"runs per cell: {' to '.join(map(str, counts[:1] + counts[1:][-1:]))}"]
    said += [f"seeds: {seeds}"] if seeds else []
    said += [f"unlike in other tables of this title: {apart}"] if apart else []
    yield "; ".join(said) + "."
    if counts == [0]:
        yield "No run has come to its end yet."
    elif counts[-1] > 1:
        yield f"Test metrics of the run with the best validation {table.layout.selected_by} in each cell ± the"
        yield f"standard error of this selection, from {RESAMPLES:,} bootstrap resamples of the runs."
    if 1 in counts:
        only = "Cells with one run have" if counts[-1] > 1 else "Test metrics of one run a cell, so there is"
        yield f"{only} no standard error."
    kinds = (
        ("not finished (waiting, running, interrupted or broken off)", sum(len(cell.unfinished) for cell in cells)),
        ("diverged", sum(len(cell.diverged) for cell in cells)),
    )
    if left_out := [f"{_runs(count)} {kind}" for kind, count in kinds if count]:
        yield f"Left out: {' and '.join(left_out)}."
    if beside := [cell for cell in cells if cell.paper] if paper else []:
        printed = " and ".join(sorted({cell.paper["table"] for cell in beside}))
        caution = table.layout.caution(beside[0].facts)
        yield f"Lines marked “paper”: {printed} of Paulus et al. (2020), {caution}."


def _ranges(numbers: set[int]) -> str:
    """Integers in few words: 0–2, 4, 9."""
    starts = sorted(number for number in numbers if number - 1 not in numbers)
    ends = sorted(number for number in numbers if number + 1 not in numbers)
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in zip(starts, ends, strict=True))


def print_grid(console: Console, grid: Grid) -> None:
    """Print a table with its notes; if there is no room for all blocks side by side, one below the other."""
    from rich.table import Table as RichTable

    labels, columns = grid.frame.columns[: grid.labels], grid.frame.columns[grid.labels :]

    def table(frame: Any) -> RichTable:
        shown = RichTable(title=Text(grid.title))
        for place, (block, heading) in enumerate(frame.columns):
            right: Any = {} if place < grid.labels else {"justify": "right", "no_wrap": True}
            shown.add_column(Text(f"{block}\n{heading}" if columns[0][0] else heading), **right)
        for ours, *row in frame.itertuples():
            shown.add_row(*map(Text, row), style=None if ours else "dim italic")
        return shown

    everything, blocks = table(grid.frame), columns.unique(0)
    unlimited = console.options.update(width=10_000)
    if len(blocks) > 1 and console.measure(everything, options=unlimited).maximum > console.width:
        console.print(*(table(grid.frame[[*labels, *columns[columns.get_loc(block)]]]) for block in blocks))
    else:
        console.print(everything)
    console.print(grid.notes, highlight=False, markup=False)
    console.print()


def markdown(grids: Sequence[Grid]) -> str:
    """Tables in Markdown, each with its title above and its notes below."""
    parts = []
    for grid in grids:
        heads = [f"{block}: {heading}" if block else heading for block, heading in grid.frame.columns]
        lines = [heads, ["---"] * grid.labels + ["---:"] * (len(heads) - grid.labels)]
        for ours, *row in grid.frame.itertuples():
            lines.append([cell if ours or not cell else f"*{cell}*" for cell in row])
        rows = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
        title, notes = (text.replace("|", "\\|") for text in (grid.title, grid.notes))
        parts.append("\n".join([f"**{title}**", "", *rows, "", notes, ""]))
    return "\n".join(parts)


_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "–": "--"}
    | {"“": "``", "”": "''", "…": r"\dots{}"}
)


def latex(grids: Sequence[Grid]) -> str:
    """Tables for LaTeX with the package booktabs."""
    parts = ["% needs \\usepackage{booktabs}"]
    for grid in grids:
        frame = grid.frame.map(lambda text: text.translate(_LATEX)).rename(columns=lambda text: text.translate(_LATEX))
        theirs = (frame != "") & ~grid.frame.index.to_numpy()[:, None]
        frame = frame.mask(theirs, r"\textit{" + frame + "}").reset_index(drop=True)
        if not any(block for block, _ in frame.columns):
            frame = frame.droplevel(0, axis="columns")
        form = "l" * grid.labels + "r" * (frame.shape[1] - grid.labels)
        caption = f"{grid.title}. {grid.notes}".translate(_LATEX)
        style: Any = {"hrules": True, "multicol_align": "c", "position_float": "centering"}
        parts.append(frame.style.hide(axis="index").to_latex(column_format=form, caption=caption, **style))
    return "\n".join(parts)


def comma_separated(tables: Sequence[Tabulation], *, paper: bool) -> str:
    """One line for each cell, with numbers in full, as comma-separated values."""
    import pandas as pd

    lines = []
    for table in tables:
        layout = table.layout
        for (row, block), cell in table.cells.items():
            line: dict[str, Any] = {"table": table.title}
            line |= {name: label.text for name, label in zip(layout.rows, row, strict=True)}
            line |= {"block": block.text, "preset": cell.facts["preset"], "runs": len(cell.ranked)}
            line |= {"unfinished": len(cell.unfinished), "diverged": len(cell.diverged)}
            line["seeds"] = " ".join(map(str, sorted({one.facts.get("seed", 0) for one in cell.ranked})))
            for metric in layout.metrics:
                value, error, *_ = *cell.estimates.get(metric.name, ()), None, None
                line |= {metric.heading: value, f"± {metric.heading}": error}
            if paper:
                other = ", other data" if layout.other_data(cell.facts) else ""
                line["paper"] = f"{cell.paper['table']}{other}" if cell.paper else None
                for metric in layout.metrics:
                    line[f"paper {metric.heading}"] = cell.paper.get(metric.name)
                    line[f"paper ± {metric.heading}"] = cell.paper.get(f"± {metric.name}")
            best = next(iter(cell.ranked), None)
            tuned = best and {name: best.facts.get(name) for name in sorted(layout.tuned)}
            line |= {"selected run": best and best.folder, "selected seed": best and best.facts.get("seed", 0)}
            line |= {"selected hyperparameters": tuned and json.dumps(tuned), "setup": json.dumps(table.setup)}
            lines.append(line)
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


# -------------------------------------------------------------------------------------------------------- command


_NAMED = tyro.conf.arg(metavar="PATH [PATH ...]", help_behavior_hint="")
Paths = Annotated[tyro.conf.Positional[tuple[Path, ...]], _NAMED]


@dataclass(frozen=True)
class Table:
    """Put finished runs into the paper's tables: test metrics of the run that validation selects (App. D.3).

    Standard errors are those of the whole selection. Runs of different presets, data or sizes are never mixed: they go
    into tables of their own. See docs/tables.md.
    """

    experiment: tyro.conf.Positional[Literal["nri", "listops", "l2x", "parsing"]]
    """Whose tables; runs of other experiments are left out."""
    runs: Paths
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
            what = "both or neither: a page and the NAME of a section <!-- table: NAME --> in it"
            raise RunError(f"--into is {self.into} and --section is {self.section}, expected {what}.")
        if self.into is not None:
            read_section(self.into, f"table: {self.section}", "--into")  # before the work
        records = find_runs(self.runs, self.experiment, console)
        tables = tabulate(recipe_class(self.experiment), records)
        grids = [grid_of(table, paper=self.paper) for table in tables]
        for grid in grids:
            print_grid(console, grid)
        contents = [{**one.metrics, **one.facts, **({"diverged": True} if one.diverged else {})} for one in records]
        formats = {
            ".md": lambda: markdown(grids),
            ".tex": lambda: latex(grids),
            ".csv": lambda: comma_separated(tables, paper=self.paper),
            ".json": lambda: json.dumps(contents, indent=1) + "\n",
        }
        for path in self.out:
            text = formats[path.suffix]().encode()
            write_atomically(path, lambda file, text=text: file.write(text))
        written = [str(path) for path in self.out]
        if self.into is not None:
            write_section(self.into, f"table: {self.section}", markdown(grids), "--into")
            written.append(f"{self.into}, section {self.section}")
        if written:
            console.print("Written:", *written, sep="\n  ", soft_wrap=True, highlight=False, markup=False)
