"""The derivative of inside–outside on the CPU; the mathematics stands in `sstricks.ops.projective_arborescence`.

Divisions are numbered as in `sstricks.ops.kernels.projective_arborescence`.
"""

import numpy as np
from numba import njit

from sstricks.ops.kernels.floats import LANES
from sstricks.ops.kernels.projective_arborescence import inside
from sstricks.ops.kernels.projective_spans import divisions_from, load, load_direction, store, width_from

_MATHS = {"contract", "nsz", "arcp"}
_ROW = np.uint64(LANES)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _divide_tangent(nodes, w, a, b, a1, a2, p, dp, mean, at_mean):
    """The derivative of the logarithm of `_divide`'s sum, the mean under p of that of its terms; and that of p."""
    count = np.uint64((nodes - w) * LANES)
    start = divisions_from(nodes, w)
    for x in range(count):
        mean[at_mean + x] = 0.0
    for s in range(w):
        one = width_from(nodes, s + a)
        two = width_from(nodes, w - s - b) + np.uint64(s + b) * _ROW
        at = start + np.uint64(s) * count
        for x in range(count):
            dp[at + x] = a1[one + x] + a2[two + x]
            mean[at_mean + x] += p[at + x] * dp[at + x]
    for s in range(w):
        at = start + np.uint64(s) * count
        for x in range(count):
            dp[at + x] = p[at + x] * (dp[at + x] - mean[at_mean + x])


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _inside_tangent(nodes, g, a, between, right, left, dbetween, dright, dleft):
    """The derivatives a of the logarithms of all spans' weights, and those of the divisions' shares."""
    a_between = np.empty(nodes * LANES)
    for kind in range(2):
        a[kind, : nodes * LANES] = 0.0
    for w in range(1, nodes):
        at = width_from(nodes, w)
        _divide_tangent(nodes, w, 0, 1, a[0], a[1], between, dbetween, a_between, np.uint64(0))
        for x in range(np.uint64((nodes - w) * LANES)):
            a[2, at + x] = g[0, at + x] + a_between[x]
            a[3, at + x] = g[1, at + x] + a_between[x]
        _divide_tangent(nodes, w, 1, 1, a[2], a[0], right, dright, a[0], at)
        _divide_tangent(nodes, w, 0, 0, a[1], a[3], left, dleft, a[1], at)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _hand_down_tangent(nodes, w, a, b, p, dp, x, dx, at_x, first, second, dfirst, dsecond):
    """`_hand_down` and its derivative."""
    count = np.uint64((nodes - w) * LANES)
    start = divisions_from(nodes, w)
    for s in range(w):
        one = width_from(nodes, s + a)
        two = width_from(nodes, w - s - b) + np.uint64(s + b) * _ROW
        at = start + np.uint64(s) * count
        for y in range(count):
            part = x[at_x + y] * p[at + y]
            dpart = dx[at_x + y] * p[at + y] + x[at_x + y] * dp[at + y]
            first[one + y] += part
            second[two + y] += part
            dfirst[one + y] += dpart
            dsecond[two + y] += dpart


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _outside_tangent(nodes, counts, x, dx, between, right, left, dbetween, dright, dleft):
    """`_outside` and its derivative."""
    both = np.empty(nodes * LANES)
    dboth = np.empty(nodes * LANES)
    none = np.uint64(0)
    x[:] = 0.0
    dx[:] = 0.0
    for lane in range(LANES):
        x[0, np.int64(width_from(nodes, max(counts[lane] - 1, 0))) + lane] = 1.0
    for w in range(nodes - 1, 0, -1):
        at = width_from(nodes, w)
        _hand_down_tangent(nodes, w, 1, 1, right, dright, x[0], dx[0], at, x[2], x[0], dx[2], dx[0])
        _hand_down_tangent(nodes, w, 0, 0, left, dleft, x[1], dx[1], at, x[1], x[3], dx[1], dx[3])
        for y in range(np.uint64((nodes - w) * LANES)):
            both[y] = x[2, at + y] + x[3, at + y]
            dboth[y] = dx[2, at + y] + dx[3, at + y]
        _hand_down_tangent(nodes, w, 0, 1, between, dbetween, both, dboth, none, x[0], x[1], dx[0], dx[1])


@njit(nogil=True, cache=True, error_model="numpy")
def marginals_jvp(begin, end, nodes, u, g, out, feasible, scratch):
    """Write the derivative of the marginals in the direction g into `out`."""
    spans = nodes * (nodes + 1) // 2 * LANES
    divisions = np.int64(divisions_from(nodes, nodes))
    between = scratch[:divisions]
    right = scratch[divisions : 2 * divisions]
    left = scratch[2 * divisions : 3 * divisions]
    dbetween = scratch[3 * divisions : 4 * divisions]
    dright = scratch[4 * divisions : 5 * divisions]
    dleft = scratch[5 * divisions : 6 * divisions]
    m_edge = np.empty((2, spans))
    low = np.empty((2, spans))
    e_edge = np.empty((2, spans), np.int64)
    m = np.empty((4, spans))
    e = np.empty((4, spans), np.int64)
    direction = low  # what the rounding lost is used up
    a = np.empty((4, spans))
    x = np.empty((4, spans))
    dx = np.empty((4, spans))
    orders = np.empty((LANES, nodes), np.int64)
    gap = np.empty((nodes, nodes))
    rest = np.empty((nodes, nodes))
    base = np.empty(LANES)
    stretch = np.empty(LANES)
    counts = np.empty(LANES, np.int64)
    for first in range(begin, end, LANES):
        load(nodes, u, first, end, orders, gap, rest, m_edge, low, e_edge, base, stretch, counts)
        inside(nodes, m_edge, e_edge, m, e, between, right, left)
        load_direction(nodes, g, first, end, orders, counts, direction)
        _inside_tangent(nodes, direction, a, between, right, left, dbetween, dright, dleft)
        _outside_tangent(nodes, counts, x, dx, between, right, left, dbetween, dright, dleft)
        store(nodes, first, end, orders, counts, m, dx, False, out, feasible)
