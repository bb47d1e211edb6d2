"""Selection on validation, places in the paper's tables, and what is kept apart."""

import math

import pytest

from recipes.tables.made_up import l2x_result, listops_result, nri_result
from sstricks.recipes.harness.commands import recipe_class
from sstricks.recipes.harness.files import RunError
from sstricks.recipes.table import Record, grid_of, tabulate


def tables_of(experiment, results):
    return tabulate(recipe_class(experiment), [Record.of(result) for result in results])


def lines_of(table, *, paper=False):
    """Labels and values of each row."""
    grid = grid_of(table, paper=paper)
    rows = [tuple(row) for row in grid.frame.itertuples(index=False)]
    return [(row[: grid.labels], row[grid.labels :]) for row in rows]


def texts(table):
    return {(tuple(label.text for label in row), block.text): cell for (row, block), cell in table.cells.items()}


def test_validation_selects_and_test_is_reported():
    results = [
        nri_result(valid=-1200.0, test=-700.0, precision=0.99, seed=0),
        nri_result(valid=-1000.0, test=-990.0, precision=0.5, seed=1),
        nri_result(valid=-1100.0, test=-800.0, precision=0.9, seed=2),
    ]
    (table,) = tables_of("nri", results)
    cell = texts(table)[("Spanning Tree",), "T = 10"]
    assert [record.facts["seed"] for record in cell.ranked] == [1, 2, 0]
    assert cell.estimates["test/elbo"].value == -990.0
    assert cell.estimates["test/edge_precision"].value == 50.0
    # P(rank) = 19/27, 7/27, 1/27
    mean = (19 * 990 + 7 * 800 + 700) / 27
    error = math.sqrt((19 * 990**2 + 7 * 800**2 + 700**2) / 27 - mean**2)
    assert cell.estimates["test/elbo"].error == pytest.approx(error, rel=0.01)


def test_the_lowest_error_in_validation_is_the_best_of_l2x():
    results = [l2x_result(0.4, mse=0.018, seed=0), l2x_result(0.6, mse=0.021, seed=1)]
    (table,) = tables_of("l2x", results)
    (cell,) = table.cells.values()
    assert cell.estimates["test/mse"].value == pytest.approx(2.1)


def test_one_run_has_no_error():
    (table,) = tables_of("nri", [nri_result()])
    (cell,) = table.cells.values()
    assert cell.estimates["test/elbo"].error is None


@pytest.mark.parametrize("score", [None, math.nan, -math.inf])
def test_diverged_and_unfinished_runs_are_counted_but_not_selected(score):
    config = {name: value for name, value in nri_result(seed=7).items() if "/" not in name}
    records = [
        Record.of(nri_result(valid=-1000.0)),
        Record.of(nri_result(valid=score, test=0.0, seed=1)),
        Record.of(config),
        Record.of({**config, "seed": 8}, diverged=True),
    ]
    (table,) = tabulate(recipe_class("nri"), records)
    (cell,) = table.cells.values()
    assert (len(cell.ranked), len(cell.diverged), len(cell.unfinished)) == (1, 2, 1)
    notes = grid_of(table, paper=False).notes
    assert "Left out: 1 run not finished" in notes
    assert "2 runs diverged" in notes


def test_a_cell_of_unfinished_runs_is_empty():
    config = {name: value for name, value in nri_result().items() if "/" not in name}
    (table,) = tabulate(recipe_class("nri"), [Record.of(config)])
    assert lines_of(table) == [(("Spanning Tree",), ("–", "–", "–"))]
    notes = grid_of(table, paper=False).notes
    assert "runs per cell: 0" in notes
    assert "No run has come to its end yet." in notes


def test_a_metric_that_is_missing_is_a_dash_and_one_missing_in_part_has_no_error():
    results = [l2x_result(0.5, precision=None, seed=0), l2x_result(0.4, seed=1)]
    (table,) = tables_of("l2x", results)
    assert lines_of(table)[0][1][1] == "–"
    (table,) = tables_of("l2x", [l2x_result(0.5, seed=0), l2x_result(0.4, precision=None, seed=1)])
    assert lines_of(table)[0][1][1] == "50.0"


