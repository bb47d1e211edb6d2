"""Inside–outside on the CPU; the mathematics stands in `sstricks.ops.projective_arborescence`.

Spans are stored by width, those of one width by their first node: whatever is done to all spans of a width is, for
each way to divide them, one loop over contiguous memory. The probabilities of the divisions follow in the same order,
width by width, division by division. Every array is flat, with the lane as the last index.

A division of a span of width w is numbered s = 0, …, w − 1. Its first part has width s + a, and its second, w − s − b,
begins s + b nodes later; a and b tell the three kinds of divisions apart. Loops take whole arrays and unsigned offsets:
slices would cost atomic operations, and signed indices a wrap-around test.
"""

import numpy as np
from numba import njit

from sstricks.ops.kernels.floats import (
    LANES,
    LN2,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    NOTHING,
    ROW,
    exp_reduced,
    exponent,
    mantissa,
    power_of_two,
)
from sstricks.ops.kernels.maximum_projective_arborescence import (
    RIGHT,
    TO_RIGHT,
    attach,
    edge,
    eisner,
    present_nodes,
    push,
    push_parts,
)
from sstricks.ops.precision import FAR

_MATHS = {"contract", "nsz", "arcp"}


@njit(inline="always")
def width_from(nodes, w):
    """Where the spans of width w begin."""
    return np.uint64((w * nodes - w * (w - 1) // 2) * LANES)


@njit(inline="always")
def divisions_from(nodes, w):
    """Where the divisions of the spans of width w begin: after Σ v (n − v) over v < w others."""
    return np.uint64((nodes * (w * (w - 1) // 2) - (w - 1) * w * (2 * w - 1) // 6) * LANES)


@njit(nogil=True, cache=True, error_model="numpy")
def _least_loss(count, gap):
    """What the best tree loses against taking every node's best edge, −∞ for none at all."""
    chart = np.empty((6, count, count))
    back = np.empty((3, count, count), np.int64)
    return eisner(count, -gap, chart, back, np.empty((4, 0), np.int32))[0]


@njit(nogil=True, cache=True, error_model="numpy")
def _load_row(nodes, u, row, lane, order, gap, rest, m, low, base, stretch, counts):
    """One row's −(utility less the best of the edges into the same node), as a number and what its rounding lost.

    A tree has one edge into each node, so these shifts change log Z only. Losses beyond `FAR` stay beyond it; where
    even the best tree's is, all of them are brought nearer in proportion, which keeps the order of the trees.
    """
    count = present_nodes(nodes, u, row, order)
    counts[lane] = count
    base[lane] = 0.0
    stretch[lane] = 1.0
    far = 0.0
    for b in range(1, count):
        best = -np.inf
        for a in range(count):
            if a != b:
                best = max(best, u[row, edge(nodes, order[a], order[b])])
        if best == -np.inf:
            counts[lane] = 0
            return
        base[lane] += best
        for a in range(count):
            gap[a, b] = np.inf
            value = u[row, edge(nodes, order[a], order[b])] if a != b else -np.inf
            if value > -np.inf:
                gap[a, b] = best - value
                taken = gap[a, b] - best
                rest[a, b] = (best - (gap[a, b] - taken)) - (value + taken)
                far = max(far, gap[a, b])
    if far > FAR:
        gap[:, 0] = np.inf
        loss = -_least_loss(count, gap[:count, :count])
        if FAR < loss < np.inf:
            stretch[lane] = loss / FAR
        for b in range(1, count):
            for a in range(count):
                if FAR < gap[a, b] < np.inf:
                    gap[a, b] = min(gap[a, b] / stretch[lane], 2.0 * FAR)
                    rest[a, b] = 0.0
    for b in range(1, count):
        for a in range(count):
            if gap[a, b] < np.inf:
                to = np.int64(width_from(nodes, abs(a - b))) + min(a, b) * LANES + lane
                m[0 if a < b else 1, to] = -gap[a, b]
                low[0 if a < b else 1, to] = -rest[a, b]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _exponentials(m, low, e):
    """Turn logarithms m + low into weights m·2ᵉ."""
    for x in range(np.uint64(m.size)):
        present = m[x] > -1e300
        value = m[x] if present else 0.0
        k = np.floor(value * LOG2_E + 0.5)
        power = exp_reduced(((value - k * LN2_HIGH) - k * LN2_LOW) + low[x])
        m[x] = power if present else 0.0
        e[x] = np.int64(k) if present else NOTHING


@njit(nogil=True, cache=True, error_model="numpy")
def load(nodes, u, begin, end, orders, gap, rest, m, low, e, base, stretch, counts):
    """The weights of all edges, to the right (0) and to the left (1), of as many rows as there are lanes."""
    m[:] = -np.inf
    low[:] = 0.0
    for lane in range(LANES):
        _load_row(nodes, u, min(begin + lane, end - 1), lane, orders[lane], gap, rest, m, low, base, stretch, counts)
    _exponentials(m[0], low[0], e[0])
    _exponentials(m[1], low[1], e[1])


@njit(inline="always")
def has_tree(nodes, counts, m, lane):
    """Whether the row in this lane has a tree; a root alone is one."""
    return counts[lane] > 0 and m[0, np.int64(width_from(nodes, max(counts[lane] - 1, 0))) + lane] > 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def store(nodes, first, end, orders, counts, m, x, certain, out, feasible):
    """Put what stands at the edges' spans into the edges' places; if `certain`, so that every node has one head."""
    for lane in range(min(LANES, end - first)):
        row = first + lane
        order = orders[lane]
        feasible[row] = has_tree(nodes, counts, m, lane)
        out[row] = 0.0
        for b in range(1, counts[lane]):
            total = 0.0
            for a in range(counts[lane]):
                if a != b:
                    from_ = np.int64(width_from(nodes, abs(a - b))) + min(a, b) * LANES + lane
                    value = x[2 if a < b else 3, from_]
                    out[row, edge(nodes, order[a], order[b])] = value
                    total += value
            if certain and total > 0.0:
                for a in range(counts[lane]):
                    if a != b:
                        out[row, edge(nodes, order[a], order[b])] /= total


@njit(nogil=True, cache=True, error_model="numpy")
def load_direction(nodes, g, begin, end, orders, counts, out):
    """The direction g, laid out as the weights are."""
    out[:] = 0.0
    for lane in range(LANES):
        row = min(begin + lane, end - 1)
        for a in range(counts[lane]):
            for b in range(1, counts[lane]):
                if a != b:
                    to = np.int64(width_from(nodes, abs(a - b))) + min(a, b) * LANES + lane
                    out[0 if a < b else 1, to] = g[row, edge(nodes, orders[lane, a], orders[lane, b])]


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
        two = width_from(nodes, w - s - b) + np.uint64(s + b) * ROW
        for x in range(count):
            top[x] = max(top[x], e1[one + x] + e2[two + x])
    for s in range(w):
        one = width_from(nodes, s + a)
        two = width_from(nodes, w - s - b) + np.uint64(s + b) * ROW
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
        two = width_from(nodes, w - s - b) + np.uint64(s + b) * ROW
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
def _workspace(nodes, tables):
    """What the way up works in: shares of divisions, edges, spans, and what belongs to lanes; the tables left."""
    divisions = np.int64(divisions_from(nodes, nodes))
    shares = (tables[:divisions], tables[divisions : 2 * divisions], tables[2 * divisions : 3 * divisions])
    spans = nodes * (nodes + 1) // 2 * LANES
    edges = (np.empty((2, spans)), np.empty((2, spans)), np.empty((2, spans), np.int64))
    chart = (np.empty((4, spans)), np.empty((4, spans), np.int64))
    lanes = (
        np.empty((LANES, nodes), np.int64),
        np.empty((nodes, nodes)),
        np.empty((nodes, nodes)),
        np.empty(LANES),
        np.empty(LANES),
        np.empty(LANES, np.int64),
    )
    return shares, edges, chart, lanes, tables[3 * divisions :]


@njit(nogil=True, cache=True, error_model="numpy")
def marginals(begin, end, nodes, u, out, feasible, scratch):
    """Write the marginals of rows `begin` to `end` into `out`."""
    (between, right, left), (m_edge, low, e_edge), (m, e), lanes, _ = _workspace(nodes, scratch)
    orders, gap, rest, base, stretch, counts = lanes
    x = np.empty_like(m)
    for first in range(begin, end, LANES):
        load(nodes, u, first, end, orders, gap, rest, m_edge, low, e_edge, base, stretch, counts)
        inside(nodes, m_edge, e_edge, m, e, between, right, left)
        _outside(nodes, counts, x, between, right, left)
        store(nodes, first, end, orders, counts, m, x, True, out, feasible)


@njit(nogil=True, cache=True, error_model="numpy")
def log_partition(begin, end, nodes, u, out, feasible, scratch):
    """Write log Z of rows `begin` to `end` into `out`."""
    (between, right, left), (m_edge, low, e_edge), (m, e), lanes, _ = _workspace(nodes, scratch)
    orders, gap, rest, base, stretch, counts = lanes
    for first in range(begin, end, LANES):
        load(nodes, u, first, end, orders, gap, rest, m_edge, low, e_edge, base, stretch, counts)
        inside(nodes, m_edge, e_edge, m, e, between, right, left)
        for lane in range(min(LANES, end - first)):
            feasible[first + lane] = has_tree(nodes, counts, m, lane)
            if feasible[first + lane]:
                at = np.int64(width_from(nodes, counts[lane] - 1)) + lane
                out[first + lane] = base[lane] + (np.log(m[0, at]) + e[0, at] * LN2) * stretch[lane]


@njit(nogil=True, cache=True, error_model="numpy")
def _draw_division(nodes, i, j, p, lane, uniform):
    """The number of a division of the span i…j, drawn by the divisions' shares."""
    w = j - i
    at = np.int64(divisions_from(nodes, w)) + i * LANES + lane
    step = (nodes - w) * LANES
    total = 0.0
    for s in range(w):
        total += p[at + s * step]
    passed = 0.0
    for s in range(w):
        passed += p[at + s * step]
        if passed > uniform * total:
            return s
    return w - 1


@njit(nogil=True, cache=True, error_model="numpy")
def _draw_tree(nodes, count, shares, lane, uniforms, stack, head):
    """Write the head of every node of a random tree, from the span of all nodes down."""
    numbers = uniforms.size // 3
    size = push(stack, 0, RIGHT, 0, count - 1)
    while size > 0:
        size -= 1
        kind, i, j = stack[size, 0], stack[size, 1], stack[size, 2]
        table = attach(kind, i, j, head)
        if table >= 0:
            uniform = uniforms[table * numbers + np.int64(width_from(nodes, j - i)) // LANES + i]
            s = _draw_division(nodes, i, j, shares[table], lane, uniform)
            size = push_parts(stack, size, table, i, j, i + s + (table == TO_RIGHT))


@njit(nogil=True, cache=True, error_model="numpy")
def _next_rows(begin, end, u, different, starts):
    """Copy the next few rows that differ from their predecessors; write where the copies of each begin, and the end."""
    found = 0
    for row in range(begin, end):
        if row == begin or (u[row] != u[row - 1]).any():
            if found == LANES:
                starts[found] = row
                return found
            different[found] = u[row]
            starts[found] = row
            found += 1
    starts[found] = end
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def sample(begin, end, nodes, u, uniforms, out, feasible, scratch):
    """Write a random tree for each of the rows `begin` to `end` into `out`; equal rows in sequence share one chart."""
    shares, (m_edge, low, e_edge), (m, e), lanes, _ = _workspace(nodes, scratch)
    orders, gap, rest, base, stretch, counts = lanes
    different = np.empty((LANES, u.shape[1]))
    starts = np.empty(LANES + 1, np.int64)
    stack = np.empty((2 * nodes + 2, 3), np.int64)
    head = np.empty(nodes, np.int64)
    starts[0] = begin
    found = 0
    while starts[found] < end:
        found = _next_rows(starts[found], end, u, different, starts)
        load(nodes, different, 0, found, orders, gap, rest, m_edge, low, e_edge, base, stretch, counts)
        inside(nodes, m_edge, e_edge, m, e, *shares)
        for lane in range(found):
            order = orders[lane]
            possible = has_tree(nodes, counts, m, lane)
            for row in range(starts[lane], starts[lane + 1]):
                out[row] = 0.0
                feasible[row] = possible
                if possible:
                    _draw_tree(nodes, counts[lane], shares, lane, uniforms[row], stack, head)
                    for b in range(1, counts[lane]):
                        out[row, edge(nodes, order[head[b]], order[b])] = 1.0


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _divide_tangent(nodes, w, a, b, a1, a2, p, dp, mean, at_mean):
    """The derivative of the logarithm of `_divide`'s sum, the mean under p of that of its terms; and that of p."""
    count = np.uint64((nodes - w) * LANES)
    start = divisions_from(nodes, w)
    for x in range(count):
        mean[at_mean + x] = 0.0
    for s in range(w):
        one = width_from(nodes, s + a)
        two = width_from(nodes, w - s - b) + np.uint64(s + b) * ROW
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
        two = width_from(nodes, w - s - b) + np.uint64(s + b) * ROW
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
    (between, right, left), (m_edge, low, e_edge), (m, e), lanes, memory = _workspace(nodes, scratch)
    orders, gap, rest, base, stretch, counts = lanes
    size = between.size
    dbetween, dright, dleft = memory[:size], memory[size : 2 * size], memory[2 * size : 3 * size]
    direction = low  # what the rounding lost is used up
    a, x, dx = np.empty_like(m), np.empty_like(m), np.empty_like(m)
    for first in range(begin, end, LANES):
        load(nodes, u, first, end, orders, gap, rest, m_edge, low, e_edge, base, stretch, counts)
        inside(nodes, m_edge, e_edge, m, e, between, right, left)
        load_direction(nodes, g, first, end, orders, counts, direction)
        _inside_tangent(nodes, direction, a, between, right, left, dbetween, dright, dleft)
        _outside_tangent(nodes, counts, x, dx, between, right, left, dbetween, dright, dleft)
        store(nodes, first, end, orders, counts, m, dx, False, out, feasible)
