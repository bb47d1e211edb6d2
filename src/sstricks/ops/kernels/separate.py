"""Loops over arrays that do not overlap.

Before a vectorised loop, LLVM tests every array that it writes against every other one. For loops of a few vectors
over a dozen arrays these tests took longer than the arithmetic, and past a number of them it does not vectorise at
all. Worse, a test may also fail for arrays that are only neighbours; then the loop goes one by one, and a sum comes out
in another order: a last bit would depend on where the memory of a call happens to lie. Numba marks the arrays of its
own parallel loops as separate; `njit` has no word for that, but lets one extend the compiler.
"""

from functools import partial

from sstricks.ops.kernels.compiled import compiled

# Sums keep their order, and x/x is 1: multiplying by a reciprocal instead would not make it so.
MATHS = {"contract", "nsz"}
# For functions whose array arguments, as far as they are written, never share memory.
separate = partial(compiled, fastmath=MATHS, separate=True)
# The same for loops that add up: in an order that suits vectors, and is the same in every call.
separate_sums = partial(compiled, fastmath=MATHS | {"arcp", "reassoc"}, separate=True)
