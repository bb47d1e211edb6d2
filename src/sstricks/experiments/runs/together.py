import dataclasses
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]  # public by its documentation

from sstricks.experiments.runs.checkpoints import checkpoint_step
from sstricks.experiments.runs.devices import Devices, OneOf
from sstricks.experiments.runs.errors import RunError, first_line
from sstricks.experiments.runs.experiment import Experiment
from sstricks.experiments.runs.folder import RunFolder
from sstricks.experiments.runs.overview import last_row, last_step
from sstricks.experiments.runs.progress import Display, Silence, describe
from sstricks.experiments.runs.training import fit
from sstricks.experiments.runs.workers import polling, run_tasks

_POLL_SECONDS = 0.5
_PATIENCE = timedelta(minutes=30)  # for machines that begin later


@dataclass(frozen=True)
class ShareTask:
    """What one of several processes that train a model together has to know.

    Attributes:
        experiment: what they train.
        path: the run's folder.
        devices: all of them.
        local_rank: which of this machine's it is.
    """

    experiment: Experiment
    path: Path
    devices: Devices
    local_rank: int


def fit_together(experiment: Experiment, path: Path, devices: Devices, display: Display, title: str) -> None:
    """Train an experiment in its folder, in one process for each of this machine's devices.

    Args:
        experiment: what to train; it has no trials.
        path: the run's folder, opened by the first machine.
        devices: of all machines.
        display: shows the progress.
        title: what to call the training there.

    Raises:
        RunError: if the training diverges, a process is lost, or another program has the port.
    """
    # Here and not in the first of the processes, for which a free port might be taken by the time it needs it.
    meeting = _meeting(devices) if devices.machine == 0 else None
    if meeting is not None:
        devices = dataclasses.replace(devices, port=meeting.port)
    tasks = [ShareTask(experiment, path, devices, rank) for rank in range(devices.per_machine)]
    display.begin(title, last_step(path), experiment.schedule.steps)
    watcher = _Watcher(experiment, path, display)
    try:
        with polling(watcher.poll, _POLL_SECONDS):
            for _ in run_tasks(_fit_share, tasks, len(tasks)):
                pass
    except (BrokenProcessPool, _LostError) as error:
        raise RunError(
            f"{path}: one of the {devices.count} processes that trained together was lost, perhaps killed for want of "
            f"memory ({first_line(error)}). Give the same command with --resume to continue from the last checkpoint."
        ) from error
    finally:
        display.end()
        del meeting  # whoever keeps the error keeps this frame too


def _meeting(devices: Devices) -> TCPStore:
    """Where the processes of all machines find each other, for as long as it is held."""
    try:
        return TCPStore(devices.address, devices.port, is_master=True, wait_for_workers=False)
    except torch.distributed.DistNetworkError as error:
        raise RunError(
            f"port {devices.port} of {devices.address} cannot be listened at ({first_line(error)}): set MASTER_PORT "
            "to a free port, and MASTER_ADDR to an address of machine 0, on every machine."
        ) from error


def _join(member: OneOf) -> None:
    # Lightning takes the group that it finds.
    devices, gpus = member.devices, torch.cuda.is_available()
    if torch.distributed.is_initialized():  # since a training in this process was broken off
        torch.distributed.destroy_process_group()
    torch.distributed.init_process_group(
        "nccl" if gpus else "gloo",
        store=TCPStore(devices.address, devices.port, timeout=_PATIENCE),
        rank=member.global_rank(),
        world_size=devices.count,
        device_id=torch.device("cuda", member.local_rank()) if gpus else None,
    )


class _LostError(RuntimeError):
    # Another process does not answer any more.
    pass


class _SameRun(Callback):
    # A machine that was given another command, or sees another folder, would train on as if nothing were amiss.
    def __init__(self, config: dict[str, Any], step: int) -> None:
        self.config = config
        self.step = step

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        config, step = trainer.strategy.broadcast((self.config, self.step))
        different = sorted(
            name for name in config.keys() | self.config.keys() if config.get(name) != self.config.get(name)
        )
        if different:
            raise RunError(
                f"{', '.join(different)} differ from those of machine 0: give the same command on every machine."
            )
        if step != self.step:
            raise RunError(
                f"machine 0 goes on from step {step}, this one from {self.step}: --out must be the same folder on all "
                "machines, in a file system that they share."
            )


class _Watcher:
    def __init__(self, experiment: Experiment, path: Path, display: Display) -> None:
        self._shown = experiment.schedule.shown
        self._path, self._display = path, display
        self._step = last_step(path)

    def poll(self) -> None:
        row = last_row(self._path)
        step = int(row.get("step") or 0)
        if step > self._step:
            self._step = step
            self._display.advance(step)
            self._display.measured(step, describe(row, self._shown))


def _fit_share(task: ShareTask) -> None:
    folder = RunFolder(task.path)
    same = _SameRun(task.experiment.to_json(), checkpoint_step(folder.last))
    member = OneOf(task.devices, task.local_rank)
    module, data = task.experiment.module(), task.experiment.data()
    try:
        _join(member)
        fit(module, data, folder, task.experiment.schedule, Silence(), "", member=member, more=[same])
    except RuntimeError as error:
        if isinstance(error, torch.distributed.DistError) or "gloo" in str(error):  # which has no type of its own
            raise _LostError(str(error)) from error
        raise
    torch.distributed.destroy_process_group()  # not after an error: the others would complain before this one does
