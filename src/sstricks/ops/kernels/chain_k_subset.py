"""Dynamic programs over a chain of items on the CPU; the mathematics stands in `sstricks.ops.chain_k_subset`.

`LANES` problems go in lockstep, side by side. A state is (s, j): whether the item before was chosen, and how many are
left to choose. Shares stand at ((2i + s)(k + 1) + j)·LANES + lane for item i; completions and laws at
(s (k + 2) + j + 1)·LANES + lane, where j = −1 is no state and has no weight.
"""

import math

import numpy as np

from sstricks.ops.kernels.compiled import compiled
from sstricks.ops.kernels.floats import (
    LANES,
    LN2,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    exp_reduced,
    mantissa,
)

_MATHS = {"contract", "nsz", "arcp"}
_ALIGN = 1.5 * 2.0**52 + 1023.0
_WHOLE = np.int64(0x433 << 52)  # the bits of 2⁵²
_NOTHING = -1e306  # the exponent of zero: below the sum of all others, and no sum with it overflows


@compiled(inline=True, fastmath=_MATHS)
def _two(d):
    """2ᵈ for a whole number d ≤ 0: added to 1.5·2⁵², it stands in the last bits, and these become the exponent."""
    return np.int64(np.float64(max(d, -1023.0) + _ALIGN).view(np.int64) << np.int64(52)).view(np.float64)


@compiled(inline=True, fastmath=_MATHS)
def _exponent(x):
    """The e of x = m·2ᵉ, for x > 0, as a float, the same way back; conversions of integers do not always vectorise."""
    bits = (np.float64(x).view(np.int64) >> np.int64(52)) | _WHOLE
    return np.int64(bits).view(np.float64) - (2.0**52 + 1023.0)


@compiled(fastmath=_MATHS)
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


@compiled(fastmath=_MATHS)
def _spread(states, source, item, out):
    """Repeat an item's lanes once for every number of items left."""
    for lane in range(LANES):
        value = source[item * LANES + lane]
        for j in range(states):
            out[j * LANES + lane] = value


@compiled(fastmath=_MATHS)
def _choose(count, stay, stay_power, take, take_power, weight, power, before, before_power, share):
    """The weight of leaving the item and of taking it, added up, and the share of the second."""
    for x in range(count):
        taken_power = take_power[x] + power[x]
        top = max(stay_power[x], taken_power)
        taken = take[x] * weight[x] * _two(taken_power - top)
        total = stay[x] * _two(stay_power[x] - top) + taken
        alive = total > 0.0
        share[x] = taken / (total if alive else 1.0)
        before[x] = mantissa(total) if alive else 0.0
        before_power[x] = top + _exponent(total) if alive else _NOTHING


@compiled(fastmath=_MATHS)
def _item(i, n, k, weight, power, row, row_power, after, after_power, before, before_power, share):
    """From the weights of the completions after item i, those before it, and the share of them that choose it."""
    width = (k + 2) * LANES
    count = width - LANES
    _spread(k + 1, weight, i, row)
    _spread(k + 1, power, i, row_power)
    for s in range(2):
        if s == 1:
            for j in range(k + 1):
                for lane in range(LANES):
                    row[j * LANES + lane] *= weight[(n + i - 1) * LANES + lane]
                    row_power[j * LANES + lane] += power[(n + i - 1) * LANES + lane]
        to = s * width + LANES
        _choose(
            count, after[LANES:], after_power[LANES:], after[width:], after_power[width:],
            row, row_power, before[to:], before_power[to:], share[s * count :],
        )  # fmt: skip


@compiled
def _completions(first, end, k, u, weight, power, now, now_power, then, then_power, share, stride):
    """Go through the items from the last to the first; `stride` says how far apart the shares of two items stand."""
    n = (u.shape[1] + 1) // 2
    width = (k + 2) * LANES
    row = np.empty(width)
    row_power = np.empty(width)
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
        _item(i, n, k, weight, power, row, row_power, now, now_power, then, then_power, share[i * stride :])
        now, then = then, now
        now_power, then_power = then_power, now_power
    return now, now_power


@compiled
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
            out[first + lane] = math.log(m[x]) + e[x] * LN2


@compiled(fastmath=_MATHS)
def _total(states, source, out):
    """Add up over the states, lane by lane."""
    out[:] = 0.0
    for j in range(states):
        for lane in range(LANES):
            out[lane] += source[j * LANES + lane]


