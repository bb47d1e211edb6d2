import sys
from types import ModuleType

import pytest

from sstricks.experiments.sweep.worker import train_trial


@pytest.fixture
def trained(monkeypatch):
    """In Ray's place: trials are trained one after the other, in this process. Which ones, is collected."""
    indices = []

    def train_here(trials, machines):
        failures = {}
        for trial in trials:
            indices.append(trial.index)
            report = train_trial(trial, threads=1)
            if report:
                failures[trial.index] = report["refused"]
            if report.get("stops_all"):
                break
        return failures

    stand_in = ModuleType("sstricks.experiments.sweep.ray_tune")
    stand_in.train_on_ray = train_here
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    return indices
