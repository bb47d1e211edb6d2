"""The multiplier of a separable regularizer on the CPU; the mathematics stands in `sstricks.ops.separable`.

Each row is scanned a handful of times, which is one vector loop over a row in cache.
"""

import numpy as np
from numba import njit

from sstricks.ops.kernels.floats import exp_nonpositive

CLIP, CAPPED_EXP, SIGMOID = 0, 1, 2
_MATHS = {"contract", "nsz", "arcp", "reassoc"}
_EPSILON = 2.220446049250313e-16
_STEPS = 100


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _clip(n, y, nu, x):
    """x = min(max(y + ν, 0), 1); return Σx and Σ dx/dν."""
    total = 0.0
    slope = 0.0
    for i in range(np.uint64(n)):
        x[i] = min(max(y[i] + nu, 0.0), 1.0)
        total += x[i]
        slope += np.float64(x[i] > 0.0) * np.float64(x[i] < 1.0)
    return total, slope


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _capped_exp(n, y, nu, x):
    """x = min(exp(y + ν), 1); return Σx and Σ dx/dν."""
    total = 0.0
    slope = 0.0
    for i in range(np.uint64(n)):
        x[i] = exp_nonpositive(min(y[i] + nu, 0.0))
        total += x[i]
        slope += x[i] * np.float64(x[i] < 1.0)
    return total, slope


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _sigmoid(n, y, nu, x):
    """x = σ(y + ν); return Σx and Σ dx/dν."""
    total = 0.0
    slope = 0.0
    for i in range(np.uint64(n)):
        z = exp_nonpositive(-abs(y[i] + nu))
        x[i] = (1.0 if y[i] + nu > 0.0 else z) / (1.0 + z)
        total += x[i]
        slope += z / ((1.0 + z) * (1.0 + z))
    return total, slope


@njit(nogil=True, cache=True, error_model="numpy")
def solve(begin, end, link, k, u, width, out):
    """Write x = φ(u + ν), Σx = k, into rows `begin` to `end` of `out`; |ν| ≤ width from the k-th largest."""
    n = u.shape[1]
    y = np.empty(n)
    tolerance = _EPSILON * (4.0 * k + n)  # what summing n terms that make k may cost
    for r in range(begin, end):
        present = 0
        for i in range(n):
            here = u[r, i] > -np.inf
            present += here
            out[r, i] = here
        if present == k:  # no choice: exactly one, so that the slope at the kink is exactly zero
            continue
        ordered = np.partition(u[r], n - k)  # the k largest are on the right
        edge = ordered[n - k]
        offset = 0.0  # added after the edge is taken off, where it costs no digits
        if link == CLIP:
            offset = 0.5
        elif link == CAPPED_EXP:
            offset = -width
        else:
            below = -np.inf
            for i in range(n - k):
                below = max(below, ordered[i])
            offset = 0.5 * min(edge - below, 2000.0)
        for i in range(n):
            y[i] = u[r, i] - edge + offset
        nu, low, high = 0.0, -width, width
        for _ in range(_STEPS):
            if link == CLIP:
                total, slope = _clip(n, y, nu, out[r])
            elif link == CAPPED_EXP:
                total, slope = _capped_exp(n, y, nu, out[r])
            else:
                total, slope = _sigmoid(n, y, nu, out[r])
            if abs(total - k) <= tolerance:
                break
            if total > k:
                high = nu
            else:
                low = nu
            step = nu - (total - k) / slope
            nu = step if low < step < high else 0.5 * (low + high)
        if link != SIGMOID:
            # Within the tolerance of a kink is on it, or its slope would be that of the wrong side.
            for i in range(n):
                if out[r, i] > 1.0 - 2.0 * tolerance:
                    out[r, i] = 1.0
                elif link == CLIP and out[r, i] < 2.0 * tolerance:
                    out[r, i] = 0.0
