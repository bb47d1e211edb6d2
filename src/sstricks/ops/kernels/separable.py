"""The multiplier of a separable regularizer on the CPU; see `sstricks.ops.separable` and `sstricks.ops.tsallis`.

Each row is scanned a handful of times, which is one vector loop over a row in cache.
"""

import math

import numpy as np

from sstricks.ops.costs import BINARY, CATEGORICAL, EUCLIDEAN
from sstricks.ops.kernels.arrays import copy, nth_largest
from sstricks.ops.kernels.compiled import compiled
from sstricks.ops.kernels.floats import exp_nonpositive
from sstricks.ops.kernels.separate import separate_sums

_EPSILON = 2.220446049250313e-16
_STEPS = 100
FEW = 32  # So many are sooner found by inserting each in its place than by partitioning them all.


@separate_sums
def _clip(n, y, nu, x):
    """x = min(max(y + ν, 0), 1); return Σx and Σ dx/dν."""
    total = 0.0
    slope = 0.0
    for i in range(np.uint64(n)):
        x[i] = min(max(y[i] + nu, 0.0), 1.0)
        total += x[i]
        slope += np.float64(x[i] > 0.0) * np.float64(x[i] < 1.0)
    return total, slope


@separate_sums
def _capped_exp(n, y, nu, x):
    """x = min(exp(y + ν), 1); return Σx and Σ dx/dν."""
    total = 0.0
    slope = 0.0
    for i in range(np.uint64(n)):
        x[i] = exp_nonpositive(min(y[i] + nu, 0.0))
        total += x[i]
        slope += x[i] * np.float64(x[i] < 1.0)
    return total, slope


@separate_sums
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


@compiled
def _around_edge(n, u, k, largest):
    """The k-th and the (k+1)-th largest of u; the latter is −∞ if there are only k."""
    if k >= largest.size:
        values = np.empty(n)
        copy(u, values)
        edge = nth_largest(values, k)
        below, at_least = -np.inf, 0
        for i in range(n):
            at_least += u[i] >= edge
            if u[i] < edge:
                below = max(below, u[i])
        return edge, edge if at_least > k else below
    for j in range(k + 1):
        largest[j] = -np.inf
    for i in range(np.uint64(n)):
        value = u[i]
        if value > largest[k]:
            j = k
            while j > 0 and largest[j - 1] < value:
                largest[j] = largest[j - 1]
                j -= 1
            largest[j] = value
    return largest[k - 1], largest[k]


@compiled
def solve_row(link, k, u, out, y, largest):
    """Write x = φ(u + ν), Σx = k, into `out`; `y` and `largest` are for its work."""
    n = u.size
    present = 0
    for i in range(n):
        here = u[i] > -np.inf
        present += here
        out[i] = here
    if present == k:  # no choice: exactly one, so that the slope at the kink is exactly zero
        return
    tolerance = _EPSILON * (4.0 * k + n)  # what summing n terms that make k may cost
    edge, below = _around_edge(n, u, k, largest)
    width = math.log(2.0 * n)  # |ν| is at most that, from where the offset puts it
    offset = 0.0  # added after the edge is taken off, where it costs no digits
    if link == EUCLIDEAN:
        offset, width = 0.5, 0.75
    elif link == CATEGORICAL:
        width *= 0.5
        offset = -width
    else:
        offset = 0.5 * min(edge - below, 2000.0)
    for i in range(n):
        y[i] = u[i] - edge + offset
    nu, low, high = 0.0, -width, width
    for _ in range(_STEPS):
        if link == EUCLIDEAN:
            total, slope = _clip(n, y, nu, out)
        elif link == CATEGORICAL:
            total, slope = _capped_exp(n, y, nu, out)
        else:
            total, slope = _sigmoid(n, y, nu, out)
        if abs(total - k) <= tolerance:
            break
        if total > k:
            high = nu
        else:
            low = nu
        step = nu - (total - k) / slope
        nu = step if low < step < high else 0.5 * (low + high)
    if link != BINARY:
        # Within the tolerance of a kink is on it, or its slope would be that of the wrong side.
        for i in range(n):
            if out[i] > 1.0 - 2.0 * tolerance:
                out[i] = 1.0
            elif link == EUCLIDEAN and out[i] < 2.0 * tolerance:
                out[i] = 0.0


