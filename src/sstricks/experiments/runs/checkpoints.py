import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from sstricks.experiments.runs.checkpoint_files import read_checkpoint
from sstricks.experiments.runs.folder import RunFolder
from sstricks.experiments.runs.metrics import MetricsLog


@dataclass(frozen=True)
class Outcome:
    """What a training came to.

    Attributes:
        step: steps taken.
        score: the monitored metric at the last validation.
        best_score: the monitored metric of the best checkpoint.
        best_step: its step.
        seconds: the time spent, all resumptions together.
    """

    step: int
    score: float
    best_score: float
    best_step: int
    seconds: float


_STATE = ("score", "best_score", "best_step", "seconds")


class Recorder(Checkpoint):
    """At the end of each interval: one row of metrics, then the best checkpoint if this is it, then the last one.

    In this order nothing is lost: a run that is killed between any two of these resumes from the previous last
    checkpoint and repeats the interval. Of several processes only the first writes.

    Args:
        folder: the run's folder, opened.
        monitor: the metric of which the best checkpoint has the largest value.
        interval: steps between two validations.
        step: the step of the checkpoint from which the run goes on, 0 at its start.
    """

    def __init__(self, folder: RunFolder, monitor: str, interval: int, step: int) -> None:
        self.folder = folder
        self.interval = interval
        self.monitor = monitor
        self.score = math.nan
        self.best_score = -math.inf
        self.best_step = 0
        self.seconds = 0.0
        self._step = step
        self._log: MetricsLog | None = None
        self._since = time.perf_counter()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the metrics.

        Args:
            trainer: knows the process.
            pl_module: not used.
            stage: not used.
        """
        if trainer.is_global_zero:
            self._log = MetricsLog(self.folder.path, self._step)

    def state_dict(self) -> dict[str, Any]:
        """What the next resumption must know.

        Returns:
            The last and the best score, the best one's step, and the seconds spent.
        """
        return {name: getattr(self, name) for name in _STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint.

        Args:
            state_dict: what `state_dict` returned.
        """
        for name in _STATE:
            setattr(self, name, state_dict[name])

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Make Lightning begin with a new interval, also if it is longer than the one that the checkpoint ended.

        Args:
            trainer: not used.
            pl_module: not used.
            checkpoint: what is being loaded.
        """
        current = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        current.update(dict.fromkeys(current, self.interval))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock.

        Args:
            trainer: not used.
            pl_module: not used.
        """
        self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the interval that ends here.

        Args:
            trainer: has the metrics and writes the checkpoints.
            pl_module: not used.
        """
        if trainer.global_step == self._step:  # Lightning ends the epoch again from whose end it resumes
            return
        self._step = trainer.global_step
        now = time.perf_counter()
        self.seconds, self._since = self.seconds + now - self._since, now
        metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        if self._log is not None:
            self._log.append({"step": trainer.global_step, "seconds": round(self.seconds, 3), **metrics})
        self.score = metrics[self.monitor]
        if self.score > self.best_score:
            self.best_score, self.best_step = self.score, trainer.global_step
            trainer.save_checkpoint(self.folder.best)
        trainer.save_checkpoint(self.folder.last)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the metrics.

        Args:
            trainer: not used.
            pl_module: not used.
            stage: not used.
        """
        if self._log is not None:
            self._log.close()


def checkpoint_step(path: Path) -> int:
    """The step at which a checkpoint was written.

    Args:
        path: the checkpoint; it need not exist.

    Returns:
        The number of steps, 0 if there is no checkpoint.

    Raises:
        RunError: if it is damaged.
    """
    return int(read_checkpoint(path)["global_step"]) if path.exists() else 0


def recorded_outcome(folder: RunFolder) -> Outcome:
    """What the training of a folder has come to so far.

    Args:
        folder: has a last checkpoint.

    Returns:
        What the recorder knew when it wrote that.

    Raises:
        RunError: if it is damaged.
    """
    checkpoint = read_checkpoint(folder.last)
    return Outcome(step=int(checkpoint["global_step"]), **checkpoint["callbacks"][Recorder.__qualname__])
