"""Inside–outside on the CPU; the mathematics stands in `sstricks.ops.projective_arborescence`.

Charts are matrices. At [h, d], the first one has the weight of all ways in which h heads the nodes from beside it to d,
which is R(h, d) or L(d, h), and the second one that of those with an edge h → d. Right and left become alike:

    complete[h, d] = Σ_k joined[h, k] · complete[k, d],    k from beside h to d
    joined[h, d] = w[h, d] · between[i, j],    i < j the two of h and d
    between[i, j] = Σ_k complete[i, k] · complete[j, k + 1],    k = i, …, j − 1

A chart's entries are vectors of eight rows of the batch (`lanes`); each part of a sum steps through a row or a column.
Nothing is kept of the terms: their shares on the way down follow from the charts, m₁m₂/m · 2^(e₁ + e₂ − e).
"""

import math

import numpy as np

from sstricks.ops.kernels.arrays import copy
from sstricks.ops.kernels.compiled import compiled
from sstricks.ops.kernels.floats import (
    LANES,
    LN2,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    ROW,
    exp_reduced,
    power_of_two,
)
from sstricks.ops.kernels.lanes import choose, exponent, filled, larger, mantissa, power
from sstricks.ops.kernels.lanes import load as get
from sstricks.ops.kernels.lanes import store as put
from sstricks.ops.kernels.maximum_projective_arborescence import (
    BETWEEN,
    RIGHT,
    TO_LEFT,
    TO_RIGHT,
    attach,
    edge,
    eisner,
    present_nodes,
    push,
    push_parts,
)
from sstricks.ops.kernels.spanning_tree import cut
from sstricks.ops.precision import FAR

_MATHS = {"contract", "nsz", "arcp"}
_COMPLETE, _JOINED, _BETWEEN = 0, 1, 2
NOTHING = -(2.0**60)  # the exponent of zero: below every other


@compiled(inline=True)
def _cell(nodes, chart, h, d):
    """Where the entry [h, d] of a chart stands. Columns are an odd number of vectors apart, to share a cache well."""
    return np.uint64(((chart * nodes + h) * (nodes | 1) + d) * LANES)


@compiled(inline=True)
def _terms(nodes, table, i, j):
    """Of a sum over the divisions of the span i…j: its place, the first term's two, and the steps to the next ones."""
    beside = ROW
    below = np.uint64((nodes | 1) * LANES)
    if table == BETWEEN:
        one, two = _cell(nodes, _COMPLETE, i, i), _cell(nodes, _COMPLETE, j, i + 1)
        return _cell(nodes, _BETWEEN, i, j), one, beside, two, beside
    if table == TO_RIGHT:
        one, two = _cell(nodes, _JOINED, i, i + 1), _cell(nodes, _COMPLETE, i + 1, j)
        return _cell(nodes, _COMPLETE, i, j), one, beside, two, below
    one, two = _cell(nodes, _COMPLETE, i, i), _cell(nodes, _JOINED, j, i)
    return _cell(nodes, _COMPLETE, j, i), one, below, two, beside


@compiled(inline=True)
def _term(m, e, one, two, scale):
    """First part times second part, over 2 to the power of scale."""
    return get(m, one) * get(m, two) * power(get(e, one) + get(e, two) - scale)


@compiled
def _least_loss(count, gap, single):
    """What the best tree loses against taking every node's best edge, −∞ for none at all."""
    chart = np.empty((6, count, count))
    back = np.empty((3, count, count), np.int64)
    return eisner(count, -gap, single, chart, back, np.empty((4, 0), np.int32))[0]


