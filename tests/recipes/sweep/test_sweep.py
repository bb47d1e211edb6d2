import contextlib
import json
import resource
import socket
import subprocess
import sys

import pytest

import sstricks_cli as cli
from recipes.sweep.tiny import OPTIONS, command, finished, result_of, trial
from sstricks.recipes import sweep
from sstricks.recipes.harness.files import RunError
from sstricks.recipes.harness.metrics import read_metrics
from sstricks.recipes.harness.recipe import DivergedError
from sstricks.recipes.nri import GraphLayout, GraphLayoutModel


@pytest.fixture
def trained(monkeypatch):
    """In Ray's place: trials are trained one after the other, in this process. Which ones, is collected."""
    indices = []

    def train_here(trials, options):
        failures = {}
        for one in trials:
            indices.append(one.index)
            try:
                sweep.train_trial(one)
            except (RunError, OSError) as error:
                failures[one.index] = str(error)
        return failures

    monkeypatch.setattr(sweep, "train_on_ray", train_here)
    return indices


def words_of(text):
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
    printed = capsys.readouterr().out.replace("│", " ")
    results = [result_of(trial(out, index)) for index in (0, 1)]
    best = max((0, 1), key=lambda index: results[index]["valid/elbo"])
    assert f"* Best by valid/elbo, which alone selects: {trial(out, best)}" in printed
    row = next(line for line in printed.splitlines() if line.split()[:2] == ["*", str(best)])
    for text in (f"−{-results[best]['test/elbo']:.0f}", f"{100 * results[best]['test/edge_precision']:.1f}"):
        assert text in row
    drawn = sweep_of(out)["trials"]
    for index in (0, 1):
        config = json.loads((trial(out, index) / "config.json").read_text())
        assert {name: config[name] for name in drawn[index]} == drawn[index]
        assert {name: results[index][name] for name in drawn[index]} == drawn[index]
    before = finished(out)
    assert cli.main(command(out, 2)) == 0
    assert "all 2 trials are finished; nothing was trained" in words_of(capsys.readouterr().out)
    assert cli.main(command(out, 3)) == 0
    assert "2 of 3 trials are finished and kept" in words_of(capsys.readouterr().out)
    assert trained == [0, 1, 2]
    assert sweep_of(out)["trials"][:2] == drawn
    assert {name: finished(out)[name] for name in before} == before
    assert cli.main(command(out, 1)) == 0
    assert "the sweep has 3 trials, of which these are the first 1" in words_of(capsys.readouterr().out)
    assert len(sweep_of(out)["trials"]) == 3


def test_a_trial_equals_the_run_that_is_typed_with_its_values(tmp_path, trained):
    assert cli.main(command(tmp_path / "sweep", 1, "--edges", "top-k")) == 0
    values = sweep_of(tmp_path / "sweep")["trials"][0]
    typed = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    run = ["train", "nri", "--out", str(tmp_path / "run"), "--steps", "8", "--edges", "top-k", *OPTIONS, *typed]
    assert cli.main(run) == 0
    assert result_of(tmp_path / "run") == result_of(trial(tmp_path / "sweep", 0))


def test_given_options_are_not_searched(tmp_path, trained):
    assert cli.main(command(tmp_path, 1, "--lr", "0.001", "--restarts", "2", "--restart-steps", "4")) == 0
    assert set(sweep_of(tmp_path)["ranges"]) == {"temperature"}
    result = result_of(trial(tmp_path, 0))
    assert (result["lr"], result["restarts"]) == (0.001, 2)


def test_a_diverged_trial_is_recorded_and_the_sweep_goes_on(tmp_path, trained, monkeypatch, capsys):
    original = GraphLayoutModel.loss

    def loss(self, batch, step):
        if self.recipe.seed == sweep_of(tmp_path)["trials"][0]["seed"] and step == 5:
            raise DivergedError("as it was told to.")
        return original(self, batch, step)

    monkeypatch.setattr(GraphLayoutModel, "loss", loss)
    for _ in range(2):
        assert cli.main(command(tmp_path, 2)) == 0
        assert ["0", "diverged"] in [[line.split()[0], line.split()[3]] for line in rows(capsys.readouterr().out)]
    assert trained == [0, 1]
    assert json.loads((trial(tmp_path, 0) / "diverged.json").read_text()) == {
        "reason": "the training diverged at step 5: as it was told to."
    }
    assert list(finished(tmp_path)) == ["trial-001"]


def rows(printed):
    return [
        line for line in printed.replace("│", " ").splitlines() if len(line.split()) > 3 and line.split()[0].isdigit()
    ]


def test_a_disk_that_is_full_stops_the_sweep_and_loses_nothing(tmp_path, trained, capsys):
    assert cli.main(command(tmp_path, 1)) == 0
    before = finished(tmp_path)
    capsys.readouterr()
    with files_of_at_most(20_000):  # less than a checkpoint
        assert cli.main(command(tmp_path, 3)) == 2
    error = words_of(capsys.readouterr().err)
    assert "2 of 3 trials could not be trained to the end (trial 1: [Errno 27] File too large" in error
    assert "The others are kept; mend the cause and give the same command again" in error
    assert "Traceback" not in error
    assert finished(tmp_path) == before
    assert cli.main(command(tmp_path, 3)) == 0
    assert trained == [0, 1, 2, 1, 2]
    assert len(finished(tmp_path)) == 3
    assert {name: finished(tmp_path)[name] for name in before} == before


