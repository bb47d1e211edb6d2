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
_NEVER = -8e307  # a shift that leaves no item


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
def _probabilities(u, bounds, first, end, v, shift, p, q, edge, nu, size):
    """Choose ν for every row, and write v = u − edge, p and q of v + ν, and the size that they lead to.

    Where the bounds hold the size of independent coins, ν = 0 and edge = 0; else Σσ(u−u₍ₖ₎+ν) is near the bound k, by
    bracketed Newton steps.
    """
    n = u.shape[1]
    low = np.empty(LANES)
    high = np.empty(LANES)
    total = np.empty(LANES)
    slope = np.empty(LANES)
    ordered = np.empty(n)
    chosen = np.empty(LANES, np.bool_)
    for lane in range(LANES):
        r = min(first + lane, end - 1)
        total[lane] = nu[lane] = edge[lane] = 0.0
        for i in range(n):
            v[i * LANES + lane] = u[r, i]
            shift[i * LANES + lane] = 0.0
    if np.any(bounds[first : min(first + LANES, end), 0] < bounds[first : min(first + LANES, end), 1]):
        _sigmoids(n * LANES, v, shift, p, q)
        for i in range(n):
            for lane in range(LANES):
                total[lane] += p[i * LANES + lane]
    for lane in range(LANES):
        r = min(first + lane, end - 1)
        least, most = bounds[r, 0], bounds[r, 1]
        k = size[lane] = most if total[lane] > most or least == most else least
        chosen[lane] = least < most and least <= total[lane] <= most
        if chosen[lane]:
            continue
        if k == 0:
            chosen[lane], nu[lane] = True, _NEVER
            continue
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
            excess = total[lane] - size[lane]
            if chosen[lane] or abs(excess) <= _ENOUGH:
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


@compiled
def _weights(bounds, first, end, k, edge, nu, size, out):
    """What each size weighs beside the one that ν leads to, 0 where it is out of bounds; a zero after the last."""
    for lane in range(LANES):
        r = min(first + lane, end - 1)
        for j in range(k + 2):
            out[j * LANES + lane] = 0.0
        for j in range(bounds[r, 0], bounds[r, 1] + 1):
            more = size[lane] - j
            out[j * LANES + lane] = math.exp(more * (nu[lane] - edge[lane])) if more != 0 else 1.0


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
def _meet(k, prefix, rest, out):
    """The weight of all that surrounds an item that is taken: j of those before it, and what can then follow."""
    for lane in range(LANES):
        out[lane] = 0.0
    for j in range(1, k + 1):
        for lane in range(LANES):
            out[lane] += prefix[j * LANES + lane] * rest[j * LANES + lane]


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
def _total(k, law, weights, out):
    """Σ over the sizes j of their probability, at index j + 1, times their weight."""
    for lane in range(LANES):
        out[lane] = 0.0
    for j in range(k + 1):
        for lane in range(LANES):
            out[lane] += law[(j + 1) * LANES + lane] * weights[j * LANES + lane]


@compiled(fastmath=_MATHS)
def marginals(begin, end, k, u, bounds, out):
    """Write the marginals of rows `begin` to `end` into `out`; no bound is above k."""
    n = u.shape[1]
    states = k + 1
    width = (k + 2) * LANES
    v = np.empty(n * LANES)
    shift = np.empty(n * LANES)
    p = np.empty(n * LANES)
    q = np.empty(n * LANES)
    edge = np.empty(LANES)
    nu = np.empty(LANES)
    size = np.empty(LANES, np.int64)
    p_row = np.empty(width)
    q_row = np.empty(width)
    prefix = np.empty((n + 1) * width)
    rest = np.empty(width)
    before = np.empty(width)
    met = np.empty(LANES)
    total = np.empty(LANES)
    for first in range(begin, end, LANES):
        _probabilities(u, bounds, first, end, v, shift, p, q, edge, nu, size)
        _prefixes(n, k, p, q, p_row, q_row, prefix)
        _weights(bounds, first, end, k, edge, nu, size, rest)
        _total(k, prefix[n * width :], rest, total)
        before[states * LANES :] = 0.0
        for i in range(n - 1, -1, -1):
            _meet(k, prefix[i * width :], rest, met)
            for lane in range(min(LANES, end - first)):
                x = i * LANES + lane
                # Without an item that is certain there is no subset, and rounding must not leave anything to doubt.
                out[first + lane, i] = 1.0 if q[x] == 0.0 else min(p[x] * met[lane] / total[lane], 1.0)
            _spread(i, states, p, p_row)
            _spread(i, states, q, q_row)
            _take(states * LANES, rest, rest[LANES:], p_row, q_row, before)
            rest, before = before, rest


