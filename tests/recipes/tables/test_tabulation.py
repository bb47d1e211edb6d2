"""Selection on validation, places in the paper's tables, and what is kept apart."""

import math

import pytest

from recipes.tables.made_up import l2x_result, listops_result, nri_result, unfinished
from sstricks.recipes.harness.commands import recipe_class
from sstricks.recipes.table import Record, frame_of, notes_of, tabulate


def tables_of(*results, paper=False):
    return tabulate(recipe_class(results[0]["experiment"]), [Record.of(result) for result in results], paper=paper)


def cell_of(*results):
    (table,) = tables_of(*results)
    (cell,) = table.cells.values()
    return cell


def lines_of(table):
    """The rows as text, labels and values."""
    return [tuple(row) for row in frame_of(table).itertuples(index=False)]


def labels_of(table):
    return [row[: len(table.layout.rows)] for row in lines_of(table)]


def blocks_of(table):
    return list(dict.fromkeys(block for block, _ in frame_of(table).columns if block))


def test_validation_selects_and_test_is_reported():
    cell = cell_of(
        nri_result(valid=-1200.0, test=-700.0, precision=0.99, seed=0),
        nri_result(valid=-1000.0, test=-990.0, precision=0.5, seed=1),
        nri_result(valid=-1100.0, test=-800.0, precision=0.9, seed=2),
    )
    assert [record.facts["seed"] for record in cell.ranked] == [1, 2, 0]
    mean = (19 * 990 + 7 * 800 + 700) / 27  # P(rank) = 19/27, 7/27, 1/27
    error = math.sqrt((19 * 990**2 + 7 * 800**2 + 700**2) / 27 - mean**2)
    assert cell.estimates["test/elbo"] == (-990.0, pytest.approx(error, rel=0.01))
    assert cell.estimates["test/edge_precision"][0] == 0.5
    cell = cell_of(l2x_result(0.4, mse=0.018, seed=0), l2x_result(0.6, mse=0.021, seed=1))
    assert cell.estimates["test/mse"][0] == pytest.approx(0.021)


@pytest.mark.parametrize("score", [None, math.nan, -math.inf])
def test_diverged_and_unfinished_runs_are_counted_but_not_selected(score):
    config = unfinished(nri_result(seed=7))
    lost = nri_result(valid=score, test=0.0, seed=1)
    results = nri_result(valid=0.0), lost, config, {**config, "seed": 8, "diverged": True}
    cell = cell_of(*results)
    assert (len(cell.ranked), len(cell.diverged), len(cell.unfinished)) == (1, 2, 1)
    (table,) = tables_of(*results)
    assert lines_of(table) == [("Spanning Tree", "−990", "50.0", "25.0")]  # one run has no error
    assert "Left out: 1 run not finished" in notes_of(table)
    assert "2 runs diverged" in notes_of(table)


def test_a_cell_of_unfinished_runs_is_empty():
    (table,) = tables_of(unfinished(nri_result()))
    assert lines_of(table) == [("Spanning Tree", "–", "–", "–")]
    assert "runs per cell: 0. No run has come to its end yet." in notes_of(table)


@pytest.mark.parametrize(("missing", "shown"), [(0.5, "–"), (0.4, "50.0")])
def test_a_missing_metric_is_a_dash_and_one_missing_in_part_has_no_error(missing, shown):
    results = [l2x_result(valid, seed=int(10 * valid)) for valid in (0.4, 0.5)]
    (table,) = tables_of(*results, l2x_result(missing + 0.01, precision=None))
    assert lines_of(table)[0][-1] == shown


def test_nri_has_the_layout_of_table_1_and_table_7():
    first, seventh, longer = tables_of(
        *(
            nri_result(edges=edges, estimator=estimator, num_frames=frames)
            for edges in ("spanning-tree", "independent", "top-k")
            for estimator in ("nvil", "reinforce", "sst")
            for frames in (20, 10)
        )
    )
    assert first.title == "Graph layout: stochastic softmax tricks"
    assert seventh.title == "Graph layout: score-function estimators, T = 10"
    assert longer.title == "Graph layout: score-function estimators, T = 20"
    columns = [(block, name) for block in ("T = 10", "T = 20") for name in ("ELBO", "Edge Prec.", "Edge Rec.")]
    assert list(frame_of(first).columns) == [("", "Edge Distribution"), *columns]
    assert labels_of(first) == [("Indep. Directed Edges",), ("E.F. Ent. Top |V| − 1",), ("Spanning Tree",)]
    assert labels_of(seventh) == [("Indep. Directed Edges",), ("Top |V| − 1",), ("Spanning Tree",)]
    assert blocks_of(seventh) == ["REINFORCE", "NVIL"]


