"""The paper's figures, spot by spot and by what must hold of all; the bootstrap of a model selection."""

import csv
from fractions import Fraction
from importlib import resources
from itertools import product

import numpy as np
import pytest

from recipes.tables.made_up import l2x_result, listops_result, nri_result
from sstricks.recipes.harness.commands import recipe_class
from sstricks.recipes.table import RESAMPLES, published, rank_by_score, selected_ranks, selection_error


def looked_up(experiment, result):
    recipe = recipe_class(experiment)
    found = published(recipe, recipe.layout(), result)
    return found and (found.table, *(found.show(metric.name) for metric in recipe.layout().metrics))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"edges": "independent"}, ("Table 1", "−1370 ± 20", "48 ± 2", "93 ± 1")),
        ({"edges": "top-k", "num_frames": 20}, ("Table 1", "−1700 ± 320", "98 ± 6", "98 ± 6")),
        ({"edges": "spanning-tree", "num_frames": 20}, ("Table 1", "−1280 ± 10", "99 ± 1", "99 ± 1")),
        ({"edges": "independent", "estimator": "nvil"}, ("Table 7", "−2100 ± 50", "26 ± 1", "64 ± 3")),
        ({"edges": "top-k", "estimator": "reinforce"}, ("Table 7", "−2560 ± 0", "20 ± 0", "20 ± 0")),
        ({"num_frames": 30}, None),
    ],
)
def test_nri(changes, expected):
    assert looked_up("nri", nri_result(**changes)) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (("lstm", None, None), ("Table 2", "92.1 ± 0.2", "–", "–")),
        (("gnn", "ground-truth", None), ("Table 2", "98.1 ± 0.1", "100", "100")),
        (("gnn", "arborescence", "negative-exponential"), ("Table 2", "71.5 ± 1.4", "23.2 ± 10.2", "20.0 ± 6.0")),
        (("gnn", "arborescence", "gumbel"), ("Table 2", "95.0 ± 3.0", "75.5 ± 7.0", "71.9 ± 12.4")),
        (("gnn", "independent-directed", "gumbel"), ("Table 2", "90.1 ± 0.5", "13.0 ± 2.0", "56.4 ± 6.7")),
        (("gnn", "spanning-tree", "normal"), None),
    ],
)
def test_listops(kind, expected):
    model, edges, utility = kind
    assert looked_up("listops", listops_result(network=model, edges=edges, utility=utility)) == expected


@pytest.mark.parametrize(
    ("aspect", "encoder", "relaxation", "k", "expected"),
    [
        ("aroma", "simple", "corr-top-k", 5, ("Table 3", "2.9 ± 0.1", "63.1 ± 5.3")),
        ("aroma", "complex", "ef-top-k", 15, ("Table 3", "2.2 ± 0.1", "44.9 ± 0.9")),
        ("appearance", "simple", "bin", 5, ("Table 4", "3.0 ± 0.1", "54.5 ± 5.6")),
        ("palate", "complex", "l2x", 10, ("Table 5", "2.8 ± 0.1", "40.8 ± 0.6")),
        ("taste", "complex", "corr-top-k", 15, ("Table 6", "2.1 ± 0.1", "45.1 ± 2.0")),
        ("taste", "complex", "corr-top-k", 20, None),
    ],
)
def test_l2x_on_the_papers_data(aspect, encoder, relaxation, k, expected):
    result = l2x_result(source="beer", aspect=aspect, encoder=encoder, relaxation=relaxation, k=k)
    assert looked_up("l2x", result) == expected


def test_l2x_on_other_data_is_marked():
    layout = recipe_class("l2x").layout()
    for source, other in (("hotels", True), ("beer", False)):
        facts = l2x_result(source=source, aspect="aroma")
        found = published(recipe_class("l2x"), layout, facts)
        assert found is not None
        assert found.table == "Table 3"
        assert layout.other_data(facts) == other
        assert ("OTHER DATA" in layout.caution(facts)) == other


@pytest.mark.parametrize(("experiment", "count"), [("nri", 12), ("listops", 8), ("l2x", 4 * 2 * 7 * 3)])
def test_every_cell_is_there_once_and_names_its_table(experiment, count):
    file = resources.files("sstricks.recipes").joinpath("paper", f"{experiment}.csv")
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == count
    cells = {tuple(value for name, value in row.items() if "/" not in name) for row in rows}
    assert len(cells) == count
    metrics = {metric.name for metric in recipe_class(experiment).layout().metrics}
    for row in rows:
        assert row["table"].startswith("Table ")
        assert {name.removeprefix("± ") for name in row if "/" in name} == metrics
        for name, value in row.items():
            if "precision" in name or "recall" in name or "accuracy" in name:
                assert value == "" or 0 <= float(value) <= 100


def law(n):
    """P(the best-ranked of n draws from n has rank r), r from 1."""
    return [Fraction((n - r + 1) ** n - (n - r) ** n, n**n) for r in range(1, n + 1)]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_law_is_that_of_all_equally_likely_resamples(n):
    best = [min(draws) for draws in product(range(n), repeat=n)]
    assert law(n) == [Fraction(best.count(r), n**n) for r in range(n)]


@pytest.mark.parametrize("n", [1, 2, 3, 6, 20, 25, 100])
def test_counts_follow_the_law(n):
    counts = selected_ranks(n)
    assert counts.sum() == RESAMPLES == 100_000
    assert counts.shape == (n,)
    for count, p in zip(counts, map(float, law(n)), strict=True):
        deviation = (RESAMPLES * p * (1 - p)) ** 0.5
        assert abs(count - RESAMPLES * p) <= 5 * deviation + 1e-9


@pytest.mark.parametrize("n", [2, 3, 6, 20])
def test_the_error_is_the_standard_deviation_of_the_selected_value(n):
    values = np.random.default_rng(n).normal(size=n) * 100
    probabilities = np.array([float(p) for p in law(n)])
    mean = probabilities @ values
    exact = (probabilities @ (values - mean) ** 2) ** 0.5
    assert selection_error(values, selected_ranks(n)) == pytest.approx(exact, rel=0.02)


def test_two_runs_by_hand():
    """Both draws miss the better run with probability 1/4: the value is 10 with 3/4, else 30."""
    assert selection_error([10.0, 30.0], selected_ranks(2)) == pytest.approx(20 * (3 / 16) ** 0.5, rel=0.01)


def test_it_is_what_the_paper_describes_done_literally():
    rng = np.random.default_rng(7)
    valid, test = rng.normal(size=5), rng.normal(size=5)
    selected = []
    for _ in range(20_000):
        drawn = rng.choice(5, size=5, replace=True)
        selected.append(test[drawn[np.argmax(valid[drawn])]])
    ours = selection_error(test[rank_by_score(list(valid))], selected_ranks(5))
    assert ours == pytest.approx(np.std(selected), rel=0.05)


def test_it_is_reproducible_and_depends_on_the_seed():
    assert (selected_ranks(8) == selected_ranks(8)).all()
    assert (selected_ranks(8) != selected_ranks(8, seed=1)).any()


def test_resamples_that_do_not_fill_the_last_part_are_counted():
    assert selected_ranks(3, resamples=12_345).sum() == 12_345


def test_one_run_has_no_spread():
    assert selection_error([3.0], selected_ranks(1)) == 0.0


def test_ranking():
    assert rank_by_score([-5.0, -1.0, -3.0, -1.0]).tolist() == [1, 3, 2, 0]
