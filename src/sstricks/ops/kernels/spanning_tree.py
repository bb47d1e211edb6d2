"""Star-mesh elimination on the CPU; the mathematics stands in `sstricks.ops.spanning_tree`.

Pairs of nodes i > j are numbered i(i−1)/2 + j, so the pairs among the first v nodes are a prefix and row v of the
weights is contiguous. Stage v (the elimination of node v) stores its ratios ρ at offset v(v−1)(v−2)/6 in that order.
Every array is flat, with the lane as the last index.
"""

import numpy as np
from numba import njit

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


@njit(inline="always")
def _first_ratio(v):
    return v * (v - 1) * (v - 2) // 6 * LANES


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _merge(count, m1, e1, m2, e2, m, e, ratio):
    """W ← w + w₁·w₂, entry by entry, and ratio ← w₁·w₂ / (w + w₁·w₂)."""
    for x in range(count):
        product = m1[x] * m2[x]
        e_product = e1[x] + e2[x]
        top = max(e_product, e[x])
        added = product * power_of_two(e_product - top)
        total = m[x] * power_of_two(e[x] - top) + added
        nothing = np.float64(total <= 0.0)
        ratio[x] = added / (total + nothing)
        m[x] = mantissa(total) * (1.0 - nothing)
        e[x] = top + exponent(total)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _load(u, begin, end, pair, ends, m, e, share, present):
    """The weights exp(u) of all pairs of nodes, and each edge's share of its pair's weight (parallel edges add up)."""
    edges = u.shape[1]
    m[:] = 0.0
    e[:] = NOTHING
    present[:] = 0
    m_edge = np.empty(edges * LANES)
    e_edge = np.empty(edges * LANES, np.int64)
    one_m = np.ones(LANES)
    one_e = np.zeros(LANES, np.int64)
    for x in range(edges):
        for lane in range(LANES):
            m_edge[x * LANES + lane] = u[min(begin + lane, end - 1), x]
    for x in range(edges * LANES):
        value = max(min(m_edge[x], LARGEST), -LARGEST)
        k = np.floor(value * LOG2_E + 0.5)
        absent = np.float64(m_edge[x] < -1e300)
        m_edge[x] = exp_reduced((value - k * LN2_HIGH) - k * LN2_LOW) * (1.0 - absent)
        e_edge[x] = NOTHING if absent > 0.0 else np.int64(k)
    for x in range(edges):
        at = x * LANES
        to = pair[x] * LANES
        _merge(LANES, m_edge[at:], e_edge[at:], one_m, one_e, m[to:], e[to:], share[at:])
        for lane in range(LANES):
            here = m_edge[at + lane] > 0.0
            present[ends[0, x] * LANES + lane] |= here
            present[ends[1, x] * LANES + lane] |= here
    for x in range(edges):
        for lane in range(LANES):
            at = x * LANES + lane
            to = pair[x] * LANES + lane
            if m[to] > 0.0:
                share[at] = m_edge[at] / m[to] * power_of_two(e_edge[at] - e[to])
            else:
                share[at] = 0.0


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _eliminate(nodes, m, e, present, p, ratio, log_z, isolated):
    """Eliminate nodes n−1, …, 1: transition probabilities p, ratios ρ, log Z and how many components there are."""
    m_p = np.empty(nodes * LANES)
    e_p = np.empty(nodes * LANES, np.int64)
    m_row = np.empty(nodes * LANES)
    e_row = np.empty(nodes * LANES, np.int64)
    top = np.empty(LANES, np.int64)
    d = np.empty(LANES)
    log_z[:] = 0.0
    for lane in range(LANES):
        isolated[lane] = present[lane]
    for v in range(nodes - 1, 0, -1):
        row = v * (v - 1) // 2 * LANES
        top[:] = NOTHING
        d[:] = 0.0
        for i in range(v):
            for lane in range(LANES):
                top[lane] = max(top[lane], e[row + i * LANES + lane])
        for i in range(v):
            for lane in range(LANES):
                x = row + i * LANES + lane
                p[x] = m[x] * power_of_two(e[x] - top[lane])
                d[lane] += p[x]
        for lane in range(LANES):
            if d[lane] > 0.0:
                log_z[lane] += np.log(d[lane]) + top[lane] * LN2
            else:
                isolated[lane] += present[v * LANES + lane]
                d[lane] = 1.0
        for i in range(v):
            for lane in range(LANES):
                x = row + i * LANES + lane
                p[x] /= d[lane]
                m_p[i * LANES + lane] = m[x] / d[lane]
                e_p[i * LANES + lane] = e[x] - top[lane]
        for i in range(1, v):
            to = i * (i - 1) // 2 * LANES
            for lane in range(LANES):
                weight = m[row + i * LANES + lane]
                power = e[row + i * LANES + lane]
                for j in range(i):
                    m_row[j * LANES + lane] = weight
                    e_row[j * LANES + lane] = power
            _merge(i * LANES, m_row, e_row, m_p, e_p, m[to:], e[to:], ratio[_first_ratio(v) + to :])


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _split(count, x, ratio, moved, received):
    """Move the share ρ of every entry of x out of it."""
    for k in range(count):
        moved[k] = x[k] * ratio[k]
        x[k] -= moved[k]
        received[k] += moved[k]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _split_tangent(count, x, dx, ratio, dratio, moved, dmoved, received, dreceived):
    """`_split` and its derivative."""
    for k in range(count):
        moved[k] = x[k] * ratio[k]
        dmoved[k] = dx[k] * ratio[k] + x[k] * dratio[k]
        x[k] -= moved[k]
        dx[k] -= dmoved[k]
        received[k] += moved[k]
        dreceived[k] += dmoved[k]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _gather(i, moved, received):
    """Node i receives all that was moved out of row i."""
    for lane in range(LANES):
        total = 0.0
        for j in range(i):
            total += moved[j * LANES + lane]
        received[i * LANES + lane] += total


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def marginals(begin, end, nodes, u, pair, ends, out, components):
    """Write the marginals of rows `begin` to `end` into `out`."""
    pairs = nodes * (nodes - 1) // 2
    m = np.empty(pairs * LANES)
    e = np.empty(pairs * LANES, np.int64)
    share = np.empty(u.shape[1] * LANES)
    present = np.empty(nodes * LANES, np.int64)
    p = np.empty(pairs * LANES)
    ratio = np.empty(_first_ratio(nodes))
    log_z = np.empty(LANES)
    isolated = np.empty(LANES, np.int64)
    received = np.empty(nodes * LANES)
    moved = np.empty(nodes * LANES)
    for first in range(begin, end, LANES):
        _load(u, first, end, pair, ends, m, e, share, present)
        _eliminate(nodes, m, e, present, p, ratio, log_z, isolated)
        x = m  # the weights are used up
        for v in range(1, nodes):
            row = v * (v - 1) // 2 * LANES
            received[: v * LANES] = 0.0
            for i in range(1, v):
                to = i * (i - 1) // 2 * LANES
                _split(i * LANES, x[to:], ratio[_first_ratio(v) + to :], moved, received)
                _gather(i, moved, received)
            for lane in range(LANES):
                rest = 2.0
                for i in range(v):
                    rest -= received[i * LANES + lane]
                rest *= 0.5
                for i in range(v):
                    at = row + i * LANES + lane
                    x[at] = p[at] * rest + received[i * LANES + lane]
        for lane in range(min(LANES, end - first)):
            components[first + lane] = isolated[lane]
            for k in range(u.shape[1]):
                value = share[k * LANES + lane] * x[pair[k] * LANES + lane]
                out[first + lane, k] = min(max(value, 0.0), 1.0)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def log_partition(begin, end, nodes, u, pair, ends, out, components):
    """Write log Z of rows `begin` to `end` into `out`."""
    pairs = nodes * (nodes - 1) // 2
    m = np.empty(pairs * LANES)
    e = np.empty(pairs * LANES, np.int64)
    share = np.empty(u.shape[1] * LANES)
    present = np.empty(nodes * LANES, np.int64)
    p = np.empty(pairs * LANES)
    ratio = np.empty(_first_ratio(nodes))
    log_z = np.empty(LANES)
    isolated = np.empty(LANES, np.int64)
    for first in range(begin, end, LANES):
        _load(u, first, end, pair, ends, m, e, share, present)
        _eliminate(nodes, m, e, present, p, ratio, log_z, isolated)
        for lane in range(min(LANES, end - first)):
            components[first + lane] = isolated[lane]
            out[first + lane] = log_z[lane]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _tangents(count, slope, t_row, a, ratio, dratio):
    """A ← the derivative of log w', dratio ← that of ρ, for one row of pairs at one stage."""
    for k in range(count):
        gap = slope[k] + t_row[k] - a[k]
        step = ratio[k] * gap
        a[k] += step
        dratio[k] = step * (1.0 - ratio[k])


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def marginals_jvp(begin, end, nodes, u, g, pair, ends, out, components):
    """Write the derivative of the marginals in the direction g into `out`."""
    pairs = nodes * (nodes - 1) // 2
    edges = u.shape[1]
    m = np.empty(pairs * LANES)
    e = np.empty(pairs * LANES, np.int64)
    share = np.empty(edges * LANES)
    present = np.empty(nodes * LANES, np.int64)
    p = np.empty(pairs * LANES)
    ratio = np.empty(_first_ratio(nodes))
    dratio = np.empty(_first_ratio(nodes))
    log_z = np.empty(LANES)
    isolated = np.empty(LANES, np.int64)
    a = np.empty(pairs * LANES)
    a0 = np.empty(pairs * LANES)
    dx = np.empty(pairs * LANES)
    a_row = np.empty(nodes * LANES)
    received = np.empty(nodes * LANES)
    dreceived = np.empty(nodes * LANES)
    moved = np.empty(nodes * LANES)
    dmoved = np.empty(nodes * LANES)
    for first in range(begin, end, LANES):
        _load(u, first, end, pair, ends, m, e, share, present)
        _eliminate(nodes, m, e, present, p, ratio, log_z, isolated)
        a[:] = 0.0
        for k in range(edges):
            for lane in range(LANES):
                a[pair[k] * LANES + lane] += share[k * LANES + lane] * g[min(first + lane, end - 1), k]
        a0[:] = a
        for v in range(nodes - 1, 0, -1):
            row = v * (v - 1) // 2 * LANES
            for lane in range(LANES):
                delta = 0.0
                for i in range(v):
                    delta += p[row + i * LANES + lane] * a[row + i * LANES + lane]
                for i in range(v):
                    a[row + i * LANES + lane] -= delta
                for i in range(1, v):
                    a_row[i * LANES + lane] = a[row + i * LANES + lane] + delta
            for i in range(1, v):
                to = i * (i - 1) // 2 * LANES
                at = _first_ratio(v) + to
                for lane in range(LANES):
                    slope = a_row[i * LANES + lane]
                    for j in range(i):
                        moved[j * LANES + lane] = slope
                _tangents(i * LANES, moved, a[row:], a[to:], ratio[at:], dratio[at:])
        x = m
        for v in range(1, nodes):
            row = v * (v - 1) // 2 * LANES
            received[: v * LANES] = 0.0
            dreceived[: v * LANES] = 0.0
            for i in range(1, v):
                to = i * (i - 1) // 2 * LANES
                at = _first_ratio(v) + to
                _split_tangent(i * LANES, x[to:], dx[to:], ratio[at:], dratio[at:], moved, dmoved, received, dreceived)
                _gather(i, moved, received)
                _gather(i, dmoved, dreceived)
            for lane in range(LANES):
                rest = 2.0
                drest = 0.0
                for i in range(v):
                    rest -= received[i * LANES + lane]
                    drest -= dreceived[i * LANES + lane]
                rest *= 0.5
                drest *= 0.5
                for i in range(v):
                    at = row + i * LANES + lane
                    x[at] = p[at] * rest + received[i * LANES + lane]
                    dx[at] = p[at] * (a[at] * rest + drest) + dreceived[i * LANES + lane]
        for lane in range(min(LANES, end - first)):
            components[first + lane] = isolated[lane]
            for k in range(edges):
                at = pair[k] * LANES + lane
                tilt = g[first + lane, k] - a0[at]
                out[first + lane, k] = share[k * LANES + lane] * (dx[at] + x[at] * tilt)
