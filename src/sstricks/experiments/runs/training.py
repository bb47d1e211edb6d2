import contextlib
import logging
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from sstricks.experiments.runs.checkpoint_files import AtomicCheckpointIO, read_checkpoint
from sstricks.experiments.runs.checkpoints import Outcome, Recorder, checkpoint_step, recorded_outcome
from sstricks.experiments.runs.devices import Devices, OneOf
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.folder import RunFolder
from sstricks.experiments.runs.noise import StatelessNoise
from sstricks.experiments.runs.progress import Display
from sstricks.experiments.runs.shared_batch import SharedBatches
from sstricks.experiments.runs.show import ShowProgress
from sstricks.experiments.runs.whole_batch import WholeBatchLayers


class DivergedError(RunError):
    """A training has reached numbers that are not finite."""


@dataclass(frozen=True)
class Schedule:
    """How a training proceeds, whatever is trained.

    Attributes:
        seed: of the noise.
        steps: where the training ends.
        interval: steps between two validations, each with a checkpoint.
        clip: the largest gradient norm.
        monitor: the metric of which the best checkpoint has the largest value.
        shown: a format for each metric that the progress shows.
    """

    seed: int
    steps: int
    interval: int
    clip: float
    monitor: str
    shown: Mapping[str, str]


def fit(
    module: LightningModule,
    data: LightningDataModule,
    folder: RunFolder,
    schedule: Schedule,
    display: Display,
    title: str,
    *,
    member: OneOf | None = None,
    more: Sequence[Callback] = (),
) -> Outcome:
    """Train a module in its folder, from the folder's last checkpoint if there is one.

    The data module must count the steps of a training epoch from one multiple of the interval to the next
    (`StepBatches` does).

    Args:
        module: logs the monitored metric in validation.
        data: the training and validation batches.
        folder: opened by the caller.
        schedule: how to proceed.
        display: shows the progress.
        title: what to call the training there.
        member: which of several processes this is that train the module together; none if it is alone.
        more: callbacks.

    Returns:
        What it came to.

    Raises:
        KeyboardInterrupt: if the user interrupts the training.
    """
    step = checkpoint_step(folder.last)
    shown = ShowProgress(display, title, schedule.steps, schedule.shown)
    recorder = Recorder(folder, schedule.monitor, schedule.interval, step)
    trainer = _trainer(schedule, [StatelessNoise(schedule.seed), shown, recorder, *more], member)
    before = signal.getsignal(signal.SIGINT)
    try:
        with _without_torch_deprecations():
            trainer.fit(module, data, ckpt_path=str(folder.last) if step else None)
    except SystemExit:  # what Lightning makes of Ctrl-C, after disabling it, and of SIGTERM
        signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt from None
    return recorded_outcome(folder)


def test(module: LightningModule, data: LightningDataModule, folder: RunFolder, schedule: Schedule) -> dict[str, float]:
    """Measure the best checkpoint of a folder on the test split.

    Args:
        module: of the same architecture; its parameters are replaced.
        data: the test batches.
        folder: where the checkpoint is.
        schedule: has the seed of the noise.

    Returns:
        The metrics by name.

    Raises:
        RunError: if there is no checkpoint yet.
    """
    load_best(module, folder)
    trainer = _trainer(schedule, [StatelessNoise(schedule.seed)])
    with _without_torch_deprecations():
        trainer.test(module, data, verbose=False)
    return {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}


def load_best(module: LightningModule, folder: RunFolder) -> None:
    """Give a module the parameters of the best checkpoint of a run.

    Args:
        module: of the architecture that was trained.
        folder: where the checkpoint is.

    Raises:
        RunError: if there is no checkpoint yet, or it is damaged or of another model.
    """
    if not folder.best.exists():
        raise RunError(f"{folder.path}: it holds no checkpoint yet. Train until the first validation at least.")
    parameters = read_checkpoint(folder.best)["state_dict"]
    try:
        module.load_state_dict(parameters)
    except RuntimeError as error:
        raise RunError(
            f"{folder.best}: its parameters are not those of the model that {folder.config_file} describes "
            f"({' '.join(str(error).split())[:200]}…). Restore the two files, or use the version of sstricks that "
            "started the run."
        ) from None


@contextlib.contextmanager
def _without_torch_deprecations() -> Iterator[None]:
    # Lightning 2.6 asks torch for leaves in a way that torch 2.13 deprecates; nothing of ours can change that.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        yield


def _trainer(schedule: Schedule, callbacks: list[Callback], member: OneOf | None = None) -> Trainer:
    # Lightning announces devices and tips at level INFO.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    devices = Devices() if member is None else member.devices
    return Trainer(
        accelerator="auto" if member is None else "cuda" if torch.cuda.is_available() else "cpu",
        devices=devices.per_machine,
        num_nodes=devices.machines,
        strategy="auto" if member is None else SharedBatches(),
        max_epochs=-1,
        max_steps=schedule.steps,
        gradient_clip_val=schedule.clip,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO(), *([] if member is None else [member, WholeBatchLayers()])],
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
