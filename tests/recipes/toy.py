"""Tiny recipes for the tests of the harness."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from sstricks.estimators import MovingAverage
from sstricks.recipes.harness.recipe import Data, DivergedError, Model, Recipe


class Points:
    def __init__(self, points, lengths=None):
        self.points = points
        if lengths is not None:
            self.lengths = lengths

    def __len__(self):
        return len(self.points)

    def __getitem__(self, chosen):
        return self.points[chosen]


@dataclass(frozen=True, kw_only=True)
class Base(Recipe):
    monitor: ClassVar = "valid/elbo"
    shown: ClassVar = {"valid/elbo": "ELBO {:.2f}"}

    diverges_at: int = -1
    dies_at: int = -1
    mark: str = ""

    def with_preset(self):
        return self

    @classmethod
    def layout(cls):
        return None

    def draw(self, model, folder):
        return []


@dataclass(frozen=True, kw_only=True)
class Toy(Base):
    """Learn a line from points, with random dropout."""

    name: ClassVar = "toy"

    steps: int = 12
    valid_every: int = 3
    batch_size: int = 8
    lr: float = 0.05
    restart_steps: int = 2

    def of_restart(self, index, **changed):
        return super().of_restart(index, lr=0.05 / (1 + index), **changed)

    def model(self):
        return Line(self)

    def data(self):
        points = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        return Data(Points(points[:40]), Points(points[40:50]), Points(points[50:]))


class Line(Model):
    def __init__(self, toy):
        super().__init__()
        self.toy = toy
        self.register_buffer("slope", torch.tensor(3.0))
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))

    def loss(self, batch, step):
        if self.toy.diverges_at == step:
            raise DivergedError("as it was told to.")
        time.sleep(float(os.environ.get("TOY_PAUSE", "0")))
        losses = self.losses(batch)
        return losses.mean(), {"elbo": -losses.mean()}

    def evaluate(self, batch):
        return {"elbo": -self.losses(batch)}

    def losses(self, x):
        noisy = x + 0.1 * torch.randn_like(x)
        return (self.layers(noisy).squeeze(-1) - self.slope * x.sum(-1)).square()

    def optimizer(self):
        return torch.optim.Adam(self.parameters(), lr=self.toy.lr)


@dataclass(frozen=True, kw_only=True)
class Team(Base):
    """Without noise: batch norm, a moving average of losses, batches of unequal sizes, a layer that is seldom used.

    All in float64, so that only a mistake makes a difference between one process and several.
    """

    name: ClassVar = "team"

    steps: int = 20
    valid_every: int = 5
    batch_size: int = 7
    clip: float = 1.0
    restart_steps: int = 5
    examples: int = 37  # the last batch of a pass is smaller

    def model(self):
        return Net(self)

    def data(self):
        points = torch.randn(60, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        train = Points(points[: self.examples], lengths=torch.arange(self.examples))
        return Data(train, Points(points[40:50]), Points(points[50:]))


class Net(Model):
    def __init__(self, team):
        super().__init__()
        self.team = team
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 1))
        self.seldom = nn.Linear(4, 1)
        self.average = MovingAverage(0.5)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)
        self.double()

    def loss(self, batch, step):
        self._misbehave(step)
        losses = self.losses(batch)
        score = self.layers(batch).squeeze(-1)
        surrogate = (losses + (losses - self.average.value).detach() * score).mean()
        self.average.update(losses.detach())
        if step % 2:
            surrogate = surrogate + self.seldom(batch).square().mean()
        return surrogate, {"elbo": -losses.mean()}

    def evaluate(self, batch):
        return {"elbo": -self.losses(batch)}

    def losses(self, x):
        return (self.layers(x).squeeze(-1) - x.prod(-1)).square()

    def optimizer(self):
        return torch.optim.Adam(self.parameters(), lr=0.05, weight_decay=0.1)

    def _misbehave(self, step):
        if not torch.distributed.is_initialized() or torch.distributed.get_rank() != 1:
            return
        if step == self.team.diverges_at:
            raise DivergedError("the second process diverged, as it was told to.")
        if step == self.team.dies_at and not (mark := Path(self.team.mark)).exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
