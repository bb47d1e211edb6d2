"""sst plot: what is drawn, told apart and refused; of pictures with models only what needs no training."""

import json
import struct

import pytest
from made_up import l2x_result, listops_result, nri_config, nri_result, run_folder
from rich.console import Console

from sstricks import cli
from sstricks.experiments.plots.axis import axis_of, number, range_of
from sstricks.experiments.plots.group import groups_of
from sstricks.experiments.plots.trained import TrainedRun, agree_on_data, trained_runs
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.tables.descriptions import DESCRIPTIONS
from sstricks.experiments.tables.finder import find_records
from sstricks.experiments.tables.record import Record


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
        "best: edges spanning-tree, lr 0.01",
        "diverged (1)",
        "edges",
    ):
        assert f"<!-- {text} -->" in parallel


def test_what_results_do_not_repeat_has_no_axis(tmp_path):
    other = {"trial_factor": 4, "trial_steps": 50, "valid_every": 50, "trial_temperatures": (0.1, 0.2)}
    for seed in range(2):
        run_folder(tmp_path / "runs" / str(seed), nri_result(seed=seed, lr=0.1 + seed, **other))
    diverged = run_folder(tmp_path / "runs" / "d", nri_result(seed=3), config=nri_config(**other), finished=False)
    (diverged / "diverged.json").write_text("{}")
    assert cli.main(["plot", "parallel", str(tmp_path / "runs"), "--out", str(tmp_path / "parallel.svg")]) == 0
    shown = (tmp_path / "parallel.svg").read_text()
    assert "<!-- diverged (1) -->" in shown
    assert "<!-- lr" in shown
    assert "trial" not in shown
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
    records = [Record.of(result) for result in results]
    return [group.name for group in groups_of(DESCRIPTIONS[experiment], records)]


def test_names_have_what_tells_groups_apart_and_no_more():
    assert names_of("nri", [nri_result(), nri_result(edges="top-k")]) == ["E.F. Ent. Top |V| − 1", "Spanning Tree"]
    assert names_of("nri", [nri_result(num_frames=frames) for frames in (10, 20)]) == ["T = 10", "T = 20"]
    assert names_of("nri", [nri_result(estimator="nvil"), nri_result()]) == ["T = 10", "NVIL"]
    assert names_of("nri", [nri_result(), nri_result(steps=50)]) == ["steps 3000", "steps 50"]
    assert names_of("listops", [listops_result(), listops_result(edges="spanning-tree")]) == [
        "Spanning Tree",
        "Arborescence, Gumbel",
    ]
    lstm = listops_result(model="lstm", edges=None, utility=None)
    assert names_of("listops", [lstm, listops_result()]) == ["LSTM", "Arborescence, Gumbel"]
    assert names_of("listops", [lstm]) == ["LSTM"]
    encoders = [l2x_result(encoder=encoder) for encoder in ("simple", "complex")]
    assert names_of("l2x", encoders) == ["Simple", "Complex"]
    assert names_of("nri", [nri_result()]) == ["Spanning Tree"]


def test_groups_differ_in_colour_or_line():
    results = [l2x_result(relaxation=relaxation, k=k) for relaxation in ("l2x", "bin", "cat") for k in range(5, 10)]
    groups = groups_of(DESCRIPTIONS["l2x"], [Record.of(result) for result in results])
    assert len({(group.color, str(group.style)) for group in groups}) == 15


def test_axes():
    log = axis_of("lr", [1e-4, 1e-3, 1e-2], {"kind": "LogUniform", "low": 1e-4, "high": 1e-2})
    assert [log.place(value) for value in (1e-4, 1e-3, 1e-2)] == pytest.approx([0, 0.5, 1])
    assert [text for text, _ in log.marks] == ["1e-4", "0.001", "0.01"]
    even = axis_of("t", [0.5, 1.0], {"kind": "Uniform", "low": 0.0, "high": 2.0})
    assert [even.place(value) for value in (0.5, 1.0)] == pytest.approx([0.25, 0.5])
    assert axis_of("t", [1.0, 2.5, 40.0], None).scale == "log"
    assert axis_of("t", [1.0, 1.5, 2.0], None).scale == "linear"
    assert axis_of("t", [0.0, 1.5, 2000.0], None).scale == "linear"
    choice = axis_of("weight_decay", [0, 1e-4, 1e-6, 0], {"kind": "Choice", "values": [0, 1e-6, 1e-4]})
    assert [choice.place(value) for value in (0, 1e-6, 1e-4)] == [0, 0.5, 1]
    words = axis_of("edges", ["top-k", "independent", None, True], None)
    assert {words.place(value) for value in ("top-k", "independent", None, True)} == {0, 1 / 3, 2 / 3, 1}
    assert [text for text, _ in words.marks] == ["independent", "top-k", "null", "true"]


def test_numbers_are_short():
    assert [number(value) for value in (-1234567.0, 2e-3, 0.5)] == ["−1.23e6", "0.002", "0.5"]


def test_the_range_is_that_of_the_sweep(tmp_path):
    run = run_folder(tmp_path / "trial-000", nri_result())
    assert range_of(run, "lr") is None
    (tmp_path / "sweep.json").write_text(json.dumps({"ranges": {"lr": {"kind": "Choice", "values": [1]}}}))
    assert range_of(run, "lr") == {"kind": "Choice", "values": [1]}
    assert range_of(run, "temperature") is None
    assert range_of(None, "lr") is None


def test_the_best_run_with_a_checkpoint_is_looked_at(runs, capsys):
    for seed in (1, 2, 3):
        (runs / str(seed) / "checkpoints").mkdir()
        (runs / str(seed) / "checkpoints" / "best.ckpt").write_bytes(b"")
    groups = groups_of(DESCRIPTIONS["nri"], find_records([runs]))
    found = trained_runs(groups, Console())
    assert [(run.name, run.folder.name) for run in found] == [("E.F. Ent. Top |V| − 1", "1"), ("Spanning Tree", "2")]


def test_models_of_different_data_are_not_compared(tmp_path):
    runs = [TrainedRun(str(frames), tmp_path, {"num_frames": frames, "data_seed": 0}) for frames in (10, 20)]
    agree_on_data(runs, ["data_seed"])
    with pytest.raises(RunError, match=r"num_frames is 10 .* and 20 .*, expected runs on the same data"):
        agree_on_data(runs, ["data_seed", "num_frames"])
