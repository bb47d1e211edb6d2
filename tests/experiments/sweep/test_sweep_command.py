import contextlib
import json
import os
import resource
import subprocess
import sys

import pytest

from experiments.sweep.tiny import OPTIONS, command, finished, result_of, trial
from sstricks import cli
from sstricks.experiments.l2x.corpus import write_corpus
from sstricks.experiments.l2x.synthetic import synthetic_corpus
from sstricks.experiments.nri.module import GraphLayoutModel
from sstricks.experiments.runs.training import DivergedError
from sstricks.experiments.sweep import command as sweep_command


def words(text):
    return " ".join(text.split())


def sweep_of(out):
    return json.loads((out / "sweep.json").read_text())


@contextlib.contextmanager
def files_of_at_most(size):
    """The system refuses to make a file longer, as it does when the disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_sweep_is_finished_once_and_grows(tmp_path, trained, capsys):
    out = tmp_path / "sweep"
    assert cli.main(command(out, 2)) == 0
    printed = capsys.readouterr().out
    results = [result_of(trial(out, index)) for index in (0, 1)]
    best = max((0, 1), key=lambda index: results[index]["valid/elbo"])
    assert f"* Best by valid/elbo, which alone selects: {trial(out, best)}" in printed
    row = next(line for line in printed.splitlines() if line.split()[:2] == ["*", str(best)])
    for text in (f"{results[best]['test/elbo']:.0f}", f"{results[best]['test/edge_precision']:.1%}"):
        assert text in row
    drawn = sweep_of(out)["trials"]
    for index in (0, 1):
        config = json.loads((trial(out, index) / "config.json").read_text())
        assert {name: config[name] for name in drawn[index]} == drawn[index]
        assert {name: results[index][name] for name in drawn[index]} == drawn[index]
    before = finished(out)
    assert cli.main(command(out, 2)) == 0
    assert "all 2 trials are finished; nothing was trained" in words(capsys.readouterr().out)
    assert cli.main(command(out, 3)) == 0
    assert "2 of 3 trials are finished and kept" in words(capsys.readouterr().out)
    assert trained == [0, 1, 2]
    assert sweep_of(out)["trials"][:2] == drawn
    assert {name: finished(out)[name] for name in before} == before
    assert cli.main(command(out, 1)) == 0
    assert "the sweep has 3 trials, of which these are the first 1" in words(capsys.readouterr().out)
    assert len(sweep_of(out)["trials"]) == 3


def test_a_trial_equals_the_run_that_is_typed_with_its_values(tmp_path, trained):
    assert cli.main(command(tmp_path / "sweep", 1, "--edges", "top-k")) == 0
    values = sweep_of(tmp_path / "sweep")["trials"][0]
    typed = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    options = [option.replace("--starts", "--trials") for option in OPTIONS]
    run = ["train", "nri", "--out", str(tmp_path / "run"), "--steps", "8", "--edges", "top-k", *options, *typed]
    assert cli.main(run) == 0
    assert result_of(tmp_path / "run") == result_of(trial(tmp_path / "sweep", 0))


def test_what_is_given_is_not_searched(tmp_path, trained):
    assert cli.main(command(tmp_path, 1, "--lr", "0.001", "--starts", "2", "--start-steps", "4")) == 0
    assert set(sweep_of(tmp_path)["ranges"]) == {"temperature"}
    result = result_of(trial(tmp_path, 0))
    assert (result["lr"], result["trials"]) == (0.001, 2)


def test_a_diverged_trial_is_recorded_and_the_sweep_goes_on(tmp_path, trained, monkeypatch, capsys):
    original = GraphLayoutModel.training_step

    def training_step(self, batch, batch_idx):
        if self.config.seed == sweep_of(tmp_path)["trials"][0]["seed"] and self.global_step == 5:
            raise DivergedError("the training diverged at step 5.")
        return original(self, batch, batch_idx)

    monkeypatch.setattr(GraphLayoutModel, "training_step", training_step)
    for _ in range(2):
        assert cli.main(command(tmp_path, 2)) == 0
        assert ["0", "diverged"] in [[line.split()[0], line.split()[3]] for line in rows(capsys.readouterr().out)]
    assert trained == [0, 1]
    assert json.loads((trial(tmp_path, 0) / "diverged.json").read_text()) == {
        "reason": "the training diverged at step 5."
    }
    assert list(finished(tmp_path)) == ["trial-001"]


def rows(printed):
    return [line for line in printed.splitlines() if len(line.split()) > 3 and line.split()[0].isdigit()]


def test_a_disk_that_is_full_stops_the_sweep_and_loses_nothing(tmp_path, trained, capsys):
    assert cli.main(command(tmp_path, 1)) == 0
    before = finished(tmp_path)
    capsys.readouterr()
    with files_of_at_most(20_000):  # less than a checkpoint
        assert cli.main(command(tmp_path, 3)) == 2
    error = words(capsys.readouterr().err)
    assert f"1 of 3 trials could not be trained to the end (trial 1: {trial(tmp_path, 1)}: File too large)" in error
    assert "The others are kept; mend the cause and give the same command again" in error
    assert "Traceback" not in error
    assert trained == [0, 1]
    assert finished(tmp_path) == before
    assert cli.main(command(tmp_path, 3)) == 0
    assert trained == [0, 1, 1, 2]
    assert len(finished(tmp_path)) == 3
    assert {name: finished(tmp_path)[name] for name in before} == before


def test_a_folder_of_a_trial_that_holds_something_else_is_told_and_the_sweep_goes_on(tmp_path, trained, capsys):
    assert cli.main(command(tmp_path, 1)) == 0
    trial(tmp_path, 1).mkdir()
    (trial(tmp_path, 1) / "thesis.tex").write_text("years of work")
    assert cli.main(command(tmp_path, 3)) == 2
    assert "trial 1: --out" in words(capsys.readouterr().err)
    assert sorted(finished(tmp_path)) == ["trial-000", "trial-002"]
    assert (trial(tmp_path, 1) / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trials", "0"], "--trials is 0, expected at least 1"),
        (["--jobs", "0"], "--jobs is 0, expected at least 1"),
        (["--max-failures", "-1"], "--max-failures is -1, expected at least 0"),
        (["--steps", "9"], "steps is 9, expected a multiple of valid_every=4"),
        (["--lr", "-1"], "lr is -1.0, expected a number above 0"),
    ],
)
def test_values_that_do_not_fit_are_refused(tmp_path, trained, capsys, arguments, message):
    assert cli.main(command(tmp_path / "sweep", 2, *arguments)) == 2
    assert message in words(capsys.readouterr().err)
    assert not (tmp_path / "sweep").exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, trained, capsys):
    (tmp_path / "file").touch()
    assert cli.main(command(tmp_path / "file" / "sweep", 2)) == 2
    assert "cannot write there (Not a directory)" in words(capsys.readouterr().err)


def test_another_sweep_is_refused(tmp_path, trained, capsys):
    assert cli.main(command(tmp_path, 1)) == 0
    before = finished(tmp_path)
    assert cli.main(command(tmp_path, 1, "--edges", "top-k", "--lr", "0.001")) == 2
    error = words(capsys.readouterr().err)
    assert "edges is 'spanning-tree' there and 'top-k' here" in error
    assert "the range of lr is" in error
    assert finished(tmp_path) == before


def test_without_ray_the_extra_is_named_and_the_rest_works(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep_command, "_NEEDED", ("no_such_package_at_all",))
    assert cli.main(command(tmp_path / "sweep", 1)) == 2
    assert words(capsys.readouterr().err) == (
        "sst: a sweep needs no_such_package_at_all, which is not installed. Run: pip install 'sstricks[sweep]'"
    )
    assert not (tmp_path / "sweep").exists()
    with pytest.raises(SystemExit) as stop:
        cli.main(["sweep", "nri", "--help"])
    assert stop.value.code == 0
    printed = words(capsys.readouterr().out)
    for text in ("--trials INT", "--jobs", "--ray-address", "--out", "--edges", "--starts INT", "--lr FLOAT"):
        assert text in printed
    assert "--resume" not in printed


def test_no_other_command_loads_ray():
    look = "import sys; import sstricks.experiments.commands; sys.exit('ray' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", look], env=environment, check=False).returncode == 0


def test_listops_keeps_its_temperature(tmp_path, trained):
    sizes = ("--train-examples", "100", "--valid-examples", "40", "--test-examples", "40", "--train-share", "1")
    model = ("--valid-share", "1", "--hidden", "8", "--message-steps", "2", "--batch-size", "20", "--valid-every", "2")
    assert cli.main(["sweep", "listops", "--out", str(tmp_path), "--trials", "1", "--steps", "2", *sizes, *model]) == 0
    result = result_of(trial(tmp_path, 0))
    assert result["temperature"] == result["final_temperature"] == sweep_of(tmp_path)["trials"][0]["temperature"]
    assert set(sweep_of(tmp_path)["ranges"]) == {"lr", "weight_decay", "temperature"}


def test_l2x_searches_what_the_paper_did(tmp_path, trained):
    write_corpus(synthetic_corpus(60, 20, 20, seed=0), tmp_path / "data")
    data = ("--data", str(tmp_path / "data"), "--aspect", "rooms", "--relaxation", "ef-top-k", "--k", "5")
    size = ("--batch-size", "20", "--steps", "2", "--valid-every", "2", "--embeddings", "random")
    out = tmp_path / "sweep"
    assert cli.main(["sweep", "l2x", "--out", str(out), "--trials", "1", *data, *size]) == 0
    values = sweep_of(out)["trials"][0]
    assert set(values) == {"seed", "lr", "lr_final", "lr_share", "weight_decay", "temperature"}
    result = result_of(trial(out, 0))
    assert {name: result[name] for name in values} == values
