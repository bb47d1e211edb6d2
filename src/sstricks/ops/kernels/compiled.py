"""How kernels are compiled."""

import functools
from typing import Any

from numba import __version__, njit
from numba.core.compiler import Compiler

from sstricks.ops.kernels.places import warn_once, writable_directory

# `Kernel` knows the inside of these versions of Numba. Others compile with what they promise, which takes longer.
_FIRST, _BEYOND = (0, 61), (0, 70)


class _Separate(Compiler):
    """A compiler that may rely on no array of a function's arguments overlapping another one."""

    def define_pipelines(self):
        self.state.flags.noalias = True
        return super().define_pipelines()


def compiled(function: Any = None, *, fastmath: Any = False, separate: bool = False, inline: bool = False) -> Any:
    """Make a kernel of a function, which runs without the GIL; `x / 0` is what it is in NumPy.

    Args:
        function: What to compile, in the part of Python that Numba understands.
        fastmath: The licences of floating point that LLVM may use.
        separate: Whether the arrays of its arguments, as far as they are written, never share memory.
        inline: Whether it becomes a part of what calls it, however large that is.
    """
    if function is None:
        return functools.partial(compiled, fastmath=fastmath, separate=separate, inline=inline)
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath, "forceinline": inline}
    if _FIRST <= tuple(map(int, __version__.split(".")[:2])) < _BEYOND:
        from sstricks.ops.kernels.kernel import Kernel

        return Kernel(function, separate, {"nopython": True, **options})
    if writable_directory() is None:
        warn_once()
    pipeline: dict[str, Any] = {"pipeline_class": _Separate} if separate else {}
    return njit(function, cache=writable_directory() is not None, **options, **pipeline)
