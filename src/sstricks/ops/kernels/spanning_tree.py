"""Star-mesh elimination on the CPU; the mathematics stands in `sstricks.ops.spanning_tree`.

Pairs of nodes i > j are numbered i(i−1)/2 + j, so the pairs among the first v nodes are a prefix and row v of the
weights is contiguous. Stage v (the elimination of node v) stores its ratios ρ at offset v(v−1)(v−2)/6 in that order.
Every array is flat, with the lane as the last index. Inner loops take whole arrays and unsigned offsets: a slice would
cost two atomic operations per row of pairs, and a signed index its wrap-around test, which keeps a loop from being
vectorised.
"""

import numpy as np
from numba import njit

from sstricks.ops.extremes import FAR
from sstricks.ops.kernels.floats import (
    LANES,
    LARGEST,
    LN2,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    NOTHING,
    exp_reduced,
    exponent,
    mantissa,
    power_of_two,
)

_MATHS = {"contract", "nsz", "arcp"}
_ROW = np.uint64(LANES)


@njit(inline="always")
def _pairs(v):
    """Where row v begins among the pairs: the number of pairs of the first v nodes, times the lanes."""
    return np.uint64(v * (v - 1) // 2 * LANES)


@njit(inline="always")
def _ratios(v):
    """Where stage v begins among the ratios."""
    return np.uint64(v * (v - 1) * (v - 2) // 6 * LANES)


@njit(nogil=True, cache=True, error_model="numpy")
def _number(ends):
    """The number of each edge's pair of nodes."""
    pair = np.empty(ends.shape[1], np.int64)
    for x in range(ends.shape[1]):
        high = max(ends[0, x], ends[1, x])
        pair[x] = high * (high - 1) // 2 + min(ends[0, x], ends[1, x])
    return pair


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _repeat(count, source, start, out):
    """Write `count` copies of the lanes at `start` side by side into `out`."""
    for j in range(np.uint64(count)):
        for lane in range(_ROW):
            out[j * _ROW + lane] = source[start + lane]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _merge(count, m1, e1, m2, e2, m, e, to, ratio, at):
    """w ← w + w₁·w₂, entry by entry, and ratio ← w₁·w₂ / (w + w₁·w₂).

    The sum is not normalised: its mantissa stays between 1/(4n) and 4n, where it costs no digits.
    """
    for x in range(np.uint64(count)):
        y = to + x
        product = m1[x] * m2[x]
        e_product = e1[x] + e2[x]
        lead = e_product - e[y]
        less = power_of_two(-abs(lead))
        added = product if lead > 0 else product * less
        total = (m[y] * less if lead > 0 else m[y]) + added
        ratio[at + x] = added / (total + np.float64(total <= 0.0))
        m[y] = total
        e[y] = max(e_product, e[y])


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _exponentials(m, e):
    """Turn logarithms m into weights m·2ᵉ."""
    for x in range(np.uint64(m.size)):
        value = max(m[x], -LARGEST)
        k = np.floor(value * LOG2_E + 0.5)
        absent = np.float64(m[x] < -1e300)
        m[x] = exp_reduced((value - k * LN2_HIGH) - k * LN2_LOW) * (1.0 - absent)
        e[x] = NOTHING if absent > 0.0 else np.int64(k)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _load(u, begin, end, pair, ends, m, e, m_edge, e_edge, share, present, best):
    """The weights exp(u − max u) of all pairs of nodes, each edge's share of its pair's weight, and max u."""
    edges = u.shape[1]
    m[:] = 0.0
    e[:] = NOTHING
    present[:] = 0
    one_m = np.ones(LANES)
    one_e = np.zeros(LANES, np.int64)
    for lane in range(LANES):
        row = min(begin + lane, end - 1)
        best[lane] = -np.inf
        for x in range(edges):
            best[lane] = max(best[lane], u[row, x])
        for x in range(edges):
            gap = best[lane] - u[row, x]
            m_edge[x * LANES + lane] = -gap if gap <= FAR or gap == np.inf else -FAR * (1.0 + np.log(gap / FAR))
    _exponentials(m_edge, e_edge)
    taken = np.zeros(m.size // LANES, np.uint8)
    parallel = False
    for x in range(edges):
        at = np.uint64(x) * _ROW
        to = np.uint64(pair[x]) * _ROW
        first = np.uint64(ends[0, x]) * _ROW
        second = np.uint64(ends[1, x]) * _ROW
        for lane in range(_ROW):
            here = np.int64(m_edge[at + lane] > 0.0)
            present[first + lane] |= here
            present[second + lane] |= here
        if taken[pair[x]]:
            parallel = True
            _merge(LANES, m_edge[x * LANES :], e_edge[x * LANES :], one_m, one_e, m, e, to, share, at)
        else:
            taken[pair[x]] = 1
            for lane in range(_ROW):
                m[to + lane] = m_edge[at + lane]
                e[to + lane] = e_edge[at + lane]
                share[at + lane] = np.float64(m_edge[at + lane] > 0.0)
    if parallel:
        for x in range(edges):
            at = np.uint64(x) * _ROW
            to = np.uint64(pair[x]) * _ROW
            for lane in range(_ROW):
                if m[to + lane] > 0.0:
                    share[at + lane] = m_edge[at + lane] / m[to + lane] * power_of_two(e_edge[at + lane] - e[to + lane])


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _row_law(v, m, e, p, m_p, e_p, top, d, log_z, isolated, present):
    """p, the law of the neighbour that node v is joined to, as numbers and as mantissas and exponents."""
    row = _pairs(v)
    for lane in range(_ROW):
        top[lane] = NOTHING
        d[lane] = 0.0
    for i in range(np.uint64(v)):
        for lane in range(_ROW):
            x = row + i * _ROW + lane
            here = m[x] > 0.0
            e[x] = e[x] + exponent(m[x]) if here else NOTHING
            m[x] = mantissa(m[x]) if here else 0.0
            top[lane] = max(top[lane], e[x])
    for i in range(np.uint64(v)):
        for lane in range(_ROW):
            x = row + i * _ROW + lane
            p[x] = m[x] * power_of_two(e[x] - top[lane])
            d[lane] += p[x]
    for lane in range(LANES):
        if d[lane] > 0.0:
            log_z[lane] += np.log(d[lane]) + top[lane] * LN2
        else:
            isolated[lane] += present[v * LANES + lane]
            d[lane] = 1.0
    for i in range(np.uint64(v)):
        for lane in range(_ROW):
            x = row + i * _ROW + lane
            p[x] /= d[lane]
            m_p[i * _ROW + lane] = m[x] / d[lane]
            e_p[i * _ROW + lane] = e[x] - top[lane]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _eliminate(nodes, m, e, present, p, ratio, log_z, isolated):
    """Eliminate nodes n−1, …, 1: transition probabilities p, ratios ρ, log Z and how many components there are."""
    m_p = np.empty(nodes * LANES)
    e_p = np.empty(nodes * LANES, np.int64)
    m_row = np.empty(nodes * LANES)
    e_row = np.empty(nodes * LANES, np.int64)
    top = np.empty(LANES, np.int64)
    d = np.empty(LANES)
    for lane in range(LANES):
        log_z[lane] = 0.0
        isolated[lane] = present[lane]
    for v in range(nodes - 1, 0, -1):
        _row_law(v, m, e, p, m_p, e_p, top, d, log_z, isolated, present)
        row, stage = _pairs(v), _ratios(v)
        for i in range(1, v):
            to = _pairs(i)
            _repeat(i, m, row + np.uint64(i) * _ROW, m_row)
            _repeat(i, e, row + np.uint64(i) * _ROW, e_row)
            _merge(i * LANES, m_row, e_row, m_p, e_p, m, e, to, ratio, stage + to)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _split(count, x, to, ratio, at, moved, received):
    """Move the share ρ of every entry of x out of it."""
    for k in range(np.uint64(count)):
        part = x[to + k] * ratio[at + k]
        x[to + k] -= part
        moved[k] = part
        received[k] += part


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _split_tangent(count, x, dx, to, ratio, dratio, at, moved, dmoved, received, dreceived):
    """`_split` and its derivative."""
    for k in range(np.uint64(count)):
        part = x[to + k] * ratio[at + k]
        dpart = dx[to + k] * ratio[at + k] + x[to + k] * dratio[at + k]
        x[to + k] -= part
        dx[to + k] -= dpart
        moved[k] = part
        dmoved[k] = dpart
        received[k] += part
        dreceived[k] += dpart


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _gather(i, moved, received):
    """Node i receives all that was moved out of row i."""
    to = np.uint64(i) * _ROW
    for j in range(np.uint64(i)):
        for lane in range(_ROW):
            received[to + lane] += moved[j * _ROW + lane]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _restore(v, p, x, received, rest):
    """Row v of the marginals: x = p·(1 − S) + what it received."""
    row = _pairs(v)
    for lane in range(_ROW):
        rest[lane] = 2.0
    for i in range(np.uint64(v)):
        for lane in range(_ROW):
            rest[lane] -= received[i * _ROW + lane]
    for lane in range(_ROW):
        rest[lane] *= 0.5
    for i in range(np.uint64(v)):
        for lane in range(_ROW):
            at = row + i * _ROW + lane
            x[at] = p[at] * rest[lane] + received[i * _ROW + lane]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def marginals(begin, end, nodes, u, ends, out, components, scratch):
    """Write the marginals of rows `begin` to `end` into `out`."""
    pairs = nodes * (nodes - 1) // 2
    pair = _number(ends)
    m = np.empty(pairs * LANES)
    e = np.empty(pairs * LANES, np.int64)
    m_edge = np.empty(u.shape[1] * LANES)
    e_edge = np.empty(u.shape[1] * LANES, np.int64)
    share = np.empty(u.shape[1] * LANES)
    present = np.empty(nodes * LANES, np.int64)
    p = np.empty(pairs * LANES)
    ratio = scratch[: _ratios(nodes)]
    log_z = np.empty(LANES)
    isolated = np.empty(LANES, np.int64)
    best = np.empty(LANES)
    received = np.empty(nodes * LANES)
    moved = np.empty(nodes * LANES)
    rest = np.empty(LANES)
    for first in range(begin, end, LANES):
        _load(u, first, end, pair, ends, m, e, m_edge, e_edge, share, present, best)
        _eliminate(nodes, m, e, present, p, ratio, log_z, isolated)
        x = m  # the weights are used up
        for v in range(1, nodes):
            stage = _ratios(v)
            received[:] = 0.0
            for i in range(1, v):
                to = _pairs(i)
                _split(i * LANES, x, to, ratio, stage + to, moved, received)
                _gather(i, moved, received)
            _restore(v, p, x, received, rest)
        for lane in range(min(LANES, end - first)):
            components[first + lane] = isolated[lane]
            for k in range(u.shape[1]):
                value = share[k * LANES + lane] * x[pair[k] * LANES + lane]
                out[first + lane, k] = min(max(value, 0.0), 1.0)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def log_partition(begin, end, nodes, u, ends, out, components, scratch):
    """Write log Z of rows `begin` to `end` into `out`."""
    pairs = nodes * (nodes - 1) // 2
    pair = _number(ends)
    m = np.empty(pairs * LANES)
    e = np.empty(pairs * LANES, np.int64)
    m_edge = np.empty(u.shape[1] * LANES)
    e_edge = np.empty(u.shape[1] * LANES, np.int64)
    share = np.empty(u.shape[1] * LANES)
    present = np.empty(nodes * LANES, np.int64)
    p = np.empty(pairs * LANES)
    ratio = scratch[: _ratios(nodes)]
    log_z = np.empty(LANES)
    isolated = np.empty(LANES, np.int64)
    best = np.empty(LANES)
    for first in range(begin, end, LANES):
        _load(u, first, end, pair, ends, m, e, m_edge, e_edge, share, present, best)
        _eliminate(nodes, m, e, present, p, ratio, log_z, isolated)
        for lane in range(min(LANES, end - first)):
            components[first + lane] = isolated[lane]
            size = -1
            for v in range(nodes):
                size += present[v * LANES + lane]
            out[first + lane] = log_z[lane] + size * best[lane]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _tangents(count, slope, t, t_at, a, to, ratio, dratio, at):
    """a ← the derivative of log w', dratio ← that of ρ, for one row of pairs at one stage."""
    for k in range(np.uint64(count)):
        step = ratio[at + k] * (slope[k] + t[t_at + k] - a[to + k])
        a[to + k] += step
        dratio[at + k] = step * (1.0 - ratio[at + k])


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _center(v, p, a, raw, delta):
    """Row v of a: kept as it is in `raw`, and then less its mean under p."""
    row = _pairs(v)
    for lane in range(_ROW):
        delta[lane] = 0.0
    for i in range(np.uint64(v)):
        for lane in range(_ROW):
            delta[lane] += p[row + i * _ROW + lane] * a[row + i * _ROW + lane]
    for i in range(np.uint64(v)):
        for lane in range(_ROW):
            raw[i * _ROW + lane] = a[row + i * _ROW + lane]
            a[row + i * _ROW + lane] -= delta[lane]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _restore_tangent(v, p, a, x, dx, received, dreceived, rest, drest):
    """`_restore` and its derivative."""
    row = _pairs(v)
    for lane in range(_ROW):
        rest[lane] = 2.0
        drest[lane] = 0.0
    for i in range(np.uint64(v)):
        for lane in range(_ROW):
            rest[lane] -= received[i * _ROW + lane]
            drest[lane] -= dreceived[i * _ROW + lane]
    for lane in range(_ROW):
        rest[lane] *= 0.5
        drest[lane] *= 0.5
    for i in range(np.uint64(v)):
        for lane in range(_ROW):
            at = row + i * _ROW + lane
            x[at] = p[at] * rest[lane] + received[i * _ROW + lane]
            dx[at] = p[at] * (a[at] * rest[lane] + drest[lane]) + dreceived[i * _ROW + lane]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def marginals_jvp(begin, end, nodes, u, g, ends, out, components, scratch):
    """Write the derivative of the marginals in the direction g into `out`."""
    pairs = nodes * (nodes - 1) // 2
    pair = _number(ends)
    edges = u.shape[1]
    m = np.empty(pairs * LANES)
    e = np.empty(pairs * LANES, np.int64)
    m_edge = np.empty(edges * LANES)
    e_edge = np.empty(edges * LANES, np.int64)
    share = np.empty(edges * LANES)
    present = np.empty(nodes * LANES, np.int64)
    p = np.empty(pairs * LANES)
    ratio = scratch[: _ratios(nodes)]
    dratio = scratch[_ratios(nodes) : 2 * _ratios(nodes)]
    log_z = np.empty(LANES)
    isolated = np.empty(LANES, np.int64)
    best = np.empty(LANES)
    a = np.empty(pairs * LANES)
    a0 = np.empty(pairs * LANES)
    dx = np.empty(pairs * LANES)
    raw = np.empty(nodes * LANES)
    slope = np.empty(nodes * LANES)
    received = np.empty(nodes * LANES)
    dreceived = np.empty(nodes * LANES)
    moved = np.empty(nodes * LANES)
    dmoved = np.empty(nodes * LANES)
    rest = np.empty(LANES)
    drest = np.empty(LANES)
    m_p = np.empty(nodes * LANES)
    e_p = np.empty(nodes * LANES, np.int64)
    m_row = np.empty(nodes * LANES)
    e_row = np.empty(nodes * LANES, np.int64)
    top = np.empty(LANES, np.int64)
    d = np.empty(LANES)
    for first in range(begin, end, LANES):
        _load(u, first, end, pair, ends, m, e, m_edge, e_edge, share, present, best)
        a[:] = 0.0
        for k in range(edges):
            for lane in range(LANES):
                a[pair[k] * LANES + lane] += share[k * LANES + lane] * g[min(first + lane, end - 1), k]
        a0[:] = a
        for lane in range(LANES):
            log_z[lane] = 0.0
            isolated[lane] = present[lane]
        for v in range(nodes - 1, 0, -1):
            _row_law(v, m, e, p, m_p, e_p, top, d, log_z, isolated, present)
            _center(v, p, a, raw, rest)
            row, stage = _pairs(v), _ratios(v)
            for i in range(1, v):
                to = _pairs(i)
                _repeat(i, m, row + np.uint64(i) * _ROW, m_row)
                _repeat(i, e, row + np.uint64(i) * _ROW, e_row)
                _merge(i * LANES, m_row, e_row, m_p, e_p, m, e, to, ratio, stage + to)
                _repeat(i, raw, np.uint64(i) * _ROW, slope)
                _tangents(i * LANES, slope, a, row, a, to, ratio, dratio, stage + to)
        x = m
        for v in range(1, nodes):
            stage = _ratios(v)
            received[:] = 0.0
            dreceived[:] = 0.0
            for i in range(1, v):
                to = _pairs(i)
                _split_tangent(i * LANES, x, dx, to, ratio, dratio, stage + to, moved, dmoved, received, dreceived)
                _gather(i, moved, received)
                _gather(i, dmoved, dreceived)
            _restore_tangent(v, p, a, x, dx, received, dreceived, rest, drest)
        for lane in range(min(LANES, end - first)):
            components[first + lane] = isolated[lane]
            for k in range(edges):
                at = pair[k] * LANES + lane
                tilt = g[first + lane, k] - a0[at]
                out[first + lane, k] = share[k * LANES + lane] * (dx[at] + x[at] * tilt)
