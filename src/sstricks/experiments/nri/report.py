from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from sstricks.experiments.runs.progress import clock, shown


def print_results(console: Console, results: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of results on the test split, with chance below.

    Args:
        console: where to print.
        results: the content of some runs' `result.json`, all on the same data.
    """
    first = results[0]
    table = Table(title=f"Graph layout, {first['num_nodes']} nodes, {first['num_frames']} frames: test split")
    table.add_column("edges", no_wrap=True)
    for heading in ("ELBO", "precision", "recall", "steps", "trials", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        table.add_row(
            result["edges"] if result["estimator"] == "sst" else f"{result['edges']}, {result['estimator']}",
            shown(result["test/elbo"], "{:.0f}"),
            shown(result["test/edge_precision"], "{:.1%}"),
            shown(result["test/edge_recall"], "{:.1%}"),
            str(result["steps"]),
            str(result["trials"]),
            clock(result["seconds"]),
        )
    table.add_section()
    chance = next((result for result in results if result["edges"] != "independent"), first)
    table.add_row(
        "a random tree" if chance["edges"] == "spanning-tree" else "a random graph",
        "",
        shown(chance["chance/edge_precision"], "{:.1%}"),
        shown(chance["chance/edge_recall"], "{:.1%}"),
        style="dim",
    )
    console.print(table)
    nodes = first["num_nodes"]
    console.print(
        f"Preset {first['preset']}, seed {first['seed']}, one run each. ELBO per node in nats, higher is better. "
        "Precision: the share of recovered edges that are true. "
        f"Chance: of the {nodes * (nodes - 1) // 2} pairs of nodes, {nodes - 1} are edges of the true tree, "
        f"and a tree drawn from the prior, in which all pairs are alike, hits one with probability 2/{nodes}.",
        highlight=False,
    )
