"""Inside–outside on the CPU; the mathematics stands in `sstricks.ops.projective_arborescence`.

A division of a span of width w is numbered s = 0, …, w − 1. Its first part has width s + a, and its second, w − s − b,
begins s + b nodes later; a and b tell the three kinds of divisions apart. Loops take whole arrays and unsigned offsets:
slices would cost atomic operations, and signed indices a wrap-around test.
"""

import numpy as np
from numba import njit

from sstricks.ops.kernels.floats import LANES, LN2, NOTHING, exponent, mantissa, power_of_two
from sstricks.ops.kernels.projective_spans import divisions_from, has_tree, load, store, width_from

_MATHS = {"contract", "nsz", "arcp"}
_ROW = np.uint64(LANES)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _divide(nodes, w, a, b, m1, e1, m2, e2, p, m, e, to, top, total):
    """The sum of first part times second part over all divisions of the spans of width w, and each one's share p."""
    count = np.uint64((nodes - w) * LANES)
    start = divisions_from(nodes, w)
    for x in range(count):
        top[x] = 4 * NOTHING
        total[x] = 0.0
    for s in range(w):
        one = width_from(nodes, s + a)
        two = width_from(nodes, w - s - b) + np.uint64(s + b) * _ROW
        for x in range(count):
            top[x] = max(top[x], e1[one + x] + e2[two + x])
    for s in range(w):
        one = width_from(nodes, s + a)
        two = width_from(nodes, w - s - b) + np.uint64(s + b) * _ROW
        at = start + np.uint64(s) * count
        for x in range(count):
            part = m1[one + x] * m2[two + x] * power_of_two(e1[one + x] + e2[two + x] - top[x])
            p[at + x] = part
            total[x] += part
    for x in range(count):
        some = total[x] > 0.0
        m[to + x] = mantissa(total[x]) if some else 0.0
        e[to + x] = top[x] + exponent(total[x]) if some else NOTHING
        total[x] = 1.0 / (total[x] + np.float64(total[x] <= 0.0))
    for s in range(w):
        at = start + np.uint64(s) * count
        for x in range(count):
            p[at + x] *= total[x]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _attach(count, m_edge, e_edge, m_between, e_between, m, e, at):
    """The weight of an edge times all that may lie between its ends."""
    for x in range(np.uint64(count)):
        product = m_edge[at + x] * m_between[x]
        some = product > 0.0
        m[at + x] = mantissa(product) if some else 0.0
        e[at + x] = e_edge[at + x] + e_between[x] + exponent(product) if some else NOTHING


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def inside(nodes, m_edge, e_edge, m, e, between, right, left):
    """All spans' weights, from narrow to wide: 0 RIGHT, 1 LEFT, 2 RIGHTWARD, 3 LEFTWARD; and the divisions' shares."""
    m_between = np.empty(nodes * LANES)
    e_between = np.empty(nodes * LANES, np.int64)
    top = np.empty(nodes * LANES, np.int64)
    total = np.empty(nodes * LANES)
    none = np.uint64(0)
    for kind in range(2):
        m[kind, : nodes * LANES] = 1.0
        e[kind, : nodes * LANES] = 0
    for w in range(1, nodes):
        at = width_from(nodes, w)
        _divide(nodes, w, 0, 1, m[0], e[0], m[1], e[1], between, m_between, e_between, none, top, total)
        _attach((nodes - w) * LANES, m_edge[0], e_edge[0], m_between, e_between, m[2], e[2], at)
        _attach((nodes - w) * LANES, m_edge[1], e_edge[1], m_between, e_between, m[3], e[3], at)
        _divide(nodes, w, 1, 1, m[2], e[2], m[0], e[0], right, m[0], e[0], at, top, total)
        _divide(nodes, w, 0, 0, m[1], e[1], m[3], e[3], left, m[1], e[1], at, top, total)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _hand_down(nodes, w, a, b, p, x, at_x, first, second):
    """What is expected of the spans of width w goes to the parts of their divisions, in the divisions' shares."""
    count = np.uint64((nodes - w) * LANES)
    start = divisions_from(nodes, w)
    for s in range(w):
        one = width_from(nodes, s + a)
        two = width_from(nodes, w - s - b) + np.uint64(s + b) * _ROW
        at = start + np.uint64(s) * count
        for y in range(count):
            part = x[at_x + y] * p[at + y]
            first[one + y] += part
            second[two + y] += part


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _outside(nodes, counts, x, between, right, left):
    """The probability x of every span, from wide to narrow; every lane begins at the span of all of its nodes."""
    both = np.empty(nodes * LANES)
    x[:] = 0.0
    for lane in range(LANES):
        x[0, np.int64(width_from(nodes, max(counts[lane] - 1, 0))) + lane] = 1.0
    for w in range(nodes - 1, 0, -1):
        at = width_from(nodes, w)
        _hand_down(nodes, w, 1, 1, right, x[0], at, x[2], x[0])
        _hand_down(nodes, w, 0, 0, left, x[1], at, x[1], x[3])
        for y in range(np.uint64((nodes - w) * LANES)):
            both[y] = x[2, at + y] + x[3, at + y]
        _hand_down(nodes, w, 0, 1, between, both, np.uint64(0), x[0], x[1])


