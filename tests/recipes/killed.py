"""What a run must bear in any experiment: to be killed by the system."""

import os
import signal
import subprocess
import sys

import sstricks_cli as cli
from recipes.outcome import result_of, without_times
from recipes.waiting import wait_until
from sstricks.recipes.harness.metrics import read_metrics


def assert_a_killed_run_resumes(folder, experiment, *options):
    """Kill a training in its midst, resume it, and compare it with one that nobody killed."""
    broken, whole = folder / "broken", folder / "whole"
    words = ["train", experiment, *options, "--steps", "120", "--out"]
    python = (sys.executable, "-W", "error", "-m")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pausing = [*python, "recipes.pausing", *words, str(broken)]
    with subprocess.Popen(pausing, env=environment, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: len(read_metrics(broken)) >= 2, process)
        process.send_signal(signal.SIGKILL)
    assert not (broken / "result.json").exists()
    resumed = subprocess.run(
        [*python, "sstricks", *words, str(broken), "--resume"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert resumed.stderr == ""
    assert cli.main([*words, str(whole)]) == 0
    assert without_times(result_of(broken)) == without_times(result_of(whole))
    assert list(map(without_times, read_metrics(broken))) == list(map(without_times, read_metrics(whole)))
