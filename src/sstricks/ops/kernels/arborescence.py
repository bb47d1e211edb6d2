"""Elimination of directed graphs on the CPU; the mathematics stands in `sstricks.ops.arborescence`.

The edges of a pair of nodes i > j are stored as in `star_mesh`, those from i down to j in the first half of an array
and those from j up to i in the second; ratios likewise. Node 0 is the root. Exponents are float64, so that no range of
utilities is too large for them.
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
from sstricks.ops.kernels.separate import MATHS, separate
from sstricks.ops.kernels.star_mesh import (
    ROW,
    collect,
    cut,
    diagonal,
    number,
    row_of,
)

ABSENT = -1e307  # the exponent of zero: below that of every weight, and no sum of two of them overflows
_SHIFT = 2.0**52 + 1023.0
_FARTHEST = 1e305  # differences of utilities end below it


@njit(inline="always")
def _power(k):
    """2ᵏ for a whole number k ≤ 0, and 0 where that underflows: adding 2⁵² leaves k + 1023 in the lowest bits."""
    shifted = np.float64((k if k > -1023.0 else -1023.0) + _SHIFT)
    return np.int64(shifted.view(np.int64) << np.int64(52)).view(np.float64)


@njit(nogil=True, cache=True, error_model="numpy")
def aligned(size):
    """Memory whose vectors do not straddle two cache lines."""
    whole = np.empty(size + LANES)
    skip = (-whole.ctypes.data) % 64 // 8
    return whole[skip : skip + size]


@njit(nogil=True, cache=True, error_model="numpy")
def workspace(nodes, edges, memory):
    """What every kernel works in: weights, edges, present nodes, rows, what each lane has one of; the memory left."""
    pairs = nodes * (nodes - 1) // 2 * LANES
    at_edges, memory = cut(memory, 3, edges * LANES)
    at_pairs, memory = cut(memory, 7, pairs)
    weights = (memory_of(at_pairs, 0, 2), memory_of(at_pairs, 2, 4))
    rows = (at_pairs[4], at_pairs[5], at_pairs[6])
    lanes = (np.empty(LANES), np.empty(LANES))
    present, missed = np.empty(nodes * LANES, np.int64), np.empty(LANES, np.int64)
    return weights, (at_edges[0], at_edges[1], at_edges[2]), present, rows, lanes, missed, memory


@njit(nogil=True, cache=True, error_model="numpy")
def memory_of(pieces, begin, end):
    """Some neighbouring pieces as one array."""
    return pieces[begin:end].reshape((end - begin) * pieces.shape[1])


def workspace_size(nodes, edges):
    """How many float64 `workspace` and the derivative's own arrays take."""
    return LANES * (9 * (nodes * (nodes - 1) // 2) + 4 * edges)


@njit(nogil=True, cache=True, error_model="numpy")
def slots(nodes, ends):
    """Where each edge's pair and direction stand."""
    slot = number(nodes, ends)
    for x in range(slot.size):
        if ends[0, x] < ends[1, x]:
            slot[x] += nodes * (nodes - 1) // 2
    return slot


@separate
def _exponentials(m, e):
    """Turn logarithms m, with their rounding errors e, into weights m·2ᵉ."""
    for x in range(np.uint64(m.size)):
        here = m[x] > -_FARTHEST
        value = max(m[x], -_FARTHEST)
        k = np.floor(value * LOG2_E + 0.5)
        rest = (value - k * LN2_HIGH) - k * LN2_LOW + (e[x] if here else 0.0)
        # Beyond 1e16 the rest is lost in rounding, and the order of the exponents is all that matters.
        m[x] = exp_reduced(min(max(rest, -0.5), 0.5)) if here else 0.0
        e[x] = k if here else ABSENT


@separate
def load(u, begin, end, slot, ends, m, e, m_edge, e_edge, share, present, base):
    """The weights exp(u − max u), the maximum over each head's edges; each edge's share; the sum of the maxima.

    Every tree has one edge into each node, so the maxima do not change its law.
    """
    edges = u.shape[1]
    nodes = present.size // LANES
    top = aligned(nodes * LANES)
    top[:] = -np.inf
    m[:] = 0.0
    e[:] = ABSENT
    present[:] = 0
    for x in range(edges):
        at = np.uint64(x) * ROW
        head = np.uint64(ends[1, x]) * ROW
        for lane in range(LANES):
            m_edge[at + np.uint64(lane)] = u[min(begin + lane, end - 1), x] if head > 0 else -np.inf
        for lane in range(ROW):
            top[head + lane] = max(top[head + lane], m_edge[at + lane])
    for lane in range(LANES):
        base[lane] = 0.0
        for v in range(nodes):
            if top[v * LANES + lane] == -np.inf:
                top[v * LANES + lane] = 0.0
            base[lane] += top[v * LANES + lane]
    for x in range(edges):
        at = np.uint64(x) * ROW
        head = np.uint64(ends[1, x]) * ROW
        for lane in range(ROW):
            value = m_edge[at + lane]
            near = value - top[head + lane]
            back = near - value
            m_edge[at + lane] = near
            e_edge[at + lane] = (value - (near - back)) - (top[head + lane] + back)
    _exponentials(m_edge, e_edge)
    collect(slot, ends, m_edge, e_edge, m, e, share, present)


@separate
def read(nodes, v, start, m, e, m_row, e_row):
    """The weights of all edges from node v, or with `start` the second half those into it, with mantissas in [1, 2)."""
    for j in range(v):
        from_ = start + diagonal(nodes, v - j) + np.uint64(j) * ROW
        to = np.uint64(j) * ROW
        for lane in range(ROW):
            here = m[from_ + lane] > 0.0
            e_row[to + lane] = e[from_ + lane] + exponent(m[from_ + lane]) if here else ABSENT
            m_row[to + lane] = mantissa(m[from_ + lane]) if here else 0.0


@separate
def laws(nodes, v, m, e, p, m_p, e_p, m_all, e_all, top, d, log_z, unreached, present):
    """The law p of node v's parent, as numbers and as mantissas and exponents."""
    row = row_of(v)
    read(nodes, v, np.uint64(m.size // 2), m, e, m_p, e_p)
    for lane in range(ROW):
        top[lane] = ABSENT
        d[lane] = 0.0
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            top[lane] = max(top[lane], e_p[j * ROW + lane])
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            x = j * ROW + lane
            e_p[x] -= top[lane]
            p[row + x] = m_p[x] * power_of_two(e_p[x])
            d[lane] += p[row + x]
    for lane in range(LANES):
        if d[lane] > 0.0:
            log_z[lane] += np.log(d[lane]) + top[lane] * LN2
        else:
            unreached[lane] += present[v * LANES + lane]
            d[lane] = 1.0
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            x = j * ROW + lane
            p[row + x] /= d[lane]
            m_p[x] /= d[lane]
            m_all[row + x] = m_p[x]
            e_all[row + x] = e_p[x]


@separate
def _add(nodes, v, m1, e1, m2, e2, m, e, start):
    """w ← w + w₁·w₂ for all pairs of the first v nodes; w₁ belongs to the higher one."""
    for apart in range(1, v):
        shift = np.uint64(apart) * ROW
        to = start + diagonal(nodes, apart)
        for x in range(np.uint64((v - apart) * LANES)):
            y = to + x
            e_product = e1[shift + x] + e2[x]
            lead = e_product - e[y]
            less = _power(-abs(lead))
            m[y] = m[y] * (less if lead > 0 else 1.0) + m1[shift + x] * m2[x] * (1.0 if lead > 0 else less)
            e[y] = e_product if lead > 0 else e[y]


@separate
def _add_tangent(nodes, v, m1, e1, a1, m2, e2, a2, m, e, dm, start):
    """`_add` and its derivative: those of the logarithms of w₁ and w₂ are a₁ and a₂, that of w is dm."""
    for apart in range(1, v):
        shift = np.uint64(apart) * ROW
        to = start + diagonal(nodes, apart)
        for x in range(np.uint64((v - apart) * LANES)):
            y = to + x
            e_product = e1[shift + x] + e2[x]
            lead = e_product - e[y]
            less = _power(-abs(lead))
            keep = less if lead > 0 else 1.0
            added = m1[shift + x] * m2[x] * (1.0 if lead > 0 else less)
            m[y] = m[y] * keep + added
            dm[y] = dm[y] * keep + added * (a1[shift + x] + a2[x])
            e[y] = e_product if lead > 0 else e[y]


@separate
def _eliminate(nodes, m, e, present, p, m_all, e_all, log_z, unreached):
    """Eliminate nodes n−1, …, 1: parents' laws p, log Z and how many nodes the root does not reach.

    The weights of a node's edges stay what they were when it was eliminated.
    """
    m_p = aligned(nodes * LANES)
    e_p = aligned(nodes * LANES)
    m_out = aligned(nodes * LANES)
    e_out = aligned(nodes * LANES)
    top = np.empty(LANES)
    d = np.empty(LANES)
    log_z[:] = 0.0
    unreached[:] = 0
    up = np.uint64(m.size // 2)
    for v in range(nodes - 1, 0, -1):
        laws(nodes, v, m, e, p, m_p, e_p, m_all, e_all, top, d, log_z, unreached, present)
        read(nodes, v, np.uint64(0), m, e, m_out, e_out)
        _add(nodes, v, m_p, e_p, m_out, e_out, m, e, np.uint64(0))
        _add(nodes, v, m_out, e_out, m_p, e_p, m, e, up)


@separate
def _pass(nodes, v, m1, e1, m2, e2, m, e, start, high, low):
    """Add to both ends of every edge the marginal c = w₁·w₂·y of its part that leads through node v."""
    for apart in range(1, v):
        shift = np.uint64(apart) * ROW
        to = start + diagonal(nodes, apart)
        for x in range(np.uint64((v - apart) * LANES)):
            c = m1[shift + x] * m2[x] * m[to + x] * _power(e1[shift + x] + e2[x] + e[to + x])
            high[shift + x] += c
            low[x] += c


@separate
def _pass_tangent(nodes, v, m1, e1, a1, m2, e2, a2, m, e, dm, start, high, low, dhigh, dlow):
    """`_pass` and its derivative."""
    for apart in range(1, v):
        shift = np.uint64(apart) * ROW
        to = start + diagonal(nodes, apart)
        for x in range(np.uint64((v - apart) * LANES)):
            weight = m1[shift + x] * m2[x] * _power(e1[shift + x] + e2[x] + e[to + x])
            c = weight * m[to + x]
            dc = c * (a1[shift + x] + a2[x]) + weight * dm[to + x]
            high[shift + x] += c
            low[x] += c
            dhigh[shift + x] += dc
            dlow[x] += dc


@separate
def _restore(nodes, v, p, m, e, as_parent, as_child, rest):
    """Of the edges of node v, y = x / w in the place of w, with x = p·(1 − S) + what its other end received."""
    row = row_of(v)
    up = np.uint64(m.size // 2)
    for lane in range(ROW):
        rest[lane] = 1.0
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            rest[lane] -= as_parent[j * ROW + lane]
    for j in range(v):
        to = diagonal(nodes, v - j) + np.uint64(j) * ROW
        at = np.uint64(j) * ROW
        for lane in range(ROW):
            into = m[up + to + lane]
            out_of = m[to + lane]
            x = p[row + at + lane] * rest[lane] + as_parent[at + lane]
            m[up + to + lane] = x / into if into > 0.0 else 0.0
            e[up + to + lane] = -e[up + to + lane] if into > 0.0 else 0.0
            m[to + lane] = as_child[at + lane] / out_of if out_of > 0.0 else 0.0
            e[to + lane] = -e[to + lane] if out_of > 0.0 else 0.0


@separate
def _write(first, end, values, missed, out, unreached):
    """Hand over what was found for the problems of all lanes."""
    for lane in range(min(LANES, end - first)):
        unreached[first + lane] = missed[lane]
        for k in range(out.shape[1]):
            out[first + lane, k] = values[k * LANES + lane]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
def marginals(begin, end, nodes, u, ends, out, unreached, memory):
    """Write the marginals of rows `begin` to `end` into `out`."""
    slot = slots(nodes, ends)
    (m, e), (m_edge, e_edge, share), present, (p, m_all, e_all), (log_z, base), missed, _ = workspace(
        nodes, u.shape[1], memory
    )
    m_p = aligned(nodes * LANES)
    e_p = aligned(nodes * LANES)
    m_out = aligned(nodes * LANES)
    e_out = aligned(nodes * LANES)
    as_parent = aligned(nodes * LANES)
    as_child = aligned(nodes * LANES)
    rest = np.empty(LANES)
    up = np.uint64(m.size // 2)
    for first in range(begin, end, LANES):
        load(u, first, end, slot, ends, m, e, m_edge, e_edge, share, present, base)
        _eliminate(nodes, m, e, present, p, m_all, e_all, log_z, missed)
        for v in range(1, nodes):
            as_parent[:] = 0.0
            as_child[:] = 0.0
            _stage(v, m_all, m_p)
            _stage(v, e_all, e_p)
            read(nodes, v, np.uint64(0), m, e, m_out, e_out)
            _pass(nodes, v, m_p, e_p, m_out, e_out, m, e, np.uint64(0), as_parent, as_child)
            _pass(nodes, v, m_out, e_out, m_p, e_p, m, e, up, as_child, as_parent)
            _restore(nodes, v, p, m, e, as_parent, as_child, rest)
        for k in range(u.shape[1]):
            at, to = np.uint64(k) * ROW, np.uint64(slot[k]) * ROW
            for lane in range(ROW):
                value = m_edge[at + lane] * m[to + lane] * _power(e_edge[at + lane] + e[to + lane])
                m_edge[at + lane] = min(max(value, 0.0), 1.0)
        _write(first, end, m_edge, missed, out, unreached)


@separate
def _stage(v, rows, row):
    """Copy what belongs to node v out of what belongs to all."""
    at = row_of(v)
    for x in range(np.uint64(v * LANES)):
        row[x] = rows[at + x]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
def log_partition(begin, end, nodes, u, ends, out, unreached, memory):
    """Write log Z of rows `begin` to `end` into `out`."""
    slot = slots(nodes, ends)
    (m, e), (m_edge, e_edge, share), present, (p, m_all, e_all), (log_z, base), missed, _ = workspace(
        nodes, u.shape[1], memory
    )
    for first in range(begin, end, LANES):
        load(u, first, end, slot, ends, m, e, m_edge, e_edge, share, present, base)
        _eliminate(nodes, m, e, present, p, m_all, e_all, log_z, missed)
        for lane in range(min(LANES, end - first)):
            unreached[first + lane] = missed[lane]
            out[first + lane] = log_z[lane] + base[lane]


@separate
def _slopes(nodes, v, p, m, dm, t, a_out, delta):
    """The derivatives of the logarithms of v's weights: of those out of v, and of p."""
    row = row_of(v)
    up = np.uint64(m.size // 2)
    for lane in range(ROW):
        delta[lane] = 0.0
    for j in range(v):
        from_ = diagonal(nodes, v - j) + np.uint64(j) * ROW
        at = np.uint64(j) * ROW
        for lane in range(ROW):
            out_of, into = m[from_ + lane], m[up + from_ + lane]
            a_out[at + lane] = dm[from_ + lane] / out_of if out_of > 0.0 else 0.0
            t[at + lane] = dm[up + from_ + lane] / into if into > 0.0 else 0.0
            delta[lane] += p[row + at + lane] * t[at + lane]
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            t[j * ROW + lane] -= delta[lane]


@separate
def _eliminate_tangent(nodes, m, e, dm, present, p, m_all, e_all, log_z, unreached):
    """`_eliminate` and its derivative."""
    m_p = aligned(nodes * LANES)
    e_p = aligned(nodes * LANES)
    m_out = aligned(nodes * LANES)
    e_out = aligned(nodes * LANES)
    t = aligned(nodes * LANES)
    a_out = aligned(nodes * LANES)
    top = np.empty(LANES)
    d = np.empty(LANES)
    log_z[:] = 0.0
    unreached[:] = 0
    up = np.uint64(m.size // 2)
    for v in range(nodes - 1, 0, -1):
        laws(nodes, v, m, e, p, m_p, e_p, m_all, e_all, top, d, log_z, unreached, present)
        read(nodes, v, np.uint64(0), m, e, m_out, e_out)
        _slopes(nodes, v, p, m, dm, t, a_out, d)
        _add_tangent(nodes, v, m_p, e_p, t, m_out, e_out, a_out, m, e, dm, np.uint64(0))
        _add_tangent(nodes, v, m_out, e_out, a_out, m_p, e_p, t, m, e, dm, up)


@separate
def _restore_tangent(nodes, v, p, t, m, e, dm, as_parent, as_child, das_parent, das_child, rest, drest):
    """`_restore` and its derivative: dy = (dx − x·d log w) / w."""
    row = row_of(v)
    up = np.uint64(m.size // 2)
    for lane in range(ROW):
        rest[lane] = 1.0
        drest[lane] = 0.0
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            rest[lane] -= as_parent[j * ROW + lane]
            drest[lane] -= das_parent[j * ROW + lane]
    for j in range(v):
        to = diagonal(nodes, v - j) + np.uint64(j) * ROW
        at = np.uint64(j) * ROW
        for lane in range(ROW):
            into, out_of = m[up + to + lane], m[to + lane]
            part = p[row + at + lane]
            x = part * rest[lane] + as_parent[at + lane]
            dx = part * (t[at + lane] * rest[lane] + drest[lane]) + das_parent[at + lane]
            y = x / into if into > 0.0 else 0.0
            dm[up + to + lane] = (dx - y * dm[up + to + lane]) / into if into > 0.0 else 0.0
            m[up + to + lane] = y
            e[up + to + lane] = -e[up + to + lane] if into > 0.0 else 0.0
            y = as_child[at + lane] / out_of if out_of > 0.0 else 0.0
            dm[to + lane] = (das_child[at + lane] - y * dm[to + lane]) / out_of if out_of > 0.0 else 0.0
            m[to + lane] = y
            e[to + lane] = -e[to + lane] if out_of > 0.0 else 0.0


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
def marginals_jvp(begin, end, nodes, u, g, ends, out, unreached, memory):
    """Write the derivative of the marginals in the direction g into `out`."""
    slot = slots(nodes, ends)
    edges = u.shape[1]
    (m, e), (m_edge, e_edge, share), present, (p, m_all, e_all), (log_z, base), missed, memory = workspace(
        nodes, edges, memory
    )
    dm, g_edge = memory[: m.size], memory[m.size : m.size + edges * LANES]
    m_p = aligned(nodes * LANES)
    e_p = aligned(nodes * LANES)
    m_out = aligned(nodes * LANES)
    e_out = aligned(nodes * LANES)
    t = aligned(nodes * LANES)
    a_out = aligned(nodes * LANES)
    as_parent = aligned(nodes * LANES)
    as_child = aligned(nodes * LANES)
    das_parent = aligned(nodes * LANES)
    das_child = aligned(nodes * LANES)
    rest = np.empty(LANES)
    drest = np.empty(LANES)
    steepest = np.empty(LANES)
    up = np.uint64(m.size // 2)
    for first in range(begin, end, LANES):
        load(u, first, end, slot, ends, m, e, m_edge, e_edge, share, present, base)
        dm[:] = 0.0
        steepest[:] = 0.0
        for k in range(edges):
            at, to = np.uint64(k) * ROW, np.uint64(slot[k]) * ROW
            for lane in range(LANES):
                g_edge[at + np.uint64(lane)] = g[min(first + lane, end - 1), k]
            for lane in range(ROW):
                steepest[lane] = max(steepest[lane], abs(g_edge[at + lane]))
                dm[to + lane] += m[to + lane] * share[at + lane] * g_edge[at + lane]
        _eliminate_tangent(nodes, m, e, dm, present, p, m_all, e_all, log_z, missed)
        for v in range(1, nodes):
            as_parent[:] = 0.0
            as_child[:] = 0.0
            das_parent[:] = 0.0
            das_child[:] = 0.0
            _stage(v, m_all, m_p)
            _stage(v, e_all, e_p)
            read(nodes, v, np.uint64(0), m, e, m_out, e_out)
            _slopes(nodes, v, p, m, dm, t, a_out, rest)
            _pass_tangent(
                nodes, v, m_p, e_p, t, m_out, e_out, a_out, m, e, dm, np.uint64(0),
                as_parent, as_child, das_parent, das_child,
            )  # fmt: skip
            _pass_tangent(
                nodes, v, m_out, e_out, a_out, m_p, e_p, t, m, e, dm, up,
                as_child, as_parent, das_child, das_parent,
            )  # fmt: skip
            _restore_tangent(nodes, v, p, t, m, e, dm, as_parent, as_child, das_parent, das_child, rest, drest)
        for k in range(edges):
            at, to = np.uint64(k) * ROW, np.uint64(slot[k]) * ROW
            for lane in range(ROW):
                weight = m_edge[at + lane] * _power(e_edge[at + lane] + e[to + lane])
                slope = weight * (dm[to + lane] + m[to + lane] * g_edge[at + lane])
                # Less than this is rounding, which the smallest temperatures would turn into an infinite gradient.
                m_edge[at + lane] = slope if abs(slope) > nodes * 2.0**-50 * steepest[lane] else 0.0
        _write(first, end, m_edge, missed, out, unreached)
