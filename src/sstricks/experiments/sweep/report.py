from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sstricks.experiments.runs.progress import clock, shown
from sstricks.experiments.runs.run import Result
from sstricks.experiments.sweep.trial import Trial

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

    Args:
        console: where to print.
        trials: of one sweep.
        columns: what to show of a result.
    """
    searched = [name for name in trials[0].values if name != "seed"]
    best = best_of(trials)
    measured = [text[: text.index("{")].strip() for text in columns.values()]
    headings = ("trial", *(name.replace("_", " ") for name in searched), *measured, "time")
    rows = [
        (
            f"{'* ' if best is not None and trial is best[0] else ''}{trial.index}",
            *(f"{trial.values[name]:g}" for name in searched),
            *_measured(trial, columns),
        )
        for trial in trials
    ]
    table = Table(title=f"{trials[0].experiment.title}: {len(trials)} trials", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, heading in enumerate(headings):  # headings are broken between words where needed, values never
        width = max(map(len, (*heading.split(), *(row[number] for row in rows))))
        table.add_column(heading, justify="right", overflow="fold", min_width=width)
    for row in rows:
        table.add_row(*row, style="bold" if row[0].startswith("*") else "")
    console.print(table)
    if best is not None:
        monitor = trials[0].experiment.schedule.monitor
        console.print(
            f"* Best by {monitor}, which alone selects: {best[0].path}", highlight=False, soft_wrap=True, markup=False
        )


def _measured(trial: Trial, columns: Columns) -> list[str]:
    result = trial.result
    if result is None:
        return [trial.state.value, *("" for _ in columns)]
    values = [shown(result[name], text[text.index("{") :]) for name, text in columns.items()]
    return [*values, clock(result["seconds"])]


def _score(trial: Trial, result: Result) -> float:
    score = result[trial.experiment.schedule.monitor]
    return float("-inf") if score is None else score
