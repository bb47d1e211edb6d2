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
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import tyro
from rich.console import Console

from sstricks.recipes.harness import files
from sstricks.recipes.harness.commands import Flag, recipe_class, rich_table, say
from sstricks.recipes.harness.files import RunError
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
    def of(cls, content: Mapping[str, Any], *, diverged: bool = False, **more: Any) -> "Record":
        """Of the content of a `result.json`, or of a `config.json` if the run is not finished."""
        facts = {_RENAMED.get(name, name): value for name, value in content.items() if "/" not in name}
        if facts.get("experiment") in ("l2x", "listops"):  # which had no other once
            facts.setdefault("estimator", "sst")
        metrics = {name: value for name, value in content.items() if "/" in name}
        return cls(facts, metrics, diverged=bool(facts.pop("diverged", diverged)), **more)

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
    found: list[Record] = []
    for path in paths:
        found += (records := list(_walk(path, set())))
        if not records:
            kinds = "a folder that --out named in `sst train`, a folder of such folders, or a JSON file with results"
            raise RunError(f"{path}: found no run there, expected {kinds}. Name one of them.")
    if not found:
        raise RunError("found no PATH, expected folders of runs or JSON files with results. Name at least one.")
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
    for count, why in (len(own) - len(kept), "given more than once"), (len(found) - len(own), "of other experiments"):
        if count:
            say(console, f"Left out: {_runs(count)} {why}.")
    return kept


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _walk(path: Path, seen: set[Path]) -> Iterator[Record]:
    if path.is_file():
        content = files.read_json(path, _REMEDY)
        if isinstance(content, dict):
            content = [content] if "experiment" in content else list(content.values())
        if not isinstance(content, list):
            raise RunError(f"{path}: found {type(content).__name__}, expected results by name or in a list.")
        yield from (Record.of(_checked(path, entry)) for entry in content)
    if path.resolve() in seen or not path.is_dir():  # seen by way of a link
        return
    seen.add(path.resolve())
    if _is_run(path):  # what is inside belongs to it
        config, *result = (
            _checked(file, files.read_json(file, _REMEDY))
            for file in (path / "config.json", path / "result.json")
            if file.is_file()
        )
        diverged = not result and (path / "diverged.json").is_file()
        yield Record.of(*result or [config], config=config, folder=path, diverged=diverged)
        return
    if (path / "sweep.json").is_file():
        yield from _not_begun(path / "sweep.json")
    for inside in sorted(path.glob("[!.]*/")):
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
    content = files.read_json(sweep, _REMEDY)
    if not isinstance(content, dict) or not {"configuration", "trials"} <= content.keys():  # another program's
        return
    if not isinstance(content["trials"], list):
        raise RunError(f"{sweep}: found no list of trials. {_REMEDY}")
    for index, values in enumerate(content["trials"]):
        if not (sweep.parent / f"trial-{index:03d}" / "config.json").is_file():
            config = {**_checked(sweep, content["configuration"]), **values}
            yield Record.of(config, config=config)


