"""Structures that work on a device, in tests whose numbers and oracles are on the CPU: `pytest --device cuda`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import sstricks as sst

_chosen: list[torch.device] = []


def choose(device: str) -> None:
    """Build the structures of cases on this device from now on.

    Raises:
        UsageError: There is none.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError(f"--device {device}: torch {torch.__version__} finds no GPU here")
    _chosen[:] = [torch.device(device)]


def placed(structure: sst.Structure) -> sst.Structure:
    """The structure itself, or what works on the chosen device and takes and returns tensors of the CPU."""
    return moved(structure, _chosen[0]) if _chosen else structure


class _Moved:
    """What every public call of a structure does with its arguments and with its result."""

    place: torch.device

    def _over_there(self, name: str, x: Tensor, *args: Any, **options: Any) -> Tensor:
        if isinstance(options.get("generator"), torch.Generator):
            seed = options["generator"].initial_seed()
            options["generator"] = torch.Generator(self.place).manual_seed(seed)
        args = tuple(arg.to(self.place) if isinstance(arg, Tensor) else arg for arg in args)
        return getattr(super(), name)(x.to(self.place), *args, **options).to(x.device)

    def argmax(self, u: Tensor) -> Tensor:
        return self._over_there("argmax", u)

    def softmax(self, u: Tensor, temperature: Tensor | float, regularizer: sst.Regularizer, **options: Any) -> Tensor:
        return self._over_there("softmax", u, temperature, regularizer, **options)

    def log_partition(self, u: Tensor) -> Tensor:
        return self._over_there("log_partition", u)

    def entropy(self, u: Tensor) -> Tensor:
        return self._over_there("entropy", u)

    def sample(self, u: Tensor, shape: tuple[int, ...] = (), **options: Any) -> Tensor:
        return self._over_there("sample", u, shape, **options)

    def contains(self, x: Tensor) -> Tensor:
        return self._over_there("contains", x)


def moved(structure: sst.Structure, device: torch.device) -> sst.Structure:
    """A copy of the structure on the device, whose calls take tensors of the CPU and return them."""
    kind = type(structure)
    there = object.__new__(type(kind.__name__, (_Moved, kind), {"place": device}))
    vars(there).update(vars(structure.to(device)))
    return there
