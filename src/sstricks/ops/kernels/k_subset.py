"""The Poisson-binomial recursion on the CPU; the mathematics stands in `sstricks.ops.k_subset`.

Arrays over items are flat with the lane last; a state (how many items were taken so far, 0…k) is an index before it.
"""

import math

import numpy as np

from sstricks.ops.kernels.arrays import copy, nth_largest
from sstricks.ops.kernels.compiled import compiled
from sstricks.ops.kernels.floats import LANES, exp_nonpositive

_MATHS = {"contract", "nsz", "arcp"}
_ENOUGH = 0.25  # Σσ(u+ν) need only be near k: then P(Σ=k) is near the mode of its law and far from underflow
_STEPS = 200


@compiled(fastmath=_MATHS)
def _sigmoids(count, u, shift, p, q):
    """P = σ(u + ν) and q = 1 − p, each with full relative precision."""
    for x in range(count):
        y = u[x] + shift[x]
        z = exp_nonpositive(-abs(y))
        small = z / (1.0 + z)
        large = 1.0 / (1.0 + z)
        p[x] = large if y > 0.0 else small
        q[x] = small if y > 0.0 else large


@compiled
def _probabilities(u, first, end, k, v, shift, p, q, edge, nu):
    """Choose ν with Σσ(u−u₍ₖ₎+ν) near k by bracketed Newton steps, and write p, q, the k-th largest utility and ν."""
    n = u.shape[1]
    low = np.empty(LANES)
    high = np.empty(LANES)
    total = np.empty(LANES)
    slope = np.empty(LANES)
    ordered = np.empty(n)
    for lane in range(LANES):
        r = min(first + lane, end - 1)
        copy(u[r], ordered)
        edge[lane] = nth_largest(ordered, k)
        below = -np.inf
        for i in range(k, n):
            below = max(below, ordered[i])
        for i in range(n):
            v[i * LANES + lane] = u[r, i] - edge[lane]
        nu[lane] = 0.5 * min(edge[lane] - below, 2000.0)  # beyond that the two sides do not see each other
        # At the midpoint of the gap, logits of the chosen are ≥ 0 ≥ those of the others: |log((n−k)/k)| bounds ν.
        low[lane] = nu[lane] - math.log(2.0 * n)
        high[lane] = nu[lane] + math.log(2.0 * n)
    for _ in range(_STEPS):
        for i in range(n):
            for lane in range(LANES):
                shift[i * LANES + lane] = nu[lane]
        _sigmoids(n * LANES, v, shift, p, q)
        total[:] = 0.0
        slope[:] = 0.0
        for i in range(n):
            for lane in range(LANES):
                total[lane] += p[i * LANES + lane]
                slope[lane] += p[i * LANES + lane] * q[i * LANES + lane]
        done = True
        for lane in range(LANES):
            excess = total[lane] - k
            if abs(excess) <= _ENOUGH:
                continue
            done = False
            if excess > 0.0:
                high[lane] = nu[lane]
            else:
                low[lane] = nu[lane]
            step = nu[lane] - excess / slope[lane]
            nu[lane] = step if low[lane] < step < high[lane] else 0.5 * (low[lane] + high[lane])
        if done:
            return


@compiled(fastmath=_MATHS)
def _take(count, state, taken, p, q, out):
    """One item more: it was not taken (q) or it was (p); `taken` is `state` with one item fewer."""
    for x in range(count):
        out[x] = state[x] * q[x] + taken[x] * p[x]


@compiled(fastmath=_MATHS)
def _take_tangent(count, state, taken, dstate, dtaken, p, q, dp, out):
    for x in range(count):
        out[x] = dstate[x] * q[x] + dtaken[x] * p[x] + (taken[x] - state[x]) * dp[x]


@compiled(fastmath=_MATHS)
def _spread(item, states, source, out):
    """Repeat an item's lanes once for every state."""
    for lane in range(LANES):
        value = source[item * LANES + lane]
        for j in range(states):
            out[j * LANES + lane] = value


@compiled(fastmath=_MATHS)
def _meet(k, prefix, suffix, out):
    """The k−1 items that surround one that is taken: j from the left, k−1−j from the right."""
    for lane in range(LANES):
        out[lane] = 0.0
    for j in range(k):
        for lane in range(LANES):
            out[lane] += prefix[(j + 1) * LANES + lane] * suffix[(k - j) * LANES + lane]


@compiled(fastmath=_MATHS)
def _prefixes(n, k, p, q, p_row, q_row, prefix):
    """P(j of the first i items are taken), for all i and j; state j stands at index j + 1, after a zero."""
    states = k + 1
    width = (k + 2) * LANES
    prefix[:width] = 0.0
    prefix[LANES : 2 * LANES] = 1.0
    for i in range(n):
        _spread(i, states, p, p_row)
        _spread(i, states, q, q_row)
        here = prefix[i * width :]
        there = prefix[(i + 1) * width :]
        there[:LANES] = 0.0
        _take(states * LANES, here[LANES:], here, p_row, q_row, there[LANES:])


