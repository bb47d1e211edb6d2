"""A tiny experiment, for the tests of what all experiments share: learn a line from points, with random dropout."""

import dataclasses
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import nn

from sstricks.experiments.runs.batches import ShuffledIndices, StepBatches
from sstricks.experiments.runs.halving import Search
from sstricks.experiments.runs.training import DivergedError, Schedule


class Line(LightningModule):
    def __init__(self, toy):
        super().__init__()
        self.toy = toy
        self.register_buffer("slope", torch.tensor(3.0))
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))
        generator = torch.Generator().manual_seed(toy.seed)
        for parameter in self.layers.parameters():
            nn.init.normal_(parameter, std=0.3, generator=generator)

    def training_step(self, batch, batch_idx):
        if self.toy.diverges_at == self.global_step:
            raise DivergedError("the toy diverged, as it was told to.")
        time.sleep(float(os.environ.get("TOY_PAUSE", "0")))
        loss = self._loss(batch)
        self.log("train/elbo", -loss.detach(), on_step=False, on_epoch=True, batch_size=len(batch))
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("valid/elbo", -self._loss(batch), batch_size=len(batch))

    def test_step(self, batch, batch_idx):
        self.log("test/elbo", -self._loss(batch), batch_size=len(batch))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.toy.lr)

    def _loss(self, x):
        noisy = x + 0.1 * torch.randn_like(x)
        return (self.layers(noisy).squeeze(-1) - self.slope * x.sum(-1)).square().mean()


class Points(LightningDataModule):
    def __init__(self, toy):
        super().__init__()
        self.toy = toy
        self.points = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))

    def train_dataloader(self):
        indices = ShuffledIndices(40, 8, self.toy.seed)
        return StepBatches(indices, lambda i: self.points[i], lambda: self.trainer.global_step, self.toy.interval)

    def val_dataloader(self):
        return [self.points[40:50]]

    def test_dataloader(self):
        return [self.points[50:]]


@dataclass(frozen=True)
class Toy:
    seed: int = 0
    steps: int = 12
    interval: int = 3
    lr: float = 0.05
    trials: int = 1
    trial_steps: int = 2
    diverges_at: int = -1
    title: str = "toy"

    @property
    def search(self):
        return Search(self.trials, self.trial_steps)

    @property
    def schedule(self):
        return Schedule(self.seed, self.steps, self.interval, 10.0, "valid/elbo", {"valid/elbo": "ELBO {:.2f}"})

    def trial(self, index, interval):
        lr = 0.05 / (1 + index)
        return dataclasses.replace(self, seed=self.seed + index, lr=lr, trials=1, interval=interval)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def summary(self) -> dict[str, Any]:
        return {"seed": self.seed, "lr": self.lr}

    def module(self):
        return Line(self)

    def data(self):
        return Points(self)

    def illustrate(self, folder) -> list[Path]:
        return []
