import pickle
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NoReturn

import torch
from torch import Tensor

from sstricks.errors import check_sizes, invalid
from sstricks.ops.oracles import check_best
from sstricks.structures.structure import Structure

# How much larger than the least positive coordinate the largest may be, if they are not all one.
_RANGE = 1e6


class LinearOracle(Structure):
    r"""Any finite 𝒳, known by its argmax alone (Sec. 2; App. B).

    Relaxations are found from the argmax too, when that is asked for: pass `solver=sst.FrankWolfe()`, for any separable
    regularizer. Nothing else is known of 𝒳: `contains`, `enumerate_support`, `log_partition` and `sample` raise.

    Vertices that the argmax returned for other utilities are compared with its answers, here and by the solvers: if one
    is better by more than float32 rounds, the argmax is wrong. It is found with the first question of a solver if it is
    an argmin.

    A `LinearOracle` pickles if its argmax does: a function of a module, or an object of a class of a module with
    `__call__`, but no lambda.

    Args:
        argmax: From utilities of shape (rows, *event_shape), float64, to the vertices v ∈ 𝒳 of largest uᵀv, of the same
            shape. The utilities are finite: an absent coordinate has one so low that no vertex with it can be the
            best while there is any without. Among equals it may choose as it likes, but always the same.
        event_shape: The shape of a vertex.
        mask: False where a coordinate is absent from 𝒳, shape (*batch, *event_shape).
        binary: Whether all vertices are of zeros and ones, as they usually are and are checked to be. If not, no
            coordinate may be negative where others are masked or −∞.

    Raises:
        ValueError: `event_shape` is empty or not of positive integers. When called: the argmax returned another shape,
            numbers other than 0 and 1 (than finite ones if not `binary`), an absent coordinate, or a vertex that is not
            the best.

    Example:
        >>> pairs = sst.LinearOracle(lambda u: sst.KSubset(4, 2).argmax(u), (4,))
        >>> u = torch.tensor([1.0, 0.5, 0.0, -2.0])
        >>> pairs.softmax(u, 1.0, sst.Euclidean(), solver=sst.FrankWolfe())
        tensor([1.0000, 0.7500, 0.2500, 0.0000])
        >>> cube = sst.LinearOracle(lambda u: (u > 0) * 2.0 - 1.0, (3,), binary=False)
        >>> cube.softmax(torch.tensor([-3.0, 0.5, 1.5]), 1.0, sst.Euclidean(), solver=sst.FrankWolfe())
        tensor([-1.0000,  0.5000,  1.0000])
    """

    _is_trusted = False

    def __init__(
        self,
        argmax: Callable[[Tensor], Tensor],
        event_shape: tuple[int, ...],
        mask: Tensor | None = None,
        *,
        binary: bool = True,
    ) -> None:
        shape = check_sizes("event_shape", event_shape)
        if not shape or 0 in shape:
            raise invalid("event_shape", tuple(shape), "a tuple of positive integers", "It is one vertex's shape.")
        if not callable(argmax):
            raise invalid("argmax", repr(argmax), "a function", "It maps utilities (rows, *event_shape) to vertices.")
        super().__init__(shape, mask, at_least=0)
        self.oracle = argmax
        self.is_binary = binary

    def _arguments(self) -> str:
        return f"{getattr(self.oracle, '__name__', self.oracle)}, {tuple(self.event_shape)}"

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "oracle": _Pickled(self.oracle)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({**state, "oracle": state["oracle"].function})

    def _argmax(self, u: Tensor) -> Tensor:
        rows = u.detach().reshape(-1, *self.event_shape)
        absent = rows == -torch.inf
        if not len(rows):
            return u
        x = self._asked(self._finite(rows, absent))
        if (absent & (x != 0)).any():
            raise invalid(
                "u",
                f"only vertices with absent coordinates in row {_first(absent & (x != 0))}",
                "a vertex without the coordinates that are masked or -inf",
                "Unmask coordinates, or leave this example out of the batch.",
            )
        # The answer to another row is a vertex as well.
        check_best(self.handle(), rows.flatten(1), x.flatten(1), x.roll(1, 0).flatten(1).unsqueeze(1))
        return x.reshape(u.shape)

    def _finite(self, rows: Tensor, absent: Tensor) -> Tensor:
        """The utilities with absent coordinates so low that all others together do not make up for one."""
        flat, gone = rows.flatten(1), absent.flatten(1)
        size = torch.where(gone, 0.0, flat).abs().amax(-1, keepdim=True)
        size = torch.where(size > 0, size, 1.0)
        enough = (2 * flat.shape[-1] + 1) * (1 if self.is_binary else _RANGE)
        return torch.where(gone, -enough * size, flat).reshape(rows.shape)

    def _asked(self, rows: Tensor) -> Tensor:
        x = self.oracle(rows)
        if not isinstance(x, Tensor) or x.shape != rows.shape:
            found = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise invalid(
                "argmax",
                found,
                f"a tensor of shape {tuple(rows.shape)}",
                "Return one vertex for each row of utilities.",
            )
        wrong = ~((x == 0) | (x == 1) if self.is_binary else x.isfinite())  # NaN included
        if wrong.any():
            row = _first(wrong)
            raise invalid(
                "argmax",
                f"the entry {float(x[row][wrong[row]][0])} in row {row}",
                "vertices of zeros and ones" if self.is_binary else "vertices of finite numbers",
                "Return the indicator vector of what is chosen, or say binary=False if others are meant.",
            )
        return x.to(rows)

    def _unknown(self, wanted: str) -> NoReturn:
        raise NotImplementedError(
            f"{wanted}: found a LinearOracle, of which only the argmax is known. Write a Structure of your own with "
            f"what {wanted} needs, or sample vertices by sst.StochasticArgmaxTrick."
        )

    def _contains(self, x: Tensor) -> Tensor:
        self._unknown("contains")

    def _candidates(self) -> int:
        self._unknown("enumerate_support")

    def _support(self) -> Tensor:
        self._unknown("enumerate_support")


def _first(wrong: Tensor) -> int:
    return int(wrong.flatten(1).any(-1).nonzero()[0])


class _Pickled:
    """The function of a `LinearOracle` on its way through `pickle` or `copy`."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Pickled":
        return _Pickled(deepcopy(self.function, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        name = getattr(self.function, "__qualname__", "")
        if "<" in name:
            raise pickle.PicklingError(
                f"LinearOracle: found the argmax {name}, expected a function that pickle finds by its name. Define it "
                "by def at the top of a module, or pass an object of a class with __call__."
            )
        return _Pickled, (self.function,)
