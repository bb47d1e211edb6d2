import json
import os
import signal
import subprocess
import sys

import pytest

from experiments.waiting import wait_until
from sstricks import cli
from sstricks.experiments.runs.metrics import read_metrics

TINY = (
    *("--train-examples", "100", "--valid-examples", "40", "--test-examples", "40", "--train-share", "1"),
    *("--valid-share", "1", "--hidden", "8", "--message-steps", "2", "--batch-size", "20", "--valid-every", "4"),
)


def train(path, *more, steps=8):
    return cli.main(["train", "listops", "--out", str(path), "--steps", str(steps), *TINY, *more])


def result_of(path):
    return json.loads((path / "result.json").read_text())


def without_times(row):
    return {name: value for name, value in row.items() if name != "seconds"}


def test_help_names_the_choices(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", "listops", "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    for text in ("--model", "arborescence", "negative-exponential", "ground-truth", "--preset", "--temperature FLOAT"):
        assert text in printed


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ("gnn", "arborescence", "gumbel")),
        (["--model", "lstm"], ("lstm", None, None)),
        (["--edges", "ground-truth"], ("gnn", "ground-truth", None)),
        (["--edges", "spanning-tree", "--utility", "normal"], ("gnn", "spanning-tree", "normal")),
    ],
)
def test_what_is_not_said_follows_from_what_is(tmp_path, capsys, arguments, expected):
    assert train(tmp_path, *arguments, steps=4) == 0
    result = result_of(tmp_path)
    assert (result["model"], result["edges"], result["utility"]) == expected
    assert f"{result['test/accuracy']:.1%}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "lstm", "--edges", "spanning-tree"], "expected edges for the network that passes messages"),
        (["--edges", "independent-directed", "--utility", "negative-exponential"], "present where their utility is"),
        (["--steps", "9"], "steps is 9, expected a multiple of valid_every=4"),
        (["--batch-size", "0"], "batch_size is 0, expected a number above 0"),
        (["--train-examples", "0"], "train_examples is 0, expected a number above 0"),
        (["--data-seed", "-1"], "data_seed is -1, expected at least 0"),
        (["--train-examples", "2000000"], "take 400016 different expressions of depth 1, of which there are 333300"),
        (["--clip", "inf"], "clip is inf, expected a finite number"),
        (["--train-share", "-inf"], "train_share is -inf, expected a finite number"),
    ],
)
def test_values_that_do_not_fit_are_refused_in_one_paragraph(tmp_path, capsys, arguments, message):
    assert train(tmp_path / "run", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("sst: ")
    assert message in " ".join(error.split())
    assert not (tmp_path / "run").exists()


def test_evaluate_prints_and_writes_the_same_result(tmp_path, capsys):
    assert train(tmp_path, steps=4) == 0
    before = result_of(tmp_path)
    (tmp_path / "parses.png").unlink()
    capsys.readouterr()
    assert cli.main(["evaluate", str(tmp_path)]) == 0
    assert f"{before['test/edge_precision']:.1%}" in capsys.readouterr().out
    assert result_of(tmp_path) == before
    assert (tmp_path / "parses.png").exists()


def test_a_folder_of_an_unknown_experiment_is_refused(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"experiment": "alchemy"}))
    assert cli.main(["evaluate", str(tmp_path)]) == 2
    assert "experiment 'alchemy', expected one of" in " ".join(capsys.readouterr().err.split())


def test_a_run_killed_by_the_system_resumes_to_the_same_result(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    broken = tmp_path / "broken"
    python = (sys.executable, "-W", "error", "-m")
    words = ("train", "listops", *TINY, "--steps", "120", "--out", str(broken))
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
