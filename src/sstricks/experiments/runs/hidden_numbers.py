"""Hidden activations in compiled loops: float32, float64, or bfloat16 seen as uint16, for numba has no bfloat16."""

from typing import Any

import numba
import numpy as np
import torch
from numba.extending import overload
from torch import Tensor

from sstricks.ops.kernels.compiled import compiled
from sstricks.ops.threads import over_rows as over_rows

_FAST: Any = {"contract", "nsz", "reassoc"}
compile_loop = compiled(fastmath=_FAST)
"""How a loop between matrix products is compiled: serial, without the GIL, sums in any order."""


def array_of(tensor: Tensor) -> np.ndarray:
    """A CPU tensor's memory as the loops take it.

    Args:
        tensor: of any dtype; bfloat16 becomes uint16.

    Returns:
        A view.
    """
    detached = tensor.detach()
    return (detached.view(torch.uint16) if detached.dtype == torch.bfloat16 else detached).numpy()


def widen(x: Any) -> Any:
    """A hidden number as a float, in compiled code."""


@overload(widen, inline="always")
def _(x: Any) -> Any:
    if x == numba.types.uint16:

        def shift(x: Any) -> Any:
            return np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)

        return shift

    def keep(x: Any) -> Any:
        return x

    return keep


def put_row(values: Any, out: Any, row: Any) -> Any:
    """Put a row of finite floats among hidden numbers, rounded to the nearest, ties to even, in compiled code."""


# In a loop of its own, and in 32 bits at every step, or LLVM does not vectorise it.
@overload(put_row)
def _(values: Any, out: Any, row: Any) -> Any:
    if out.dtype == numba.types.uint16:

        def round_all(values: Any, out: Any, row: Any) -> Any:
            for j in range(len(values)):
                bits = np.float32(values[j]).view(np.uint32)
                tie = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
                rounded = np.uint32(np.uint32(bits + np.uint32(0x7FFF)) + tie)
                out[row, j] = np.uint16(rounded >> np.uint32(16))

        return round_all

    def copy(values: Any, out: Any, row: Any) -> Any:
        for j in range(len(values)):
            out[row, j] = values[j]

    return copy
