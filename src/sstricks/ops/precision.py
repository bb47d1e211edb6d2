"""The numbers that solvers compute with: their dtype, and where scaled utilities u/t end.

Large tensors are converted from float32 to float64 and back on the calling thread. Torch would do it on all of its
threads, and these then spin for some milliseconds, waiting for more, and take a core from the kernels' own threads: the
marginals of a hundred trees took twice as long.
"""

import numpy as np
import torch
from torch import Tensor

from sstricks.ops.operator import operator

# A utility of +∞ is this much more than all finite ones of its row together, which is what two vertices may differ by
# elsewhere: exp(−1000) is zero beside one in every format. Their sum is taken for a little more, because of rounding.
SURE = 1e3
A_LITTLE_MORE = 1 + 2.0**-40

# Colder than this is as cold as this: no two different utilities are so near that it would make a difference.
COLDEST = 1e-100
LARGEST = 1e300

# Scaled utilities of graphs that are no farther apart are used as they are: sums of them, and of as many as there are
# nodes, are exact enough everywhere. Where all trees need an edge that is farther below, others with the same law take
# their place.
NEAR = 2.0**20

# For each node of a graph, the logarithm of more trees than there are: at most Eⁿ = e^(n log E), and log E is below 40.
MANY = 64.0

# Differences beyond this have lost the digits after their point: the argmax of arborescences finds them in two floats,
# and projective trees keep their order only.
FAR = 1e12


_ONE_THREAD = 32_768  # numbers: at::internal::GRAIN_SIZE


def working_dtype(u: Tensor) -> torch.dtype:
    """What solvers compute in: float64, or float32 on a device that has no float64.

    A float32 utility of 10⁵ over a temperature of 0.1 is known to 0.06 only once it is divided in float32, which would
    move a soft argmax by as much.
    """
    return torch.float32 if u.device.type == "mps" else torch.float64


def is_large(x: Tensor) -> bool:
    """Whether torch would convert an eager tensor on the CPU by several threads."""
    return not torch.compiler.is_compiling() and x.device.type == "cpu" and x.numel() > _ONE_THREAD


@operator("sstricks::widened", core=(1,), dtype=lambda x: torch.float64)
def to_float64(x: Tensor) -> Tensor:
    """The same numbers in float64."""
    return x.to(torch.float64)


@operator("sstricks::narrowed", core=(1,), dtype=lambda x: torch.float32)
def to_float32(x: Tensor) -> Tensor:
    """The same numbers in float32."""
    return x.to(torch.float32)


@to_float64.cpu
def _(x: Tensor) -> Tensor:
    return torch.from_numpy(x.numpy().astype(np.float64))


@to_float32.cpu
def _(x: Tensor) -> Tensor:
    return torch.from_numpy(x.numpy().astype(np.float32))


@to_float64.backward
def _(needs: tuple[bool, ...], grad: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor]:
    return (to_float32(grad),)


@to_float32.backward
def _(needs: tuple[bool, ...], grad: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor]:
    return (to_float64(grad),)


# Both are linear.
@to_float64.tangent
def _(tangents: tuple[Tensor], y: Tensor, x: Tensor) -> Tensor:
    return to_float64(tangents[0])


@to_float32.tangent
def _(tangents: tuple[Tensor], y: Tensor, x: Tensor) -> Tensor:
    return to_float32(tangents[0])