@compiled(fastmath=_MATHS)
def marginals(begin, end, k, u, out):
    """Write the marginals of rows `begin` to `end` into `out`."""
    n = u.shape[1]
    states = k + 1
    width = (k + 2) * LANES
    v = np.empty(n * LANES)
    shift = np.empty(n * LANES)
    p = np.empty(n * LANES)
    q = np.empty(n * LANES)
    edge = np.empty(LANES)
    nu = np.empty(LANES)
    p_row = np.empty(width)
    q_row = np.empty(width)
    prefix = np.empty((n + 1) * width)
    suffix = np.empty(width)
    after = np.empty(width)
    met = np.empty(LANES)
    for first in range(begin, end, LANES):
        _probabilities(u, first, end, k, v, shift, p, q, edge, nu)
        _prefixes(n, k, p, q, p_row, q_row, prefix)
        total = prefix[n * width + states * LANES :]
        suffix[:] = 0.0
        suffix[LANES : 2 * LANES] = 1.0
        for i in range(n - 1, -1, -1):
            _meet(k, prefix[i * width :], suffix, met)
            for lane in range(min(LANES, end - first)):
                x = i * LANES + lane
                # Without an item that is certain there is no subset, and rounding must not leave anything to doubt.
                out[first + lane, i] = 1.0 if q[x] == 0.0 else min(p[x] * met[lane] / total[lane], 1.0)
            _spread(i, states, p, p_row)
            _spread(i, states, q, q_row)
            after[:LANES] = 0.0
            _take(states * LANES, suffix[LANES:], suffix, p_row, q_row, after[LANES:])
            suffix, after = after, suffix


@compiled(fastmath=_MATHS)
def log_partition(begin, end, k, u, out):
    """Write log Z of rows `begin` to `end` into `out`."""
    n = u.shape[1]
    width = (k + 2) * LANES
    v = np.empty(n * LANES)
    shift = np.empty(n * LANES)
    p = np.empty(n * LANES)
    q = np.empty(n * LANES)
    edge = np.empty(LANES)
    nu = np.empty(LANES)
    row = np.empty((2, width))
    prefix = np.empty((n + 1) * width)
    for first in range(begin, end, LANES):
        _probabilities(u, first, end, k, v, shift, p, q, edge, nu)
        _prefixes(n, k, p, q, row[0], row[1], prefix)
        for lane in range(min(LANES, end - first)):
            value = math.log(prefix[n * width + (k + 1) * LANES + lane])
            # log Z = log P(Σ=k) + Σ log(1 + exp(u+ν)) − kν, term by term so that large ν cancel in pairs.
            taken = 0
            for i in range(n):
                x = i * LANES + lane
                if v[x] + nu[lane] > 0.0:
                    value += v[x] - math.log(p[x])
                    taken += 1
                else:
                    value -= math.log(q[x])
            out[first + lane] = value + (taken - k) * nu[lane] + k * edge[lane]


@compiled(fastmath=_MATHS)
def marginals_jvp(begin, end, k, u, g, out):
    """Write the derivative of the marginals in the direction g into `out`."""
    n = u.shape[1]
    states = k + 1
    width = (k + 2) * LANES
    v = np.empty(n * LANES)
    shift = np.empty(n * LANES)
    p = np.empty(n * LANES)
    q = np.empty(n * LANES)
    dp = np.empty(n * LANES)
    edge = np.empty(LANES)
    nu = np.empty(LANES)
    p_row = np.empty(width)
    q_row = np.empty(width)
    dp_row = np.empty(width)
    prefix = np.empty((n + 1) * width)
    dprefix = np.empty((n + 1) * width)
    suffix = np.empty(width)
    dsuffix = np.empty(width)
    after = np.empty(width)
    dafter = np.empty(width)
    met = np.empty(LANES)
    dmet = np.empty(LANES)
    also = np.empty(LANES)
    for first in range(begin, end, LANES):
        _probabilities(u, first, end, k, v, shift, p, q, edge, nu)
        for lane in range(LANES):
            r = min(first + lane, end - 1)
            spread = 1e-300
            mean = 0.0
            for i in range(n):
                weight = p[i * LANES + lane] * q[i * LANES + lane]
                spread += weight
                mean += weight * g[r, i]
            mean /= spread
            for i in range(n):
                dp[i * LANES + lane] = p[i * LANES + lane] * q[i * LANES + lane] * (g[r, i] - mean)
        _prefixes(n, k, p, q, p_row, q_row, prefix)
        dprefix[:width] = 0.0
        for i in range(n):
            _spread(i, states, p, p_row)
            _spread(i, states, q, q_row)
            _spread(i, states, dp, dp_row)
            here = prefix[i * width :]
            dhere = dprefix[i * width :]
            dthere = dprefix[(i + 1) * width :]
            dthere[:LANES] = 0.0
            _take_tangent(
                states * LANES, here[LANES:], here, dhere[LANES:], dhere, p_row, q_row, dp_row, dthere[LANES:]
            )
        total = prefix[n * width + states * LANES :]
        dtotal = dprefix[n * width + states * LANES :]
        suffix[:] = 0.0
        suffix[LANES : 2 * LANES] = 1.0
        dsuffix[:] = 0.0
        for i in range(n - 1, -1, -1):
            _meet(k, prefix[i * width :], suffix, met)
            _meet(k, dprefix[i * width :], suffix, dmet)
            _meet(k, prefix[i * width :], dsuffix, also)
            for lane in range(min(LANES, end - first)):
                x = i * LANES + lane
                top = dp[x] * met[lane] + p[x] * (dmet[lane] + also[lane])
                out[first + lane, i] = (top - p[x] * met[lane] / total[lane] * dtotal[lane]) / total[lane]
            _spread(i, states, p, p_row)
            _spread(i, states, q, q_row)
            _spread(i, states, dp, dp_row)
            dafter[:LANES] = 0.0
            _take_tangent(
                states * LANES, suffix[LANES:], suffix, dsuffix[LANES:], dsuffix, p_row, q_row, dp_row, dafter[LANES:]
            )
            after[:LANES] = 0.0
            _take(states * LANES, suffix[LANES:], suffix, p_row, q_row, after[LANES:])
            suffix, after = after, suffix
            dsuffix, dafter = dafter, dsuffix
