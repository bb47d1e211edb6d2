"""Objects by number, so that an operator, whose arguments are tensors and numbers, can be told which to ask."""

from abc import ABC, abstractmethod
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from sstricks.errors import invalid

_handles = count(100)  # some that are smaller have a meaning of their own
_objects: WeakValueDictionary[int, Any] = WeakValueDictionary()
# How much better a known vertex must be than an oracle's, relative to what is summed: more than float32 may lose.
_BETTER = 1e-5


class Handled:
    """What operators find by a number."""

    def handle(self) -> int:
        """This number, for as long as the object lives. A copy gets another one."""
        number = vars(self).get("_handle")
        if number is None or _objects.get(number) is not self:
            vars(self)["_handle"] = number = next(_handles)
            _objects[number] = self
        return number

    # What torch.compiler.assume_constant_result does, which imports the whole compiler, and sympy, for it.
    handle._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]


class Oracle(Handled, ABC):
    """What can say which of its vertices is best: every structure."""

    event_shape: torch.Size
    mask: Tensor | None
    _is_trusted = True
    """Whether its argmax is the library's, and not any function of a user."""
    is_binary = True
    """Whether all vertices are of zeros and ones. A structure of other numbers says False."""

    @abstractmethod
    def _argmax(self, u: Tensor) -> Tensor:
        """The vertices of largest uᵀx for scaled utilities, shape (*batch, *event_shape)."""

    @abstractmethod
    def check_shape(self, argument: str, x: Tensor) -> torch.Size:
        """The joint batch shape of x and the mask, if x has the event shape."""

    @abstractmethod
    def placed(self, name: str, device: torch.device) -> Tensor:
        """The tensor in this attribute, on a device."""


def is_trusted(handle: int) -> bool:
    """Whether the argmax of the oracle with this handle is the library's own."""
    return object_of(handle)._is_trusted


def is_binary(handle: int) -> bool:
    """Whether the vertices of the oracle with this handle are of zeros and ones."""
    return object_of(handle).is_binary


def object_of(handle: int) -> Any:
    """The object of a handle.

    Raises:
        RuntimeError: It exists no more.
    """
    try:
        return _objects[handle]
    except KeyError:
        raise RuntimeError(
            "A compiled function refers to a structure or regularizer that no longer exists. Create it outside of the "
            "compiled function, and keep it."
        ) from None


def best_vertices(handle: int, w: Tensor) -> Tensor:
    """For each row of w, shape (rows, n), the vertex v of the oracle with the largest wᵀv, flattened."""
    oracle: Oracle = object_of(handle)
    return oracle._argmax(w.reshape(len(w), *oracle.event_shape)).reshape(w.shape).to(w.dtype)


def checked_vertices(handle: int, w: Tensor) -> Tensor:
    """As `best_vertices`, after two more questions to a user's oracle: the opposite one, and one between them.

    An argmin for an argmax answers the first two the wrong way round, and a random answer is seldom better than the
    answers to other questions three times.
    """
    if object_of(handle)._is_trusted:
        return best_vertices(handle, w)
    signs = torch.ones_like(w[:1])
    signs[..., ::2] = -1
    asked = torch.stack([torch.where(w == -torch.inf, w, w * sign) for sign in (1, -1, signs)], -2)
    answers = best_vertices(handle, asked.flatten(0, 1)).reshape(asked.shape)
    check_best(handle, asked, answers, answers.unsqueeze(-3).expand(-1, 3, -1, -1))
    return answers[:, 0]


def check_best(handle: int, w: Tensor, best: Tensor, known: Tensor) -> None:
    """Raise if a vertex is known that is clearly better than that of a user's oracle.

    Args:
        handle: The oracle's.
        w: What it was asked, shape (*batch, n), −∞ where a coordinate is absent.
        best: Its answers, shape (*batch, n).
        known: Other vertices, shape (*batch, count, n).

    Raises:
        ValueError: One of them is better.
    """
    if object_of(handle)._is_trusted:
        return
    absent = w == -torch.inf
    w = torch.where(absent, 0.0, w).unsqueeze(-2)
    best = best.unsqueeze(-2)
    lead = (w * (known - best)).sum(-1)
    size = w.abs().amax(-1) + (w.abs() * torch.maximum(known.abs(), best.abs())).sum(-1)
    better = (lead > _BETTER * size) & ~(absent.unsqueeze(-2) & (known != 0)).any(-1)
    if not better.any():
        return
    row, at = better.flatten(0, -2).nonzero()[0].tolist()
    values = [(w * x).sum(-1).flatten(0, -2)[row] for x in (best, known)]
    raise invalid(
        "argmax",
        f"a vertex with u^T v = {float(values[0][0]):.6g}, but another of its vertices has {float(values[1][at]):.6g}",
        "the vertex with the largest u^T v",
        "Return the largest, not the smallest (negate u for a function that minimises), and always the same for a u.",
    )
