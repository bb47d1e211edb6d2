"""The derivative of the arborescence marginals on the CPU; the mathematics stands in `sstricks.ops.arborescence`."""

import numpy as np
from numba import njit

from sstricks.ops.kernels.arborescence import (
    BLOCK,
    aligned,
    centre,
    count_unreached,
    law,
    load_weights,
    normalise,
    parallel,
    pick,
    put,
    rows,
    shares,
    slots,
    take,
    transposed,
    workspace,
    write,
)
from sstricks.ops.kernels.floats import LANES
from sstricks.ops.kernels.lanes import choose, filled, larger, load, minus_abs, power, store
from sstricks.ops.kernels.separate import MATHS, separate
from sstricks.ops.kernels.star_mesh import ROW, row_of


@separate
def _load_tangent(g, first, end, slot, again, m, e, m_edge, e_edge, g_edge, share, dm, steepest):
    """The direction g, and in it the derivatives of the mantissas m; the largest number in g."""
    transposed(first, end, g, g_edge)
    zero = filled(0.0)
    largest = zero
    for k in range(slot.size):
        largest = larger(largest, zero - minus_abs(load(g_edge, np.uint64(k) * ROW)))
    store(steepest, np.uint64(0), largest)
    dm[:] = 0.0
    if again.any():
        shares(slot, m, e, m_edge, e_edge, share)
        for k in range(slot.size):
            at, to = np.uint64(k) * ROW, np.uint64(slot[k]) * ROW
            store(dm, to, load(dm, to) + load(share, at) * load(g_edge, at))
    else:
        for k in range(slot.size):
            store(dm, np.uint64(slot[k]) * ROW, load(g_edge, np.uint64(k) * ROW))
    for x in range(np.uint64(m.size)):
        dm[x] *= m[x]


@separate
def _slopes(v, m, a):
    """From derivatives of mantissas those of their logarithms."""
    for x in range(np.uint64(v) * ROW):
        a[x] = a[x] / m[x] if m[x] > 0.0 else 0.0


@separate
def _mean(v, m_p, e_p, a, delta):
    """The mean δ of the derivatives a under the law p."""
    at = np.uint64(v) * ROW
    mean = filled(0.0)
    for j in range(np.uint64(0), at, ROW):
        mean = mean + load(m_p, j) * power(load(e_p, j)) * load(a, j)
    store(delta, at, mean)


@separate
def _add_tangent(v, m1, e1, a1, m2, e2, a2, m, e, dm, start):
    """`_add` and its derivative: those of the logarithms of w₁ and w₂ are a₁ and a₂, that of w is dm."""
    one = filled(1.0)
    for i in range(1, v):
        at = np.uint64(i) * ROW
        row = start + row_of(i)
        m_i, e_i, a_i = load(m1, at), load(e1, at), load(a1, at)
        for j in range(np.uint64(0), at, ROW):
            y = row + j
            old = load(e, y)
            new = e_i + load(e2, j)
            lead = new - old
            less = power(minus_abs(lead))
            keep = choose(lead, less, one)
            added = m_i * load(m2, j) * choose(lead, one, less)
            store(m, y, load(m, y) * keep + added)
            store(dm, y, load(dm, y) * keep + added * (a_i + load(a2, j)))
            store(e, y, choose(lead, new, old))


