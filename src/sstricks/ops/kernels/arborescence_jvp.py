"""The derivative of the arborescence marginals on the CPU; the mathematics stands in `sstricks.ops.arborescence`."""

import numpy as np
from numba import njit

from sstricks.ops.kernels.arborescence import (
    BLOCK,
    aligned,
    centre,
    count_unreached,
    law,
    load,
    normalise,
    parallel,
    pick,
    power,
    put,
    rows,
    shares,
    slots,
    spread,
    take,
    transposed,
    workspace,
    write,
)
from sstricks.ops.kernels.floats import LANES
from sstricks.ops.kernels.lanes import copy_lanes
from sstricks.ops.kernels.separate import MATHS, separate
from sstricks.ops.kernels.star_mesh import ROW, diagonal


@separate
def _load_tangent(g, first, end, slot, again, m, e, m_edge, e_edge, g_edge, share, dm, steepest):
    """The direction g, and in it the derivatives of the mantissas m; the largest number in g."""
    transposed(first, end, g, g_edge)
    steepest[:] = 0.0
    dm[:] = 0.0
    for k in range(slot.size):
        at = np.uint64(k) * ROW
        for lane in range(ROW):
            steepest[lane] = max(steepest[lane], abs(g_edge[at + lane]))
    if again.any():
        shares(slot, m, e, m_edge, e_edge, share)
        for k in range(slot.size):
            at, to = np.uint64(k) * ROW, np.uint64(slot[k]) * ROW
            for lane in range(ROW):
                dm[to + lane] += share[at + lane] * g_edge[at + lane]
    else:
        for k in range(slot.size):
            copy_lanes(dm, np.uint64(slot[k]) * ROW, g_edge, np.uint64(k) * ROW)
    for x in range(np.uint64(m.size)):
        dm[x] *= m[x]


@separate
def _slopes(v, m, a):
    """From derivatives of mantissas those of their logarithms."""
    for x in range(np.uint64(v) * ROW):
        a[x] = a[x] / m[x] if m[x] > 0.0 else 0.0


@separate
def _mean(v, m_p, e_p, a, delta, wide):
    """The mean δ of the derivatives a under the law p."""
    at = np.uint64(v) * ROW
    for x in range(at):
        wide[x] = m_p[x] * power(e_p[x]) * a[x]
    for lane in range(ROW):
        delta[at + lane] = 0.0
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            delta[at + lane] += wide[j * ROW + lane]


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
            less = power(-abs(lead))
            keep = less if lead > 0 else 1.0
            added = m1[shift + x] * m2[x] * (1.0 if lead > 0 else less)
            m[y] = m[y] * keep + added
            dm[y] = dm[y] * keep + added * (a1[shift + x] + a2[x])
            e[y] = e_product if lead > 0 else e[y]