def test_nri_has_the_layout_of_table_1_and_table_7():
    results = [
        nri_result(edges=edges, estimator=estimator, num_frames=frames, seed=0)
        for edges in ("spanning-tree", "independent", "top-k")
        for estimator in ("nvil", "reinforce", "sst")
        for frames in (20, 10)
    ]
    tables = tables_of("nri", results)
    assert [table.title for table in tables] == [
        "Graph layout: stochastic softmax tricks",
        "Graph layout: score-function estimators, T = 10",
        "Graph layout: score-function estimators, T = 20",
    ]
    columns = list(grid_of(tables[0], paper=False).frame.columns)[1:]
    assert columns == [(b, name) for b in ("T = 10", "T = 20") for name in ("ELBO", "Edge Prec.", "Edge Rec.")]
    assert [labels[0] for labels, _ in lines_of(tables[0])] == [
        "Indep. Directed Edges",
        "E.F. Ent. Top |V| − 1",
        "Spanning Tree",
    ]
    assert [block.text for block in tables[1].blocks] == ["REINFORCE", "NVIL"]
    assert [labels[0] for labels, _ in lines_of(tables[1])] == ["Indep. Directed Edges", "Top |V| − 1", "Spanning Tree"]


def test_listops_has_the_layout_of_table_2():
    kinds = [
        ("gnn", "ground-truth", None),
        *(("gnn", "arborescence", utility) for utility in ("gumbel", "normal", "negative-exponential")),
        *(("gnn", edges, "gumbel") for edges in ("independent-directed", "spanning-tree", "independent-undirected")),
        ("lstm", None, None),
    ]
    results = [listops_result(network=model, edges=edges, utility=utility) for model, edges, utility in kinds]
    (table,) = tables_of("listops", results)
    assert [labels for labels, _ in lines_of(table)] == [
        ("LSTM", "–"),
        ("GNN on latent graph", "Indep. Undirected Edges"),
        ("", "Spanning Tree"),
        ("GNN on latent digraph", "Indep. Directed Edges"),
        ("", "Arborescence, Neg. Exp."),
        ("", "Arborescence, Gaussian"),
        ("", "Arborescence, Gumbel"),
        ("GNN", "Ground Truth Edges"),
    ]


def test_other_utilities_of_other_edges_have_rows_of_their_own():
    results = [listops_result(edges="spanning-tree", utility=utility) for utility in ("gumbel", "normal")]
    (table,) = tables_of("listops", results)
    assert sorted(row[1] for row, _ in texts(table)) == ["Spanning Tree", "Spanning Tree, Gaussian"]


def test_l2x_has_a_table_for_each_aspect():
    results = [
        l2x_result(aspect=aspect, encoder=encoder, relaxation=relaxation, k=k)
        for aspect in ("service", "rooms")
        for encoder in ("complex", "simple")
        for relaxation in ("corr-top-k", "l2x")
        for k in (15, 5, 10)
    ]
    tables = tables_of("l2x", results)
    assert [table.title for table in tables] == [
        "Learning to explain: hotel reviews, aspect rooms",
        "Learning to explain: hotel reviews, aspect service",
    ]
    assert [block.text for block in tables[0].blocks] == ["k = 5", "k = 10", "k = 15"]
    assert [labels for labels, _ in lines_of(tables[0])] == [
        ("Simple", "L2X"),
        ("", "Corr. Top k"),
        ("Complex", "L2X"),
        ("", "Corr. Top k"),
    ]


def test_finite_differences_are_another_row():
    results = [l2x_result(gradient=gradient) for gradient in ("exact", "finite-difference")]
    (table,) = tables_of("l2x", results)
    assert sorted(row[1] for row, _ in texts(table)) == ["Corr. Top k", "Corr. Top k, fin. diff."]


