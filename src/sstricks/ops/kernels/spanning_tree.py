"""Star-mesh elimination on the CPU; the mathematics stands in `sstricks.ops.spanning_tree`.

A pair of nodes i > j is stored by diagonals: those with i − j = 1 first, then those with i − j = 2, and so on, each by
rising j. What a stage does to all pairs of the nodes still there is then, for each diagonal, one loop over contiguous
memory in which the values at i, at j and at the pair all advance by one. Stage v (the elimination of node v) stores its
ratios ρ from v(v−1)(v−2)/6 on, diagonal by diagonal, and what belongs to the row of node v from v(v−1)/2 on, by
rising j. Every array is flat, with the lane as the last index. Loops take whole arrays and unsigned offsets: a slice
would cost two atomic operations each time, and a signed index its wrap-around test, which keeps a loop from being
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
def _row(v):
    """Where the row of node v begins: the number of pairs of the first v nodes, times the lanes."""
    return np.uint64(v * (v - 1) // 2 * LANES)


@njit(inline="always")
def _ratios(v):
    """Where stage v begins among the ratios."""
    return np.uint64(v * (v - 1) * (v - 2) // 6 * LANES)


@njit(inline="always")
def _diagonal(nodes, apart):
    """Where the pairs of nodes that are `apart` numbers apart begin."""
    return np.uint64((apart - 1) * (2 * nodes - apart) // 2 * LANES)


@njit(nogil=True, cache=True, error_model="numpy")
def _number(nodes, ends):
    """The number of each edge's pair of nodes."""
    pair = np.empty(ends.shape[1], np.int64)
    for x in range(ends.shape[1]):
        low = min(ends[0, x], ends[1, x])
        pair[x] = np.int64(_diagonal(nodes, max(ends[0, x], ends[1, x]) - low)) // LANES + low
    return pair


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _merge(count, m1, e1, shift, m2, e2, m, e, to, ratio, at):
    """w ← w + w₁·w₂, entry by entry, and ratio ← w₁·w₂ / (w + w₁·w₂); w₁ is read from `shift` on.

    The sum is not normalised: its mantissa stays between 1/(4n) and 4n, where it costs no digits.
    """
    for x in range(np.uint64(count)):
        y = to + x
        product = m1[shift + x] * m2[x]
        e_product = e1[shift + x] + e2[x]
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
        far = 0
        for x in range(np.uint64(edges)):
            gap = best[lane] - u[row, x]
            m_edge[x * _ROW + np.uint64(lane)] = -gap
            far += gap > FAR
        if far:  # or absent
            for x in range(edges):
                gap = best[lane] - u[row, x]
                if FAR < gap < np.inf:
                    m_edge[x * LANES + lane] = -FAR * (1.0 + np.log(gap / FAR))
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
            _merge(LANES, m_edge, e_edge, at, one_m, one_e, m, e, to, share, at)
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
def _row_law(nodes, v, m, e, p, m_row, e_row, m_p, e_p, top, d, log_z, isolated, present):
    """Row v of the weights, normalised, and p, the law of v's neighbour: as numbers and as mantissas and exponents."""
    for lane in range(_ROW):
        top[lane] = NOTHING
        d[lane] = 0.0
    for j in range(v):
        from_ = _diagonal(nodes, v - j) + np.uint64(j) * _ROW
        to = np.uint64(j) * _ROW
        for lane in range(_ROW):
            here = m[from_ + lane] > 0.0
            e_row[to + lane] = e[from_ + lane] + exponent(m[from_ + lane]) if here else NOTHING
            m_row[to + lane] = mantissa(m[from_ + lane]) if here else 0.0
            top[lane] = max(top[lane], e_row[to + lane])
    row = _row(v)
    for j in range(np.uint64(v)):
        for lane in range(_ROW):
            x = j * _ROW + lane
            e_p[x] = e_row[x] - top[lane]
            p[row + x] = m_row[x] * power_of_two(e_p[x])
            d[lane] += p[row + x]
    for lane in range(LANES):
        if d[lane] > 0.0:
            log_z[lane] += np.log(d[lane]) + top[lane] * LN2
        else:
            isolated[lane] += present[v * LANES + lane]
            d[lane] = 1.0
    for j in range(np.uint64(v)):
        for lane in range(_ROW):
            x = j * _ROW + lane
            p[row + x] /= d[lane]
            m_p[x] = m_row[x] / d[lane]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _eliminate(nodes, m, e, present, p, ratio, log_z, isolated):
    """Eliminate nodes n−1, …, 1: transition probabilities p, ratios ρ, log Z and how many components there are."""
    m_row = np.empty(nodes * LANES)
    e_row = np.empty(nodes * LANES, np.int64)
    m_p = np.empty(nodes * LANES)
    e_p = np.empty(nodes * LANES, np.int64)
    top = np.empty(LANES, np.int64)
    d = np.empty(LANES)
    for lane in range(LANES):
        log_z[lane] = 0.0
        isolated[lane] = present[lane]
    for v in range(nodes - 1, 0, -1):
        _row_law(nodes, v, m, e, p, m_row, e_row, m_p, e_p, top, d, log_z, isolated, present)
        at = _ratios(v)
        for apart in range(1, v):
            count = (v - apart) * LANES
            shift = np.uint64(apart) * _ROW
            _merge(count, m_row, e_row, shift, m_p, e_p, m, e, _diagonal(nodes, apart), ratio, at)
            at += np.uint64(count)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _split(count, shift, x, to, ratio, at, low, high):
    """Move the share ρ of every entry of x out of it; its two nodes, j and i = j + apart, receive it."""
    for k in range(np.uint64(count)):
        part = x[to + k] * ratio[at + k]
        x[to + k] -= part
        low[k] += part
        high[shift + k] += part


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _restore(nodes, v, p, x, low, high, rest):
    """Row v of the marginals: x = p·(1 − S) + what each node received."""
    row = _row(v)
    for lane in range(_ROW):
        rest[lane] = 2.0
    for j in range(np.uint64(v)):
        for lane in range(_ROW):
            low[j * _ROW + lane] += high[j * _ROW + lane]
            rest[lane] -= low[j * _ROW + lane]
    for j in range(v):
        to = _diagonal(nodes, v - j) + np.uint64(j) * _ROW
        at = np.uint64(j) * _ROW
        for lane in range(_ROW):
            x[to + lane] = p[row + at + lane] * (0.5 * rest[lane]) + low[at + lane]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def marginals(begin, end, nodes, u, ends, out, components, scratch):
    """Write the marginals of rows `begin` to `end` into `out`."""
    pairs = nodes * (nodes - 1) // 2
    pair = _number(nodes, ends)
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
    low = np.empty(nodes * LANES)
    high = np.empty(nodes * LANES)
    rest = np.empty(LANES)
    for first in range(begin, end, LANES):
        _load(u, first, end, pair, ends, m, e, m_edge, e_edge, share, present, best)
        _eliminate(nodes, m, e, present, p, ratio, log_z, isolated)
        x = m  # the weights are used up
        for v in range(1, nodes):
            low[:] = 0.0
            high[:] = 0.0
            at = _ratios(v)
            for apart in range(1, v):
                count = (v - apart) * LANES
                _split(count, np.uint64(apart) * _ROW, x, _diagonal(nodes, apart), ratio, at, low, high)
                at += np.uint64(count)
            _restore(nodes, v, p, x, low, high, rest)
        for lane in range(min(LANES, end - first)):
            components[first + lane] = isolated[lane]
            for k in range(u.shape[1]):
                value = share[k * LANES + lane] * x[pair[k] * LANES + lane]
                out[first + lane, k] = min(max(value, 0.0), 1.0)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def log_partition(begin, end, nodes, u, ends, out, components, scratch):
    """Write log Z of rows `begin` to `end` into `out`."""
    pairs = nodes * (nodes - 1) // 2
    pair = _number(nodes, ends)
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
def _center(nodes, v, p, a, a_row, t, delta):
    """Row v of a, and that row less its mean under p, which is kept as t."""
    row = _row(v)
    for lane in range(_ROW):
        delta[lane] = 0.0
    for j in range(v):
        from_ = _diagonal(nodes, v - j) + np.uint64(j) * _ROW
        at = np.uint64(j) * _ROW
        for lane in range(_ROW):
            a_row[at + lane] = a[from_ + lane]
            delta[lane] += p[row + at + lane] * a[from_ + lane]
    for j in range(np.uint64(v)):
        for lane in range(_ROW):
            t[row + j * _ROW + lane] = a_row[j * _ROW + lane] - delta[lane]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _tangents(count, shift, a_row, t, row, a, to, ratio, dratio, at):
    """a ← the derivative of log w', dratio ← that of ρ, for one diagonal of pairs at one stage."""
    for k in range(np.uint64(count)):
        step = ratio[at + k] * (a_row[shift + k] + t[row + k] - a[to + k])
        a[to + k] += step
        dratio[at + k] = step * (1.0 - ratio[at + k])


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _split_tangent(count, shift, x, dx, to, ratio, dratio, at, low, high, dlow, dhigh):
    """`_split` and its derivative."""
    for k in range(np.uint64(count)):
        part = x[to + k] * ratio[at + k]
        dpart = dx[to + k] * ratio[at + k] + x[to + k] * dratio[at + k]
        x[to + k] -= part
        dx[to + k] -= dpart
        low[k] += part
        high[shift + k] += part
        dlow[k] += dpart
        dhigh[shift + k] += dpart


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _restore_tangent(nodes, v, p, t, x, dx, low, high, dlow, dhigh, rest, drest):
    """`_restore` and its derivative."""
    row = _row(v)
    for lane in range(_ROW):
        rest[lane] = 2.0
        drest[lane] = 0.0
    for j in range(np.uint64(v)):
        for lane in range(_ROW):
            low[j * _ROW + lane] += high[j * _ROW + lane]
            dlow[j * _ROW + lane] += dhigh[j * _ROW + lane]
            rest[lane] -= low[j * _ROW + lane]
            drest[lane] -= dlow[j * _ROW + lane]
    for j in range(v):
        to = _diagonal(nodes, v - j) + np.uint64(j) * _ROW
        at = np.uint64(j) * _ROW
        for lane in range(_ROW):
            half, dhalf = 0.5 * rest[lane], 0.5 * drest[lane]
            x[to + lane] = p[row + at + lane] * half + low[at + lane]
            dx[to + lane] = p[row + at + lane] * (t[row + at + lane] * half + dhalf) + dlow[at + lane]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def marginals_jvp(begin, end, nodes, u, g, ends, out, components, scratch):
    """Write the derivative of the marginals in the direction g into `out`."""
    pairs = nodes * (nodes - 1) // 2
    pair = _number(nodes, ends)
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
    a_row = np.empty(nodes * LANES)
    t = np.empty(pairs * LANES)
    dx = np.empty(pairs * LANES)
    low = np.empty(nodes * LANES)
    high = np.empty(nodes * LANES)
    dlow = np.empty(nodes * LANES)
    dhigh = np.empty(nodes * LANES)
    rest = np.empty(LANES)
    drest = np.empty(LANES)
    for first in range(begin, end, LANES):
        _load(u, first, end, pair, ends, m, e, m_edge, e_edge, share, present, best)
        _eliminate(nodes, m, e, present, p, ratio, log_z, isolated)
        a[:] = 0.0
        for k in range(edges):
            for lane in range(LANES):
                a[pair[k] * LANES + lane] += share[k * LANES + lane] * g[min(first + lane, end - 1), k]
        a0[:] = a
        for v in range(nodes - 1, 0, -1):
            _center(nodes, v, p, a, a_row, t, rest)
            at = _ratios(v)
            for apart in range(1, v):
                count = (v - apart) * LANES
                shift = np.uint64(apart) * _ROW
                _tangents(count, shift, a_row, t, _row(v), a, _diagonal(nodes, apart), ratio, dratio, at)
                at += np.uint64(count)
        x = m  # the weights are used up
        for v in range(1, nodes):
            low[:] = 0.0
            high[:] = 0.0
            dlow[:] = 0.0
            dhigh[:] = 0.0
            at = _ratios(v)
            for apart in range(1, v):
                count = (v - apart) * LANES
                to = _diagonal(nodes, apart)
                shift = np.uint64(apart) * _ROW
                _split_tangent(count, shift, x, dx, to, ratio, dratio, at, low, high, dlow, dhigh)
                at += np.uint64(count)
            _restore_tangent(nodes, v, p, t, x, dx, low, high, dlow, dhigh, rest, drest)
        for lane in range(min(LANES, end - first)):
            components[first + lane] = isolated[lane]
            for k in range(edges):
                at = pair[k] * LANES + lane
                tilt = g[first + lane, k] - a0[at]
                out[first + lane, k] = share[k * LANES + lane] * (dx[at] + x[at] * tilt)
