import time
from typing import Any

import torch

from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.folder import FolderInUseError
from sstricks.experiments.runs.memory import keep_freed_memory
from sstricks.experiments.runs.progress import Silence
from sstricks.experiments.runs.run import train
from sstricks.experiments.runs.training import DivergedError
from sstricks.experiments.sweep.trial import Trial

_POLL_SECONDS = 0.5


def train_trial(trial: Trial, threads: int, patience: float = 120.0) -> dict[str, Any]:
    """Train a trial from its last checkpoint to its end, or until it is known to diverge.

    A process that a killed sweep left behind may still be busy in the folder; it is about to notice.

    Args:
        trial: what to train, and where.
        threads: of torch.
        patience: seconds to wait for another process to leave the folder.

    Returns:
        Nothing if all is well; otherwise `refused`, a reason that trying again would not change, and `stops_all` if
        it would hold for the other trials too.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
    try:
        _train_when_free(trial, time.monotonic() + patience)
    except RunError as error:
        return {"refused": str(error)}
    except OSError as error:  # a folder that cannot be written, a full disk
        return {"refused": f"{trial.path}: {error.strerror or error}", "stops_all": True}
    return {}


def _train_when_free(trial: Trial, end: float) -> None:
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