@compiled
def solve(begin, end, link, k, u, out):
    """`solve_row` for rows `begin` to `end`."""
    y = np.empty(u.shape[1])
    largest = np.empty(FEW)
    for r in range(begin, end):
        solve_row(link, k, u[r], out[r], y, largest)


@separate_sums
def _slope(n, link, x, s):
    """s = φ'(y), from x = φ(y); return Σs."""
    total = 0.0
    for i in range(np.uint64(n)):
        if link == EUCLIDEAN:
            s[i] = np.float64(x[i] > 0.0) * np.float64(x[i] < 1.0)
        elif link == CATEGORICAL:
            s[i] = x[i] * np.float64(x[i] < 1.0)
        else:
            s[i] = x[i] * (1.0 - x[i])
        total += s[i]
    return total


@separate_sums
def _dot(n, s, g):
    total = 0.0
    for i in range(np.uint64(n)):
        total += s[i] * g[i]
    return total


@compiled
def projection(begin, end, link, x, g, out):
    """Write (diag(s) − s sᵀ/Σs) g into rows `begin` to `end` of `out`."""
    n = x.shape[1]
    s = np.empty(n)
    for r in range(begin, end):
        total = _slope(n, link, x[r], s)
        mean = _dot(n, s, g[r]) / total if total > 0.0 else 0.0
        for i in range(np.uint64(n)):
            out[r, i] = s[i] * (g[r, i] - mean)


@compiled
def _entmax_sums(n, y, nu, beta, x):
    """x = min([1 + β(y + ν)]₊^(1/β), 1); return Σx and Σ dx/dν, from the left where x = 1."""
    total = 0.0
    slope = 0.0
    for i in range(n):
        z = y[i] + nu
        x[i] = 1.0
        if z <= 0.0:
            x[i] = math.exp(math.log1p(max(beta * z, -1.0)) / beta)
            if x[i] > 0.0:
                slope += x[i] / (1.0 + beta * z)
        total += x[i]
    return total, slope


@compiled
def _tsallis_log(x, beta):
    return math.expm1(beta * math.log(x)) / beta


@compiled
def entmax(begin, end, k, u, alpha, least_beta, no_kink, out):
    """Write x = min([1 + β(u + ν)]₊^(1/β), 1), Σx = k, into rows `begin` to `end` of `out`."""
    n = u.shape[1]
    y, x, below = np.empty(n), np.empty(n), np.empty(n)
    index = np.empty(n, dtype=np.int64)
    largest = np.empty(FEW)
    tolerance = _EPSILON * (4.0 * k + n)
    for r in range(begin, end):
        present = 0
        for i in range(n):
            here = u[r, i] > -np.inf
            present += here
            out[r, i] = here
        if present == k:
            continue
        edge = _around_edge(n, u[r], k, largest)[0]
        beta = alpha[r] - 1.0
        if abs(beta) < least_beta:
            beta = least_beta
        m = 0
        for i in range(n):  # the others are zero
            out[r, i] = 0.0
            z = u[r, i] - edge
            if z > -np.inf and beta * min(z, 0.0) > -1.0:
                y[m] = z
                index[m] = i
                m += 1
        nu, low, high = 0.0, _tsallis_log(1.0 / n, beta), 0.0
        total = 0.0
        for _ in range(_STEPS):
            total, slope = _entmax_sums(m, y, nu, beta, x)
            if abs(total - k) <= tolerance:
                break
            if total > k:
                high = nu
            else:
                low = nu
            step = nu + total / slope * _tsallis_log(k / total, beta)
            nu = step if low < step < high else 0.5 * (low + high)
        if abs(total - k) > tolerance:
            least = _entmax_sums(m, y, low, beta, below)[0]
            most = _entmax_sums(m, y, high, beta, x)[0]
            share = min(max((k - least) / (most - least), 0.0), 1.0) if most > least else 0.0
            for i in range(m):
                x[i] = below[i] + share * (x[i] - below[i])
        for i in range(m):
            if x[i] > 1.0 - 2.0 * tolerance:
                x[i] = 1.0
            elif x[i] < 2.0 * tolerance and x[i] > 0.0 and x[i] ** (1.0 - beta) > no_kink:
                x[i] = 0.0
            out[r, index[i]] = x[i]