@compiled(fastmath=_MATHS)
def log_partition(begin, end, k, u, bounds, out):
    """Write log Z of rows `begin` to `end` into `out`."""
    n = u.shape[1]
    width = (k + 2) * LANES
    v = np.empty(n * LANES)
    shift = np.empty(n * LANES)
    p = np.empty(n * LANES)
    q = np.empty(n * LANES)
    edge = np.empty(LANES)
    nu = np.empty(LANES)
    size = np.empty(LANES, np.int64)
    row = np.empty((2, width))
    weights = np.empty(width)
    total = np.empty(LANES)
    prefix = np.empty((n + 1) * width)
    for first in range(begin, end, LANES):
        _probabilities(u, bounds, first, end, v, shift, p, q, edge, nu, size)
        _prefixes(n, k, p, q, row[0], row[1], prefix)
        _weights(bounds, first, end, k, edge, nu, size, weights)
        _total(k, prefix[n * width :], weights, total)
        for lane in range(min(LANES, end - first)):
            value = math.log(total[lane])
            # log Z = log ΣcP + Σ log(1 + exp(u+ν)) − kν, term by term so that large ν cancel in pairs.
            taken = 0
            for i in range(n):
                x = i * LANES + lane
                if v[x] + nu[lane] > 0.0:
                    value += v[x] - math.log(p[x])
                    taken += 1
                else:
                    value -= math.log(q[x])
            out[first + lane] = value + (taken - size[lane]) * nu[lane] + size[lane] * edge[lane]


@compiled(fastmath=_MATHS)
def marginals_jvp(begin, end, k, u, bounds, g, out):
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
    size = np.empty(LANES, np.int64)
    p_row = np.empty(width)
    q_row = np.empty(width)
    dp_row = np.empty(width)
    prefix = np.empty((n + 1) * width)
    dprefix = np.empty((n + 1) * width)
    rest = np.empty(width)
    drest = np.empty(width)
    before = np.empty(width)
    dbefore = np.empty(width)
    met = np.empty(LANES)
    dmet = np.empty(LANES)
    also = np.empty(LANES)
    total = np.empty(LANES)
    dtotal = np.empty(LANES)
    for first in range(begin, end, LANES):
        _probabilities(u, bounds, first, end, v, shift, p, q, edge, nu, size)
        _weights(bounds, first, end, k, edge, nu, size, rest)
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
            for j in range(k + 2):
                drest[j * LANES + lane] = (j - size[lane]) * mean * rest[j * LANES + lane]
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
        _total(k, prefix[n * width :], rest, total)
        _total(k, dprefix[n * width :], rest, dtotal)
        _total(k, prefix[n * width :], drest, also)
        for lane in range(LANES):
            dtotal[lane] += also[lane]
        before[states * LANES :] = 0.0
        dbefore[states * LANES :] = 0.0
        for i in range(n - 1, -1, -1):
            _meet(k, prefix[i * width :], rest, met)
            _meet(k, dprefix[i * width :], rest, dmet)
            _meet(k, prefix[i * width :], drest, also)
            for lane in range(min(LANES, end - first)):
                x = i * LANES + lane
                top = dp[x] * met[lane] + p[x] * (dmet[lane] + also[lane])
                out[first + lane, i] = (top - p[x] * met[lane] / total[lane] * dtotal[lane]) / total[lane]
            _spread(i, states, p, p_row)
            _spread(i, states, q, q_row)
            _spread(i, states, dp, dp_row)
            _take_tangent(states * LANES, rest, rest[LANES:], drest, drest[LANES:], p_row, q_row, dp_row, dbefore)
            _take(states * LANES, rest, rest[LANES:], p_row, q_row, before)
            rest, before = before, rest
            drest, dbefore = dbefore, drest