def _checked(path: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or "experiment" not in content:
        remedy = "expected what `sst train` writes to config.json or result.json. Name other files or folders."
        raise RunError(f"{path}: found something without the field 'experiment', {remedy}")
    files.check_metrics(path, content, _REMEDY)
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
    paper: Mapping[str, str]  # what the paper prints for such runs, see `published`, if it is to be shown


@dataclass(frozen=True)
class Tabulation:
    """A table filled with comparable runs."""

    layout: Layout
    title: str
    setup: Mapping[str, Any]  # what all runs have in common
    distinction: Mapping[str, Any]  # the part of it by which this table differs from others of the same title
    cells: Mapping[tuple[tuple[Label, ...], Label], Cell]  # by row and block, in the paper's order


def tabulate(recipe: type[Recipe], records: Sequence[Record], *, paper: bool = False) -> list[Tabulation]:
    """Put runs into tables in the paper's order, with its figures if `paper` is true.

    Runs of different presets, data or sizes go into different tables.
    """
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
    for key, setup in sorted(setups.items()):
        others = [other for (title, _), other in setups.items() if title == key[0]]
        apart = {name: value for name, value in setup.items() if any(one[name] != value for one in others)}
        filled = {where: _cell(recipe, layout, runs, defaults, paper) for where, runs in sorted(cells[key].items())}
        tables.append(Tabulation(layout, key[0].text, setup, apart, filled))
    return tables


def _cell(recipe: type[Recipe], layout: Layout, records: Sequence[Record], defaults: Facts, paper: bool) -> Cell:
    scores = [record.score(recipe.monitor) for record in records]
    ranked = [records[i] for i in rank_by_score(scores) if scores[i] is not None]
    estimates = {}
    for name in (metric.name for metric in layout.metrics):
        values = [value for one in ranked if (value := one.score(name)) is not None]
        if 1 < len(ranked) == len(values):
            estimates[name] = values[0], selection_error(values, selected_ranks(len(ranked)))
        elif ranked and ranked[0].score(name) is not None:
            estimates[name] = (values[0],)
    diverged = [one for one in records if one.diverged or (one.metrics and one.score(recipe.monitor) is None)]
    unfinished = [one for one in records if not one.metrics and not one.diverged]
    facts = {**defaults, **(ranked or records)[0].facts}
    return Cell(facts, ranked, diverged, unfinished, estimates, published(recipe, layout, facts) if paper else {})


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


def frame_of(table: Tabulation) -> pd.DataFrame:
    """A table as text, with columns by block and heading; the index says which rows are ours, and not the paper's."""
    layout, blocks = table.layout, sorted({block for _, block in table.cells})
    counted = len({len(cell.ranked) for cell in table.cells.values()}) > 1
    headings = [metric.heading for metric in layout.metrics] + ["Runs"] * counted
    columns = [("", name) for name in layout.rows] + [(block.text, name) for block in blocks for name in headings]
    nothing = Cell({}, [], [], [], {}, {})
    lines: list[tuple[bool, list[str]]] = []  # whether it is of our runs, and its texts
    above = ()
    for row in dict.fromkeys(row for row, _ in table.cells):
        same = next((i for i, (a, b) in enumerate(zip(above, row, strict=False)) if a != b), 0)
        above, line = row, ["" if i < same else label.text for i, label in enumerate(row)]
        here = [table.cells.get((row, block), nothing) for block in blocks]
        for cell in here:
            line += [_joined(map(metric.show, cell.estimates.get(metric.name, ()))) for metric in layout.metrics]
            line += [str(len(cell.ranked)) if cell is not nothing else ""] * counted
        lines.append((True, line))
        if printed := [cell for cell in here if cell.paper]:
            other = any(layout.other_data(cell.facts) for cell in printed)
            line = [""] * (len(row) - 1) + [f"paper, {printed[0].paper['table']}" + " (other data)" * other]
            for cell in here:
                pairs = ((metric.name, f"± {metric.name}") for metric in layout.metrics)
                line += [_joined(cell.paper[name] for name in pair if name in cell.paper) for pair in pairs]
                line += [""] * counted
            lines.append((False, line))
    ours, texts = zip(*lines, strict=True)
    return pd.DataFrame(texts, index=ours, columns=pd.MultiIndex.from_tuples(columns))


def _joined(numbers: Iterable[str]) -> str:
    return " ± ".join(numbers).replace("-", "−") or "–"


def notes_of(table: Tabulation) -> str:
    """What runs of a table have in common, what its numbers are, and which runs were left out."""
    cells, several = list(table.cells.values()), table.layout.selected_by
    known = next((cell for cell in cells if cell.ranked), cells[0])
    counts = sorted({len(cell.ranked) for cell in cells})
    seeds = _ranges({int(record.facts.get("seed", 0)) for cell in cells for record in cell.ranked})
    seeds = seeds if len(seeds) <= 50 else f"{seeds.count(',') + 1} different ones"
    apart = ", ".join(f"{name} = {str(value)[:16]}" for name, value in sorted(table.distinction.items()))
    setup = table.layout.setup(known.facts)
    said = [f"{setup[0].upper()}{setup[1:]}", f"runs per cell: {' to '.join(map(str, counts[:1] + counts[1:][-1:]))}"]
    said += [f"seeds: {seeds}"] if seeds else []
    said += [f"unlike in other tables of this title: {apart}"] if apart else []
    notes = ["; ".join(said) + "."]
    if counts == [0]:
        notes.append("No run has come to its end yet.")
    elif counts[-1] > 1:
        notes.append(f"Test metrics of the run with the best validation {several} in each cell ± the standard error")
        notes.append(f"of this selection, from {RESAMPLES:,} bootstrap resamples of the runs.")
    if 1 in counts:
        only = "Cells with one run have" if counts[-1] > 1 else "Test metrics of one run a cell, so there is"
        notes.append(f"{only} no standard error.")
    unfinished, diverged = (sum(len(getattr(cell, kind)) for cell in cells) for kind in ("unfinished", "diverged"))
    kinds = (unfinished, "not finished (waiting, running, interrupted or broken off)"), (diverged, "diverged")
    if left_out := [f"{_runs(count)} {kind}" for count, kind in kinds if count]:
        notes.append(f"Left out: {' and '.join(left_out)}.")
    if beside := [cell for cell in cells if cell.paper]:
        printed = " and ".join(sorted({cell.paper["table"] for cell in beside}))
        caution = table.layout.caution(beside[0].facts)
        notes.append(f"Lines marked “paper”: {printed} of Paulus et al. (2020), {caution}.")
    return " ".join(notes)


def _ranges(numbers: set[int]) -> str:
    """Integers in few words: 0–2, 4, 9."""
    starts = sorted(number for number in numbers if number - 1 not in numbers)
    ends = sorted(number for number in numbers if number + 1 not in numbers)
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in zip(starts, ends, strict=True))


