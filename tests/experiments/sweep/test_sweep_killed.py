"""A sweep by Ray, twice broken off with SIGKILL: the command that runs it, and a process that trains a trial."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.sweep.tiny import command, finished, result_of, without_times
from experiments.waiting import PATIENCE, wait_until
from sstricks.experiments.nri.config import NRIConfig
from sstricks.experiments.nri.run import GraphLayoutRun
from sstricks.experiments.runs.metrics import read_metrics
from sstricks.experiments.runs.progress import Silence
from sstricks.experiments.runs.run import train

TRIALS, STEPS, INTERVAL = 3, 200, 4


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """The folder of the sweep, and what was in it when its command was killed."""
    out = tmp_path_factory.mktemp("sweep") / "out"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-W", "error", "-m", "sstricks", *command(out, TRIALS, "--jobs", "2", steps=STEPS)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as driver:
        held = caught(driver, out, lambda: finished(out) and under_way(out))
        rays = [process for process in children(driver.pid) if process not in held]
        driver.kill()
    wait_until(lambda: not any(map(runs, rays)))  # they die with the driver, and the trials when they notice
    release(held)
    wait_until(lambda: not any(map(holder, folders(out))))
    killed = {"finished": finished(out), "under way": {path: read_metrics(path) for path in under_way(out)}}
    again = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with again:
        held = caught(again, out, lambda: going_on(killed["under way"]))
        victim = going_on(killed["under way"])[0]
        killed["process"] = holder(victim)
        os.kill(killed["process"], signal.SIGKILL)
        release(held)
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
    most = 3 * STEPS // INTERVAL // 4
    return [path for path in folders(out) if 2 <= len(read_metrics(path)) <= most and not finished_at(path)]


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


def caught(process, out, condition):
    """The processes that train, stopped at a moment when the condition holds: they may be faster than this one."""
    held = []

    def catch():
        assert process.poll() is None
        if condition():
            held[:] = filter(None, map(holder, folders(out)))
            signal_all(held, signal.SIGSTOP)
            wait_until(lambda: not any(map(runs, held)))
            if condition():
                return True
            release(held)
        return False

    wait_until(catch)
    return held


def release(processes):
    signal_all(processes, signal.SIGCONT)


def signal_all(processes, number):
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def children(process):
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def runs(process):
    """Whether any thread of a process is neither stopped nor dead."""
    try:
        threads = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):  # it ends just now
        return True
    return any(thread.rpartition(")")[2].split()[0] not in "TZX" for thread in threads)


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
