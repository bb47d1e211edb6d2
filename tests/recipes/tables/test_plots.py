"""sst plot: what is drawn, told apart and refused; of pictures with models only what needs no training."""

import json
import struct
from dataclasses import replace

import pytest
import torch

import sstricks_cli as cli
from recipes.tables.made_up import l2x_result, listops_result, nri_config, nri_result, run_folder
from sstricks.recipes.harness.commands import recipe_class
from sstricks.recipes.harness.training import Training
from sstricks.recipes.l2x import LearningToExplain
from sstricks.recipes.listops import ListOps
from sstricks.recipes.nri import GraphLayout
from sstricks.recipes.plot import Scale, groups_of
from sstricks.recipes.table import Record, tabulate


def size(path):
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", content[16:24])


def said(capsys):
    captured = capsys.readouterr()
    return " ".join(captured.out.split()), " ".join(captured.err.split())


def with_curve(folder, values, metric="valid/elbo"):
    rows = [{"step": 10 * (i + 1), metric: value} for i, value in enumerate(values)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def runs(tmp_path):
    for seed in range(4):
        edges = ("spanning-tree", "top-k")[seed % 2]
        result = nri_result(valid=-1000.0 - seed, seed=seed, lr=10.0 ** -(2 + seed / 2), edges=edges)
        with_curve(run_folder(tmp_path / "runs" / str(seed), result), [-9e4, None, -1200 + seed, -1000 - seed])
    with_curve(run_folder(tmp_path / "runs" / "unfinished", nri_result(seed=9), finished=False), [-9e4])
    diverged = run_folder(tmp_path / "runs" / "diverged", nri_result(seed=10, lr=1.0), finished=False)
    (diverged / "diverged.json").write_text("{}")
    return tmp_path / "runs"


@pytest.mark.parametrize("picture", ["curves", "parallel"])
@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_pictures_of_made_up_runs(runs, tmp_path, capsys, picture, suffix):
    out = tmp_path / f"picture.{suffix}"
    assert cli.main(["plot", picture, str(runs), "--out", str(out)]) == 0
    assert str(out) in said(capsys)[0]
    if suffix == "png":
        assert min(size(out)) > 600
    else:
        assert out.read_bytes().startswith(b"%PDF" if suffix == "pdf" else b"<?xml")


def test_what_a_parallel_view_and_a_legend_say(runs, tmp_path):
    for picture in ("curves", "parallel"):
        assert cli.main(["plot", picture, str(runs), "--out", str(tmp_path / f"{picture}.svg")]) == 0
    curves, parallel = ((tmp_path / f"{name}.svg").read_text() for name in ("curves", "parallel"))
    for text in ("E.F. Ent. Top |V| − 1 (2 runs)", "Spanning Tree (3 runs)", "Graph layout: learning curves of 5 runs"):
        assert f"<!-- {text} -->" in curves
    for text in (
        "Graph layout: 4 runs by validation ELBO",
        "best: lr 0.01, edges spanning-tree",
        "diverged (1)",
        "edges",
    ):
        assert f"<!-- {text} -->" in parallel


def test_what_results_do_not_repeat_has_no_axis(tmp_path):
    other = {"restart_factor": 4, "restart_steps": 50, "valid_every": 50}
    for seed in range(2):
        run_folder(tmp_path / "runs" / str(seed), nri_result(seed=seed, lr=0.1 + seed, **other))
    diverged = run_folder(tmp_path / "runs" / "d", nri_result(seed=3), config=nri_config(**other), finished=False)
    (diverged / "diverged.json").write_text("{}")
    assert cli.main(["plot", "parallel", str(tmp_path / "runs"), "--out", str(tmp_path / "parallel.svg")]) == 0
    shown = (tmp_path / "parallel.svg").read_text()
    assert "<!-- diverged (1) -->" in shown
    assert "<!-- lr" in shown
    assert "restart" not in shown
    assert "valid every" not in shown


@pytest.mark.parametrize("picture", ["curves", "parallel", "layout"])
def test_results_without_folders(tmp_path, capsys, picture):
    file = tmp_path / "results.json"
    file.write_text(json.dumps([nri_result(seed=seed, lr=0.1 + seed) for seed in range(3)]))
    status = cli.main(["plot", picture, str(file), "--out", str(tmp_path / "picture.png")])
    error = said(capsys)[1]
    assert status == (0 if picture == "parallel" else 2)
    assert ("Results from JSON files have none." in error) == (picture != "parallel")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["curves", "--out", "picture.gif"], "expected one of .png, .pdf, .svg"),
        (["parses", "--out", "picture.png"], "found no runs of listops there, but 6 of nri"),
        (["layout", "--out", "picture.png"], "found no checkpoint"),
    ],
)
def test_refusals(runs, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["plot", arguments[0], str(runs), *arguments[1:]]) == 2
    assert message in said(capsys)[1]


