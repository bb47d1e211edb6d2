"""Loops over arrays that do not overlap.

Before a vectorised loop, LLVM tests every array that it writes against every other one. For loops of a few vectors
over a dozen arrays these tests took longer than the arithmetic, and past a number of them it does not vectorise at
all. Numba marks the arrays of its own parallel loops as separate; `njit` has no word for that, but lets one extend the
compiler.
"""

from numba import njit
from numba.core.compiler import Compiler


class _Separate(Compiler):
    """A compiler that may rely on no array of a function's arguments overlapping another one."""

    def define_pipelines(self):
        self.state.flags.noalias = True
        return super().define_pipelines()


# Sums keep their order, and x/x is 1: multiplying by a reciprocal instead would not make it so.
MATHS = {"contract", "nsz"}
# For functions whose array arguments, as far as they are written, never share memory.
separate = njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS, pipeline_class=_Separate)
