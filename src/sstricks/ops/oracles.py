"""Objects by number, so that an operator, whose arguments are tensors and numbers, can be told which to ask."""

from itertools import count
from typing import Any, Protocol
from weakref import WeakValueDictionary

import torch
from torch import Tensor

_numbers = count()
_enrolled: WeakValueDictionary[int, Any] = WeakValueDictionary()


class Oracle(Protocol):
    """What can say which of its vertices is best: every structure."""

    event_shape: torch.Size

    def _argmax(self, u: Tensor) -> Tensor: ...


class Client(Protocol):
    """Who asks for an iterative solution, says how far to go, and hears how far it went."""

    max_steps: int
    tol: float

    def heed(self, found: Any) -> None:
        """Look at what was found, and warn if it is not good enough."""
        ...


def enrolled(thing: object) -> int:
    """A number under which the thing can be found for as long as it lives."""
    number = next(_numbers)
    _enrolled[number] = thing
    return number


def client(number: int) -> Client:
    """The client of that number."""
    return _enrolled[number]


def best_vertices(number: int, w: Tensor) -> Tensor:
    """For each row of w, shape (rows, n), the vertex v of the oracle with the largest wᵀv, flattened."""
    oracle: Oracle = _enrolled[number]
    return oracle._argmax(w.reshape(-1, *oracle.event_shape)).reshape(w.shape).to(w.dtype)
