import math

from numba import njit

from sstricks.ops.sure import SURE


@njit(nogil=True, cache=True, error_model="numpy")
def scaled(begin, end, u, t, mask, at_least, out, fault):
    """Write u/t with absent coordinates at −∞ into `out`, and what is wrong with a row into `fault`."""
    rows, n = u.shape
    for r in range(begin, end):
        top = -math.inf
        present = 0
        for i in range(n):
            v = u[r, i]
            if not mask[r, i] or v == -math.inf:
                out[r, i] = -math.inf
                continue
            present += 1
            if v != v:
                fault[r] = 1
            v = v / t[r]
            out[r, i] = v
            if v < math.inf and v > top:
                top = v
        sure = (0.0 if top == -math.inf else top) + SURE
        if top < math.inf:
            for i in range(n):
                if out[r, i] == math.inf:
                    out[r, i] = sure
        if present < at_least:
            fault[r] = 2
        if not t[r] > 0.0:
            fault[r] = 3
