import math

import numpy as np

from sstricks.ops.kernels.compiled import compiled
from sstricks.ops.kernels.separate import separate
from sstricks.ops.precision import A_LITTLE_MORE, COLDEST, LARGEST, SURE


@separate
def _divide(n, u, mask, t, out):
    """Write one row of u/t, −∞ where absent; return how many are present, and how many of them are NaN or +∞."""
    present = 0
    odd = 0
    everything = mask.size == 0
    t = max(t, COLDEST)
    for i in range(np.uint64(n)):
        here = (everything or mask[i]) & (u[i] != -math.inf)
        present += here
        odd += here & (not u[i] < math.inf)
        out[i] = max(min(np.float64(u[i]) / t, LARGEST), -LARGEST) if here else -math.inf
    return present, odd


@compiled
def scaled(begin, end, u, t, mask, at_least, out, fault):
    """Write u/t with absent coordinates at −∞ into `out`, and what is wrong with a row into `fault`."""
    n = u.shape[1]
    everything = mask.shape[1] == 0
    for r in range(begin, end):
        present, odd = _divide(n, u[r], mask[r], t[r], out[r])
        if odd:
            total = 0.0
            for i in range(n):
                if (everything or mask[r, i]) and u[r, i] != u[r, i]:
                    fault[r] = 1
                elif -math.inf < out[r, i] and u[r, i] < math.inf:
                    total += abs(out[r, i])
            sure = min(SURE + total * A_LITTLE_MORE, 2.0 * LARGEST)
            for i in range(n):
                if (everything or mask[r, i]) and u[r, i] == math.inf:
                    out[r, i] = sure
        if present < at_least:
            fault[r] = 2
        if not t[r] > 0.0:
            fault[r] = 3


@separate
def _undivide(n, grad, u, mask, t, out):
    """Write one row of grad/t, 0 where u is absent or infinite."""
    everything = mask.size == 0
    t = max(t, COLDEST)
    for i in range(np.uint64(n)):
        here = (everything or mask[i]) & (abs(u[i]) < math.inf)
        out[i] = grad[i] / t if here else 0.0


@compiled
def scaled_backward(begin, end, grad, u, t, mask, out):
    """Write grad/t into `out` where u is present and finite, 0 elsewhere."""
    for r in range(begin, end):
        _undivide(u.shape[1], grad[r], u[r], mask[r], t[r], out[r])
