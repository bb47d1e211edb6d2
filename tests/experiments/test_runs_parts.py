import errno
import io
import json
import os
import platform
import sys

import pytest
import torch
from rich.console import Console

from experiments.toy import Toy
from sstricks.experiments.runs.batches import ShuffledIndices, StepBatches
from sstricks.experiments.runs.files import naming, remove_partial_files, write_atomically, write_json
from sstricks.experiments.runs.halving import Search, TrialRecord, successive_halving
from sstricks.experiments.runs.memory import keep_freed_memory
from sstricks.experiments.runs.metrics import MetricsLog, column, read_metrics
from sstricks.experiments.runs.overview import steps_done, total_steps
from sstricks.experiments.runs.progress import Bar, Lines, display_on
from sstricks.experiments.runs.refusals import explain_refusal
from sstricks.experiments.runs.run import train
from sstricks.experiments.runs.watch import watching


def test_a_failed_write_leaves_the_old_file_alone(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})

    def fail(file):
        file.write(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(tmp_path / "a.json", fail)
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    assert os.listdir(tmp_path) == ["a.json"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    (tmp_path / ".partial-1-a.json").touch()
    remove_partial_files(tmp_path)
    assert os.listdir(tmp_path) == ["a.json"]


def test_what_is_not_finite_is_recorded_as_null(tmp_path):
    log = MetricsLog(tmp_path, 0)
    log.append({"step": 1, "a": float("nan")})
    log.append({"step": 2, "a": 5.0, "b": float("-inf")})
    log.close()
    rows = read_metrics(tmp_path)
    assert rows == [{"step": 1, "a": None}, {"step": 2, "a": 5.0, "b": None}]
    assert (tmp_path / "metrics.csv").read_text() == "step,a,b\n1,,\n2,5.0,\n"
    assert column(rows, "a") == ([2.0], [5.0])
    assert read_metrics(tmp_path / "nothing") == []


def test_batches_are_a_function_of_the_step():
    indices = ShuffledIndices(10, 3, seed=5)
    epoch = torch.cat([indices[step] for step in range(3)])
    assert len(epoch.unique()) == 9
    assert not torch.equal(epoch, torch.cat([indices[step] for step in range(3, 6)]))
    assert torch.equal(ShuffledIndices(10, 3, seed=5)[4], indices[4])
    batches = StepBatches(indices, lambda i: i, lambda: 4, interval=3)
    assert [b.tolist() for b in batches] == [indices[step].tolist() for step in (4, 5)]
    with pytest.raises(ValueError, match="batch_size=11 must be between 1 and the number of training examples, 10"):
        ShuffledIndices(10, 11, seed=5)


@pytest.mark.parametrize(
    ("search", "rounds", "decided"),
    [
        (Search(1, 5), [], 0),
        (Search(2, 5), [(5, 2)], 5),
        (Search(5, 10), [(10, 5), (20, 3), (40, 2)], 40),
        (Search(10, 10, factor=3), [(10, 10), (30, 4), (90, 2)], 90),
    ],
)
def test_rounds(search, rounds, decided):
    assert search.rounds == rounds
    assert search.decided == decided


def test_halving_keeps_the_best_and_asks_once(tmp_path):
    asked = []

    def score(trials, steps):
        for trial in trials:
            asked.append((trial, steps))
            yield trial, None if trial == 3 else float(-abs(trial - 2))

    record = TrialRecord(tmp_path / "trials.json")
    assert successive_halving(record, Search(5, 10), score) == 2
    assert asked == [(0, 10), (1, 10), (2, 10), (3, 10), (4, 10), (2, 20), (1, 20), (0, 20), (2, 40), (1, 40)]
    asked.clear()
    again = TrialRecord.load(tmp_path / "trials.json")
    assert again == record
    assert successive_halving(again, Search(5, 10), score) == 2
    assert asked == []


@pytest.mark.parametrize(("changes", "name"), [({"num_trials": 0}, "num_trials"), ({"factor": 1}, "factor")])
def test_a_search_without_sense_is_refused(changes, name):
    with pytest.raises(ValueError, match=f"{name} of the trials is"):
        Search(**{"num_trials": 2, "first_steps": 1, **changes})


def test_lines_tell_steps_and_metrics(tmp_path):
    output = io.StringIO()
    display = display_on(Console(file=output, width=200))
    assert isinstance(display, Lines)
    train(Toy(trials=2, interval=2), tmp_path, resume=True, jobs=1, display=display)
    lines = output.getvalue().splitlines()
    assert "no run to resume there; a new one begins" in lines[0]
    assert lines[1] == "toy: 2 trials, each up to step 2"
    assert lines[2] == "2 trials: step 0 of 4"
    assert any(line.startswith("2 trials: step 4/4  trial 1 ELBO -") for line in lines)
    assert any(line.startswith("toy: step 12/12  ELBO -") and line.endswith("0:00 left") for line in lines)


def test_a_bar_on_a_terminal(tmp_path):
    output = io.StringIO()
    display = display_on(Console(file=output, force_terminal=True, width=120))
    assert isinstance(display, Bar)
    train(Toy(), tmp_path, resume=False, jobs=1, display=display)
    assert "12/12" in output.getvalue()
    assert "ELBO -" in output.getvalue()
    train(Toy(), tmp_path, resume=True, jobs=1, display=display)
    assert "nothing was trained" in output.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_watching_shows_what_other_processes_do(tmp_path, terminal):
    toy, output = Toy(trials=2, interval=2), io.StringIO()
    assert total_steps(toy) == 2 + 2 + 10
    with watching(Console(file=output, force_terminal=terminal, width=120), {tmp_path / "run": toy}):
        train(toy, tmp_path / "run", resume=False, jobs=1, display=display_on(Console(quiet=True)))
    assert steps_done(toy, tmp_path / "run") == total_steps(toy)
    assert "14/14" in output.getvalue()
    assert "ELBO -" in output.getvalue()


def test_glibc_keeps_freed_memory_when_asked():
    assert keep_freed_memory() == (sys.platform == "linux" and platform.libc_ver()[0] == "glibc")


def test_what_the_system_refuses_names_the_file(tmp_path):
    with pytest.raises(OSError, match="No space left") as told, naming(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert told.value.filename == str(tmp_path / "a.txt")
    assert explain_refusal(told.value).startswith(f"{tmp_path / 'a.txt'}: No space left on device. Make room")
    told.value.add_note("And so on.")
    assert explain_refusal(told.value).endswith(" And so on.")
    assert explain_refusal(OSError("odd")).startswith("odd. Mend that")
