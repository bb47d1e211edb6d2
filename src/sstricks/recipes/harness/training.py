"""One training: Lightning's loop, checkpoints that a kill cannot damage, metrics and progress."""

import io
import logging
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, RichProgressBar
from torch import Tensor, distributed
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from sstricks.recipes.harness.batches import AllBatches, TrainingBatches
from sstricks.recipes.harness.distributed import SameCommand, SharedBatches
from sstricks.recipes.harness.files import RunError, write_atomically
from sstricks.recipes.harness.metrics import MetricsLog
from sstricks.recipes.harness.recipe import DivergedError, Model, Recipe, Split, clock, describe, fold_in

Report = Callable[[dict[str, float]], object]
for _name in ("lightning.pytorch", "lightning.fabric"):  # which announce devices and tips at level INFO
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True)
class Devices:
    """Where a model is trained."""

    accelerator: str = "auto"  # or cpu, or gpu
    count: int = 1  # processes of this machine that train together, each on a device of its own
    index: int = 0  # of the GPU, for one process among several that train different models

    @property
    def device(self) -> torch.device:
        gpu = self.accelerator != "cpu" and torch.cuda.is_available()
        return torch.device("cuda", self.index) if gpu else torch.device("cpu")


def cluster() -> tuple[int, int, int] | None:
    """Processes of a machine, machines, and this process's rank, if torchrun or SLURM started several processes."""
    for kind in (TorchElasticEnvironment, SLURMEnvironment):
        if kind.detect() and (world := kind().world_size()) > 1:
            here = os.environ.get("LOCAL_WORLD_SIZE") or world // int(os.environ["SLURM_NNODES"])
            return int(here), world // int(here), kind().global_rank()
    return None


class Training(LightningModule):
    """A recipe's model, as Lightning trains it."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(fold_in(recipe.run_seed, "weights"))
            self.model = recipe.model()

    def setup(self, stage: str) -> None:
        # Nothing of ours can change it: Lightning 2.6 finds leaves in a way that torch 2.13 deprecates.
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of a batch. Its noise is a function of (seed, step, process), so no generator has to be saved."""
        torch.manual_seed(fold_in(self.recipe.run_seed, "train", self.global_step, self.global_rank))
        try:
            loss, logged = self.model.loss(batch, self.global_step)
        except DivergedError as error:
            raise DivergedError(f"the training diverged at step {self.global_step}: {error}") from None
        self.log_dict(
            {f"train/{name}": value.detach() for name, value in logged.items()},
            on_step=False,
            on_epoch=True,
            # Lightning rounds the mean of the processes' weights to an integer.
            batch_size=len(batch) * self.trainer.world_size,
            sync_dist=True,
        )
        return loss

    def on_validation_start(self) -> None:
        self.validation = Evaluation(self.model, "valid", self.recipe.run_seed)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validation.add(batch)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch.to(device)  # Lightning's own way assigns to the fields of a batch, which may be frozen

    def configure_optimizers(self) -> Any:
        optimizer = self.model.optimizer()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.recipe.lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Evaluation:
    """An evaluation in progress. All evaluations of a run use the same noise."""

    def __init__(self, model: Model, split: str, seed: int) -> None:
        self.model, self.split = model, split
        self._found: dict[str, list[Tensor]] = {}
        torch.manual_seed(fold_in(seed, split, 0))

    def add(self, batch: Any) -> None:
        for name, values in self.model.evaluate(batch).items():
            self._found.setdefault(name, []).append(values)

    def metrics(self) -> dict[str, float]:
        metrics = self.model.summarize({name: torch.cat(values) for name, values in self._found.items()})
        return {f"{self.split}/{name}": value for name, value in metrics.items()}


@torch.no_grad()
def evaluate(model: Model, split: Split, seed: int) -> dict[str, float]:
    """The metrics of the test split."""
    device = next(iter(model.parameters())).device
    found = Evaluation(model.eval(), "test", seed)
    for batch in AllBatches(split):
        found.add(batch.to(device))
    return found.metrics()


