"""sst plot: what is drawn, told apart and refused; of pictures with models only what needs no training."""

import json
from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread

import sstricks_cli as cli
from recipes.tables.made_up import l2x_result, listops_result, nri_config, nri_result, run_folder, said
from sstricks.recipes.harness.commands import recipe_class
from sstricks.recipes.harness.training import Training
from sstricks.recipes.l2x import LearningToExplain
from sstricks.recipes.listops import ListOps
from sstricks.recipes.nri import GraphLayout
from sstricks.recipes.plot import groups_of, heights_on
from sstricks.recipes.table import Record, tabulate


def size(path):
    """Width and height in pixels."""
    return imread(path).shape[1::-1]


def with_curve(folder, values):
    rows = [{"step": 10 * (i + 1), "valid/elbo": value} for i, value in enumerate(values)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in range(4):
        edges = ("spanning-tree", "top-k")[seed % 2]
        result = nri_result(valid=-1000.0 - seed, seed=seed, lr=10.0 ** -(2 + seed / 2), edges=edges)
        with_curve(run_folder(tmp_path / "runs" / str(seed), result), [-9e4, None, -1200 + seed, -1000 - seed])
    with_curve(run_folder(tmp_path / "runs" / "unfinished", nri_result(seed=9), finished=False), [-9e4])
    run_folder(tmp_path / "runs" / "diverged", nri_result(seed=10, lr=1.0), diverged=True)
    return tmp_path / "runs"


def texts(words, out):
    """Draw a picture and read what is written in it."""
    assert cli.main(["plot", *map(str, words), "--out", str(out / "picture.svg"), "--force"]) == 0
    return [line.strip()[5:-4] for line in (out / "picture.svg").read_text().splitlines() if "<!-- " in line]


@pytest.mark.parametrize("picture", ["curves", "parallel"])
def test_pictures_have_the_format_that_their_name_says(runs, tmp_path, capsys, picture):
    for name in ("picture.png", "picture.pdf"):
        assert cli.main(["plot", picture, "runs", "--out", name]) == 0
        assert f"Picture: {name}" in said(capsys)[0]
    assert min(size(tmp_path / "picture.png")) > 600
    assert (tmp_path / "picture.pdf").read_bytes().startswith(b"%PDF")


def test_what_curves_say(runs, tmp_path):
    found = texts(["curves", runs], tmp_path)
    named = ["E.F. Ent. Top |V| − 1 (2 runs)", "Spanning Tree (3 runs)", "Graph layout: learning curves of 5 runs"]
    assert {*named, "heavy: the best run, dot: its best checkpoint"} <= set(found)
    with_curve(run_folder(tmp_path / "run", nri_result()), [-9e4, *range(-1200, -1000, 10)])
    found = texts(["curves", tmp_path / "run"], tmp_path)
    assert "step (1 of 21 points are outside)" in found
    assert "dot: the best checkpoint" in found


def test_what_a_parallel_view_says(runs, tmp_path):
    found = texts(["parallel", runs], tmp_path)
    said = ["Graph layout: 4 runs by validation ELBO", "best: lr 0.01, edges spanning-tree", "diverged (1)", "edges"]
    assert {*said, "validation ELBO per node (nats)"} <= set(found)  # the last beside the colour bar


def test_what_results_do_not_say_has_no_axis(tmp_path):
    other = {"restart_factor": 4, "restart_steps": 50, "valid_every": 50}
    first, second = (nri_result(valid=-1000.0 - seed, seed=seed, lr=0.1 + seed, **other) for seed in range(2))
    del second["baseline_decay"]  # as before there was such a field
    for name, result in (("a", first), ("b", second)):
        run_folder(tmp_path / "runs" / name, result)
    run_folder(tmp_path / "runs" / "d", nri_result(seed=3), config=nri_config(**other), diverged=True)
    assert {"diverged (1)", "lr", "best: lr 0.1"} <= set(texts(["parallel", tmp_path / "runs"], tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("curves runs --out picture.gif", "expected one of .png, .pdf, .svg"),
        ("curves runs --out mine.png", "Add --force"),
        ("parses runs --out picture.png", "found no runs of listops there, but 6 of nri"),
        ("layout runs --out picture.png", "found no checkpoint"),
        ("layout results.json --out picture.png", "Results from JSON files have none."),
        ("curves results.json --out picture.png", "Results from JSON files have none."),
        ("curves runs other --out picture.png", "found runs of several experiments there, 1 of l2x, 6 of nri"),
        ("parallel runs/0 --out picture.png", "found 1 finished runs, expected at least 2"),
        ("parallel seeds.json --out picture.png", "differ in their seeds only"),
    ],
)
def test_refusals(runs, tmp_path, capsys, arguments, message):
    (tmp_path / "mine.png").write_text("mine")
    run_folder(tmp_path / "other", l2x_result())
    for name, change in (("results", 1), ("seeds", 0)):
        results = [nri_result(seed=seed, lr=0.1 + change * seed) for seed in range(3)]
        (tmp_path / f"{name}.json").write_text(json.dumps(results))
    assert cli.main(["plot", *arguments.split()]) == 2
    assert message in said(capsys)[1]
    assert (tmp_path / "mine.png").read_text() == "mine"
    assert cli.main(["plot", "parallel", "results.json", "--out", "mine.png", "--force"]) == 0


def groups(*results):
    return groups_of(tabulate(recipe_class(results[0]["experiment"]), [Record.of(result) for result in results]))


LSTM = listops_result(network="lstm", edges=None, utility=None)


@pytest.mark.parametrize(
    ("results", "names"),
    [
        ([nri_result(), nri_result(edges="top-k")], ["E.F. Ent. Top |V| − 1", "Spanning Tree"]),
        ([nri_result(num_frames=frames) for frames in (10, 20)], ["T = 10", "T = 20"]),
        ([nri_result(estimator="nvil"), nri_result()], ["T = 10", "NVIL"]),
        ([nri_result(), nri_result(steps=50)], ["steps 3000", "steps 50"]),
        ([listops_result(), listops_result(edges="spanning-tree")], ["Spanning Tree", "Arborescence, Gumbel"]),
        ([LSTM, listops_result()], ["LSTM", "Arborescence, Gumbel"]),
        ([LSTM], ["LSTM"]),
        ([l2x_result(encoder=encoder) for encoder in ("simple", "complex")], ["Simple", "Complex"]),
        ([nri_result()], ["Spanning Tree"]),
    ],
)
def test_names_have_what_tells_groups_apart_and_no_more(results, names):
    assert [group.name for group in groups(*results)] == names


def test_groups_differ_in_colour_or_line():
    found = groups(*(l2x_result(relaxation=name, k=k) for name in ("l2x", "bin", "cat") for k in range(5, 10)))
    assert len({(group.color, str(group.style)) for group in found}) == 15


def test_axes_of_a_parallel_view():
    axis = Figure().subplots()
    lr = [1e-4, 2e-4, 3e-4, 1e-3, 2e-3, 5e-3, 1e-2]
    assert heights_on(axis, 0, lr)[[0, 3, 6]] == pytest.approx([0, 0.5, 1])  # logarithmic
    assert heights_on(axis, 0, [1.0, 1.1, 1.2, 1.3, 1.4, 1.8, 2.0])[5] == pytest.approx(0.8)
    assert heights_on(axis, 0, [0.0, 1e-4, 1e-6, 0.0]) == pytest.approx([0, 1, 0.5, 0])  # few
    words = heights_on(axis, 0, ["top-k", "independent", None, True])
    assert sorted(words) == pytest.approx([0, 1 / 3, 2 / 3, 1])


def untrained(recipe, folder):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(recipe.to_json()))
    torch.save({"state_dict": Training(recipe).state_dict()}, folder / "checkpoints" / "best.ckpt")
    return folder