@compiled(fastmath=_MATHS)
def _walk(count, first, second, share, of_second, left, taken, paired):
    """Move the law of the state past an item: from s = 0 and 1 to where it is left, taken, and of that from s = 1."""
    for x in range(count):
        alone = first[x] * share[x]
        beside = second[x] * of_second[x]
        left[x] = (first[x] - alone) + (second[x] - beside)
        taken[x] = alone + beside
        paired[x] = beside


@compiled
def marginals(begin, end, k, u, out, feasible, share):
    """Write the marginals of rows `begin` to `end` into `out`, and into `feasible` whether there is any vertex."""
    size = u.shape[1]
    n = (size + 1) // 2
    width = (k + 2) * LANES
    count = (k + 1) * LANES
    stride = 2 * count
    weight = np.empty((2, size * LANES))
    work = np.empty((4, 2 * width))
    paired = np.empty(width)
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
            here = share[i * stride :]
            _walk(count, law[LANES:], law[width + LANES :], here, here[count:], later[LANES:], later[width:], paired)
            _total(k + 1, later[width:], item)
            _total(k + 1, paired, pair)
            for lane in range(min(LANES, end - first)):
                out[first + lane, i] = min(item[lane], 1.0)
                if i > 0:
                    out[first + lane, n + i - 1] = min(pair[lane], 1.0)
            law, later = later, law


@compiled(fastmath=_MATHS)
def _choose_tangent(count, stay, take, slope, share, before, dshare):
    for x in range(count):
        moved = share[x] * (slope[x] + take[x] - stay[x])
        before[x] = stay[x] + moved
        dshare[x] = moved * (1.0 - share[x])


@compiled(fastmath=_MATHS)
def _item_tangent(i, n, k, slope, row, after, before, share, dshare):
    """From the derivatives of the log-weights of the completions after item i, those before it and of the shares."""
    width = (k + 2) * LANES
    count = width - LANES
    _spread(k + 1, slope, i, row)
    for s in range(2):
        if s == 1:
            for j in range(k + 1):
                for lane in range(LANES):
                    row[j * LANES + lane] += slope[(n + i - 1) * LANES + lane]
        to = s * width + LANES
        _choose_tangent(count, after[LANES:], after[width:], row, share[s * count :], before[to:], dshare[s * count :])


@compiled(fastmath=_MATHS)
def _walk_tangent(
    count, first, second, dfirst, dsecond, share, of_second, dshare, dof_second, left, taken, paired
):  # fmt: skip
    for x in range(count):
        alone = dfirst[x] * share[x] + first[x] * dshare[x]
        beside = dsecond[x] * of_second[x] + second[x] * dof_second[x]
        left[x] = (dfirst[x] - alone) + (dsecond[x] - beside)
        taken[x] = alone + beside
        paired[x] = beside


@compiled
def marginals_jvp(begin, end, k, u, g, out, feasible, memory):
    """Write the derivative of the marginals in the direction g into `out`."""
    size = u.shape[1]
    n = (size + 1) // 2
    width = (k + 2) * LANES
    count = (k + 1) * LANES
    stride = 2 * count
    share = memory[: n * stride]
    dshare = memory[n * stride : 2 * n * stride]
    weight = np.empty((2, size * LANES))
    slope = np.empty(size * LANES)
    row = np.empty(width)
    work = np.empty((4, 2 * width))
    paired = np.empty(width)
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
            _item_tangent(i, n, k, slope, row, after, before, share[i * stride :], dshare[i * stride :])
            after, before = before, after
        work[:] = 0.0
        law = work[0]
        later = work[1]
        dlaw = work[2]
        dlater = work[3]
        law[width - LANES : width] = 1.0
        for i in range(n):
            here = share[i * stride :]
            dhere = dshare[i * stride :]
            _walk_tangent(
                count, law[LANES:], law[width + LANES :], dlaw[LANES:], dlaw[width + LANES :],
                here, here[count:], dhere, dhere[count:], dlater[LANES:], dlater[width:], paired,
            )  # fmt: skip
            _total(k + 1, dlater[width:], item)
            _total(k + 1, paired, pair)
            _walk(count, law[LANES:], law[width + LANES :], here, here[count:], later[LANES:], later[width:], paired)
            for lane in range(min(LANES, end - first)):
                out[first + lane, i] = item[lane]
                if i > 0:
                    out[first + lane, n + i - 1] = pair[lane]
            law, later = later, law
            dlaw, dlater = dlater, dlaw


@compiled
def chain_argmax(begin, end, k, u, out, feasible):
    """Write the best vertex of rows `begin` to `end` into `out`, and into `feasible` whether there is any."""
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
