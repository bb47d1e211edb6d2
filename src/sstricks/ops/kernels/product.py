"""Products of matrices with entries ≥ 0, added to a third one, as sums of products in a fixed order.

BLAS would do, but numba reaches it through SciPy, which is no dependency, and it has threads of its own. A matrix is
part of a flat array: from an entry on, with a distance between rows. A tile of 4 × 16 sums stays in registers while the
inner index runs; so the rows of a product are a multiple of `TILE_ROWS`, its columns of `TILE`.
"""

import numpy as np

from sstricks.ops.kernels.floats import LANES, ROW
from sstricks.ops.kernels.lanes import filled, load, store
from sstricks.ops.kernels.separate import separate

TILE_ROWS = 4
TILE = 2 * LANES


@separate
def add_product(rows, columns, inner, lower, a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row):
    """C ← C + A·B, or if asked only its tiles that reach below the diagonal."""
    r2, r3 = a_row + a_row, a_row + a_row + a_row
    for j in range(np.uint64(0), np.uint64(columns), np.uint64(TILE)):
        for i in range(j if lower else np.uint64(0), np.uint64(rows), np.uint64(TILE_ROWS)):
            x00, x10, x20, x30 = filled(0.0), filled(0.0), filled(0.0), filled(0.0)
            x01, x11, x21, x31 = filled(0.0), filled(0.0), filled(0.0), filled(0.0)
            left, right = a_at + i * a_row, b_at + j
            for _ in range(np.uint64(inner)):
                y0, y1 = load(b, right), load(b, right + ROW)
                z0, z1 = filled(a[left]), filled(a[left + a_row])
                z2, z3 = filled(a[left + r2]), filled(a[left + r3])
                x00, x01 = x00 + z0 * y0, x01 + z0 * y1
                x10, x11 = x10 + z1 * y0, x11 + z1 * y1
                x20, x21 = x20 + z2 * y0, x21 + z2 * y1
                x30, x31 = x30 + z3 * y0, x31 + z3 * y1
                left += a_column
                right += b_row
            to = c_at + i * c_row + j
            store(c, to, load(c, to) + x00)
            store(c, to + ROW, load(c, to + ROW) + x01)
            to += c_row
            store(c, to, load(c, to) + x10)
            store(c, to + ROW, load(c, to + ROW) + x11)
            to += c_row
            store(c, to, load(c, to) + x20)
            store(c, to + ROW, load(c, to + ROW) + x21)
            to += c_row
            store(c, to, load(c, to) + x30)
            store(c, to + ROW, load(c, to + ROW) + x31)
