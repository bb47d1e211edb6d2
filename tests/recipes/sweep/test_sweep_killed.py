"""A sweep by Ray, twice broken off with SIGKILL: the command that runs it, and a process that trains a trial."""

import os
import signal
import subprocess
import sys

import pytest

from recipes.sweep import standing
from recipes.sweep.tiny import command, finished, result_of, without_times
from recipes.waiting import PATIENCE, wait_until
from sstricks.recipes.harness.commands import recipe_of
from sstricks.recipes.harness.metrics import read_metrics
from sstricks.recipes.harness.run import train

TRIALS, STEPS, INTERVAL = 3, 200, 4


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """The folder of the sweep, and what was in it when its command was killed."""
    folder = tmp_path_factory.mktemp("sweep")
    out = folder / "out"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), standing.FOLDER: str(folder)}
    python = [sys.executable, "-W", "error", "-m", "recipes.sweep.standing"]
    words = [*python, *command(out, TRIALS, "--jobs", "2", steps=STEPS)]
    standing.stand_at(folder, 60)
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as driver:
        wait_until(lambda: finished(out) and standing_at(out, 60), driver)
        driver.kill()
    wait_until(lambda: not any(map(holder, folders(out))))  # the trials die when they notice
    killed = {"finished": finished(out), "under way": {path: read_metrics(path) for path in under_way(out)}}
    standing.stand_at(folder, 120)
    again = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with again:
        wait_until(lambda: standing_at(out, 120), again)
        victim = standing_at(out, 120)[0]
        killed["process"] = holder(victim)
        os.kill(killed["process"], signal.SIGKILL)
        standing.stand_at(folder, STEPS + 1)
        printed, errors = again.communicate(timeout=PATIENCE)
    return {
        "out": out,
        "killed": killed,
        "victim": victim,
        "printed": printed,
        "errors": errors,
        "status": again.wait(),
    }


def folders(out):
    return sorted(out.glob("trial-*"))


def under_way(out):
    """The trials with a checkpoint, that have some way to go."""
    return [path for path in folders(out) if len(read_metrics(path)) >= 2 and not finished_at(path)]


def standing_at(out, step):
    """The trials of a living process that wait before a step."""
    return [path for path in folders(out) if holder(path) and len(read_metrics(path)) == step // INTERVAL]


def finished_at(path):
    return (path / "result.json").exists()


def holder(path):
    """The process that has the lock of a run folder, 0 if none has it."""
    lock = path / ".lock"
    if not lock.exists():
        return 0
    inode = str(lock.stat().st_ino)
    with open("/proc/locks") as locks:
        fields = [line.split() for line in locks]
    return next((int(field[4]) for field in fields if field[1] == "FLOCK" and field[5].endswith(f":{inode}")), 0)


def test_the_same_command_completes_the_sweep(story):
    assert story["status"] == 0, story["errors"]
    assert story["errors"] == ""
    assert sorted(finished(story["out"])) == [f"trial-{index:03d}" for index in range(TRIALS)]
    kept = len(story["killed"]["finished"])
    assert f"{kept} of {TRIALS} trials are finished and kept" in story["printed"]
    assert "TERMINATED" in story["printed"]  # Tune's own report


def test_what_was_finished_is_untouched(story):
    before = story["killed"]["finished"]
    assert before
    after = finished(story["out"])
    assert {name: after[name] for name in before} == before


def test_what_was_under_way_went_on_from_its_checkpoint(story):
    for path, rows in story["killed"]["under way"].items():
        after = read_metrics(path)
        assert [row["step"] for row in after] == list(range(INTERVAL, STEPS + 1, INTERVAL))
        assert len(rows) >= 2
        assert after[: len(rows) - 1] == rows[:-1]  # with their times; the last may have been ahead of its checkpoint


def test_every_result_equals_that_of_a_run_that_nobody_broke_off(story, tmp_path):
    whole = train(recipe_of(story["victim"]), tmp_path)
    rows = [without_times(row) for row in read_metrics(story["victim"])]
    assert rows == [without_times(row) for row in read_metrics(tmp_path)]
    assert without_times(whole) == result_of(story["victim"])


def test_no_process_stays(story):
    assert not any(map(holder, folders(story["out"])))
    with pytest.raises(ProcessLookupError):
        os.kill(story["killed"]["process"], 0)