def test_runs_of_several_experiments_are_refused(runs, tmp_path, capsys):
    run_folder(runs / "other", l2x_result())
    assert cli.main(["plot", "curves", str(runs), "--out", str(tmp_path / "picture.png")]) == 2
    assert "found runs of several experiments there, 1 of l2x, 6 of nri" in said(capsys)[1]


def test_a_picture_is_not_overwritten(runs, tmp_path, capsys):
    out = tmp_path / "picture.png"
    out.write_text("mine")
    assert cli.main(["plot", "curves", str(runs), "--out", str(out)]) == 2
    assert "Add --force" in said(capsys)[1]
    assert out.read_text() == "mine"
    assert cli.main(["plot", "curves", str(runs), "--out", str(out), "--force"]) == 0
    assert size(out)


def test_runs_with_nothing_to_compare(tmp_path, capsys):
    run_folder(tmp_path / "a", nri_result(seed=0))
    assert cli.main(["plot", "parallel", str(tmp_path), "--out", str(tmp_path / "p.png")]) == 2
    assert "found 1 finished runs, expected at least 2" in said(capsys)[1]
    run_folder(tmp_path / "b", nri_result(seed=1))
    assert cli.main(["plot", "parallel", str(tmp_path), "--out", str(tmp_path / "p.png")]) == 2
    assert "differ in their seeds only" in said(capsys)[1]


def names_of(experiment, results):
    return [group.name for group in groups(experiment, results)]


def groups(experiment, results):
    return groups_of(tabulate(recipe_class(experiment), [Record.of(result) for result in results]))


def test_names_have_what_tells_groups_apart_and_no_more():
    assert names_of("nri", [nri_result(), nri_result(edges="top-k")]) == ["E.F. Ent. Top |V| − 1", "Spanning Tree"]
    assert names_of("nri", [nri_result(num_frames=frames) for frames in (10, 20)]) == ["T = 10", "T = 20"]
    assert names_of("nri", [nri_result(estimator="nvil"), nri_result()]) == ["T = 10", "NVIL"]
    assert names_of("nri", [nri_result(), nri_result(steps=50)]) == ["steps 3000", "steps 50"]
    assert names_of("listops", [listops_result(), listops_result(edges="spanning-tree")]) == [
        "Spanning Tree",
        "Arborescence, Gumbel",
    ]
    lstm = listops_result(network="lstm", edges=None, utility=None)
    assert names_of("listops", [lstm, listops_result()]) == ["LSTM", "Arborescence, Gumbel"]
    assert names_of("listops", [lstm]) == ["LSTM"]
    encoders = [l2x_result(encoder=encoder) for encoder in ("simple", "complex")]
    assert names_of("l2x", encoders) == ["Simple", "Complex"]
    assert names_of("nri", [nri_result()]) == ["Spanning Tree"]


def test_groups_differ_in_colour_or_line():
    results = [l2x_result(relaxation=relaxation, k=k) for relaxation in ("l2x", "bin", "cat") for k in range(5, 10)]
    found = groups("l2x", results)
    assert len({(group.color, str(group.style)) for group in found}) == 15


def test_scales_of_a_parallel_view():
    log = Scale.of([1e-4, 2e-4, 3e-4, 1e-3, 2e-3, 5e-3, 1e-2])
    assert log.log
    assert [log.place(value) for value in (1e-4, 1e-3, 1e-2)] == pytest.approx([0, 0.5, 1])
    assert [text for text, _ in log.marks] == ["0.0001", "0.001", "0.01"]
    linear = Scale.of([1.0, 1.1, 1.2, 1.3, 1.4, 1.8, 2.0])
    assert not linear.log
    assert linear.place(1.8) == pytest.approx(0.8)
    few = Scale.of([0.0, 1e-4, 1e-6, 0.0])
    assert [few.place(value) for value in (0.0, 1e-6, 1e-4)] == [0, 0.5, 1]
    words = Scale.of(["top-k", "independent", None, True])
    assert {words.place(value) for value in ("top-k", "independent", None, True)} == {0, 1 / 3, 2 / 3, 1}


