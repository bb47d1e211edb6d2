"""Dynamic programs over a chain of items on the CPU; the mathematics stands in `sstricks.ops.chain`.

`LANES` problems go in lockstep, side by side. A state is (s, j): whether the item before was chosen, and how many are
left to choose. Shares stand at ((2i + s)(k + 1) + j)·LANES + lane for item i; completions and laws at
(s (k + 2) + j + 1)·LANES + lane, where j = −1 is no state and has no weight.
"""

import numpy as np
from numba import njit

from sstricks.ops.kernels.floats import (
    LANES,
    LN2,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    exp_reduced,
    exponent,
    mantissa,
    power_of_two,
)

_MATHS = {"contract", "nsz", "arcp"}
_NOTHING = -1e306  # the exponent of zero: below the sum of all others, and no sum with it overflows


@njit(inline="always")
def _two(d):
    """2ᵈ for a whole number d ≤ 0."""
    return power_of_two(np.int64(max(d, -1023.0)))


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _weights(u, first, end, weight, power):
    """The exponentials of the utilities as mantissas in [0.7, 1.42] and exponents; beyond 10¹⁵ their order is kept."""
    for lane in range(LANES):
        r = min(first + lane, end - 1)
        for i in range(u.shape[1]):
            here = u[r, i] > -np.inf
            v = u[r, i] if here else 0.0
            k = np.floor(v * LOG2_E + 0.5)
            rest = (v - k * LN2_HIGH) - k * LN2_LOW
            weight[i * LANES + lane] = exp_reduced(min(max(rest, -0.35), 0.35)) if here else 0.0
            power[i * LANES + lane] = k if here else _NOTHING


@njit(inline="always")
def _meet(stay, stay_power, take, take_power):
    """The sum of two numbers, as mantissa and exponent, and the share of the second in it."""
    top = max(stay_power, take_power)
    taken = take * _two(take_power - top)
    total = stay * _two(stay_power - top) + taken
    alive = total > 0.0
    share = taken / (total if alive else 1.0)
    m = mantissa(total) if alive else 0.0
    e = top + np.float64(exponent(total)) if alive else _NOTHING
    return m, e, share


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _item(i, n, k, weight, power, after, after_power, before, before_power, share, at):
    """From the weights of the completions after item i, those before it, and the share of them that choose it."""
    width = (k + 2) * LANES
    for s in range(2):
        for j in range(k + 1):
            for lane in range(LANES):
                x = (j + 1) * LANES + lane
                take = after[width + x - LANES] * weight[i * LANES + lane]
                take_power = after_power[width + x - LANES] + power[i * LANES + lane]
                if s == 1:
                    take *= weight[(n + i - 1) * LANES + lane]
                    take_power += power[(n + i - 1) * LANES + lane]
                top = max(after_power[x], take_power)
                taken = take * _two(take_power - top)
                total = after[x] * _two(after_power[x] - top) + taken
                alive = total > 0.0
                share[at + s * (width - LANES) + j * LANES + lane] = taken / (total if alive else 1.0)
                before[s * width + x] = mantissa(total) if alive else 0.0
                before_power[s * width + x] = top + np.float64(exponent(total)) if alive else _NOTHING


@njit(nogil=True, cache=True, error_model="numpy")
def _completions(first, end, k, u, weight, power, now, now_power, then, then_power, share, stride):
    """Go through the items from the last to the first; `stride` says how far apart the shares of two items stand."""
    n = (u.shape[1] + 1) // 2
    width = (k + 2) * LANES
    _weights(u, first, end, weight, power)
    for memory in (now, then):
        memory[:] = 0.0
    for memory in (now_power, then_power):
        memory[:] = _NOTHING
    for s in range(2):  # after the last item there is one completion if nothing is left to choose, and else none
        for lane in range(LANES):
            now[s * width + LANES + lane] = 1.0
            now_power[s * width + LANES + lane] = 0.0
    for i in range(n - 1, -1, -1):
        _item(i, n, k, weight, power, now, now_power, then, then_power, share, i * stride)
        now, then = then, now
        now_power, then_power = then_power, now_power
    return now, now_power


@njit(nogil=True, cache=True, error_model="numpy")
def log_partition(begin, end, k, u, out, feasible):
    """Write log Z of rows `begin` to `end` into `out`, and into `feasible` whether there is any vertex."""
    size = u.shape[1]
    width = (k + 2) * LANES
    weight = np.empty((2, size * LANES))
    work = np.empty((4, 2 * width))
    share = np.empty(2 * width)
    for first in range(begin, end, LANES):
        m, e = _completions(first, end, k, u, weight[0], weight[1], work[0], work[1], work[2], work[3], share, 0)
        for lane in range(min(LANES, end - first)):
            x = (k + 1) * LANES + lane
            feasible[first + lane] = m[x] > 0.0
            out[first + lane] = np.log(m[x]) + e[x] * LN2


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _walk(i, k, share, at, law, later, item, pair):
    """Move the law of the state past item i, and note the probabilities of the item and of the pair that it ends."""
    width = (k + 2) * LANES
    item[:] = 0.0
    pair[:] = 0.0
    for j in range(k + 1):
        for lane in range(LANES):
            x = (j + 1) * LANES + lane
            alone = law[x] * share[at + j * LANES + lane]
            beside = law[width + x] * share[at + width - LANES + j * LANES + lane]
            later[x] = (law[x] - alone) + (law[width + x] - beside)
            later[width + x - LANES] = alone + beside
            item[lane] += alone + beside
            pair[lane] += beside


