import textwrap
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sstricks.experiments.runs.progress import clock, shown
from sstricks.experiments.runs.run import Result
from sstricks.experiments.sweep.trial import Trial

_UNLIMITED = 10_000  # columns

Columns = Mapping[str, str]
"""A format with a heading, such as "test ELBO {:.0f}", for each name in a result."""


def best_of(trials: Sequence[Trial]) -> tuple[Trial, Result] | None:
    """The finished trial that validation prefers; among equals the first.

    Args:
        trials: of one sweep.

    Returns:
        The trial and its result; none if no trial is finished.
    """
    found = [(trial, result) for trial in trials if (result := trial.result) is not None]
    return max(found, key=lambda pair: _score(*pair), default=None)


def print_trials(console: Console, trials: Sequence[Trial], columns: Columns) -> None:
    """Print a table of trials: hyperparameters, what was measured, and which of them is best.

    If there is no room for all columns, the hyperparameters have a table of their own.

    Args:
        console: where to print.
        trials: of one sweep.
        columns: what to show of a result.
    """
    best = best_of(trials)
    names = [f"{'* ' if best is not None and trial is best[0] else ''}{trial.index}" for trial in trials]
    searched = [name for name in trials[0].values if name != "seed"]
    left = [[name.replace("_", " ") for name in searched]]
    left += [[f"{trial.values[name]:g}" for name in searched] for trial in trials]
    right = [[*(text[: text.index("{")].strip() for text in columns.values()), "time"]]
    right += [_measured(trial, columns) for trial in trials]
    title = f"{trials[0].experiment.title}: {len(trials)} trials"
    whole = _table(title, names, [[*a, *b] for a, b in zip(left, right, strict=True)])
    parts = [whole] if _fits(console, whole) else [_table(title, names, left), _table(title, names, right)]
    for table in parts:
        console.print(table)
    if best is not None:
        monitor = trials[0].experiment.schedule.monitor
        console.print(
            f"* Best by {monitor}, which alone selects: {best[0].path}", highlight=False, soft_wrap=True, markup=False
        )


def _table(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    # The first row has the headings. They are broken between words here, since rich would break values as well.
    headings, *values = [[name, *row] for name, row in zip(("trial", *names), rows, strict=True)]
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading, *column in zip(headings, *values, strict=True):
        width = max(map(len, (*heading.split(), *column)))
        table.add_column("\n".join(textwrap.wrap(heading, width)), justify="right", no_wrap=True)
    for row in values:
        table.add_row(*row, style="bold" if row[0].startswith("*") else "")
    return table


def _fits(console: Console, table: Table) -> bool:
    unlimited = console.options.update(width=_UNLIMITED)
    return console.measure(table, options=unlimited).maximum <= console.width


def _measured(trial: Trial, columns: Columns) -> list[str]:
    result = trial.result
    if result is None:
        return [trial.state.value, *("" for _ in columns)]
    values = [shown(result[name], text[text.index("{") :]) for name, text in columns.items()]
    return [*values, clock(result["seconds"])]


def _score(trial: Trial, result: Result) -> float:
    score = result[trial.experiment.schedule.monitor]
    return float("-inf") if score is None else score