@compiled
def _load_row(nodes, single, u, row, lane, order, gap, best, m, e, base, stretch, counts):
    """One row's −(utility less the best of the edges into the same node), as a number and what its rounding lost.

    A tree has one edge into each node, so these shifts change log Z only. Losses beyond `FAR` stay beyond it; where
    even the best tree's is, all of them are brought nearer in proportion, which keeps the order of the trees.
    """
    count = present_nodes(nodes, u, row, order)
    counts[lane] = count
    base[lane] = 0.0
    stretch[lane] = 1.0
    gap[:] = np.inf
    best[:] = -np.inf
    for a in range(count):
        for b in range(1, count):
            if a != b:
                gap[a, b] = -u[row, edge(nodes, order[a], order[b])]
                best[b] = max(best[b], -gap[a, b])
    far = 0.0
    for b in range(1, count):
        if best[b] == -np.inf:
            counts[lane] = 0
            return
        base[lane] += best[b]
    for a in range(count):
        for b in range(1, count):
            if gap[a, b] < np.inf:
                value = -gap[a, b]
                gap[a, b] = best[b] - value
                taken = gap[a, b] - best[b]
                rest = (best[b] - (gap[a, b] - taken)) - (value + taken)
                e[np.int64(_cell(nodes, _JOINED, a, b)) + lane] = -rest
                far = max(far, gap[a, b])
    if far > FAR:
        loss = -_least_loss(count, gap[:count, :count], single)
        if FAR < loss < np.inf:
            stretch[lane] = loss / FAR
    for a in range(count):
        for b in range(1, count):
            at = np.int64(_cell(nodes, _JOINED, a, b)) + lane
            if FAR < gap[a, b] < np.inf:
                gap[a, b] = min(gap[a, b] / stretch[lane], 2.0 * FAR)
                e[at] = 0.0
            m[at] = -gap[a, b]


@compiled(fastmath=_MATHS)
def _exponentials(begin, end, m, e):
    """Turn logarithms m + e into weights m·2ᵉ."""
    for x in range(begin, end):
        present = m[x] > -1e300
        value = m[x] if present else 0.0
        k = np.floor(value * LOG2_E + 0.5)
        weight = exp_reduced(((value - k * LN2_HIGH) - k * LN2_LOW) + e[x])
        m[x] = weight if present else 0.0
        e[x] = k if present else NOTHING


@compiled
def load(nodes, single, u, begin, end, m, e, lanes):
    """The weights of all edges, where those of the spans that they join will be, of as many rows as there are lanes."""
    orders, gap, best, base, stretch, counts = lanes
    joined = _cell(nodes, _JOINED, 0, 0), _cell(nodes, _BETWEEN, 0, 0)
    m[joined[0] : joined[1]] = -np.inf
    e[joined[0] : joined[1]] = 0.0
    for lane in range(LANES):
        row = min(begin + lane, end - 1)
        _load_row(nodes, single, u, row, lane, orders[lane], gap, best, m, e, base, stretch, counts)
    _exponentials(*joined, m, e)


@compiled(inline=True)
def _whole(nodes, count, lane):
    """Where the span of all nodes of a row stands."""
    return np.int64(_cell(nodes, _COMPLETE, 0, max(count - 1, 0))) + lane


@compiled(inline=True)
def _has_tree(nodes, counts, m, lane):
    """Whether the row in this lane has a tree; a root alone is one."""
    return counts[lane] > 0 and m[_whole(nodes, counts[lane], lane)] > 0.0


@compiled
def _normalise_heads(nodes, x):
    """Make one of what is expected of the edges into each node."""
    for b in range(1, nodes):
        total = filled(0.0)
        for a in range(nodes):
            total = total + get(x, _cell(nodes, _JOINED, a, b))
        for a in range(nodes):
            at = _cell(nodes, _JOINED, a, b)
            put(x, at, choose(total, get(x, at) / total, filled(0.0)))


@compiled
def store(nodes, first, end, lanes, m, x, out, feasible):
    """Put what is found of the edges into their places."""
    orders, counts = lanes[0], lanes[-1]
    for lane in range(min(LANES, end - first)):
        row = first + lane
        order = orders[lane]
        feasible[row] = _has_tree(nodes, counts, m, lane)
        out[row] = 0.0
        for a in range(counts[lane]):
            for b in range(1, counts[lane]):
                if a != b:
                    out[row, edge(nodes, order[a], order[b])] = x[np.int64(_cell(nodes, _JOINED, a, b)) + lane]


@compiled
def _load_direction(nodes, g, begin, end, lanes, out):
    """The direction g, laid out as the weights are."""
    orders, counts = lanes[0], lanes[-1]
    out[:] = 0.0
    for lane in range(LANES):
        row = min(begin + lane, end - 1)
        for a in range(counts[lane]):
            for b in range(1, counts[lane]):
                if a != b:
                    to = np.int64(_cell(nodes, _JOINED, a, b)) + lane
                    out[to] = g[row, edge(nodes, orders[lane, a], orders[lane, b])]


