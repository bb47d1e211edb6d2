"""The paper's figures, spot by spot and by what must hold of all."""

import csv
from importlib import resources

import pytest
from made_up import l2x_result, listops_result, nri_result

from sstricks.experiments.tables.descriptions import DESCRIPTIONS
from sstricks.experiments.tables.published import published


def looked_up(experiment, result):
    description = DESCRIPTIONS[experiment]
    found = published(description, description.completed(result))
    return found and (found.table, *(found.show(metric.name) for metric in description.metrics))


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
        (("lstm", None, None), ("Table 2", "92.1 ± 0.2", None, None)),
        (("gnn", "ground-truth", None), ("Table 2", "98.1 ± 0.1", "100", "100")),
        (("gnn", "arborescence", "negative-exponential"), ("Table 2", "71.5 ± 1.4", "23.2 ± 10.2", "20.0 ± 6.0")),
        (("gnn", "arborescence", "gumbel"), ("Table 2", "95.0 ± 3.0", "75.5 ± 7.0", "71.9 ± 12.4")),
        (("gnn", "independent-directed", "gumbel"), ("Table 2", "90.1 ± 0.5", "13.0 ± 2.0", "56.4 ± 6.7")),
        (("gnn", "spanning-tree", "normal"), None),
    ],
)
def test_listops(kind, expected):
    model, edges, utility = kind
    assert looked_up("listops", listops_result(model=model, edges=edges, utility=utility)) == expected


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
    description = DESCRIPTIONS["l2x"]
    for source, other in (("hotels", True), ("beer", False)):
        facts = description.completed(l2x_result(source=source, aspect="aroma"))
        found = published(description, facts)
        assert found is not None
        assert found.table == "Table 3"
        assert found.other_data == other
        assert ("OTHER DATA" in description.caution(facts)) == other


@pytest.mark.parametrize(("experiment", "count"), [("nri", 12), ("listops", 8), ("l2x", 4 * 2 * 7 * 3)])
def test_every_cell_is_there_once_and_names_its_table(experiment, count):
    file = resources.files("sstricks.experiments.tables").joinpath("paper", f"{experiment}.csv")
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == count
    cells = {tuple(value for name, value in row.items() if "/" not in name) for row in rows}
    assert len(cells) == count
    metrics = {metric.name for metric in DESCRIPTIONS[experiment].metrics}
    for row in rows:
        assert row["table"].startswith("Table ")
        assert {name.removeprefix("± ") for name in row if "/" in name} == metrics
        for name, value in row.items():
            if "precision" in name or "recall" in name or "accuracy" in name:
                assert value == "" or 0 <= float(value) <= 100
