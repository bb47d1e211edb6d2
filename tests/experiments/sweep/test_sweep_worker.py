import threading

import torch

from experiments.toy import Toy
from sstricks.experiments.runs.folder import take_lock
from sstricks.experiments.sweep.trial import Trial, TrialState
from sstricks.experiments.sweep.worker import train_trial


def toy_trial(path, **changes):
    return Trial(0, path, {"seed": 0}, Toy(steps=3, **changes))


def test_a_trial_waits_for_whoever_is_about_to_leave_its_folder(tmp_path):
    lock = take_lock(tmp_path)
    timer = threading.Timer(1.0, lock.close)
    timer.start()
    assert train_trial(toy_trial(tmp_path), threads=1) == {}
    timer.join()
    assert toy_trial(tmp_path).state is TrialState.FINISHED


def test_a_trial_does_not_wait_for_ever(tmp_path):
    with take_lock(tmp_path):
        refusal = train_trial(toy_trial(tmp_path), threads=1, patience=0.1)
    assert "another process" in refusal["refused"]
    assert "stops_all" not in refusal
    assert toy_trial(tmp_path).state is TrialState.UNFINISHED


def test_a_trial_gets_its_threads(tmp_path):
    before = torch.get_num_threads()
    try:
        train_trial(toy_trial(tmp_path), threads=3)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    refusal = train_trial(toy_trial(tmp_path / "file" / "trial"), threads=1)
    assert "cannot write there (Not a directory)" in refusal["refused"]