def test_listops_has_the_layout_of_table_2():
    kinds = [
        ("gnn", "ground-truth", None),
        *(("gnn", "arborescence", utility) for utility in ("gumbel", "normal", "negative-exponential")),
        *(("gnn", edges, "gumbel") for edges in ("independent-directed", "spanning-tree", "independent-undirected")),
        ("gnn", "spanning-tree", "normal"),
        ("lstm", None, None),
    ]
    (table,) = tables_of(*(listops_result(network=model, edges=e, utility=utility) for model, e, utility in kinds))
    assert labels_of(table) == [
        ("LSTM", "–"),
        ("GNN on latent graph", "Indep. Undirected Edges"),
        ("", "Spanning Tree, Gaussian"),
        ("", "Spanning Tree"),
        ("GNN on latent digraph", "Indep. Directed Edges"),
        ("", "Arborescence, Neg. Exp."),
        ("", "Arborescence, Gaussian"),
        ("", "Arborescence, Gumbel"),
        ("GNN", "Ground Truth Edges"),
    ]


def test_l2x_has_a_table_for_each_aspect():
    rows = [("corr-top-k", "finite-difference"), ("corr-top-k", "exact"), ("l2x", "exact")]
    tables = tables_of(
        *(
            l2x_result(aspect=aspect, encoder=encoder, relaxation=relaxation, gradient=gradient, k=k)
            for aspect in ("service", "rooms")
            for encoder in ("complex", "simple")
            for relaxation, gradient in rows
            for k in (15, 5, 10)
        )
    )
    assert [table.title.rpartition(": ")[2] for table in tables] == [
        "hotel reviews, aspect rooms",
        "hotel reviews, aspect service",
    ]
    assert blocks_of(tables[0]) == ["k = 5", "k = 10", "k = 15"]
    below = [("", "Corr. Top k"), ("", "Corr. Top k, fin. diff.")]
    assert labels_of(tables[0]) == [("Simple", "L2X"), *below, ("Complex", "L2X"), *below]


@pytest.mark.parametrize(
    ("make", "change"),
    [
        *((nri_result, {name: value}) for name, value in (("preset", "quick"), ("data_seed", 1), ("steps", 100))),
        (nri_result, {"graph_nodes": 5}),
        (listops_result, {"train_share": 0.2}),
        (l2x_result, {"data_digest": "other"}),
        (l2x_result, {"embeddings": "glove"}),
    ],
)
def test_incomparable_runs_are_kept_apart_and_the_difference_is_said(make, change):
    first, second = tables_of(make(seed=0), make(seed=1, **change))
    assert first.title == second.title
    ((name, value),) = change.items()
    assert {table.distinction[name] for table in (first, second)} == {value, make()[name]}
    for table in (first, second):
        assert f"unlike in other tables of this title: {name} = {table.distinction[name]}" in notes_of(table)


@pytest.mark.parametrize(
    "change", [{"lr": 0.5}, {"temperature": 9.0}, {"seed": 5}, {"restart": 3}, {"weight_decay": 0.3}]
)
def test_what_a_search_varies_is_of_one_cell(change):
    assert len(cell_of(nri_result(), nri_result(**change)).ranked) == 2


def test_results_of_earlier_versions_are_read():
    result = nri_result(hidden=256, restarts=4)
    names = {"graph_nodes": "num_nodes", "restarts": "trials", "restart": "trial"}
    old = {names.get(name, name): value for name, value in {**result, "seed": 1}.items() if name != "hidden"}
    assert "num_nodes" in old
    assert len(cell_of(result, old).ranked) == 2


def test_runs_a_cell_are_a_column_if_they_differ():
    (table,) = tables_of(nri_result(seed=0), nri_result(seed=1), nri_result(edges="top-k", seed=0), paper=True)
    frame, notes = frame_of(table), notes_of(table)
    assert frame.columns[-1] == ("T = 10", "Runs")
    assert list(zip(frame.index, [row[-1] for row in lines_of(table)], strict=True)) == [
        *((True, "1"), (False, ""), (True, "2"), (False, ""))
    ]
    assert "runs per cell: 1 to 2; seeds: 0–1" in notes
    assert "Cells with one run have no standard error." in notes


def test_seeds_are_listed_or_counted():
    assert "seeds: 0–2, 5." in notes_of(*tables_of(*(nri_result(seed=seed) for seed in (5, 2, 0, 1))))
    many = [nri_result(seed=1_000_003 * seed) for seed in range(1, 20)]
    assert "seeds: 19 different ones" in notes_of(*tables_of(*many))


def test_flipped_runs_have_a_row_of_their_own_with_its_chance():
    (table,) = tables_of(nri_result(seed=0), nri_result(valid=-10.0, test=-11.0, seed=1, flipped=1.0))
    assert lines_of(table) == [
        ("Spanning Tree", "−990", "50.0", "25.0"),
        ("Spanning Tree (flipped; chance 20, 80)", "−11", "50.0", "25.0"),
    ]


def test_the_papers_figures_stand_beside_comparable_runs_only():
    (table,) = tables_of(nri_result(num_frames=30), paper=True)
    assert len(lines_of(table)) == 1
    assert "paper" not in notes_of(table)
    (table,) = tables_of(nri_result(num_frames=30), nri_result(num_frames=10), paper=True)
    assert lines_of(table)[1] == ("paper, Table 1", "−1080 ± 110", "91 ± 3", "91 ± 3", "–", "–", "–")
    assert "Table 1 of Paulus et al. (2020), 20 runs of 50,000 steps" in notes_of(table)