@njit(nogil=True, cache=True, error_model="numpy")
def marginals(begin, end, k, u, out, feasible, share):
    """Write the marginals of rows `begin` to `end` into `out`, and into `feasible` whether there is any vertex."""
    size = u.shape[1]
    n = (size + 1) // 2
    width = (k + 2) * LANES
    stride = 2 * (k + 1) * LANES
    weight = np.empty((2, size * LANES))
    work = np.empty((4, 2 * width))
    item = np.empty(LANES)
    pair = np.empty(LANES)
    for first in range(begin, end, LANES):
        m, _ = _completions(first, end, k, u, weight[0], weight[1], work[0], work[1], work[2], work[3], share, stride)
        for lane in range(min(LANES, end - first)):
            feasible[first + lane] = m[(k + 1) * LANES + lane] > 0.0
        law = work[0]
        later = work[1]
        law[:] = 0.0
        later[:] = 0.0
        law[width - LANES : width] = 1.0
        for i in range(n):
            _walk(i, k, share, i * stride, law, later, item, pair)
            for lane in range(min(LANES, end - first)):
                out[first + lane, i] = min(item[lane], 1.0)
                if i > 0:
                    out[first + lane, n + i - 1] = min(pair[lane], 1.0)
            law, later = later, law


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _item_tangent(i, n, k, slope, share, dshare, at, after, before):
    """From the derivatives of the log-weights of the completions after item i, those before it and of the shares."""
    width = (k + 2) * LANES
    for s in range(2):
        for j in range(k + 1):
            for lane in range(LANES):
                x = (j + 1) * LANES + lane
                y = at + s * (width - LANES) + j * LANES + lane
                gain = slope[i * LANES + lane] + after[width + x - LANES] - after[x]
                if s == 1:
                    gain += slope[(n + i - 1) * LANES + lane]
                moved = share[y] * gain
                before[s * width + x] = after[x] + moved
                dshare[y] = moved * (1.0 - share[y])


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _walk_tangent(i, k, share, dshare, at, law, dlaw, later, dlater, item, pair):
    width = (k + 2) * LANES
    item[:] = 0.0
    pair[:] = 0.0
    for j in range(k + 1):
        for lane in range(LANES):
            x = (j + 1) * LANES + lane
            y = at + j * LANES + lane
            z = y + width - LANES
            alone = law[x] * share[y]
            beside = law[width + x] * share[z]
            later[x] = (law[x] - alone) + (law[width + x] - beside)
            later[width + x - LANES] = alone + beside
            dalone = dlaw[x] * share[y] + law[x] * dshare[y]
            dbeside = dlaw[width + x] * share[z] + law[width + x] * dshare[z]
            dlater[x] = (dlaw[x] - dalone) + (dlaw[width + x] - dbeside)
            dlater[width + x - LANES] = dalone + dbeside
            item[lane] += dalone + dbeside
            pair[lane] += dbeside


@njit(nogil=True, cache=True, error_model="numpy")
def marginals_jvp(begin, end, k, u, g, out, feasible, memory):
    """Write the derivative of the marginals in the direction g into `out`."""
    size = u.shape[1]
    n = (size + 1) // 2
    width = (k + 2) * LANES
    stride = 2 * (k + 1) * LANES
    share = memory[: n * stride]
    dshare = memory[n * stride : 2 * n * stride]
    weight = np.empty((2, size * LANES))
    slope = np.empty(size * LANES)
    work = np.empty((4, 2 * width))
    item = np.empty(LANES)
    pair = np.empty(LANES)
    for first in range(begin, end, LANES):
        m, _ = _completions(first, end, k, u, weight[0], weight[1], work[0], work[1], work[2], work[3], share, stride)
        for lane in range(LANES):
            r = min(first + lane, end - 1)
            feasible[r] = m[(k + 1) * LANES + lane] > 0.0
            for i in range(size):
                slope[i * LANES + lane] = g[r, i]
        work[:] = 0.0
        after = work[0]
        before = work[1]
        for i in range(n - 1, -1, -1):
            _item_tangent(i, n, k, slope, share, dshare, i * stride, after, before)
            after, before = before, after
        work[:] = 0.0
        law = work[0]
        later = work[1]
        dlaw = work[2]
        dlater = work[3]
        law[width - LANES : width] = 1.0
        for i in range(n):
            _walk_tangent(i, k, share, dshare, i * stride, law, dlaw, later, dlater, item, pair)
            for lane in range(min(LANES, end - first)):
                out[first + lane, i] = item[lane]
                if i > 0:
                    out[first + lane, n + i - 1] = pair[lane]
            law, later = later, law
            dlaw, dlater = dlater, dlaw


@njit(nogil=True, cache=True, error_model="numpy")
def argmax(begin, end, k, u, out, feasible):
    """Write the best vertex of rows `begin` to `end` into `out` (Viterbi); of equals, that with the first item."""
    n = (u.shape[1] + 1) // 2
    best = np.empty((2, 2, k + 2))  # this item and the next, s, j + 1
    chosen = np.empty((n, 2, k + 1), dtype=np.uint8)
    for r in range(begin, end):
        best[:] = -np.inf
        best[0, :, 1] = 0.0
        now = 0
        for i in range(n - 1, -1, -1):
            for s in range(2):
                reward = u[r, i]
                if s == 1 and i > 0:
                    reward += u[r, n + i - 1]
                for j in range(k + 1):
                    stay = best[now, 0, j + 1]
                    take = best[now, 1, j] + reward
                    chosen[i, s, j] = take >= stay
                    best[1 - now, s, j + 1] = max(take, stay)
            now = 1 - now
        feasible[r] = best[now, 0, k + 1] > -np.inf
        out[r] = 0.0
        if not feasible[r]:
            continue
        left = k
        s = 0
        for i in range(n):
            take = chosen[i, s, left]
            if take:
                out[r, i] = 1.0
                left -= 1
                if s == 1:
                    out[r, n + i - 1] = 1.0
            s = take
