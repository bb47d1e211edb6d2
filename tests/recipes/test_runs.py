import csv
import dataclasses
import fcntl
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recipes.outcome import without_times
from recipes.toy import Line, Toy
from recipes.waiting import wait_until
from sstricks.recipes.harness.files import RunError
from sstricks.recipes.harness.metrics import read_metrics
from sstricks.recipes.harness.run import evaluate_again, train


def run(toy, path, *, resume=False, jobs=1):
    return train(toy, path, resume=resume, jobs=jobs)


class Killed(BaseException):
    pass


@pytest.fixture
def die_at(monkeypatch):
    """Break a run off at a step, as a kill would: nothing after it happens in this run."""
    original = Line.loss

    def arm(step):
        def loss(self, batch, at):
            if at == step:
                raise Killed
            return original(self, batch, at)

        monkeypatch.setattr(Line, "loss", loss)

    arm.off = lambda: monkeypatch.setattr(Line, "loss", original)
    return arm


def test_a_run_writes_config_checkpoints_metrics_and_result(tmp_path):
    result = run(Toy(), tmp_path / "run")
    folder = tmp_path / "run"
    assert json.loads((folder / "result.json").read_text()) == result
    assert math.isfinite(result["test/elbo"])
    assert result["steps"] == 12
    assert result["best_step"] in {3, 6, 9, 12}
    assert result["restarts"] == 1
    assert result["seconds"] > 0
    assert {"version", "seed", "lr", "valid/elbo"} <= result.keys()
    assert json.loads((folder / "config.json").read_text()) == Toy().to_json()
    assert (folder / "checkpoints" / "best.ckpt").exists()
    assert (folder / "checkpoints" / "last.ckpt").exists()
    rows = read_metrics(folder)
    assert [row["step"] for row in rows] == [3, 6, 9, 12]
    assert {"train/elbo", "valid/elbo", "seconds"} <= rows[0].keys()
    with (folder / "metrics.csv").open() as file:
        assert [float(row["valid/elbo"]) for row in csv.DictReader(file)] == [row["valid/elbo"] for row in rows]
    assert event_steps(folder) == [3, 6, 9, 12]
    assert result["valid/elbo"] == max(row["valid/elbo"] for row in rows)


def same_parameters(*folders):
    one, other = (torch.load(folder / "checkpoints" / "last.ckpt")["state_dict"] for folder in folders)
    return all(torch.equal(value, other[name]) for name, value in one.items())


def event_steps(folder):
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [event.step for event in events.Scalars("valid/elbo")]


@pytest.mark.parametrize("step", [1, 3, 7, 11])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, die_at, step):
    whole = run(Toy(), tmp_path / "whole")
    die_at(step)
    with pytest.raises(Killed):
        run(Toy(), tmp_path / "broken")
    die_at.off()
    resumed = run(Toy(), tmp_path / "broken", resume=True)
    assert without_times(resumed) == without_times(whole)
    rows, expected = read_metrics(tmp_path / "broken"), read_metrics(tmp_path / "whole")
    assert list(map(without_times, rows)) == list(map(without_times, expected))
    assert event_steps(tmp_path / "broken") == [3, 6, 9, 12]
    assert same_parameters(tmp_path / "whole", tmp_path / "broken")


def test_rows_beyond_the_checkpoint_are_recorded_once(tmp_path, die_at):
    die_at(7)
    with pytest.raises(Killed):
        run(Toy(), tmp_path)
    die_at.off()
    with (tmp_path / "metrics.jsonl").open("a") as file:  # killed between the row of step 9 and its checkpoint
        file.write('{"step": 9, "valid/elbo": 1.0}\n{"step": 12, "val')
    run(Toy(), tmp_path, resume=True)
    assert [row["step"] for row in read_metrics(tmp_path)] == [3, 6, 9, 12]


