"""The bootstrap of a selection against enumeration, and the paper's figures."""

import csv
from fractions import Fraction
from importlib import resources
from itertools import product

import numpy as np
import pytest

from recipes.tables.made_up import l2x_result, listops_result, nri_result
from sstricks.recipes.harness.commands import recipe_class
from sstricks.recipes.table import RESAMPLES, published, rank_by_score, selected_ranks, selection_error


def law(n):
    """P(the best-ranked of n draws from n has rank r), r from 1."""
    return [Fraction((n - r + 1) ** n - (n - r) ** n, n**n) for r in range(1, n + 1)]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_law_is_that_of_all_equally_likely_resamples(n):
    best = [min(draws) for draws in product(range(n), repeat=n)]
    assert law(n) == [Fraction(best.count(r), n**n) for r in range(n)]


@pytest.mark.parametrize("n", [1, 2, 3, 6, 20, 25, 100])
def test_counts_and_errors_follow_the_law(n):
    counts, p = selected_ranks(n), np.array([float(each) for each in law(n)])
    assert counts.sum() == RESAMPLES == 100_000
    assert (abs(counts - RESAMPLES * p) <= 5 * (RESAMPLES * p * (1 - p)) ** 0.5 + 1e-9).all()
    values = np.random.default_rng(n).normal(size=n) * 100
    exact = (p @ (values - p @ values) ** 2) ** 0.5
    assert selection_error(values, counts) == pytest.approx(exact, rel=0.02)


def test_errors_are_what_the_paper_describes_done_literally():
    rng = np.random.default_rng(7)
    valid, test = rng.normal(size=5), rng.normal(size=5)
    draws = [rng.choice(5, size=5) for _ in range(20_000)]
    selected = [test[drawn[np.argmax(valid[drawn])]] for drawn in draws]
    ours = selection_error(test[rank_by_score(list(valid))], selected_ranks(5))
    assert ours == pytest.approx(np.std(selected), rel=0.05)


def test_draws_depend_on_the_seed_only():
    assert (selected_ranks(8) == selected_ranks.__wrapped__(8)).all()
    assert (selected_ranks(8) != selected_ranks(8, seed=1)).any()
    assert selected_ranks(3, resamples=12_345).sum() == 12_345


def test_the_first_of_equals_ranks_first_and_runs_without_a_score_last():
    assert rank_by_score([-5.0, None, -1.0, -3.0, -1.0]).tolist() == [2, 4, 3, 0, 1]


def listops(network, edges, utility):
    return listops_result(network=network, edges=edges, utility=utility)


def beer(aspect, encoder, relaxation, k):
    return l2x_result(source="beer", aspect=aspect, encoder=encoder, relaxation=relaxation, k=k)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (nri_result(edges="independent"), ("Table 1", "-1370", "20", "48", "2", "93", "1")),
        (nri_result(edges="top-k", num_frames=20), ("Table 1", "-1700", "320", "98", "6", "98", "6")),
        (nri_result(num_frames=20), ("Table 1", "-1280", "10", "99", "1", "99", "1")),
        (nri_result(edges="independent", estimator="nvil"), ("Table 7", "-2100", "50", "26", "1", "64", "3")),
        (nri_result(edges="top-k", estimator="reinforce"), ("Table 7", "-2560", "0", "20", "0", "20", "0")),
        (listops("lstm", None, None), ("Table 2", "92.1", "0.2")),
        (listops("gnn", "ground-truth", None), ("Table 2", "98.1", "0.1", "100", "100")),
        (
            listops("gnn", "arborescence", "negative-exponential"),
            ("Table 2", "71.5", "1.4", "23.2", "10.2", "20.0", "6.0"),
        ),
        (listops("gnn", "arborescence", "gumbel"), ("Table 2", "95.0", "3.0", "75.5", "7.0", "71.9", "12.4")),
        (listops("gnn", "independent-directed", "gumbel"), ("Table 2", "90.1", "0.5", "13.0", "2.0", "56.4", "6.7")),
        (listops("gnn", "spanning-tree", "normal"), ()),
        (beer("aroma", "simple", "corr-top-k", 5), ("Table 3", "2.9", "0.1", "63.1", "5.3")),
        (beer("aroma", "complex", "ef-top-k", 15), ("Table 3", "2.2", "0.1", "44.9", "0.9")),
        (beer("appearance", "simple", "bin", 5), ("Table 4", "3.0", "0.1", "54.5", "5.6")),
        (beer("palate", "complex", "l2x", 10), ("Table 5", "2.8", "0.1", "40.8", "0.6")),
        (beer("taste", "complex", "corr-top-k", 15), ("Table 6", "2.1", "0.1", "45.1", "2.0")),
        (beer("taste", "complex", "corr-top-k", 20), ()),
        (l2x_result(encoder="simple"), ("Table 3", "2.5", "0.1", "53.1", "0.9")),  # hotels, beside aroma
        *((nri_result(**other), ()) for other in ({"graph_nodes": 6}, {"num_frames": 30}, {"steps": 120})),
    ],
)
def test_the_papers_figures(result, expected):
    recipe = recipe_class(result["experiment"])
    found = published(recipe, recipe.layout(), result)
    metrics = [name for metric in recipe.layout().metrics for name in (metric.name, f"± {metric.name}")]
    assert tuple(found[name] for name in ("table", *metrics) if name in found) == expected


@pytest.mark.parametrize(("experiment", "count"), [("nri", 12), ("listops", 8), ("l2x", 4 * 2 * 7 * 3)])
def test_every_cell_of_the_paper_is_there_once(experiment, count):
    file = resources.files("sstricks.recipes").joinpath("paper", f"{experiment}.csv")
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    cells = {tuple(value for name, value in row.items() if "/" not in name) for row in rows}
    assert len(rows) == len(cells) == count
    metrics = {metric.name for metric in recipe_class(experiment).layout().metrics}
    for row in rows:
        assert row["table"].startswith("Table ")
        assert {name.removeprefix("± ") for name in row if "/" in name} == metrics
        shares = [row[name] for name in row if name.endswith(("precision", "recall", "accuracy"))]
        assert all(value == "" or 0 <= float(value) <= 100 for value in shares)