@pytest.mark.parametrize(
    ("experiment", "make", "change"),
    [
        ("nri", nri_result, {"preset": "quick"}),
        ("nri", nri_result, {"data_seed": 1}),
        ("nri", nri_result, {"steps": 100}),
        ("nri", nri_result, {"graph_nodes": 5}),
        ("listops", listops_result, {"train_share": 0.2}),
        ("l2x", l2x_result, {"data_digest": "other"}),
        ("l2x", l2x_result, {"embeddings": "glove"}),
    ],
)
def test_what_is_not_comparable_is_kept_apart_and_the_difference_is_said(experiment, make, change):
    first, second = tables_of(experiment, [make(seed=0), make(seed=1, **change)])
    assert first.title == second.title
    ((name, value),) = change.items()
    assert {table.distinction[name] for table in (first, second)} == {value, make()[name]}
    for table in (first, second):
        assert len(table.cells) == 1
        assert (
            f"unlike in other tables of this title: {name} = {table.distinction[name]}"
            in grid_of(table, paper=False).notes
        )


@pytest.mark.parametrize(
    "change", [{"lr": 0.5}, {"temperature": 9.0}, {"seed": 5}, {"restart": 3}, {"weight_decay": 0.3}]
)
def test_what_a_search_varies_is_of_one_cell(change):
    (table,) = tables_of("nri", [nri_result(), nri_result(**change)])
    (cell,) = table.cells.values()
    assert len(cell.ranked) == 2


def test_results_of_before_a_field_was_introduced_have_its_default():
    old = {name: value for name, value in nri_result(seed=1, hidden=256).items() if name != "hidden"}
    (table,) = tables_of("nri", [nri_result(hidden=256), old])
    assert len(table.cells) == 1


def test_an_unknown_value_is_named():
    with pytest.raises(RunError, match="'hexagons'"):
        tables_of("nri", [nri_result(edges="hexagons")])


def test_runs_a_cell_are_a_column_if_they_differ():
    results = [nri_result(seed=0), nri_result(seed=1), nri_result(edges="top-k", seed=0)]
    (table,) = tables_of("nri", results)
    grid = grid_of(table, paper=True)
    assert grid.frame.columns[-1] == ("T = 10", "Runs")
    assert [values[-1] for _, values in lines_of(table, paper=True)] == ["1", "", "2", ""]
    assert grid.ours == [True, False, True, False]
    assert "runs per cell: 1 to 2; seeds: 0–1" in grid.notes
    assert "Cells with one run have no standard error." in grid.notes


def test_many_seeds_are_counted():
    (table,) = tables_of("nri", [nri_result(seed=1_000_003 * seed) for seed in range(1, 20)])
    assert "seeds: 19 different ones" in grid_of(table, paper=False).notes


def test_flipped_runs_have_a_row_of_their_own_with_its_chance():
    flipped = {**nri_result(valid=-10.0, test=-11.0, seed=1), "test/complemented": 1.0}
    (table,) = tables_of("nri", [nri_result(seed=0), flipped])
    assert lines_of(table) == [
        (("Spanning Tree",), ("−990", "50.0", "25.0")),
        (("Spanning Tree (flipped; chance 20, 80)",), ("−11", "50.0", "25.0")),
    ]


@pytest.mark.parametrize("changes", [{"graph_nodes": 6}, {"num_frames": 30}, {"steps": 120}])
def test_runs_on_other_data_than_the_papers_have_no_figures_beside_them(changes):
    (table,) = tables_of("nri", [nri_result(**changes)])
    assert len(lines_of(table, paper=True)) == 1
    assert "paper" not in grid_of(table, paper=True).notes


def test_results_of_earlier_versions_are_read():
    new = nri_result()
    names = {"graph_nodes": "num_nodes", "restarts": "trials", "restart": "trial"}
    old = {names.get(name, name): value for name, value in {**new, "restarts": 4, "seed": 1}.items()}
    (table,) = tables_of("nri", [{**new, "restarts": 4}, old])
    (cell,) = table.cells.values()
    assert len(cell.ranked) == 2