@compiled(inline=True)
def _put_weight(m, e, at, weight, scale):
    """Write weight · 2^scale with a mantissa in [1, 2)."""
    put(m, at, choose(weight, mantissa(weight), filled(0.0)))
    put(e, at, choose(weight, scale + exponent(weight), filled(NOTHING)))


@compiled
def _add_up(nodes, table, i, j, m, e):
    """The sum of first part times second part over all divisions of a span."""
    at, one, to_one, two, to_two = _terms(nodes, table, i, j)
    top = filled(4.0 * NOTHING)
    for s in range(np.uint64(j - i)):
        top = larger(top, get(e, one + s * to_one) + get(e, two + s * to_two))
    total = filled(0.0)
    for s in range(np.uint64(j - i)):
        total = total + _term(m, e, one + s * to_one, two + s * to_two, top)
    _put_weight(m, e, at, total, top)


@compiled
def inside(nodes, single, counts, m, e):
    """Fill the charts, where the weights of the edges stand, from narrow spans to wide ones.

    With a single child, the root's spans that end before the last node have weight zero.
    """
    for i in range(nodes - 1, -1, -1):
        put(m, _cell(nodes, _COMPLETE, i, i), filled(1.0))
        put(e, _cell(nodes, _COMPLETE, i, i), filled(0.0))
        for j in range(i + 1, nodes):
            _add_up(nodes, BETWEEN, i, j, m, e)
            between = _cell(nodes, _BETWEEN, i, j)
            for at in (_cell(nodes, _JOINED, i, j), _cell(nodes, _JOINED, j, i)):
                _put_weight(m, e, at, get(m, at) * get(m, between), get(e, at) + get(e, between))
            _add_up(nodes, TO_RIGHT, i, j, m, e)
            _add_up(nodes, TO_LEFT, i, j, m, e)
            if single and i == 0:
                at = np.int64(_cell(nodes, _COMPLETE, 0, j))
                for lane in range(LANES):
                    if j < counts[lane] - 1:
                        m[at + lane], e[at + lane] = 0.0, NOTHING


@compiled(inline=True)
def _over(m, e, at):
    """What to divide terms by to have their shares in a sum: mantissa and exponent; nothing has a share in zero."""
    mantissas = get(m, at)
    return choose(mantissas, filled(1.0) / mantissas, filled(0.0)), choose(mantissas, get(e, at), filled(-NOTHING))


@compiled
def _hand_down(nodes, table, i, j, m, e, x):
    """What is expected of a span goes to the parts of its divisions, in the divisions' shares."""
    at, one, to_one, two, to_two = _terms(nodes, table, i, j)
    inverse, scale = _over(m, e, at)
    inverse = inverse * get(x, at)
    for _ in range(j - i):
        part = inverse * _term(m, e, one, two, scale)
        put(x, one, get(x, one) + part)
        put(x, two, get(x, two) + part)
        one += to_one
        two += to_two


@compiled(inline=True)
def _joined(nodes, x, i, j):
    """What is found of the edges between i and j, in both directions."""
    return get(x, _cell(nodes, _JOINED, i, j)) + get(x, _cell(nodes, _JOINED, j, i))


@compiled
def _expect_trees(nodes, counts, x):
    """Every lane begins at the span of all of its nodes."""
    x[:] = 0.0
    for lane in range(LANES):
        x[_whole(nodes, counts[lane], lane)] = 1.0


@compiled
def _outside(nodes, counts, m, e, x):
    """The probability x of every span, from wide to narrow."""
    _expect_trees(nodes, counts, x)
    for i in range(nodes):
        for j in range(nodes - 1, i, -1):
            _hand_down(nodes, TO_RIGHT, i, j, m, e, x)
            _hand_down(nodes, TO_LEFT, i, j, m, e, x)
            put(x, _cell(nodes, _BETWEEN, i, j), _joined(nodes, x, i, j))
            _hand_down(nodes, BETWEEN, i, j, m, e, x)


@compiled(inline=True)
def chart_size(nodes):
    """How many float64 charts of one kind of numbers have."""
    return 3 * nodes * (nodes | 1) * LANES