@njit(nogil=True, cache=True, error_model="numpy")
def marginals(begin, end, nodes, u, out, feasible, scratch):
    """Write the marginals of rows `begin` to `end` into `out`."""
    spans = nodes * (nodes + 1) // 2 * LANES
    divisions = np.int64(divisions_from(nodes, nodes))
    between = scratch[:divisions]
    right = scratch[divisions : 2 * divisions]
    left = scratch[2 * divisions : 3 * divisions]
    m_edge = np.empty((2, spans))
    low = np.empty((2, spans))
    e_edge = np.empty((2, spans), np.int64)
    m = np.empty((4, spans))
    e = np.empty((4, spans), np.int64)
    x = np.empty((4, spans))
    orders = np.empty((LANES, nodes), np.int64)
    gap = np.empty((nodes, nodes))
    rest = np.empty((nodes, nodes))
    base = np.empty(LANES)
    stretch = np.empty(LANES)
    counts = np.empty(LANES, np.int64)
    for first in range(begin, end, LANES):
        load(nodes, u, first, end, orders, gap, rest, m_edge, low, e_edge, base, stretch, counts)
        inside(nodes, m_edge, e_edge, m, e, between, right, left)
        _outside(nodes, counts, x, between, right, left)
        store(nodes, first, end, orders, counts, m, x, True, out, feasible)


@njit(nogil=True, cache=True, error_model="numpy")
def log_partition(begin, end, nodes, u, out, feasible, scratch):
    """Write log Z of rows `begin` to `end` into `out`."""
    spans = nodes * (nodes + 1) // 2 * LANES
    divisions = np.int64(divisions_from(nodes, nodes))
    between = scratch[:divisions]
    right = scratch[divisions : 2 * divisions]
    left = scratch[2 * divisions : 3 * divisions]
    m_edge = np.empty((2, spans))
    low = np.empty((2, spans))
    e_edge = np.empty((2, spans), np.int64)
    m = np.empty((4, spans))
    e = np.empty((4, spans), np.int64)
    orders = np.empty((LANES, nodes), np.int64)
    gap = np.empty((nodes, nodes))
    rest = np.empty((nodes, nodes))
    base = np.empty(LANES)
    stretch = np.empty(LANES)
    counts = np.empty(LANES, np.int64)
    for first in range(begin, end, LANES):
        load(nodes, u, first, end, orders, gap, rest, m_edge, low, e_edge, base, stretch, counts)
        inside(nodes, m_edge, e_edge, m, e, between, right, left)
        for lane in range(min(LANES, end - first)):
            feasible[first + lane] = has_tree(nodes, counts, m, lane)
            if feasible[first + lane]:
                at = np.int64(width_from(nodes, counts[lane] - 1)) + lane
                out[first + lane] = base[lane] + (np.log(m[0, at]) + e[0, at] * LN2) * stretch[lane]