class Recorder(Checkpoint):
    """At the end of each interval: a row of metrics, then the best checkpoint if this is it, then the last one.

    In this order nothing is lost: a run killed between any two of these resumes from the previous last checkpoint and
    repeats the interval. Of several processes only the first writes.
    """

    def __init__(
        self, recipe: Recipe, folder: Path, step: int, end: int, *, verbose: bool, report: Report | None
    ) -> None:
        self.recipe, self.folder, self.end, self.verbose, self.report = recipe, folder, end, verbose, report
        self.score, self.best_score, self.best_step, self.seconds = math.nan, -math.inf, 0, 0.0
        self._first = self._step = step
        self._log: MetricsLog | None = None

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("score", "best_score", "best_step", "seconds")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Make Lightning begin with a new interval, also if it is longer than the one that the checkpoint ended."""
        current = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        current.update(dict.fromkeys(current, self.recipe.valid_every))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self._log = MetricsLog(self.folder, self._step)
        self._begun = self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step == self._step:  # Lightning ends the epoch again from whose end it resumes
            return
        assert isinstance(pl_module, Training)
        self._step = trainer.global_step
        metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        metrics |= pl_module.validation.metrics()
        now = time.perf_counter()
        self.seconds, self._since = self.seconds + now - self._since, now
        if self._log is not None:
            self._log.append({"step": self._step, "seconds": round(self.seconds, 3), **metrics})
            if self.verbose:
                left = (now - self._begun) / (self._step - self._first) * (self.end - self._step)
                measured = describe(metrics, self.recipe.shown)
                print(f"{self.recipe.title}: step {self._step}/{self.end}  {measured}  {clock(left)} left", flush=True)
        self.score = metrics[self.recipe.monitor]
        if self.score > self.best_score:
            self.best_score, self.best_step = self.score, self._step
            trainer.save_checkpoint(best_checkpoint(self.folder))
        trainer.save_checkpoint(last_checkpoint(self.folder))
        if self.report is not None:
            self.report({"step": self._step, **metrics})

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._log is not None:
            self._log.close()


def fit(
    recipe: Recipe, folder: Path, devices: Devices, steps: int, *, verbose: bool = False, report: Report | None = None
) -> float:
    """Train a recipe up to a step, from the last checkpoint of a folder that the caller holds.

    With `verbose` there is a bar on a terminal, and a line for each validation; `report` is called with its metrics.
    Return the monitored metric at the last one. A RunError tells if the training diverges, a process is lost, or there
    are not enough devices.
    """
    last, data, processes = last_checkpoint(folder), recipe.data(), cluster()
    step = int(read_checkpoint(last)["global_step"]) if last.exists() else 0
    callbacks: list[Callback] = [Recorder(recipe, folder, step, steps, verbose=verbose, report=report)]
    here, machines, _ = processes or (devices.count, 1, 0)
    together = here * machines > 1
    bar = verbose and not together and sys.stderr.isatty()
    if together:
        callbacks.append(SameCommand({**recipe.to_json(), "steps to train": steps}, step))
    if bar:
        callbacks.append(RichProgressBar())
    before = signal.getsignal(signal.SIGINT)
    try:
        trainer = Trainer(
            accelerator="gpu" if devices.device.type == "cuda" else devices.accelerator,
            devices=here if together or devices.device.type == "cpu" else [devices.index],
            num_nodes=machines,
            # Lightning starts the processes, unless torchrun or SLURM has.
            strategy=SharedBatches(
                start_method="popen" if processes else "spawn",  # by any other, processes on a CPU share parameters
                timeout=timedelta(minutes=30),  # for machines that begin later
                find_unused_parameters=True,  # a layer may be idle at some steps, or on some examples
            )
            if together
            else "auto",
            plugins=[AtomicCheckpointIO(), *([] if together else [LightningEnvironment()])],
            callbacks=callbacks,
            max_epochs=-1,
            max_steps=steps,
            gradient_clip_val=recipe.clip,
            num_sanity_val_steps=0,
            logger=False,
            enable_progress_bar=bar,
            enable_model_summary=False,
        )
        loader = TrainingBatches(data.train, recipe.batch_size, recipe.run_seed, recipe.valid_every, step)
        trainer.fit(Training(recipe), loader, AllBatches(data.valid), ckpt_path=str(last) if step else None)
    except SystemExit:  # what Lightning makes of Ctrl-C, after disabling it, and of SIGTERM
        signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt from None
    except MisconfigurationException as error:
        raise RunError(f"--devices {devices.count}: {error}") from None
    except (ProcessExitedException, ProcessRaisedException, distributed.DistError) as error:
        raise _explained(error, folder, here * machines) from error
    return recorded(folder)["score"]


def _explained(error: Exception, folder: Path, count: int) -> RunError:
    # What a process raised reaches its parent as text.
    name, _, text = str(error).strip().rpartition("\n")[2].partition(": ")
    for kind in (DivergedError, RunError):
        if name.endswith(kind.__name__):
            return kind(text)
    if isinstance(error, ProcessRaisedException) and "gloo" not in str(error) and "Dist" not in name:
        return RunError(str(error))
    return RunError(
        f"{folder}: one of the {count} processes that trained together was lost, perhaps killed for want of memory "
        f"({str(error).strip().splitlines()[0]}). Give the same command with --resume to continue from the last "
        "checkpoint."
    )


def best_checkpoint(folder: Path) -> Path:
    return folder / "checkpoints" / "best.ckpt"


def last_checkpoint(folder: Path) -> Path:
    return folder / "checkpoints" / "last.ckpt"


def recorded(folder: Path) -> dict[str, Any]:
    """What the training of a folder has come to: `step`, `score`, `best_score`, `best_step` and `seconds`."""
    checkpoint = read_checkpoint(last_checkpoint(folder))
    return {"step": int(checkpoint["global_step"]), **checkpoint["callbacks"][Recorder.__qualname__]}


def load_best(recipe: Recipe, folder: Path, device: torch.device | str = "cpu") -> Model:
    """The best model of a run, ready for evaluation; a RunError if there is none, or it is damaged."""
    file = best_checkpoint(folder)
    if not file.exists():
        raise RunError(f"{folder}: it holds no checkpoint yet. Train until the first validation at least.")
    parameters, training = read_checkpoint(file)["state_dict"], Training(recipe)
    try:
        training.load_state_dict(parameters)
    except RuntimeError as error:
        why = f"its parameters are not those of the model that {folder / 'config.json'} describes"
        raise RunError(f"{file}: {why} ({' '.join(str(error).split())[:200]}…). Restore the two files.") from None
    return training.model.eval().to(device)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's way to the disk, made such that a killed process leaves the previous checkpoint whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None) -> None:
        content = io.BytesIO()  # torch itself would hide why a file cannot be written
        torch.save(checkpoint, content)
        write_atomically(Path(path), content.getvalue())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, which holds tensors and plain values only; a RunError if it is damaged."""
    content = io.BytesIO(path.read_bytes())
    try:
        checkpoint = torch.load(content, map_location="cpu", weights_only=True)
        if "state_dict" in checkpoint:
            return checkpoint
    except (UnpicklingError, RuntimeError, EOFError, OSError, ValueError, TypeError):
        pass
    raise RunError(f"{path}: found no whole checkpoint. Restore the file, or start a new run in another folder.")