@compiled
def _workspace(nodes, memory):
    """What every kernel works in: charts of mantissas, and of exponents, and what belongs to lanes; the memory left."""
    charts, memory = cut(memory, 2, chart_size(nodes))
    lanes = (
        np.empty((LANES, nodes), np.int64),
        np.empty((nodes, nodes)),
        np.empty(nodes),
        np.empty(LANES),
        np.empty(LANES),
        np.empty(LANES, np.int64),
    )
    return charts[0], charts[1], lanes, memory


@compiled
def marginals(begin, end, nodes, single, u, out, feasible, memory):
    """Write the marginals of rows `begin` to `end` into `out`."""
    m, e, lanes, x = _workspace(nodes, memory)
    x = x[: m.size]
    for first in range(begin, end, LANES):
        load(nodes, single, u, first, end, m, e, lanes)
        inside(nodes, single, lanes[-1], m, e)
        _outside(nodes, lanes[-1], m, e, x)
        _normalise_heads(nodes, x)  # so that every node has one head
        store(nodes, first, end, lanes, m, x, out, feasible)


@compiled
def log_partition(begin, end, nodes, single, u, out, feasible, memory):
    """Write log Z of rows `begin` to `end` into `out`."""
    m, e, lanes, _ = _workspace(nodes, memory)
    _, _, _, base, stretch, counts = lanes
    for first in range(begin, end, LANES):
        load(nodes, single, u, first, end, m, e, lanes)
        inside(nodes, single, lanes[-1], m, e)
        for lane in range(min(LANES, end - first)):
            feasible[first + lane] = _has_tree(nodes, counts, m, lane)
            if feasible[first + lane]:
                at = _whole(nodes, counts[lane], lane)
                out[first + lane] = base[lane] + (math.log(m[at]) + e[at] * LN2) * stretch[lane]


@compiled
def _draw_division(nodes, table, i, j, m, e, lane, uniform):
    """The number of a division of the span i…j, drawn by the divisions' shares."""
    at, one, to_one, two, to_two = _terms(nodes, table, i, j)
    at, one, two = at + lane, one + lane, two + lane
    passed = 0.0
    drawn = 0
    for s in range(j - i):
        term = m[one] * m[two] * power_of_two(np.int64(e[one] + e[two] - e[at]))
        passed += term
        drawn = s if term > 0.0 else drawn
        if passed > uniform * m[at]:
            break
        one += to_one
        two += to_two
    return drawn


