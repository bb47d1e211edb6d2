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
# Kinds of spans are RIGHT, LEFT, RIGHTWARD, LEFTWARD, and 4, what lies between the ends of the last two.
# How spans divide: of which kind they are, and their two parts; a and b.
_BETWEEN, _RIGHT, _LEFT = _DIVISIONS = ((4, 0, 1, 0, 1), (0, 2, 0, 1, 1), (1, 1, 3, 0, 0))


@njit(inline="always")
def width_from(nodes, w):
    """Where the spans of width w begin."""
    return np.uint64((w * nodes - w * (w - 1) // 2) * LANES)


@njit(inline="always")
def _parts(nodes, w, s, a, b):
    """Where the two parts of division s of the first span of width w stand."""
    return width_from(nodes, s + a), width_from(nodes, w - s - b) + np.uint64(s + b) * ROW


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


@njit(inline="always")
def _term(m1, e1, m2, e2, one, two, scale):
    """First part times second part, over 2 to the power of scale."""
    return m1[one] * m2[two] * power_of_two(e1[one] + e2[two] - scale)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _divide(nodes, w, division, m, e, top, total):
    """The sum of first part times second part over all divisions of the spans of width w."""
    kind, first, second, a, b = division
    m1, e1, m2, e2 = m[first], e[first], m[second], e[second]
    count = np.uint64((nodes - w) * LANES)
    for x in range(count):
        top[x] = 4 * NOTHING
        total[x] = 0.0
    for s in range(w):
        one, two = _parts(nodes, w, s, a, b)
        for x in range(count):
            top[x] = max(top[x], e1[one + x] + e2[two + x])
    for s in range(w):
        one, two = _parts(nodes, w, s, a, b)
        for x in range(count):
            total[x] += _term(m1, e1, m2, e2, one + x, two + x, top[x])
    at = width_from(nodes, w)
    for x in range(count):
        some = total[x] > 0.0
        m[kind, at + x] = mantissa(total[x]) if some else 0.0
        e[kind, at + x] = top[x] + exponent(total[x]) if some else NOTHING


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _attach(count, m_edge, e_edge, m_between, e_between, m, e, at):
    """The weight of an edge times all that may lie between its ends."""
    for x in range(at, at + np.uint64(count)):
        product = m_edge[x] * m_between[x]
        some = product > 0.0
        m[x] = mantissa(product) if some else 0.0
        e[x] = e_edge[x] + e_between[x] + exponent(product) if some else NOTHING


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def inside(nodes, m_edge, e_edge, m, e, scale, total):
    """All spans' weights, from narrow to wide."""
    for kind in range(2):
        m[kind, : nodes * LANES] = 1.0
        e[kind, : nodes * LANES] = 0
    for w in range(1, nodes):
        at = width_from(nodes, w)
        _divide(nodes, w, _BETWEEN, m, e, scale, total)
        for side in range(2):
            _attach((nodes - w) * LANES, m_edge[side], e_edge[side], m[4], e[4], m[2 + side], e[2 + side], at)
        _divide(nodes, w, _RIGHT, m, e, scale, total)
        _divide(nodes, w, _LEFT, m, e, scale, total)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _load_spans(m, e, at, count, scale, inverse):
    """The scales of the spans' weights, and the inverses of their mantissas; no term has a share in a sum of none."""
    for y in range(count):
        some = m[at + y] > 0.0
        inverse[y] = 1.0 / m[at + y] if some else 0.0
        scale[y] = e[at + y] if some else -NOTHING


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _hand_down(nodes, w, division, m, e, x, scale, inverse):
    """What is expected of the spans of width w goes to the parts of their divisions, in the divisions' shares."""
    kind, first, second, a, b = division
    m1, e1, m2, e2, x1, x2 = m[first], e[first], m[second], e[second], x[first], x[second]
    count = np.uint64((nodes - w) * LANES)
    at = width_from(nodes, w)
    _load_spans(m[kind], e[kind], at, count, scale, inverse)
    for y in range(count):
        inverse[y] *= x[kind, at + y]
    for s in range(w):
        one, two = _parts(nodes, w, s, a, b)
        for y in range(count):
            part = inverse[y] * _term(m1, e1, m2, e2, one + y, two + y, scale[y])
            x1[one + y] += part
            x2[two + y] += part


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _add_sides(nodes, w, x):
    for y in range(width_from(nodes, w), width_from(nodes, w + 1)):
        x[4, y] = x[2, y] + x[3, y]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _outside(nodes, counts, m, e, x, scale, inverse):
    """The probability x of every span, from wide to narrow; every lane begins at the span of all of its nodes."""
    x[:] = 0.0
    for lane in range(LANES):
        x[0, np.int64(width_from(nodes, max(counts[lane] - 1, 0))) + lane] = 1.0
    for w in range(nodes - 1, 0, -1):
        _hand_down(nodes, w, _RIGHT, m, e, x, scale, inverse)
        _hand_down(nodes, w, _LEFT, m, e, x, scale, inverse)
        _add_sides(nodes, w, x)
        _hand_down(nodes, w, _BETWEEN, m, e, x, scale, inverse)


@njit(nogil=True, cache=True, error_model="numpy")
def _workspace(nodes):
    """What the way up works in: edges, spans, one number for each span of a width, and what belongs to lanes."""
    spans = nodes * (nodes + 1) // 2 * LANES
    edges = (np.empty((2, spans)), np.empty((2, spans)), np.empty((2, spans), np.int64))
    chart = (np.empty((5, spans)), np.empty((5, spans), np.int64))
    width = (np.empty(nodes * LANES, np.int64), np.empty(nodes * LANES))
    lanes = (
        np.empty((LANES, nodes), np.int64),
        np.empty((nodes, nodes)),
        np.empty((nodes, nodes)),
        np.empty(LANES),
        np.empty(LANES),
        np.empty(LANES, np.int64),
    )
    return edges, chart, width, lanes


@njit(nogil=True, cache=True, error_model="numpy")
def marginals(begin, end, nodes, u, out, feasible):
    """Write the marginals of rows `begin` to `end` into `out`."""
    (m_edge, low, e_edge), (m, e), width, lanes = _workspace(nodes)
    orders, gap, rest, base, stretch, counts = lanes
    x = np.empty_like(m)
    for first in range(begin, end, LANES):
        load(nodes, u, first, end, orders, gap, rest, m_edge, low, e_edge, base, stretch, counts)
        inside(nodes, m_edge, e_edge, m, e, *width)
        _outside(nodes, counts, m, e, x, *width)
        store(nodes, first, end, orders, counts, m, x, True, out, feasible)


@njit(nogil=True, cache=True, error_model="numpy")
def log_partition(begin, end, nodes, u, out, feasible):
    """Write log Z of rows `begin` to `end` into `out`."""
    (m_edge, low, e_edge), (m, e), width, lanes = _workspace(nodes)
    orders, gap, rest, base, stretch, counts = lanes
    for first in range(begin, end, LANES):
        load(nodes, u, first, end, orders, gap, rest, m_edge, low, e_edge, base, stretch, counts)
        inside(nodes, m_edge, e_edge, m, e, *width)
        for lane in range(min(LANES, end - first)):
            feasible[first + lane] = has_tree(nodes, counts, m, lane)
            if feasible[first + lane]:
                at = np.int64(width_from(nodes, counts[lane] - 1)) + lane
                out[first + lane] = base[lane] + (np.log(m[0, at]) + e[0, at] * LN2) * stretch[lane]


@njit(nogil=True, cache=True, error_model="numpy")
def _draw_division(nodes, i, j, division, m, e, lane, uniform):
    """The number of a division of the span i…j, drawn by the divisions' shares."""
    kind, first, second, a, b = division
    w = j - i
    here = np.uint64(i * LANES + lane)
    at = width_from(nodes, w) + here
    passed = 0.0
    drawn = 0
    for s in range(w):
        one, two = _parts(nodes, w, s, a, b)
        term = _term(m[first], e[first], m[second], e[second], one + here, two + here, e[kind, at])
        passed += term
        drawn = s if term > 0.0 else drawn
        if passed > uniform * m[kind, at]:
            break
    return drawn


@njit(nogil=True, cache=True, error_model="numpy")
def _draw_tree(nodes, count, m, e, lane, uniforms, stack, head):
    """Write the head of every node of a random tree, from the span of all nodes down."""
    numbers = uniforms.size // 3
    size = push(stack, 0, RIGHT, 0, count - 1)
    while size > 0:
        size -= 1
        kind, i, j = stack[size, 0], stack[size, 1], stack[size, 2]
        table = attach(kind, i, j, head)
        if table >= 0:
            uniform = uniforms[table * numbers + np.int64(width_from(nodes, j - i)) // LANES + i]
            s = _draw_division(nodes, i, j, _DIVISIONS[table], m, e, lane, uniform)
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
def sample(begin, end, nodes, u, uniforms, out, feasible):
    """Write a random tree for each of the rows `begin` to `end` into `out`; equal rows in sequence share one chart."""
    (m_edge, low, e_edge), (m, e), width, lanes = _workspace(nodes)
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
        inside(nodes, m_edge, e_edge, m, e, *width)
        for lane in range(found):
            order = orders[lane]
            possible = has_tree(nodes, counts, m, lane)
            for row in range(starts[lane], starts[lane + 1]):
                out[row] = 0.0
                feasible[row] = possible
                if possible:
                    _draw_tree(nodes, counts[lane], m, e, lane, uniforms[row], stack, head)
                    for b in range(1, counts[lane]):
                        out[row, edge(nodes, order[head[b]], order[b])] = 1.0


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _divide_tangent(nodes, w, division, m, e, da, scale, inverse):
    """The derivative of the logarithm of `_divide`'s sum: the mean, by the shares, of that of its terms."""
    kind, first, second, a, b = division
    m1, e1, m2, e2, da1, da2, mean = m[first], e[first], m[second], e[second], da[first], da[second], da[kind]
    count = np.uint64((nodes - w) * LANES)
    at = width_from(nodes, w)
    _load_spans(m[kind], e[kind], at, count, scale, inverse)
    for x in range(count):
        mean[at + x] = 0.0
    for s in range(w):
        one, two = _parts(nodes, w, s, a, b)
        for x in range(count):
            mean[at + x] += _term(m1, e1, m2, e2, one + x, two + x, scale[x]) * (da1[one + x] + da2[two + x])
    for x in range(count):
        mean[at + x] *= inverse[x]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _inside_tangent(nodes, g, m, e, da, scale, inverse):
    """The derivatives of the logarithms of all spans' weights."""
    da[:2, : nodes * LANES] = 0.0
    for w in range(1, nodes):
        _divide_tangent(nodes, w, _BETWEEN, m, e, da, scale, inverse)
        for x in range(width_from(nodes, w), width_from(nodes, w + 1)):
            da[2, x] = g[0, x] + da[4, x]
            da[3, x] = g[1, x] + da[4, x]
        _divide_tangent(nodes, w, _RIGHT, m, e, da, scale, inverse)
        _divide_tangent(nodes, w, _LEFT, m, e, da, scale, inverse)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _hand_down_tangent(nodes, w, division, m, e, da, x, dx, scale, inverse):
    """`_hand_down` and its derivative."""
    kind, first, second, a, b = division
    m1, e1, m2, e2, x1, x2 = m[first], e[first], m[second], e[second], x[first], x[second]
    da1, da2, dx1, dx2, mean, above, dabove = da[first], da[second], dx[first], dx[second], da[kind], x[kind], dx[kind]
    count = np.uint64((nodes - w) * LANES)
    at = width_from(nodes, w)
    _load_spans(m[kind], e[kind], at, count, scale, inverse)
    for s in range(w):
        one, two = _parts(nodes, w, s, a, b)
        for y in range(count):
            share = inverse[y] * _term(m1, e1, m2, e2, one + y, two + y, scale[y])
            part = above[at + y] * share
            dpart = dabove[at + y] * share + part * (da1[one + y] + da2[two + y] - mean[at + y])
            x1[one + y] += part
            x2[two + y] += part
            dx1[one + y] += dpart
            dx2[two + y] += dpart


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _outside_tangent(nodes, counts, m, e, da, x, dx, scale, inverse):
    """`_outside` and its derivative."""
    x[:] = 0.0
    dx[:] = 0.0
    for lane in range(LANES):
        x[0, np.int64(width_from(nodes, max(counts[lane] - 1, 0))) + lane] = 1.0
    for w in range(nodes - 1, 0, -1):
        _hand_down_tangent(nodes, w, _RIGHT, m, e, da, x, dx, scale, inverse)
        _hand_down_tangent(nodes, w, _LEFT, m, e, da, x, dx, scale, inverse)
        _add_sides(nodes, w, x)
        _add_sides(nodes, w, dx)
        _hand_down_tangent(nodes, w, _BETWEEN, m, e, da, x, dx, scale, inverse)


@njit(nogil=True, cache=True, error_model="numpy")
def marginals_jvp(begin, end, nodes, u, g, out, feasible):
    """Write the derivative of the marginals in the direction g into `out`."""
    (m_edge, low, e_edge), (m, e), width, lanes = _workspace(nodes)
    orders, gap, rest, base, stretch, counts = lanes
    direction = low  # what the rounding lost is used up
    a, x, dx = np.empty_like(m), np.empty_like(m), np.empty_like(m)
    for first in range(begin, end, LANES):
        load(nodes, u, first, end, orders, gap, rest, m_edge, low, e_edge, base, stretch, counts)
        inside(nodes, m_edge, e_edge, m, e, *width)
        load_direction(nodes, g, first, end, orders, counts, direction)
        _inside_tangent(nodes, direction, m, e, a, *width)
        _outside_tangent(nodes, counts, m, e, a, x, dx, *width)
        store(nodes, first, end, orders, counts, m, dx, False, out, feasible)