def test_a_kill_while_a_checkpoint_is_written_leaves_the_previous_one(tmp_path, monkeypatch):
    save, count = torch.save, 0

    def torn(content, file):
        nonlocal count
        count += 1
        save(content, file)
        if count > 3:  # the next file to be flushed is this one
            monkeypatch.setattr(os, "fsync", lambda _: os.kill(os.getpid(), signal.SIGKILL))

    child = os.fork()
    if child == 0:
        try:
            monkeypatch.setattr(torch, "save", torn)
            run(Toy(), tmp_path)
        finally:
            os._exit(0)  # whatever happens, it must not go on with the tests of its parent
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    left = list((tmp_path / "checkpoints").glob(".partial-*"))
    assert len(left) == 1
    result = run(Toy(), tmp_path, resume=True)
    assert [row["step"] for row in read_metrics(tmp_path)] == [3, 6, 9, 12]
    assert result["steps"] == 12
    assert not list((tmp_path / "checkpoints").glob(".partial-*"))


def test_a_used_folder_is_refused_without_resume(tmp_path):
    run(Toy(steps=3), tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir() if file.name != ".lock"}
    with pytest.raises(RunError, match=r"already holds a run.*--resume"):
        run(Toy(steps=3), tmp_path)
    assert before == {file: file.stat().st_mtime_ns for file in tmp_path.iterdir() if file.name != ".lock"}


def test_another_configuration_is_refused_and_its_fields_are_named(tmp_path):
    run(Toy(steps=3), tmp_path)
    with pytest.raises(RunError, match=r"lr is 0.05 there and 0.1 here; seed is 0 there and 4 here"):
        run(Toy(steps=3, lr=0.1, seed=4), tmp_path, resume=True)


def test_resuming_a_finished_run_reports_its_result(tmp_path, die_at):
    result = run(Toy(steps=3), tmp_path)
    die_at(0)
    assert run(Toy(steps=3), tmp_path, resume=True) == result


def test_resume_without_a_run_starts_one(tmp_path):
    run(Toy(steps=3), tmp_path / "new", resume=True)
    assert (tmp_path / "new" / "result.json").exists()


def test_verbose_runs_tell_steps_and_metrics(tmp_path, capsys):
    toy = Toy(restarts=2, valid_every=2)
    train(toy, tmp_path, verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "toy: 2 restarts, each up to step 2"
    assert lines[2].startswith("toy: restart 1 at step 2  ELBO -")
    assert lines[-1].startswith("toy: step 12/12  ELBO -")
    assert lines[-1].endswith("0:00 left")
    train(toy, tmp_path, resume=True, verbose=True)
    assert "nothing was trained" in capsys.readouterr().out


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match=r"not empty \(thesis.tex\) and holds no run"):
        run(Toy(), tmp_path)


def test_an_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write there"):
        run(Toy(), tmp_path / "file" / "run")