@separate
def _eliminate_tangent(nodes, m, e, dm, d, top, delta):
    """`_eliminate` and its derivative: that of the logarithms of a node's weights in the place of dm; every δ."""
    m_p, e_p, e_in, m_out, e_out = rows(nodes)
    a_in, t, a_out, _, _ = rows(nodes)
    half = np.uint64(m.size // 2)
    for v in range(nodes - 1, 0, -1):
        take(v, m, m_out, m_p)
        take(v, e, e_out, e_in)
        take(v, dm, a_out, a_in)
        _slopes(v, m_out, a_out)
        _slopes(v, m_p, a_in)
        normalise(v, m_out, e_out)
        law(v, m_p, e_in, e_p, d, top)
        _mean(v, m_p, e_p, a_in, delta)
        centre(v, a_in, delta, t)
        put(v, m, m_out, m_p)
        put(v, e, e_out, e_in)
        put(v, dm, a_out, a_in)
        _add_tangent(v, m_p, e_p, t, m_out, e_out, a_out, m, e, dm, np.uint64(0))
        _add_tangent(v, m_out, e_out, a_out, m_p, e_p, t, m, e, dm, half)


@separate
def _pass_tangent(v, m1, e1, a1, m2, e2, a2, m, e, dm, start, high, low, dhigh, dlow):
    """`_pass` and its derivative."""
    for i in range(1, v):
        at = np.uint64(i) * ROW
        row = start + row_of(i)
        m_i, e_i, a_i = load(m1, at), load(e1, at), load(a1, at)
        received, dreceived = load(high, at), load(dhigh, at)
        for j in range(np.uint64(0), at, ROW):
            y = row + j
            weight = m_i * load(m2, j) * power(e_i + load(e2, j) + load(e, y))
            c = weight * load(m, y)
            dc = c * (a_i + load(a2, j)) + weight * load(dm, y)
            received = received + c
            dreceived = dreceived + dc
            store(low, j, load(low, j) + c)
            store(dlow, j, load(dlow, j) + dc)
        store(high, at, received)
        store(dhigh, at, dreceived)


@separate
def _restore_tangent(
    v, m_p, e_p, e_in, t, a_in, m_out, e_out, a_out, d, as_parent, as_child, das_parent, das_child
):  # fmt: skip
    """`_restore` and its derivative: (dx − x·d log w) / w in the place of d log w."""
    at = np.uint64(v) * ROW
    zero, rest, drest, whole = filled(0.0), filled(1.0), filled(0.0), load(d, at)
    for j in range(np.uint64(0), at, ROW):
        rest = rest - load(as_parent, j)
        drest = drest - load(das_parent, j)
    for j in range(np.uint64(0), at, ROW):
        m, out = load(m_p, j), load(m_out, j)
        part, weight = m * power(load(e_p, j)), m * whole
        x = part * rest + load(as_parent, j)
        dx = part * (load(t, j) * rest + drest) + load(das_parent, j)
        store(m_p, j, choose(m, x / weight, zero))
        store(e_in, j, choose(m, zero - load(e_in, j), zero))
        store(a_in, j, choose(m, (dx - x * load(a_in, j)) / weight, zero))
        x, dx = load(as_child, j), load(das_child, j)
        store(m_out, j, choose(out, x / out, zero))
        store(e_out, j, choose(out, zero - load(e_out, j), zero))
        store(a_out, j, choose(out, (dx - x * load(a_out, j)) / out, zero))


@separate
def _to_slopes(nodes, block, m_edge, e_edge, g_edge, y, e_y, dy, steepest):
    """For a block of edges w·(dy + y·g) in the place of dy."""
    at = np.uint64(block) * ROW
    size = np.uint64(min(y.size, m_edge.size - block * LANES))
    zero = filled(0.0)
    # Less than this is rounding, which the smallest temperatures would turn into an infinite gradient.
    least = load(steepest, np.uint64(0)) * filled(nodes * 2.0**-50)
    for x in range(np.uint64(0), size, ROW):
        weight = load(m_edge, at + x) * power(load(e_edge, at + x) + load(e_y, x))
        slope = weight * (load(dy, x) + load(y, x) * load(g_edge, at + x))
        store(dy, x, choose(zero - minus_abs(slope) - least, slope, zero))


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
    m_p, e_p, e_in, m_out, e_out = rows(nodes)
    a_in, t, a_out, _, _ = rows(nodes)
    as_parent, as_child, das_parent, das_child, _ = rows(nodes)
    y, e_y, dy = aligned(BLOCK * LANES), aligned(BLOCK * LANES), aligned(BLOCK * LANES)
    base, steepest = np.empty(LANES), np.empty(LANES)
    half = np.uint64(m.size // 2)
    for first in range(begin, end, LANES):
        load_weights(u, first, end, slot, again, ends, m, e, m_edge, e_edge, present, base)
        _load_tangent(g, first, end, slot, again, m, e, m_edge, e_edge, g_edge, share, dm, steepest)
        _eliminate_tangent(nodes, m, e, dm, d, top, delta)
        count_unreached(first, end, top, present, unreached)
        for v in range(1, nodes):
            as_parent[:] = 0.0
            as_child[:] = 0.0
            das_parent[:] = 0.0
            das_child[:] = 0.0
            take(v, m, m_out, m_p)
            take(v, e, e_out, e_in)
            take(v, dm, a_out, a_in)
            centre(v, e_in, top, e_p)
            centre(v, a_in, delta, t)
            _pass_tangent(
                v, m_p, e_p, t, m_out, e_out, a_out, m, e, dm, np.uint64(0),
                as_parent, as_child, das_parent, das_child,
            )  # fmt: skip
            _pass_tangent(
                v, m_out, e_out, a_out, m_p, e_p, t, m, e, dm, half,
                as_child, as_parent, das_child, das_parent,
            )  # fmt: skip
            _restore_tangent(
                v, m_p, e_p, e_in, t, a_in, m_out, e_out, a_out, d,
                as_parent, as_child, das_parent, das_child,
            )  # fmt: skip
            put(v, m, m_out, m_p)
            put(v, e, e_out, e_in)
            put(v, dm, a_out, a_in)
        for block in range(0, edges, BLOCK):
            pick(slot, block, m, y)
            pick(slot, block, e, e_y)
            pick(slot, block, dm, dy)
            _to_slopes(nodes, block, m_edge, e_edge, g_edge, y, e_y, dy, steepest)
            write(first, end, block, dy, out)