def test_layouts(tmp_path, capsys):
    tree = GraphLayout(graph_nodes=6, num_frames=4, hidden=8, train_examples=150, valid_examples=4, test_examples=9)
    for recipe in (tree, replace(tree, edges="independent")):
        untrained(recipe, tmp_path / "runs" / recipe.edges)
    bare = untrained(replace(tree, edges="top-k"), tmp_path / "runs" / "top-k")
    (bare / "checkpoints" / "best.ckpt").unlink()
    out = tmp_path / "layout.png"
    command = ["plot", "layout", str(tmp_path / "runs"), "--out", str(out), "--force"]
    assert cli.main(command) == 0
    assert "Left out for want of a checkpoint: E.F. Ent. Top |V| − 1." in said(capsys)[0]
    width, height = size(out)
    assert cli.main([*command, "--graphs", "9", "2"]) == 0
    assert size(out) == (width, pytest.approx(2 * height, rel=0.3))
    for wrong in ("0", "10"):
        assert cli.main([*command, "--graphs", "1", wrong]) == 2
        assert "there are 9 test graphs, from 1" in said(capsys)[1]
    untrained(replace(tree, num_frames=5), tmp_path / "runs" / "longer")
    assert cli.main(command) == 2
    assert "num_frames is 4" in said(capsys)[1]


def test_parses(tmp_path, capsys):
    sizes = {"train_examples": 100, "valid_examples": 40, "test_examples": 40, "hidden": 8, "message_steps": 2}
    for edges, utility in (("arborescence", "gumbel"), ("ground-truth", None), (None, None)):
        recipe = ListOps(network="gnn" if edges else "lstm", edges=edges, utility=utility, **sizes)
        untrained(recipe, tmp_path / "runs" / str(edges))
    out, runs = tmp_path / "parses.png", tmp_path / "runs"
    command = ["plot", "parses", "--out", str(out), "--force", "--example"]
    assert cli.main([*command, "1", str(runs)]) == 0
    both = size(out)
    assert cli.main([*command, "1", str(runs / "arborescence")]) == 0
    assert both[1] > 1.5 * size(out)[1]
    assert cli.main([*command, "9", str(runs)]) == 2
    assert "--example 9: there are" in said(capsys)[1]
    assert cli.main([*command, "1", str(runs / "None")]) == 2
    assert "an LSTM has no parses" in said(capsys)[1]


def test_words(tmp_path, capsys):
    sizes = ("--train-reviews", "200", "--valid-reviews", "40", "--test-reviews", "30")
    assert cli.main(["prepare", "synthetic", "--out", str(tmp_path / "data"), *sizes]) == 0
    for relaxation in ("corr-top-k", "euclid"):
        options = {"data_folder": str(tmp_path / "data"), "aspect": "rooms", "k": 3, "batch_size": 20}
        recipe = LearningToExplain(relaxation=relaxation, **options).with_preset()
        untrained(recipe, tmp_path / "runs" / relaxation)
    command = ["plot", "words", str(tmp_path / "runs"), "--out", str(tmp_path / "words.png"), "--force", "--review"]
    assert cli.main([*command, "3"]) == 0
    assert min(size(tmp_path / "words.png")) > 200
    assert cli.main([*command, "30"]) == 2
    assert "there are 30 test reviews" in said(capsys)[1]
