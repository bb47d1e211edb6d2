"""Argmax oracles by number, so that an operator, whose arguments are tensors and numbers, can be told which to ask."""

from abc import ABC, abstractmethod
from itertools import count
from typing import Any, Self
from weakref import WeakValueDictionary

import torch
from torch import Tensor

_handles = count()
_oracles: WeakValueDictionary[int, "Oracle"] = WeakValueDictionary()


class Oracle(ABC):
    """What can say which of its vertices is best: every structure."""

    event_shape: torch.Size
    _handle: int

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """An oracle that operators can find for as long as it lives."""
        oracle = super().__new__(cls)
        oracle._handle = next(_handles)
        _oracles[oracle._handle] = oracle
        return oracle

    def __getstate__(self) -> dict[str, Any]:
        """All but the handle: a copy is another oracle."""
        return {name: value for name, value in vars(self).items() if name != "_handle"}

    @abstractmethod
    def _argmax(self, u: Tensor) -> Tensor:
        """The vertices of largest uᵀx for scaled utilities, shape (*batch, *event_shape)."""


def handle(oracle: Oracle) -> int:
    """The number by which `best_vertices` finds an oracle."""
    return oracle._handle


def best_vertices(handle: int, w: Tensor) -> Tensor:
    """For each row of w, shape (rows, n), the vertex v of the oracle with the largest wᵀv, flattened."""
    oracle = _oracles[handle]
    return oracle._argmax(w.reshape(-1, *oracle.event_shape)).reshape(w.shape).to(w.dtype)