def print_tabulation(console: Console, table: Tabulation) -> None:
    """Print a table with its notes; if there is no room for all blocks side by side, one below the other."""
    frame, labels = frame_of(table), len(table.layout.rows)
    columns = frame.columns[labels:]

    def shown(part: Any) -> Any:
        headings = [f"{block}\n{heading}" if columns[0][0] else heading for block, heading in part.columns]
        rows = [(None if ours else "dim italic", row) for ours, *row in part.itertuples()]
        return rich_table(table.title, headings, rows, labels, no_wrap=True)

    parts, unlimited = [shown(frame)], console.options.update(width=10_000)
    if console.measure(parts[0], options=unlimited).maximum > console.width:
        blocks = [columns[columns.get_loc(block)] for block in columns.unique(0)]
        parts = [shown(frame[[*frame.columns[:labels], *block]]) for block in blocks]
    console.print(*parts)
    console.print(notes_of(table), highlight=False, markup=False)
    console.print()


def markdown(tables: Sequence[Tabulation]) -> str:
    """Tables in Markdown, each with its title above and its notes below."""
    parts = []
    for table in tables:
        frame, labels = frame_of(table), len(table.layout.rows)
        heads = [f"{block}: {heading}" if block else heading for block, heading in frame.columns]
        lines = [heads, ["---"] * labels + ["---:"] * (len(heads) - labels)]
        lines += [[cell if ours or not cell else f"*{cell}*" for cell in row] for ours, *row in frame.itertuples()]
        rows = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
        title, notes = (text.replace("|", "\\|") for text in (table.title, notes_of(table)))
        parts.append("\n".join([f"**{title}**", "", *rows, "", notes, ""]))
    return "\n".join(parts)


_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "–": "--"}
    | {"“": "``", "”": "''", "…": r"\dots{}"}
)


def latex(tables: Sequence[Tabulation]) -> str:
    """Tables for LaTeX with the package booktabs."""

    def escaped(text: str) -> str:
        return text.translate(_LATEX)

    parts = ["% needs \\usepackage{booktabs}"]
    for table in tables:
        frame, labels = frame_of(table).map(escaped).rename(columns=escaped), len(table.layout.rows)
        italic = r"\textit{" + frame + "}"
        frame = frame.mask((frame != "") & ~frame.index.to_numpy()[:, None], italic)
        if not any(block for block, _ in frame.columns):
            frame = frame.droplevel(0, axis="columns")
        form, caption = "l" * labels + "r" * (frame.shape[1] - labels), escaped(f"{table.title}. {notes_of(table)}")
        source = frame.to_latex(index=False, escape=False, column_format=form, caption=caption, multicolumn_format="c")
        parts.append(source.replace(r"\caption", "\\centering\n\\caption"))
    return "\n".join(parts)


def comma_separated(tables: Sequence[Tabulation]) -> str:
    """One line for each cell, with numbers in full, as comma-separated values."""
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
                estimate = [metric.scale * number for number in cell.estimates.get(metric.name, ())]
                line |= zip((metric.heading, f"± {metric.heading}"), (*estimate, None, None), strict=False)
            if cell.ranked:
                best = cell.ranked[0]
                tuned = json.dumps({name: best.facts.get(name) for name in sorted(layout.tuned)})
                line |= {"selected run": best.folder, "selected seed": best.facts.get("seed", 0)}
                line["selected hyperparameters"] = tuned
            line["setup"] = json.dumps(table.setup)
            if cell.paper:
                line["paper"] = cell.paper["table"] + ", other data" * layout.other_data(cell.facts)
                for metric in layout.metrics:
                    line[f"paper {metric.heading}"] = cell.paper.get(metric.name)
                    line[f"paper ± {metric.heading}"] = cell.paper.get(f"± {metric.name}")
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
        files.check_new_files(self.out, (".md", ".csv", ".tex", ".json"), force=self.force)
        if (self.into is None) != (self.section is None):
            what = "both or neither: a page and the NAME of a section <!-- table: NAME --> in it"
            raise RunError(f"--into is {self.into} and --section is {self.section}, expected {what}.")
        records = find_runs(self.runs, self.experiment, console)
        tables = tabulate(recipe_class(self.experiment), records, paper=self.paper)
        for table in tables:
            print_tabulation(console, table)
        contents = [{**one.metrics, **one.facts, **({"diverged": True} if one.diverged else {})} for one in records]
        formats = {
            ".md": lambda: markdown(tables),
            ".tex": lambda: latex(tables),
            ".csv": lambda: comma_separated(tables),
            ".json": lambda: json.dumps(contents, indent=1) + "\n",
        }
        written = []
        if self.into is not None:
            files.write_section(self.into, f"table: {self.section}", markdown(tables), "--into")
            written.append(f"{self.into}, section {self.section}")
        for path in self.out:
            files.write_atomically(path, formats[path.suffix]().encode())
            written.append(str(path))
        if written:
            console.print("Written:", *written, sep="\n  ", soft_wrap=True, highlight=False, markup=False)
