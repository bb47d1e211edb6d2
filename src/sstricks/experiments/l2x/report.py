from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from sstricks.experiments.l2x.corpus import SOURCES
from sstricks.experiments.l2x.reference import Reference
from sstricks.experiments.runs.progress import clock, shown


def print_results(console: Console, results: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of results on the test split, with chance below.

    Args:
        console: where to print.
        results: the content of some runs' `result.json`, all on the same data and with the same k.
    """
    first = results[0]
    table = Table(title=f"{SOURCES[first['source']].capitalize()}, aspect {first['aspect']}: test split")
    for heading in ("relaxation", "encoder"):
        table.add_column(heading, no_wrap=True)
    for heading in ("k", "MSE×100", "precision", "runs", "steps", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        table.add_row(
            result["relaxation"],
            result["encoder"],
            str(result["k"]),
            shown(result["test/mse"], "{:.2f}", 100),
            shown(result["test/subset_precision"], "{:.1%}"),
            shown(result["test/run_length"], "{:.2f}"),
            str(result["steps"]),
            clock(result["seconds"]),
        )
    table.add_section()
    precision = shown(first["chance/subset_precision"], "{:.1%}")
    runs = shown(first["chance/run_length"], "{:.2f}")
    table.add_row(*("words at random", "", str(first["k"]), ""), precision, runs, style="dim")
    console.print(table)
    vectors = "GloVe vectors" if first["embeddings"] == "glove" else "random vectors"
    console.print(
        f"Preset {first['preset']}, seed {first['seed']}, one run each, {first['train_reviews']} training reviews, "
        f"words start from {vectors}. Precision: the share of selected words in sentences about the aspect. Runs: the "
        "mean length of runs of selected words. Of the subset that the model prefers; of subsets that it draws "
        f"(first row): MSE×100 {shown(first['test/sampled_mse'], '{:.2f}', 100)}, precision "
        f"{shown(first['test/sampled_subset_precision'], '{:.1%}')}, runs "
        f"{shown(first['test/sampled_run_length'], '{:.2f}')}.",
        highlight=False,
    )


def print_reference(console: Console, found: Reference, k: int) -> None:
    """Print what simple predictors score.

    Args:
        console: where to print.
        found: the scores.
        k: words that count for the precision.
    """
    table = Table(title="Without a model of subsets: test split")
    table.add_column("predictor", no_wrap=True)
    for heading in ("MSE×100", f"precision of {k}"):
        table.add_column(heading, justify="right", no_wrap=True)
    for predictor, mse, precision, note in (
        ("mean training rating", found.constant_mse, found.chance_precision, " (chance)"),
        ("ridge on word indicators", found.ridge_mse, found.ridge_precision, ""),
    ):
        table.add_row(predictor, f"{100 * mse:.2f}", shown(precision, f"{{:.1%}}{note}"))
    console.print(table)
    if found.chance_precision is None:
        console.print("There is no precision, for want of annotations: no test review has any.", highlight=False)
    console.print(
        f"The ridge regression has penalty {found.penalty:g}, chosen by validation, where its MSE×100 is "
        f"{100 * found.ridge_valid_mse:.2f}; its precision is that of the {k} words of a review that weigh most.",
        highlight=False,
    )
