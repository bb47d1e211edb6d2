from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from sstricks.experiments.runs.progress import clock, shown


def print_results(console: Console, results: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of results on the test split.

    Args:
        console: where to print.
        results: the content of some runs' `result.json`, all on the same data.
    """
    first = results[0]
    table = Table(title=f"ListOps: test split, {first['test_examples']} expressions")
    table.add_column("model")
    for heading in ("accuracy", "precision", "recall", "steps", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        table.add_row(
            ", ".join(filter(None, (result["model"], result["edges"], result["utility"]))),
            *(shown(result[f"test/{name}"], "{:.1%}") for name in ("accuracy", "edge_precision", "edge_recall")),
            str(result["steps"]),
            clock(result["seconds"]),
        )
    console.print(table)
    console.print(
        f"Preset {first['preset']} ({first['epochs']:g} epochs over {first['train_share']:.0%} of "
        f"{first['train_examples']} training expressions), seed {first['seed']}, one run each. Precision and recall "
        "are of directed edges from operators to operands, without edges from or to closing brackets; an undirected "
        "edge counts as two directed ones.",
        highlight=False,
    )