@compiled
def _draw_tree(nodes, count, m, e, lane, uniforms, stack, head):
    """Write the head of every node of a random tree, from the span of all nodes down."""
    numbers = uniforms.size // 3
    size = push(stack, 0, RIGHT, 0, count - 1)
    while size > 0:
        size -= 1
        kind, i, j = stack[size, 0], stack[size, 1], stack[size, 2]
        table = attach(kind, i, j, head)
        if table >= 0:
            w = j - i
            uniform = uniforms[table * numbers + w * nodes - w * (w - 1) // 2 + i]
            s = _draw_division(nodes, table, i, j, m, e, np.uint64(lane), uniform)
            size = push_parts(stack, size, table, i, j, i + s + (table == TO_RIGHT))


@compiled
def _next_rows(begin, end, u, different, starts):
    """Copy the next few rows that differ from their predecessors; write where the copies of each begin, and the end."""
    found = 0
    for row in range(begin, end):
        new = row == begin
        for x in range(u.shape[1]):
            new = new or u[row, x] != u[row - 1, x]
        if new:
            if found == LANES:
                starts[found] = row
                return found
            copy(u[row], different[found])
            starts[found] = row
            found += 1
    starts[found] = end
    return found


@compiled
def sample(begin, end, nodes, single, u, uniforms, out, feasible, memory):
    """Write a random tree for each of the rows `begin` to `end` into `out`; equal rows in sequence share one chart."""
    m, e, lanes, _ = _workspace(nodes, memory)
    orders, counts = lanes[0], lanes[-1]
    different = np.empty((LANES, u.shape[1]))
    starts = np.empty(LANES + 1, np.int64)
    stack = np.empty((2 * nodes + 2, 3), np.int64)
    head = np.empty(nodes, np.int64)
    starts[0] = begin
    found = 0
    while starts[found] < end:
        found = _next_rows(starts[found], end, u, different, starts)
        load(nodes, single, different, 0, found, m, e, lanes)
        inside(nodes, single, counts, m, e)
        for lane in range(found):
            order = orders[lane]
            possible = _has_tree(nodes, counts, m, lane)
            for row in range(starts[lane], starts[lane + 1]):
                out[row] = 0.0
                feasible[row] = possible
                if possible:
                    _draw_tree(nodes, counts[lane], m, e, lane, uniforms[row], stack, head)
                    for b in range(1, counts[lane]):
                        out[row, edge(nodes, order[head[b]], order[b])] = 1.0


@compiled
def _add_up_tangent(nodes, table, i, j, m, e, a):
    """The derivative of the logarithm of `_add_up`'s sum: the mean, by the shares, of that of its terms."""
    at, one, to_one, two, to_two = _terms(nodes, table, i, j)
    inverse, scale = _over(m, e, at)
    mean = filled(0.0)
    for _ in range(j - i):
        mean = mean + _term(m, e, one, two, scale) * (get(a, one) + get(a, two))
        one += to_one
        two += to_two
    put(a, at, mean * inverse)


@compiled
def _inside_tangent(nodes, m, e, a):
    """The derivatives a of the logarithms of all spans' weights; at the edges' places stand those of theirs."""
    for i in range(nodes - 1, -1, -1):
        for j in range(i + 1, nodes):
            _add_up_tangent(nodes, BETWEEN, i, j, m, e, a)
            for at in (_cell(nodes, _JOINED, i, j), _cell(nodes, _JOINED, j, i)):
                put(a, at, get(a, at) + get(a, _cell(nodes, _BETWEEN, i, j)))
            _add_up_tangent(nodes, TO_RIGHT, i, j, m, e, a)
            _add_up_tangent(nodes, TO_LEFT, i, j, m, e, a)


@compiled
def _hand_down_tangent(nodes, table, i, j, m, e, a, x, dx):
    """`_hand_down` and its derivative."""
    at, one, to_one, two, to_two = _terms(nodes, table, i, j)
    inverse, scale = _over(m, e, at)
    mean = get(a, at)
    above, dabove = get(x, at) * inverse, get(dx, at) * inverse
    for _ in range(j - i):
        term = _term(m, e, one, two, scale)
        part = above * term
        dpart = dabove * term + part * (get(a, one) + get(a, two) - mean)
        put(x, one, get(x, one) + part)
        put(x, two, get(x, two) + part)
        put(dx, one, get(dx, one) + dpart)
        put(dx, two, get(dx, two) + dpart)
        one += to_one
        two += to_two


@compiled
def _outside_tangent(nodes, counts, m, e, a, x, dx):
    """`_outside` and its derivative."""
    _expect_trees(nodes, counts, x)
    dx[:] = 0.0
    for i in range(nodes):
        for j in range(nodes - 1, i, -1):
            _hand_down_tangent(nodes, TO_RIGHT, i, j, m, e, a, x, dx)
            _hand_down_tangent(nodes, TO_LEFT, i, j, m, e, a, x, dx)
            put(x, _cell(nodes, _BETWEEN, i, j), _joined(nodes, x, i, j))
            put(dx, _cell(nodes, _BETWEEN, i, j), _joined(nodes, dx, i, j))
            _hand_down_tangent(nodes, BETWEEN, i, j, m, e, a, x, dx)


@compiled
def marginals_jvp(begin, end, nodes, single, u, g, out, feasible, memory):
    """Write the derivative of the marginals in the direction g into `out`."""
    m, e, lanes, memory = _workspace(nodes, memory)
    charts, _ = cut(memory, 3, m.size)
    a, x, dx = charts[0], charts[1], charts[2]
    for first in range(begin, end, LANES):
        load(nodes, single, u, first, end, m, e, lanes)
        inside(nodes, single, lanes[-1], m, e)
        _load_direction(nodes, g, first, end, lanes, a)
        _inside_tangent(nodes, m, e, a)
        _outside_tangent(nodes, lanes[-1], m, e, a, x, dx)
        store(nodes, first, end, lanes, m, dx, out, feasible)
