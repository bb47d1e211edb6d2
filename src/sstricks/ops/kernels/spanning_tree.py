"""Star-mesh elimination of undirected graphs on the CPU; the mathematics stands in `sstricks.ops.spanning_tree`."""

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
from sstricks.ops.kernels.star_mesh import (
    MATHS,
    ROW,
    collect,
    diagonal,
    merge,
    number,
    ratios_of,
    row_of,
    split,
    split_tangent,
    tangents,
)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
def _exponentials(m, e):
    """Turn logarithms m into weights m·2ᵉ."""
    for x in range(np.uint64(m.size)):
        value = max(m[x], -LARGEST)
        k = np.floor(value * LOG2_E + 0.5)
        absent = np.float64(m[x] < -1e300)
        m[x] = exp_reduced((value - k * LN2_HIGH) - k * LN2_LOW) * (1.0 - absent)
        e[x] = NOTHING if absent > 0.0 else np.int64(k)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
def _load(u, begin, end, pair, ends, m, e, m_edge, e_edge, share, present, best):
    """The weights exp(u − max u) of all pairs of nodes, each edge's share of its pair's weight, and max u."""
    edges = u.shape[1]
    m[:] = 0.0
    e[:] = NOTHING
    present[:] = 0
    for lane in range(LANES):
        row = min(begin + lane, end - 1)
        best[lane] = -np.inf
        for x in range(edges):
            best[lane] = max(best[lane], u[row, x])
        far = 0
        for x in range(np.uint64(edges)):
            gap = best[lane] - u[row, x]
            m_edge[x * ROW + np.uint64(lane)] = -gap
            far += gap > FAR
        if far:  # or absent
            for x in range(edges):
                gap = best[lane] - u[row, x]
                if FAR < gap < np.inf:
                    m_edge[x * LANES + lane] = -FAR * (1.0 + np.log(gap / FAR))
    _exponentials(m_edge, e_edge)
    collect(pair, ends, m_edge, e_edge, m, e, share, present)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
def _row_law(nodes, v, m, e, p, m_row, e_row, m_p, e_p, top, d, log_z, isolated, present):
    """Row v of the weights, normalised, and p, the law of v's neighbour: as numbers and as mantissas and exponents."""
    for lane in range(ROW):
        top[lane] = NOTHING
        d[lane] = 0.0
    for j in range(v):
        from_ = diagonal(nodes, v - j) + np.uint64(j) * ROW
        to = np.uint64(j) * ROW
        for lane in range(ROW):
            here = m[from_ + lane] > 0.0
            e_row[to + lane] = e[from_ + lane] + exponent(m[from_ + lane]) if here else NOTHING
            m_row[to + lane] = mantissa(m[from_ + lane]) if here else 0.0
            top[lane] = max(top[lane], e_row[to + lane])
    row = row_of(v)
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            x = j * ROW + lane
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
        for lane in range(ROW):
            x = j * ROW + lane
            p[row + x] /= d[lane]
            m_p[x] = m_row[x] / d[lane]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
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
        at = ratios_of(v)
        for apart in range(1, v):
            count = (v - apart) * LANES
            shift = np.uint64(apart) * ROW
            merge(count, m_row, e_row, shift, m_p, e_p, m, e, diagonal(nodes, apart), ratio, at)
            at += np.uint64(count)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
def _restore(nodes, v, p, x, low, high, rest):
    """Row v of the marginals: x = p·(1 − S) + what each node received."""
    row = row_of(v)
    for lane in range(ROW):
        rest[lane] = 2.0
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            low[j * ROW + lane] += high[j * ROW + lane]
            rest[lane] -= low[j * ROW + lane]
    for j in range(v):
        to = diagonal(nodes, v - j) + np.uint64(j) * ROW
        at = np.uint64(j) * ROW
        for lane in range(ROW):
            x[to + lane] = p[row + at + lane] * (0.5 * rest[lane]) + low[at + lane]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
def marginals(begin, end, nodes, u, ends, out, components, scratch):
    """Write the marginals of rows `begin` to `end` into `out`."""
    pairs = nodes * (nodes - 1) // 2
    pair = number(nodes, ends)
    m = np.empty(pairs * LANES)
    e = np.empty(pairs * LANES, np.int64)
    m_edge = np.empty(u.shape[1] * LANES)
    e_edge = np.empty(u.shape[1] * LANES, np.int64)
    share = np.empty(u.shape[1] * LANES)
    present = np.empty(nodes * LANES, np.int64)
    p = np.empty(pairs * LANES)
    ratio = scratch[: ratios_of(nodes)]
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
            at = ratios_of(v)
            for apart in range(1, v):
                count = (v - apart) * LANES
                split(count, np.uint64(apart) * ROW, x, diagonal(nodes, apart), ratio, at, low, high)
                at += np.uint64(count)
            _restore(nodes, v, p, x, low, high, rest)
        for lane in range(min(LANES, end - first)):
            components[first + lane] = isolated[lane]
            for k in range(u.shape[1]):
                value = share[k * LANES + lane] * x[pair[k] * LANES + lane]
                out[first + lane, k] = min(max(value, 0.0), 1.0)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