def test_points_out_of_sight_are_counted(tmp_path):
    with_curve(run_folder(tmp_path / "run", nri_result()), [-9e4, *range(-1200, -1000, 10)])
    assert cli.main(["plot", "curves", str(tmp_path / "run"), "--out", str(tmp_path / "curves.svg")]) == 0
    assert "of 21 points are worse than the picture shows -->" in (tmp_path / "curves.svg").read_text()


def untrained(recipe, folder):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(recipe.to_json()))
    torch.save({"state_dict": Training(recipe).state_dict()}, folder / "checkpoints" / "best.ckpt")
    return folder


def test_layouts(tmp_path, capsys):
    tree = GraphLayout(graph_nodes=6, num_frames=4, hidden=8, train_examples=150)
    tree = replace(tree, valid_examples=4, test_examples=9)
    for config in (tree, replace(tree, edges="independent")):
        untrained(config, tmp_path / "runs" / config.edges)
    command = ["plot", "layout", str(tmp_path / "runs"), "--out", str(tmp_path / "layout.png"), "--force"]
    assert cli.main(command) == 0
    width, height = size(tmp_path / "layout.png")
    assert cli.main([*command, "--graphs", "9", "2"]) == 0
    assert size(tmp_path / "layout.png") == (width, pytest.approx(2 * height, rel=0.3))
    assert size(tmp_path / "layout.png")[1] > height
    for wrong in ("0", "10"):
        assert cli.main([*command, "--graphs", "1", wrong]) == 2
        assert "there are 9 test graphs, from 1" in said(capsys)[1]
    untrained(replace(tree, num_frames=5), tmp_path / "runs" / "longer")
    assert cli.main(command) == 2
    assert "num_frames is 4" in said(capsys)[1]


def test_parses(tmp_path, capsys):
    sizes = {"train_examples": 100, "valid_examples": 40, "test_examples": 40, "hidden": 8, "message_steps": 2}
    runs = tmp_path / "runs"
    for name, kind in {
        "tree": ("gnn", "arborescence", "gumbel"),
        "gold": ("gnn", "ground-truth", None),
        "lstm": ("lstm", None, None),
    }.items():
        network, edges, utility = kind
        untrained(ListOps(network=network, edges=edges, utility=utility, **sizes), runs / name)
    command = ["plot", "parses", "--out", str(tmp_path / "parses.png"), "--force"]
    assert cli.main([*command, str(runs), "--example", "1"]) == 0
    both = size(tmp_path / "parses.png")
    assert cli.main([*command, str(runs / "tree"), "--example", "1"]) == 0
    assert both[1] > 1.5 * size(tmp_path / "parses.png")[1]
    assert cli.main([*command, str(runs), "--example", "9"]) == 2
    assert "--example 9: there are" in said(capsys)[1]
    assert cli.main([*command, str(runs / "lstm")]) == 2
    assert "an LSTM has no parses" in said(capsys)[1]


def test_words(tmp_path, capsys):
    data = tmp_path / "data"
    sizes = ("--train-reviews", "200", "--valid-reviews", "40", "--test-reviews", "30")
    assert cli.main(["prepare", "synthetic", "--out", str(data), *sizes]) == 0
    for relaxation in ("corr-top-k", "euclid"):
        recipe = LearningToExplain(data_folder=str(data), aspect="rooms", relaxation=relaxation, k=3, batch_size=20)
        recipe = recipe.with_preset()
        untrained(recipe, tmp_path / "runs" / relaxation)
    command = ["plot", "words", str(tmp_path / "runs"), "--out", str(tmp_path / "words.png"), "--force"]
    assert cli.main([*command, "--review", "3"]) == 0
    assert min(size(tmp_path / "words.png")) > 200
    assert cli.main([*command, "--review", "30"]) == 2
    assert "there are 30 test reviews" in said(capsys)[1]
