"""A sweep by Ray, twice broken off with SIGKILL: the command that runs it, and a process that trains a trial."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from experiments.sweep.tiny import command, finished, result_of, without_times
from sstricks.experiments.nri.config import NRIConfig
from sstricks.experiments.nri.run import GraphLayoutRun
from sstricks.experiments.runs.metrics import read_metrics
from sstricks.experiments.runs.progress import Silence
from sstricks.experiments.runs.run import train

TRIALS, STEPS, INTERVAL = 3, 120, 4


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """The folder of the sweep, and what was in it when its command was killed."""
    out = tmp_path_factory.mktemp("sweep") / "out"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-W", "error", "-m", "sstricks", *command(out, TRIALS, "--jobs", "2", steps=STEPS)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as driver:
        wait_until(driver, lambda: finished(out) and under_way(out, at_most=STEPS // INTERVAL // 4))
        driver.kill()
    while any(map(holder, folders(out))):  # Ray's processes notice
        time.sleep(0.01)
    killed = {"finished": finished(out), "under way": {path: read_metrics(path) for path in under_way(out)}}
    again = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with again:
        wait_until(again, lambda: going_on(killed["under way"]))
        victim = going_on(killed["under way"])[0]
        killed["process"] = holder(victim)
        os.kill(killed["process"], signal.SIGKILL)
        printed, errors = again.communicate(timeout=300)
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


def under_way(out, at_most=STEPS // INTERVAL):
    return [path for path in folders(out) if 2 <= len(read_metrics(path)) <= at_most and not finished_at(path)]


def going_on(before):
    return [
        path
        for path, rows in before.items()
        if holder(path) and len(read_metrics(path)) > len(rows) and not finished_at(path)
    ]


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


def wait_until(process, condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_same_command_completes_the_sweep(story):
    assert story["status"] == 0, story["errors"]
    assert story["errors"] == ""
    assert sorted(finished(story["out"])) == [f"trial-{index:03d}" for index in range(TRIALS)]
    kept = len(story["killed"]["finished"])
    assert f"{kept} of {TRIALS} trials are finished and kept" in story["printed"]
    assert f"{TRIALS}/{TRIALS} trials" in story["printed"]


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
    config = NRIConfig.from_json(json.loads((story["victim"] / "config.json").read_text()))
    whole = train(GraphLayoutRun(config), tmp_path, resume=False, jobs=1, display=Silence())
    rows = [without_times(row) for row in read_metrics(story["victim"])]
    assert rows == [without_times(row) for row in read_metrics(tmp_path)]
    assert without_times(whole) == result_of(story["victim"])


def test_no_process_stays(story):
    assert not any(map(holder, folders(story["out"])))
    with pytest.raises(ProcessLookupError):
        os.kill(story["killed"]["process"], 0)
