from collections.abc import Callable
from typing import NoReturn

import torch
from torch import Tensor

from sstricks.errors import check_sizes, invalid
from sstricks.structures.structure import Structure


class LinearOracle(Structure):
    r"""Any 𝒳 ⊂ {0, 1}ⁿ, known by its argmax alone (Sec. 2; App. B).

    Relaxations are found from the argmax too, when that is asked for: pass `solver=sst.FrankWolfe()`, for one of the
    regularizers `Euclidean`, `CategoricalEntropy`, `BinaryEntropy`. Nothing else is known of 𝒳: `contains`,
    `enumerate_support`, `log_partition` and `sample` raise.

    Args:
        argmax: From utilities of shape (rows, *event_shape), float64, to the vertices v ∈ 𝒳 of largest uᵀv, of the same
            shape. The utilities are finite: an absent coordinate has one so low that no vertex with it can be the
            best while there is any without. Among equals it may choose as it likes, but always alike.
        event_shape: The shape of a vertex.
        mask: False where a coordinate is absent from 𝒳, shape (*batch, *event_shape).

    Raises:
        ValueError: `event_shape` is empty or not of positive integers. When called: the argmax returned another shape,
            numbers other than 0 and 1, or an absent coordinate.

    Example:
        >>> pairs = sst.LinearOracle(lambda u: sst.KSubset(4, 2).argmax(u), (4,))
        >>> u = torch.tensor([1.0, 0.5, 0.0, -2.0])
        >>> pairs.softmax(u, 1.0, sst.Euclidean(), solver=sst.FrankWolfe())
        tensor([1.0000, 0.7500, 0.2500, 0.0000])
    """

    _is_trusted = False

    def __init__(
        self, argmax: Callable[[Tensor], Tensor], event_shape: tuple[int, ...], mask: Tensor | None = None
    ) -> None:
        shape = check_sizes("event_shape", event_shape)
        if not shape or 0 in shape:
            raise invalid("event_shape", tuple(shape), "a tuple of positive integers", "It is one vertex's shape.")
        if not callable(argmax):
            raise invalid("argmax", repr(argmax), "a function", "It maps utilities (rows, *event_shape) to vertices.")
        super().__init__(shape, mask, at_least=0)
        self.oracle = argmax

    def __repr__(self) -> str:
        return f"LinearOracle({getattr(self.oracle, '__name__', self.oracle)}, {tuple(self.event_shape)})"

    def _argmax(self, u: Tensor) -> Tensor:
        rows = u.detach().reshape(-1, *self.event_shape)
        absent = rows == -torch.inf
        x = self._asked(self._finite(rows, absent)) if len(rows) else rows
        if (absent & (x == 1)).any():
            raise invalid(
                "u",
                f"only vertices with absent coordinates in row {_first(absent & (x == 1))}",
                "a vertex without the coordinates that are masked or -inf",
                "Unmask coordinates, or leave this example out of the batch.",
            )
        return x.reshape(u.shape)

    def _finite(self, rows: Tensor, absent: Tensor) -> Tensor:
        """The utilities with absent coordinates so low that all others together do not make up for one."""
        flat, gone = rows.flatten(1), absent.flatten(1)
        size = torch.where(gone, 0.0, flat).abs().amax(-1, keepdim=True)
        return torch.where(gone, -(2 * flat.shape[-1] + 1) * (size + 1), flat).reshape(rows.shape)

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
        wrong = ~((x == 0) | (x == 1))  # NaN included
        if wrong.any():
            row = _first(wrong)
            raise invalid(
                "argmax",
                f"the entry {float(x[row][wrong[row]][0])} in row {row}",
                "vertices of zeros and ones",
                "Return the indicator vector of what is chosen.",
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
