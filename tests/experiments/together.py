"""A tiny experiment without noise, for the tests of training in several processes: batch norm, a moving average of the
losses, batches of unequal sizes. All in float64, so that only a mistake makes a difference."""

import dataclasses
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import nn

from sstricks.estimators.moving_average import MovingAverage
from sstricks.experiments.runs.batches import StepBatches
from sstricks.experiments.runs.buckets import LengthBuckets
from sstricks.experiments.runs.evaluated import EvaluatedModule
from sstricks.experiments.runs.halving import Search
from sstricks.experiments.runs.training import DivergedError, Schedule


class Net(EvaluatedModule):
    def __init__(self, team):
        super().__init__()
        self.team = team
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 1))
        self.seldom = nn.Linear(4, 1)
        self.average = MovingAverage(0.5)
        generator = torch.Generator().manual_seed(team.seed)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5, generator=generator)
        self.double()

    def training_step(self, batch, batch_idx):
        self._misbehave()
        loss = self._loss(batch)
        score = self.layers(batch).squeeze(-1)
        surrogate = (loss + (loss - self.average.value).detach() * score).mean()
        self.average.update(loss.detach())
        if self.global_step % 2:
            surrogate = surrogate + self.seldom(batch).square().mean()
        self.log_split("train", {"elbo": -loss.detach().mean()}, len(batch))
        return surrogate

    def begin_evaluation(self):
        self.losses = []

    def evaluate(self, batch):
        self.losses.append(self._loss(batch))

    def summary(self):
        return {"elbo": -torch.cat(self.losses).mean().item()}

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05, weight_decay=0.1)

    def _loss(self, x):
        return (self.layers(x).squeeze(-1) - x.prod(-1)).square()

    def _misbehave(self):
        team = self.team
        if (self.global_rank, self.global_step) == (1, team.diverges_at):
            raise DivergedError("the second process diverged, as it was told to.")
        if (self.global_rank, self.global_step) == (1, team.dies_at) and not (mark := Path(team.mark)).exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Batches:
    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)

    def __len__(self):
        return len(self.batches)


class Points(LightningDataModule):
    def __init__(self, team):
        super().__init__()
        self.team = team
        self.points = torch.randn(60, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def train_dataloader(self):
        indices = LengthBuckets(torch.arange(self.team.examples), 7, self.team.seed)  # the last batch is smaller
        return StepBatches(indices, lambda i: self.points[i], lambda: self.trainer.global_step, self.team.interval)

    def val_dataloader(self):
        return Batches([self.points[40:47], self.points[47:50]])

    def test_dataloader(self):
        return Batches([self.points[50:]])


@dataclass(frozen=True)
class Team:
    seed: int = 0
    steps: int = 20
    interval: int = 5
    trials: int = 1
    examples: int = 37
    diverges_at: int = -1
    dies_at: int = -1
    mark: str = ""
    title: str = "team"

    @property
    def search(self):
        return Search(self.trials, self.interval)

    @property
    def schedule(self):
        return Schedule(self.seed, self.steps, self.interval, 1.0, "valid/elbo", {"valid/elbo": "ELBO {:.2f}"})

    def trial(self, index, interval):
        return dataclasses.replace(self, seed=self.seed + index, trials=1, interval=interval)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def summary(self) -> dict[str, Any]:
        return {"seed": self.seed}

    def module(self):
        return Net(self)

    def data(self):
        return Points(self)

    def illustrate(self, folder) -> list[Path]:
        return []
