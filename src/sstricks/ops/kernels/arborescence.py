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
)
from sstricks.ops.kernels.lanes import copy_lanes
from sstricks.ops.kernels.separate import MATHS, separate
from sstricks.ops.kernels.star_mesh import (
    ROW,
    cut,
    diagonal,
    merge,
    number,
)

ABSENT = -1e307  # the exponent of zero: below that of every weight, and no sum of two of them overflows
_SHIFT = 2.0**52 + 1023.0
BLOCK = 32  # so many edges are handed over at a time, which keeps them in the nearest cache
_FARTHEST = 1e305  # differences of utilities end below it


@njit(inline="always")
def power(k):
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
    """What every kernel works in: weights, those of the edges, present nodes, d·2^top of each; the memory left."""
    at_pairs, memory = cut(memory, 4, nodes * (nodes - 1) // 2 * LANES)
    at_edges, memory = cut(memory, 2, edges * LANES)
    at_nodes, memory = cut(memory, 3, nodes * LANES)
    weights = (_together(at_pairs, 0, 2), _together(at_pairs, 2, 4))
    return weights, (at_edges[0], at_edges[1]), at_nodes[0], (at_nodes[1], at_nodes[2]), memory


@njit(nogil=True, cache=True, error_model="numpy")
def _together(pieces, begin, end):
    """Some neighbouring pieces as one array."""
    return pieces[begin:end].reshape((end - begin) * pieces.shape[1])


def workspace_size(nodes, edges):
    """How many float64 `workspace` and the derivative's own arrays take."""
    return LANES * (6 * (nodes * (nodes - 1) // 2) + 4 * edges + 4 * nodes)


@njit(nogil=True, cache=True, error_model="numpy")
def slots(nodes, ends):
    """Where each edge's pair and direction stand."""
    slot = number(nodes, ends)
    for x in range(slot.size):
        if ends[0, x] < ends[1, x]:
            slot[x] += nodes * (nodes - 1) // 2
    return slot


@njit(nogil=True, cache=True, error_model="numpy")
def parallel(slot, pairs):
    """Which edges have an earlier one between the same nodes."""
    taken = np.zeros(pairs, np.bool_)
    again = np.zeros(slot.size, np.bool_)
    for x in range(slot.size):
        again[x] = taken[slot[x]]
        taken[slot[x]] = True
    return again


@separate
def transposed(begin, end, u, rows):
    """The rows from `begin` on, one in each lane; the last one stands in for those from `end` on."""
    for block in range(0, u.shape[1], BLOCK):
        for lane in range(LANES):
            row = min(begin + lane, end - 1)
            for x in range(np.uint64(block), np.uint64(min(block + BLOCK, u.shape[1]))):
                rows[x * ROW + np.uint64(lane)] = u[row, x]


@separate
def _tops(ends, m_edge, top, present):
    """The largest utility of the edges into each node, and of all its edges; the root has none into it."""
    top[:] = -np.inf
    present[:] = -np.inf
    for x in range(ends.shape[1]):
        at = np.uint64(x) * ROW
        tail = np.uint64(ends[0, x]) * ROW
        head = np.uint64(ends[1, x]) * ROW
        if head == 0:
            for lane in range(ROW):
                m_edge[at + lane] = -np.inf
        for lane in range(ROW):
            present[tail + lane] = max(present[tail + lane], m_edge[at + lane])
        for lane in range(ROW):
            top[head + lane] = max(top[head + lane], m_edge[at + lane])
    for x in range(np.uint64(top.size)):
        present[x] = max(present[x], top[x])
        top[x] = top[x] if top[x] > -np.inf else 0.0


@separate
def _exponentials(m, e):
    """Turn utilities m into weights exp(m − e) = m·2ᵉ."""
    for x in range(np.uint64(m.size)):
        near = m[x] - e[x]
        here = near > -_FARTHEST
        back = near - m[x]
        error = (m[x] - (near - back)) - (e[x] + back)
        value = max(near, -_FARTHEST)
        k = np.floor(value * LOG2_E + 0.5)
        rest = (value - k * LN2_HIGH) - k * LN2_LOW + (error if here else 0.0)
        # Beyond 1e16 the rest is lost in rounding, and the order of the exponents is all that matters.
        m[x] = exp_reduced(min(max(rest, -0.5), 0.5)) if here else 0.0
        e[x] = k if here else ABSENT


@separate
def load(u, begin, end, slot, again, ends, m, e, m_edge, e_edge, present, base):
    """The weights exp(u − max u) of edges and pairs, the maximum over each head's edges; the sum of the maxima.

    Every tree has one edge into each node, so the maxima do not change its law.
    """
    top = aligned(present.size)
    one_m, one_e, share = np.ones(LANES), np.zeros(LANES), np.empty(LANES)
    transposed(begin, end, u, m_edge)
    _tops(ends, m_edge, top, present)
    base[:] = 0.0
    for x in range(0, top.size, LANES):
        for lane in range(LANES):
            base[lane] += top[x + lane]
    for x in range(ends.shape[1]):
        copy_lanes(e_edge, np.uint64(x) * ROW, top, np.uint64(ends[1, x]) * ROW)
    _exponentials(m_edge, e_edge)
    m[:] = 0.0
    e[:] = ABSENT
    for x in range(ends.shape[1]):
        at, to = np.uint64(x) * ROW, np.uint64(slot[x]) * ROW
        if again[x]:
            merge(LANES, m_edge, e_edge, at, one_m, one_e, m, e, to, share, np.uint64(0))
        else:
            copy_lanes(m, to, m_edge, at)
            copy_lanes(e, to, e_edge, at)


@separate
def shares(slot, m, e, m_edge, e_edge, share):
    """Each edge's part of the weight of all edges between its two nodes."""
    for x in range(slot.size):
        at, to = np.uint64(x) * ROW, np.uint64(slot[x]) * ROW
        for lane in range(ROW):
            whole = m[to + lane]
            part = m_edge[at + lane] * power(e_edge[at + lane] - e[to + lane])
            share[at + lane] = part / whole if whole > 0.0 else 0.0


@separate
def take(nodes, v, m, down, up):
    """Copy what belongs to the edges from node v down to lower ones, and from these up to v."""
    half = np.uint64(m.size // 2)
    for j in range(v):
        to = np.uint64(j) * ROW
        from_ = diagonal(nodes, v - j) + to
        copy_lanes(down, to, m, from_)
        copy_lanes(up, to, m, half + from_)


@separate
def put(nodes, v, m, down, up):
    """The reverse of `take`."""
    half = np.uint64(m.size // 2)
    for j in range(v):
        from_ = np.uint64(j) * ROW
        to = diagonal(nodes, v - j) + from_
        copy_lanes(m, to, down, from_)
        copy_lanes(m, half + to, up, from_)


@njit(inline="always")
def spread(v, source, begin, wide):
    """Repeat the lanes of `source` from `begin` on for every node below v."""
    for j in range(v):
        copy_lanes(wide, np.uint64(j) * ROW, source, begin)


@separate
def normalise(v, m, e):
    """Bring the mantissas of the first v nodes' weights into [1, 2), unless their exponents would have to be rounded."""
    for x in range(np.uint64(v) * ROW):
        exact = (m[x] > 0.0) & (abs(e[x]) < 2.0**52)
        e[x] = e[x] + exponent(m[x]) if exact else e[x]
        m[x] = mantissa(m[x]) if exact else m[x]


@separate
def centre(v, row, centres, centred, wide):
    """Subtract node v's of the `centres` from its row."""
    spread(v, centres, np.uint64(v) * ROW, wide)
    for x in range(np.uint64(v) * ROW):
        centred[x] = row[x] - wide[x]


@separate
def law(v, m, e, e_p, d, top, wide):
    """From the weights of all edges into node v, m·2ᵉ, the law p of its parent, m·2^e_p, and their sum d·2^top."""
    normalise(v, m, e)
    at = np.uint64(v) * ROW
    for lane in range(ROW):
        top[at + lane] = ABSENT
        d[at + lane] = 0.0
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            top[at + lane] = max(top[at + lane], e[j * ROW + lane])
    centre(v, e, top, e_p, wide)
    for x in range(at):
        wide[x] = m[x] * power(e_p[x])
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            d[at + lane] += wide[j * ROW + lane]
    for lane in range(ROW):
        d[at + lane] = d[at + lane] if d[at + lane] > 0.0 else 1.0
    spread(v, d, at, wide)
    for x in range(at):
        m[x] /= wide[x]


@njit(nogil=True, cache=True, error_model="numpy")
def count_unreached(first, end, top, present, unreached):
    """How many nodes that have an edge have none into them once those above them are eliminated, the root aside."""
    for lane in range(min(LANES, end - first)):
        unreached[first + lane] = 0
        for x in range(LANES + lane, top.size, LANES):
            unreached[first + lane] += top[x] == ABSENT and present[x] > -np.inf


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
            less = power(-abs(lead))
            m[y] = m[y] * (less if lead > 0 else 1.0) + m1[shift + x] * m2[x] * (1.0 if lead > 0 else less)
            e[y] = e_product if lead > 0 else e[y]


@separate
def _eliminate(nodes, m, e, d, top):
    """Eliminate nodes n−1, …, 1, of each the sum d·2^top of the weights into it; the mantissas of these become p's.

    Exponents and the weights of the edges down from a node stay what they were when it was eliminated. (Those of p are
    the difference to `top`, from which, as large as they may be, the former could not be had back.)
    """
    m_p, e_p, e_in, m_out, e_out, wide = rows(nodes)
    half = np.uint64(m.size // 2)
    for v in range(nodes - 1, 0, -1):
        take(nodes, v, m, m_out, m_p)
        take(nodes, v, e, e_out, e_in)
        normalise(v, m_out, e_out)
        law(v, m_p, e_in, e_p, d, top, wide)
        put(nodes, v, m, m_out, m_p)
        put(nodes, v, e, e_out, e_in)
        _add(nodes, v, m_p, e_p, m_out, e_out, m, e, np.uint64(0))
        _add(nodes, v, m_out, e_out, m_p, e_p, m, e, half)


@njit(nogil=True, cache=True, error_model="numpy")
def rows(nodes):
    """Memory for six rows of a node."""
    size = nodes * LANES
    return aligned(size), aligned(size), aligned(size), aligned(size), aligned(size), aligned(size)


@separate
def _pass(nodes, v, m1, e1, m2, e2, m, e, start, high, low):
    """Add to both ends of every edge the marginal c = w₁·w₂·y of its part that leads through node v."""
    for apart in range(1, v):
        shift = np.uint64(apart) * ROW
        to = start + diagonal(nodes, apart)
        for x in range(np.uint64((v - apart) * LANES)):
            c = m1[shift + x] * m2[x] * m[to + x] * power(e1[shift + x] + e2[x] + e[to + x])
            high[shift + x] += c
            low[x] += c


@separate
def _restore(v, m_p, e_p, e_in, m_out, e_out, d, as_parent, as_child, wide):
    """Of the edges of node v, y = x / w in the place of w, with x = p·(1 − S) + what its other end received."""
    rest = np.ones(LANES)
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            rest[lane] -= as_parent[j * ROW + lane]
    spread(v, rest, np.uint64(0), wide)
    at = np.uint64(v) * ROW
    for x in range(at):
        as_parent[x] += m_p[x] * power(e_p[x]) * wide[x]
    spread(v, d, at, wide)
    for x in range(at):
        e_in[x] = -e_in[x] if m_p[x] > 0.0 else 0.0
        e_out[x] = -e_out[x] if m_out[x] > 0.0 else 0.0
        m_p[x] = as_parent[x] / (m_p[x] * wide[x]) if m_p[x] > 0.0 else 0.0
        m_out[x] = as_child[x] / m_out[x] if m_out[x] > 0.0 else 0.0


@separate
def pick(slot, block, m, picked):
    """Copy what belongs to a block of edges, from the places of their pairs."""
    for x in range(min(BLOCK, slot.size - block)):
        copy_lanes(picked, np.uint64(x) * ROW, m, np.uint64(slot[block + x]) * ROW)


@separate
def _to_marginals(block, m_edge, e_edge, m, e):
    """For a block of edges x = w·y in the place of y. The error of 1 − S is absolute: it may lead out of [0, 1]."""
    at = np.uint64(block) * ROW
    for x in range(np.uint64(min(m.size, m_edge.size - block * LANES))):
        m[x] = min(max(m_edge[at + x] * m[x] * power(e_edge[at + x] + e[x]), 0.0), 1.0)


@separate
def write(first, end, block, values, out):
    """Hand over what was found for a block of edges."""
    for lane in range(min(LANES, end - first)):
        for x in range(np.uint64(min(BLOCK, out.shape[1] - block))):
            out[first + lane, np.uint64(block) + x] = values[x * ROW + np.uint64(lane)]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
def marginals(begin, end, nodes, u, ends, out, unreached, memory):
    """Write the marginals of rows `begin` to `end` into `out`."""
    slot = slots(nodes, ends)
    again = parallel(slot, nodes * (nodes - 1))
    (m, e), (m_edge, e_edge), present, (d, top), _ = workspace(nodes, u.shape[1], memory)
    m_p, e_p, e_in, m_out, e_out, wide = rows(nodes)
    as_parent, as_child = aligned(nodes * LANES), aligned(nodes * LANES)
    y, e_y = aligned(BLOCK * LANES), aligned(BLOCK * LANES)
    base, half = np.empty(LANES), np.uint64(m.size // 2)
    for first in range(begin, end, LANES):
        load(u, first, end, slot, again, ends, m, e, m_edge, e_edge, present, base)
        _eliminate(nodes, m, e, d, top)
        count_unreached(first, end, top, present, unreached)
        for v in range(1, nodes):
            as_parent[:] = 0.0
            as_child[:] = 0.0
            take(nodes, v, m, m_out, m_p)
            take(nodes, v, e, e_out, e_in)
            centre(v, e_in, top, e_p, wide)
            _pass(nodes, v, m_p, e_p, m_out, e_out, m, e, np.uint64(0), as_parent, as_child)
            _pass(nodes, v, m_out, e_out, m_p, e_p, m, e, half, as_child, as_parent)
            _restore(v, m_p, e_p, e_in, m_out, e_out, d, as_parent, as_child, wide)
            put(nodes, v, m, m_out, m_p)
            put(nodes, v, e, e_out, e_in)
        for block in range(0, u.shape[1], BLOCK):
            pick(slot, block, m, y)
            pick(slot, block, e, e_y)
            _to_marginals(block, m_edge, e_edge, y, e_y)
            write(first, end, block, y, out)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
def log_partition(begin, end, nodes, u, ends, out, unreached, memory):
    """Write log Z of rows `begin` to `end` into `out`."""
    slot = slots(nodes, ends)
    again = parallel(slot, nodes * (nodes - 1))
    (m, e), (m_edge, e_edge), present, (d, top), _ = workspace(nodes, u.shape[1], memory)
    base = np.empty(LANES)
    for first in range(begin, end, LANES):
        load(u, first, end, slot, again, ends, m, e, m_edge, e_edge, present, base)
        _eliminate(nodes, m, e, d, top)
        count_unreached(first, end, top, present, unreached)
        for lane in range(min(LANES, end - first)):
            log_z = 0.0
            for x in range(LANES + lane, d.size, LANES):
                log_z += np.log(d[x]) + (top[x] * LN2 if top[x] > ABSENT else 0.0)
            out[first + lane] = log_z + base[lane]