def test_a_folder_of_a_trial_that_holds_something_else_is_told_and_the_sweep_goes_on(tmp_path, trained, capsys):
    assert cli.main(command(tmp_path, 1)) == 0
    trial(tmp_path, 1).mkdir()
    (trial(tmp_path, 1) / "thesis.tex").write_text("years of work")
    assert cli.main(command(tmp_path, 3)) == 2
    assert "trial 1: --out" in words_of(capsys.readouterr().err)
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
    assert message in words_of(capsys.readouterr().err)
    assert not (tmp_path / "sweep").exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, trained, capsys):
    (tmp_path / "file").touch()
    assert cli.main(command(tmp_path / "file" / "sweep", 2)) == 2
    assert "cannot write there (Not a directory)" in words_of(capsys.readouterr().err)


def test_another_sweep_is_refused(tmp_path, trained, capsys):
    assert cli.main(command(tmp_path, 1)) == 0
    before = finished(tmp_path)
    assert cli.main(command(tmp_path, 1, "--edges", "top-k", "--lr", "0.001")) == 2
    error = words_of(capsys.readouterr().err)
    assert "edges is 'spanning-tree' there and 'top-k' here" in error
    assert "the range of lr is" in error
    assert finished(tmp_path) == before


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.main(command(tmp_path / "sweep", 1)) == 2
    assert "a sweep needs ray, which is not installed. Run: pip install 'sstricks[sweep]'" in words_of(
        capsys.readouterr().err
    )
    assert not (tmp_path / "sweep").exists()


def test_help_has_the_options_of_sweep_and_recipe(capsys):
    with pytest.raises(SystemExit):
        cli.main(["sweep", "nri", "--help"])
    printed = words_of(capsys.readouterr().out)
    options = ("--trials INT", "--asha", "--jobs", "--ray-address", "--out", "--edges", "--restarts INT", "--lr FLOAT")
    for text in options:
        assert text in printed
    assert "--resume" not in printed


def test_no_other_command_loads_ray():
    look = "import sys; from sstricks.recipes.harness import run; from sstricks.recipes import nri, table, plot"
    look += "; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0


def test_values_depend_on_seed_trial_and_name_alone(tmp_path):
    def drawn(count, given=(), **changed):
        folder = tmp_path / f"{count} {given} {changed}"
        folder.mkdir()
        return sweep.draw_trials(GraphLayout(**changed), frozenset(given), folder, count)

    few, more, fixed = drawn(2), drawn(9), drawn(9, ("temperature",))
    assert more[:2] == few
    assert [values["lr"] for values in fixed] == [values["lr"] for values in more]
    assert len({values["seed"] for values in more}) == 9
    assert all(3e-4 <= values["lr"] <= 5e-3 for values in more)
    assert drawn(2, seed=1) != few


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"configuration": {}, "ranges": [], "trials": []}'])
def test_a_damaged_plan_is_named(tmp_path, content):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(ValueError, match=r"sweep\.json: found .*Restore the file"):
        sweep.draw_trials(GraphLayout(), frozenset(), tmp_path, 2)
    assert (tmp_path / "sweep.json").read_text() == content


def test_trials_that_asha_stopped_are_not_trained_again(tmp_path, trained, capsys):
    assert cli.main(command(tmp_path, 1)) == 0
    trial(tmp_path, 1).mkdir()
    (trial(tmp_path, 1) / "stopped.json").write_text("{}")
    assert cli.main(command(tmp_path, 3)) == 0
    assert trained == [0, 2]
    assert ["1", "stopped"] in [[line.split()[0], line.split()[3]] for line in rows(capsys.readouterr().out)]


def test_asha_ends_trials_that_fall_behind_and_the_others_are_finished(tmp_path):
    words = [sys.executable, "-m", "sstricks_cli", *command(tmp_path / "out", 5, "--asha", "--jobs", "1", steps=32)]
    run = subprocess.run(words, check=True, capture_output=True, text=True)
    trials = [trial(tmp_path / "out", index) for index in range(5)]
    stopped = [path for path in trials if (path / "stopped.json").exists()]
    assert 1 <= len(stopped) < 5
    for path in stopped:
        step = json.loads((path / "stopped.json").read_text())["step"]
        assert [row["step"] for row in read_metrics(path)] == list(range(4, step + 4, 4))
        assert step < 32
        assert not (path / "result.json").exists()
    assert all((path / "result.json").exists() for path in trials if path not in stopped)
    assert sum("stopped" in line for line in rows(run.stdout)) == len(stopped)
    again = subprocess.run(words, check=True, capture_output=True, text=True)
    assert "all 5 trials are finished; nothing was trained" in words_of(again.stdout)


def test_an_address_at_which_no_cluster_answers_is_refused_at_once(tmp_path, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{free.getsockname()[1]}"
        assert cli.main(command(tmp_path, 1, "--ray-address", address)) == 2
    assert f"--ray-address {address}: no Ray cluster answers there" in words_of(capsys.readouterr().err)


@pytest.mark.parametrize(("amount", "expected"), [(4, 4), (2 / 3, 0.6666), (8.5, 8), (0.5, 0.5)])
def test_shares_are_whole_or_parts_that_ray_counts(amount, expected):
    assert sweep.whole_or_part(amount) == expected
