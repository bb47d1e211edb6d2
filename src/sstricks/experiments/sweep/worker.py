import time

import torch

from sstricks.experiments.runs.folder import FolderInUseError
from sstricks.experiments.runs.memory import keep_freed_memory
from sstricks.experiments.runs.progress import Silence
from sstricks.experiments.runs.run import train
from sstricks.experiments.runs.training import DivergedError
from sstricks.experiments.sweep.trial import Trial

_WAIT_SECONDS = 120.0
_POLL_SECONDS = 0.5


def train_trial(trial: Trial, threads: int) -> None:
    """Train a trial from its last checkpoint to its end, or until it is known to diverge.

    A process that a killed sweep left behind may still be busy in the folder; it is about to notice.

    Args:
        trial: what to train, and where.
        threads: of torch.

    Raises:
        FolderInUseError: if another process does not leave the folder.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
    end = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            train(trial.experiment, trial.path, resume=True, jobs=1, display=Silence())
        except DivergedError as error:
            trial.give_up(str(error))
        except FolderInUseError:
            if time.monotonic() > end:
                raise
            time.sleep(_POLL_SECONDS)
            continue
        return