def test_a_folder_in_use_is_refused(tmp_path):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import fcntl; f = open({str(tmp_path / '.lock')!r}, 'w'); fcntl.flock(f, 2); print(flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        holder.stdout.readline()
        with pytest.raises(RunError, match="another process is training in it"):
            run(Toy(), tmp_path)
        holder.communicate(b"\n")
    run(Toy(steps=3), tmp_path)


def test_evaluating_a_finished_run_repeats_its_result(tmp_path):
    result = run(Toy(), tmp_path)
    assert evaluate_again(Toy(), tmp_path) == (result, True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Undrawable(Toy):
    def draw(self, model, folder):
        raise IndexError("nothing to draw")


def test_a_picture_that_cannot_be_drawn_does_not_cost_the_result(tmp_path):
    with pytest.raises(IndexError, match="nothing to draw") as told:
        run(Undrawable(), tmp_path)
    assert f"its result is in {tmp_path / 'result.json'}" in "".join(told.value.__notes__)
    result = json.loads((tmp_path / "result.json").read_text())
    assert math.isfinite(result["test/elbo"])
    assert run(Undrawable(), tmp_path, resume=True) == result
    assert evaluate_again(Toy(), tmp_path) == (result, True)


def test_a_kill_while_pictures_are_drawn_leaves_a_run_to_resume(tmp_path, monkeypatch):
    def die(self, model, folder):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Toy, "draw", die)
        with pytest.raises(Killed):
            run(Toy(), tmp_path)
    assert not (tmp_path / "result.json").exists()
    drawn = []
    monkeypatch.setattr(Toy, "draw", lambda self, model, folder: drawn.append(folder))
    assert run(Toy(), tmp_path, resume=True)["steps"] == 12
    assert drawn == [tmp_path]


def test_evaluating_an_unfinished_run_writes_nothing(tmp_path, die_at):
    die_at(7)
    with pytest.raises(Killed):
        run(Toy(), tmp_path)
    result, finished = evaluate_again(Toy(), tmp_path)
    assert not finished
    assert result["steps"] == 6
    assert not (tmp_path / "result.json").exists()


def test_restarts_are_halved_and_the_best_goes_on(tmp_path):
    toy = Toy(restarts=3, valid_every=4)
    result = run(toy, tmp_path)
    record = json.loads((tmp_path / "restarts.json").read_text())
    first, second = record["scores"]["2"], record["scores"]["4"]
    assert sorted(first) == ["0", "1", "2"]
    assert set(second) == set(sorted(first, key=first.__getitem__)[1:])
    survivor = record["survivor"]
    assert second[str(survivor)] == max(second.values())
    assert [row["step"] for row in read_metrics(tmp_path)] == [2, 4, 8, 12]
    assert read_metrics(tmp_path)[:2] == read_metrics(tmp_path / "restarts" / f"{survivor:02d}")
    assert sorted(len(read_metrics(tmp_path / "restarts" / f"{index:02d}")) for index in range(3)) == [1, 2, 2]
    assert result["restarts"] == 3
    assert evaluate_again(toy, tmp_path)[0] == result
    run(toy.of_restart(survivor), tmp_path / "alone")
    assert same_parameters(tmp_path, tmp_path / "alone")


@pytest.mark.parametrize("step", [1, 4, 8])
def test_interrupted_restarts_resume(tmp_path, die_at, step):
    toy = Toy(restarts=3, valid_every=4)
    whole = run(toy, tmp_path / "whole")
    die_at(step)
    with pytest.raises(Killed):
        run(toy, tmp_path / "broken")
    die_at.off()
    assert without_times(run(toy, tmp_path / "broken", resume=True)) == without_times(whole)


def test_a_restart_that_diverges_is_given_up(tmp_path, monkeypatch):
    original = Toy.of_restart
    monkeypatch.setattr(
        Toy,
        "of_restart",
        lambda self, index, **changed: replace(original(self, index, **changed), diverges_at=-1 if index else 1),
    )
    run(Toy(restarts=2, valid_every=2), tmp_path)
    assert json.loads((tmp_path / "restarts.json").read_text())["survivor"] == 1


def test_a_diverged_run_keeps_its_best_checkpoint(tmp_path):
    toy = Toy(diverges_at=4)
    with pytest.raises(RunError, match="the training diverged at step 4: as it was told to"):
        run(toy, tmp_path)
    assert evaluate_again(toy, tmp_path)[0]["best_step"] == 3


def test_restarts_in_other_processes_end_with_a_killed_parent_and_resume(tmp_path):
    toy, folder = Toy(restarts=2, valid_every=2), tmp_path / "run"
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from recipes.toy import Toy\n"
        "from sstricks.recipes.harness.run import train\n"
        "if __name__ == '__main__':\n"
        f"    train(Toy(restarts=2, valid_every=2), Path({str(folder)!r}), jobs=2)\n"
    )
    slow = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TOY_PAUSE": "100"}
    parent = subprocess.Popen([sys.executable, str(script)], env=slow)
    restarts = [folder / "restarts" / name for name in ("00", "01")]
    wait_until(lambda: all((restart / "config.json").exists() for restart in restarts))
    assert all(map(in_use, restarts))
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(map(in_use, restarts)))
    assert not (folder / "restarts.json").exists()
    assert without_times(run(toy, folder, resume=True)) == without_times(run(toy, tmp_path / "whole"))


def in_use(path):
    with (path / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