def log_partition(begin, end, nodes, u, ends, out, components, scratch):
    """Write log Z of rows `begin` to `end` into `out`."""
    pairs = nodes * (nodes - 1) // 2
    pair = number(nodes, ends)
    m = np.empty(pairs * LANES)
    e = np.empty(pairs * LANES, np.int64)
    m_edge = np.empty(u.shape[1] * LANES)
    e_edge = np.empty(u.shape[1] * LANES, np.int64)
    share = np.empty(u.shape[1] * LANES)
    present = np.empty(nodes * LANES, np.int64)
    p = np.empty(pairs * LANES)
    ratio = scratch[: ratios_of(nodes)]
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


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
def _center(nodes, v, p, a, a_row, t, delta):
    """Row v of a, and that row less its mean under p, which is kept as t."""
    row = row_of(v)
    for lane in range(ROW):
        delta[lane] = 0.0
    for j in range(v):
        from_ = diagonal(nodes, v - j) + np.uint64(j) * ROW
        at = np.uint64(j) * ROW
        for lane in range(ROW):
            a_row[at + lane] = a[from_ + lane]
            delta[lane] += p[row + at + lane] * a[from_ + lane]
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            t[row + j * ROW + lane] = a_row[j * ROW + lane] - delta[lane]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
def _restore_tangent(nodes, v, p, t, x, dx, low, high, dlow, dhigh, rest, drest):
    """`_restore` and its derivative."""
    row = row_of(v)
    for lane in range(ROW):
        rest[lane] = 2.0
        drest[lane] = 0.0
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            low[j * ROW + lane] += high[j * ROW + lane]
            dlow[j * ROW + lane] += dhigh[j * ROW + lane]
            rest[lane] -= low[j * ROW + lane]
            drest[lane] -= dlow[j * ROW + lane]
    for j in range(v):
        to = diagonal(nodes, v - j) + np.uint64(j) * ROW
        at = np.uint64(j) * ROW
        for lane in range(ROW):
            half, dhalf = 0.5 * rest[lane], 0.5 * drest[lane]
            x[to + lane] = p[row + at + lane] * half + low[at + lane]
            dx[to + lane] = p[row + at + lane] * (t[row + at + lane] * half + dhalf) + dlow[at + lane]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
def marginals_jvp(begin, end, nodes, u, g, ends, out, components, scratch):
    """Write the derivative of the marginals in the direction g into `out`."""
    pairs = nodes * (nodes - 1) // 2
    pair = number(nodes, ends)
    edges = u.shape[1]
    m = np.empty(pairs * LANES)
    e = np.empty(pairs * LANES, np.int64)
    m_edge = np.empty(edges * LANES)
    e_edge = np.empty(edges * LANES, np.int64)
    share = np.empty(edges * LANES)
    present = np.empty(nodes * LANES, np.int64)
    p = np.empty(pairs * LANES)
    ratio = scratch[: ratios_of(nodes)]
    dratio = scratch[ratios_of(nodes) : 2 * ratios_of(nodes)]
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
            at = ratios_of(v)
            for apart in range(1, v):
                count = (v - apart) * LANES
                shift = np.uint64(apart) * ROW
                tangents(count, shift, a_row, t, row_of(v), a, diagonal(nodes, apart), ratio, dratio, at)
                at += np.uint64(count)
        x = m  # the weights are used up
        for v in range(1, nodes):
            low[:] = 0.0
            high[:] = 0.0
            dlow[:] = 0.0
            dhigh[:] = 0.0
            at = ratios_of(v)
            for apart in range(1, v):
                count = (v - apart) * LANES
                to = diagonal(nodes, apart)
                shift = np.uint64(apart) * ROW
                split_tangent(count, shift, x, dx, to, ratio, dratio, at, low, high, dlow, dhigh)
                at += np.uint64(count)
            _restore_tangent(nodes, v, p, t, x, dx, low, high, dlow, dhigh, rest, drest)
        for lane in range(min(LANES, end - first)):
            components[first + lane] = isolated[lane]
            for k in range(edges):
                at = pair[k] * LANES + lane
                tilt = g[first + lane, k] - a0[at]
                out[first + lane, k] = share[k * LANES + lane] * (dx[at] + x[at] * tilt)
