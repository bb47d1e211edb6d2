"""Regularizers as a user writes them: a density, and what it may depend on."""

from __future__ import annotations

import torch

import sstricks as sst


class Exponential(sst.SeparableRegularizer):
    """h(x) = exp(x), with slopes from 1 to e."""

    def density(self, x: torch.Tensor) -> torch.Tensor:
        return x.exp()


class Hellinger(sst.SeparableRegularizer):
    """h(x) = −c√x, infinitely steep at 0, where it falls off as a power."""

    def __init__(self, c: torch.Tensor | float = 1.0) -> None:
        self.c = c

    def density(self, x: torch.Tensor) -> torch.Tensor:
        return -self.c * x.sqrt()


class Quartic(sst.SeparableRegularizer):
    """h(x) = x²/2 + w·x⁴/4, with closed forms."""

    def __init__(self, w: torch.Tensor | float) -> None:
        self.w = w

    def density(self, x: torch.Tensor) -> torch.Tensor:
        return x.square() / 2 + self.w * x**4 / 4
