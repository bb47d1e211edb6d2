import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sstricks as sst
from experiments.waiting import wait_until
from sstricks import cli
from sstricks.experiments.nri.module import GraphLayoutModel
from sstricks.experiments.runs.metrics import read_metrics

TINY = (
    *("--hidden", "8", "--graph-nodes", "5", "--num-frames", "4", "--batch-size", "16", "--valid-every", "4"),
    *(
        "--train-examples",
        "64",
        "--valid-examples",
        "32",
        "--test-examples",
        "32",
        "--trials",
        "1",
        "--trial-factor",
        "2",
        "--lr-decay",
        "0",
    ),
    *("--no-edge-hold", "2", "--no-edge-ramp", "2"),
)
TIMES = {"seconds"}


def train(path, *more, steps=8):
    return cli.main(["train", "nri", "--out", str(path), "--steps", str(steps), *TINY, *more])


def result_of(path):
    return json.loads((path / "result.json").read_text())


def without_times(row):
    return {name: value for name, value in row.items() if name not in TIMES}


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"sstricks {sst.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], ["train", "evaluate", "demo", "diagnose"]),
        (["diagnose", "--help"], ["--structure", "--temperatures", "--out"]),
        (["train", "--help"], ["nri"]),
        (["train", "nri", "--help"], ["--edges", "spanning-tree", "--estimator", "--preset", "--resume", "--lr FLOAT"]),
        (["evaluate", "--help"], ["--out"]),
        (["demo", "--help"], ["runs/demo"]),
    ],
)
def test_every_level_has_help(capsys, arguments, expected):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    for text in expected:
        assert text in printed


def test_a_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_NEEDED", ("lightning", "no_such_package_at_all"))
    assert cli.main(["--help"]) == 2
    assert capsys.readouterr().err == (
        "sst: the experiments need no_such_package_at_all, which is not installed. Run: pip install\n"
        "'sstricks[experiments]'\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "9"], "steps is 9, expected a multiple of valid_every=4"),
        (["--lr", "-1"], "lr is -1.0, expected a number above 0"),
        (["--batch-size", "100"], "batch_size is 100, expected at most train_examples=64"),
        (["--trials", "4", "--trial-steps", "6"], "steps is 8, expected at least 12, which is what 4 trials take"),
        (
            ["--trials", "2", "--trial-steps", "3"],
            "the length of the last trial is 3, expected a multiple of valid_every=4",
        ),
        (["--no-edge-hold", "-3"], "hold is -3"),
        (["--clip", "inf"], "clip is inf, expected a finite number: pass a very large one, such as 1e30, for no limit"),
        (["--weight-decay", "inf"], "weight_decay is inf, expected a finite number"),
        (["--lr", "nan"], "lr is nan, expected a finite number: pass such a one"),
        (["--weight-decay", "-1"], "weight_decay is -1.0"),
        (["--baseline-decay", "1"], "baseline_decay is 1.0"),
    ],
)
def test_values_that_do_not_fit_are_refused_in_one_paragraph(tmp_path, capsys, arguments, message):
    assert train(tmp_path / "run", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("sst: ")
    assert message in " ".join(error.split())
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_a_used_folder_is_refused_with_status_2(tmp_path, capsys):
    assert train(tmp_path, steps=4) == 0
    capsys.readouterr()
    assert train(tmp_path, steps=4) == 2
    assert "--resume" in capsys.readouterr().err
    assert train(tmp_path, "--resume", "--lr", "0.5", steps=8) == 2
    lr = result_of(tmp_path)["lr"]
    assert f"lr is {lr} there and 0.5 here; steps is 4 there and 8 here" in " ".join(capsys.readouterr().err.split())
    assert train(tmp_path, "--resume", steps=4) == 0
    assert "nothing was trained" in capsys.readouterr().out


def test_evaluate_prints_and_writes_the_same_result(tmp_path, capsys):
    assert train(tmp_path, steps=4) == 0
    before = result_of(tmp_path)
    (tmp_path / "graphs.png").unlink()
    capsys.readouterr()
    assert cli.main(["evaluate", str(tmp_path)]) == 0
    assert f"{before['test/edge_precision']:.1%}" in capsys.readouterr().out
    assert result_of(tmp_path) == before
    assert (tmp_path / "graphs.png").exists()


def test_evaluating_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "result.json").touch()
    assert cli.main(["evaluate", str(tmp_path / "result.json")]) == 2
    assert "no run was ever started in it. Name the folder" in " ".join(capsys.readouterr().err.split())


def test_evaluating_nothing_is_refused(tmp_path, capsys):
    assert cli.main(["evaluate", str(tmp_path / "nothing")]) == 2
    assert "no run was ever started" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "nothing").exists()


def test_a_full_disk_is_told_with_the_file_and_what_to_do(tmp_path, capsys, monkeypatch):
    replace = Path.replace
    for step, name in enumerate(("config.json", "checkpoints/best.ckpt", "result.json", "curves.png")):
        folder = tmp_path / str(step)

        def refuse(self, target, full=folder / name):
            if target == full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", refuse)
        assert train(folder) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert said.startswith(f"sst: {folder / name}: No space left on device. Make room on the disk, and give")
        assert ("pictures are missing" in said) == (name == "curves.png")
        monkeypatch.setattr(Path, "replace", replace)
        assert train(folder, "--resume") == 0
        capsys.readouterr()


def test_help_shows_no_empty_default(capsys):
    for command in (["table"], ["plot", "curves"], ["explain"], ["evaluate"], ["train", "l2x"]):
        with pytest.raises(SystemExit):
            cli.main([*command, "--help"])
        assert "default: )" not in capsys.readouterr().out


def test_an_interrupted_run_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    original = GraphLayoutModel.training_step

    def interrupted(self, batch, batch_idx):
        if self.global_step == 6:
            raise KeyboardInterrupt
        return original(self, batch, batch_idx)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(GraphLayoutModel, "training_step", interrupted)
    assert train(tmp_path) == 130
    assert "sst: interrupted. Give the same command again to continue" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) == before
    monkeypatch.setattr(GraphLayoutModel, "training_step", original)
    assert train(tmp_path, "--resume") == 0
    assert result_of(tmp_path)["steps"] == 8


def test_a_run_killed_by_the_system_resumes_to_the_same_result(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    broken = tmp_path / "broken"
    python = (sys.executable, "-W", "error", "-m")
    words = ("train", "nri", *TINY, "--steps", "120", "--out", str(broken))
    pausing = [*python, "experiments.pausing", *words]
    with subprocess.Popen(pausing, env=environment, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: len(read_metrics(broken)) >= 2, process)
        process.send_signal(signal.SIGKILL)
    assert not (broken / "result.json").exists()
    resumed = subprocess.run(
        [*python, "sstricks", *words, "--resume"], env=environment, capture_output=True, text=True, check=True
    )
    assert resumed.stderr == ""
    assert train(tmp_path / "whole", steps=120) == 0
    assert without_times(result_of(broken)) == without_times(result_of(tmp_path / "whole"))
    rows, expected = read_metrics(broken), read_metrics(tmp_path / "whole")
    assert list(map(without_times, rows)) == list(map(without_times, expected))