@separate
def _eliminate_tangent(nodes, m, e, dm, d, top, delta):
    """`_eliminate` and its derivative: that of the logarithms of a node's weights in the place of dm; every δ."""
    m_p, e_p, e_in, m_out, e_out, wide = rows(nodes)
    a_in, t, a_out, _, _, _ = rows(nodes)
    half = np.uint64(m.size // 2)
    for v in range(nodes - 1, 0, -1):
        take(nodes, v, m, m_out, m_p)
        take(nodes, v, e, e_out, e_in)
        take(nodes, v, dm, a_out, a_in)
        _slopes(v, m_out, a_out)
        _slopes(v, m_p, a_in)
        normalise(v, m_out, e_out)
        law(v, m_p, e_in, e_p, d, top, wide)
        _mean(v, m_p, e_p, a_in, delta, wide)
        centre(v, a_in, delta, t, wide)
        put(nodes, v, m, m_out, m_p)
        put(nodes, v, e, e_out, e_in)
        put(nodes, v, dm, a_out, a_in)
        _add_tangent(nodes, v, m_p, e_p, t, m_out, e_out, a_out, m, e, dm, np.uint64(0))
        _add_tangent(nodes, v, m_out, e_out, a_out, m_p, e_p, t, m, e, dm, half)


@separate
def _pass_tangent(nodes, v, m1, e1, a1, m2, e2, a2, m, e, dm, start, high, low, dhigh, dlow):
    """`_pass` and its derivative."""
    for apart in range(1, v):
        shift = np.uint64(apart) * ROW
        to = start + diagonal(nodes, apart)
        for x in range(np.uint64((v - apart) * LANES)):
            weight = m1[shift + x] * m2[x] * power(e1[shift + x] + e2[x] + e[to + x])
            c = weight * m[to + x]
            dc = c * (a1[shift + x] + a2[x]) + weight * dm[to + x]
            high[shift + x] += c
            low[x] += c
            dhigh[shift + x] += dc
            dlow[x] += dc


@separate
def _restore_tangent(
    v, m_p, e_p, e_in, t, a_in, m_out, e_out, a_out, d, as_parent, as_child, das_parent, das_child, wide, dwide
):
    """`_restore` and its derivative: (dx − x·d log w) / w in the place of d log w."""
    at = np.uint64(v) * ROW
    rest, drest = np.ones(LANES), np.zeros(LANES)
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            rest[lane] -= as_parent[j * ROW + lane]
            drest[lane] -= das_parent[j * ROW + lane]
    spread(v, rest, np.uint64(0), wide)
    spread(v, drest, np.uint64(0), dwide)
    for x in range(at):
        part = m_p[x] * power(e_p[x])
        as_parent[x] += part * wide[x]
        das_parent[x] += part * (t[x] * wide[x] + dwide[x])
    spread(v, d, at, wide)
    for x in range(at):
        here = m_p[x] > 0.0
        weight = m_p[x] * wide[x]
        m_p[x] = as_parent[x] / weight if here else 0.0
        e_in[x] = -e_in[x] if here else 0.0
        a_in[x] = (das_parent[x] - as_parent[x] * a_in[x]) / weight if here else 0.0
    for x in range(at):
        here = m_out[x] > 0.0
        weight = m_out[x]
        m_out[x] = as_child[x] / weight if here else 0.0
        e_out[x] = -e_out[x] if here else 0.0
        a_out[x] = (das_child[x] - as_child[x] * a_out[x]) / weight if here else 0.0


@separate
def _to_slopes(nodes, block, m_edge, e_edge, g_edge, y, e_y, dy, steepest):
    """For a block of edges w·(dy + y·g) in the place of dy."""
    at = np.uint64(block) * ROW
    size = np.uint64(min(y.size, m_edge.size - block * LANES))
    for x in range(size):
        weight = m_edge[at + x] * power(e_edge[at + x] + e_y[x])
        dy[x] = weight * (dy[x] + y[x] * g_edge[at + x])
    # Less than this is rounding, which the smallest temperatures would turn into an infinite gradient.
    for x in range(size):
        dy[x] = dy[x] if abs(dy[x]) > nodes * 2.0**-50 * steepest[x] else 0.0


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
def marginals_jvp(begin, end, nodes, u, g, ends, out, unreached, memory):
    """Write the derivative of the marginals in the direction g into `out`."""
    slot = slots(nodes, ends)
    again = parallel(slot, nodes * (nodes - 1))
    edges = u.shape[1]
    (m, e), (m_edge, e_edge), present, (d, top), memory = workspace(nodes, edges, memory)
    dm, memory = memory[: m.size], memory[m.size :]
    g_edge, share = memory[: edges * LANES], memory[edges * LANES : 2 * edges * LANES]
    delta = memory[2 * edges * LANES :]
    m_p, e_p, e_in, m_out, e_out, wide = rows(nodes)
    a_in, t, a_out, dwide, _, _ = rows(nodes)
    as_parent, as_child, das_parent, das_child, _, _ = rows(nodes)
    y, e_y, dy = aligned(BLOCK * LANES), aligned(BLOCK * LANES), aligned(BLOCK * LANES)
    base, steepest, limits = np.empty(LANES), np.empty(LANES), aligned(BLOCK * LANES)
    half = np.uint64(m.size // 2)
    for first in range(begin, end, LANES):
        load(u, first, end, slot, again, ends, m, e, m_edge, e_edge, present, base)
        _load_tangent(g, first, end, slot, again, m, e, m_edge, e_edge, g_edge, share, dm, steepest)
        _eliminate_tangent(nodes, m, e, dm, d, top, delta)
        count_unreached(first, end, top, present, unreached)
        for v in range(1, nodes):
            as_parent[:] = 0.0
            as_child[:] = 0.0
            das_parent[:] = 0.0
            das_child[:] = 0.0
            take(nodes, v, m, m_out, m_p)
            take(nodes, v, e, e_out, e_in)
            take(nodes, v, dm, a_out, a_in)
            centre(v, e_in, top, e_p, wide)
            centre(v, a_in, delta, t, wide)
            _pass_tangent(
                nodes, v, m_p, e_p, t, m_out, e_out, a_out, m, e, dm, np.uint64(0),
                as_parent, as_child, das_parent, das_child,
            )  # fmt: skip
            _pass_tangent(
                nodes, v, m_out, e_out, a_out, m_p, e_p, t, m, e, dm, half,
                as_child, as_parent, das_child, das_parent,
            )  # fmt: skip
            _restore_tangent(
                v, m_p, e_p, e_in, t, a_in, m_out, e_out, a_out, d,
                as_parent, as_child, das_parent, das_child, wide, dwide,
            )  # fmt: skip
            put(nodes, v, m, m_out, m_p)
            put(nodes, v, e, e_out, e_in)
            put(nodes, v, dm, a_out, a_in)
        spread(BLOCK, steepest, np.uint64(0), limits)
        for block in range(0, edges, BLOCK):
            pick(slot, block, m, y)
            pick(slot, block, e, e_y)
            pick(slot, block, dm, dy)
            _to_slopes(nodes, block, m_edge, e_edge, g_edge, y, e_y, dy, limits)
            write(first, end, block, dy, out)
