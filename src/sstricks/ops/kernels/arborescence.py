"""Elimination of directed graphs on the CPU; the mathematics stands in `sstricks.ops.arborescence`.

The edges from node i down to j < i are stored in the first half of an array, those from j up to i in the second, both
by rising i and then j; ratios likewise. Node 0 is the root. Exponents are float64, so that no range of utilities is too
large for them.
"""

import math

import numpy as np

from sstricks.ops.kernels.arrays import add_up, copy
from sstricks.ops.kernels.compiled import compiled
from sstricks.ops.kernels.contraction import bring_near
from sstricks.ops.kernels.floats import (
    LANES,
    LN2,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    ROW,
    exp_reduced,
    exponent,
    mantissa,
)
from sstricks.ops.kernels.lanes import choose, filled, larger, load, minus_abs, power, store, transpose
from sstricks.ops.kernels.separate import MATHS, separate
from sstricks.ops.kernels.spanning_tree import cut, row_of
from sstricks.ops.precision import NEAR

ABSENT = -1e307  # the exponent of zero: below that of every weight, and no sum of two of them overflows
BLOCK = 32  # so many edges are handed over at a time, which keeps them in the nearest cache
_FARTHEST = 1e305  # differences of utilities end below it
_LOWER = 2.0**15  # lowering utilities by more would cost them too many digits


@compiled
def aligned(size):
    """Memory whose vectors do not straddle two cache lines."""
    whole = np.empty(size + LANES)
    skip = (-whole.ctypes.data) % 64 // 8
    return whole[skip : skip + size]


@compiled
def workspace(nodes, edges, memory):
    """What every kernel works in: weights, those of the edges, present nodes, d·2^top of each; the memory left."""
    at_pairs, memory = cut(memory, 4, nodes * (nodes - 1) // 2 * LANES)
    at_edges, memory = cut(memory, 2, edges * LANES)
    at_nodes, memory = cut(memory, 3, nodes * LANES)
    weights = (_together(at_pairs, 0, 2), _together(at_pairs, 2, 4))
    return weights, (at_edges[0], at_edges[1]), at_nodes[0], (at_nodes[1], at_nodes[2]), memory


@compiled
def _together(pieces, begin, end):
    """Some neighbouring pieces as one array."""
    return pieces[begin:end].reshape((end - begin) * pieces.shape[1])


def workspace_size(nodes, edges):
    """How many float64 `workspace` and the derivative's own arrays take."""
    return LANES * (6 * (nodes * (nodes - 1) // 2) + 4 * edges + 4 * nodes)


@compiled
def slots(nodes, ends):
    """Where each edge's pair and direction stand."""
    slot = np.empty(ends.shape[1], np.int64)
    for x in range(slot.size):
        low, high = min(ends[0, x], ends[1, x]), max(ends[0, x], ends[1, x])
        slot[x] = high * (high - 1) // 2 + low
        if ends[0, x] < ends[1, x]:
            slot[x] += nodes * (nodes - 1) // 2
    return slot


@compiled
def parallel(slot, pairs):
    """Which edges have an earlier one between the same nodes."""
    taken, again = np.empty(pairs, np.bool_), np.empty(slot.size, np.bool_)
    taken[:] = False
    for x in range(slot.size):
        again[x] = taken[slot[x]]
        taken[slot[x]] = True
    return again


@separate
def transposed(begin, end, u, rows):
    """The rows from `begin` on, one in each lane; the last one stands in for those from `end` on."""
    columns = u.shape[1]
    squares = columns // LANES * LANES if end - begin >= LANES else 0
    for x in range(0, squares, LANES):
        transpose(rows, x * LANES, LANES, u, begin * columns + x, columns)
    for lane in range(LANES):
        for x in range(np.uint64(squares), np.uint64(columns)):
            rows[x * ROW + np.uint64(lane)] = u[min(begin + lane, end - 1), x]


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
            store(m_edge, at, filled(-np.inf))
        u = load(m_edge, at)
        store(present, tail, larger(load(present, tail), u))
        store(top, head, larger(load(top, head), u))
    for x in range(np.uint64(top.size)):
        present[x] = max(present[x], top[x])
        top[x] = top[x] if top[x] > -np.inf else 0.0


@separate
def _farthest(ends, m_edge, top, worst):
    """By how much each lane's utilities are at most below the best edge into the same node."""
    zero, infinity = filled(0.0), filled(np.inf)
    gap = zero
    for x in range(ends.shape[1]):
        u = load(m_edge, np.uint64(x) * ROW)
        below = load(top, np.uint64(ends[1, x]) * ROW) - u
        gap = larger(choose(u + infinity, below, zero), gap)  # −∞ + ∞ has no sign
    store(worst, np.uint64(0), gap)


@separate
def _reach(ends, m_edge, top, reached):
    """Mark the nodes that the root reaches by edges that are not far below the best edge into the same node."""
    zero, limit = filled(0.0), filled(NEAR)
    reached[:] = 0.0
    reached[:LANES] = 1.0
    before = 0.0
    while before < add_up(reached):
        before = add_up(reached)
        for x in range(ends.shape[1]):
            at = np.uint64(ends[1, x]) * ROW
            below = load(top, at) - load(m_edge, np.uint64(x) * ROW)
            tail = load(reached, np.uint64(ends[0, x]) * ROW)
            store(reached, at, larger(load(reached, at), choose(limit - below, tail, zero)))


@compiled
def _bring_near(u, begin, end, ends, m_edge, top, present, base):
    """Where all trees need an edge far below others, replace the utilities; the others' far edges do not matter."""
    base[:] = 0.0
    worst = np.empty(LANES)
    _farthest(ends, m_edge, top, worst)
    beyond = False
    for lane in range(LANES):
        beyond |= not worst[lane] <= NEAR
    if not beyond:
        return
    reached = aligned(top.size)
    _reach(ends, m_edge, top, reached)
    for lane in range(LANES):
        far = False
        for x in range(lane, reached.size, LANES):
            far |= reached[x] == 0.0 and present[x] > -np.inf
        if far:
            row = min(begin + lane, end - 1)
            base[lane], _ = bring_near(top.size // LANES, row, u, ends, False, m_edge[lane::LANES])
    _tops(ends, m_edge, top, present)


@separate
def exponentials(m, e):
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


@compiled(inline=True)
def merge(added, new, m, e, y):
    """w ← w + w', that is added·2^new; returns the latter's part of the sum.

    The sum is not normalised: its mantissa stays between 1/(4n) and 4n, where it costs no digits.
    """
    one = filled(1.0)
    old = load(e, y)
    lead = new - old
    less = power(minus_abs(lead))
    added = added * choose(lead, one, less)
    total = load(m, y) * choose(lead, less, one) + added
    store(m, y, total)
    store(e, y, choose(lead, new, old))
    return added / choose(total, total, one)


@separate
def load_weights(u, begin, end, slot, again, ends, m, e, m_edge, e_edge, present, base):
    """The weights exp(u − max u) of edges and pairs, the maximum over each head's edges; the sum of the maxima.

    Every tree has one edge into each node, so the maxima do not change its law. Where utilities are so far below them
    that sums of exponents would be rounded, others with the same law, which are near each other, take their place.
    """
    top = aligned(present.size)
    transposed(begin, end, u, m_edge)
    _tops(ends, m_edge, top, present)
    _bring_near(u, begin, end, ends, m_edge, top, present, base)
    for x in range(0, top.size, LANES):
        for lane in range(LANES):
            base[lane] += top[x + lane]
    for x in range(ends.shape[1]):
        store(e_edge, np.uint64(x) * ROW, load(top, np.uint64(ends[1, x]) * ROW))
    exponentials(m_edge, e_edge)
    m[:] = 0.0
    e[:] = ABSENT
    for x in range(ends.shape[1]):
        at, to = np.uint64(x) * ROW, np.uint64(slot[x]) * ROW
        if again[x]:
            merge(load(m_edge, at), load(e_edge, at), m, e, to)
        else:
            store(m, to, load(m_edge, at))
            store(e, to, load(e_edge, at))


@separate
def shares(slot, m, e, m_edge, e_edge, share):
    """Each edge's part of the weight of all edges between its two nodes."""
    zero = filled(0.0)
    for x in range(slot.size):
        at, to = np.uint64(x) * ROW, np.uint64(slot[x]) * ROW
        part = load(m_edge, at) * power(load(e_edge, at) - load(e, to))
        store(share, at, choose(load(m, to), part / load(m, to), zero))


@separate
def take(v, m, down, up):
    """Copy what belongs to the edges from node v down to lower ones, and from these up to v."""
    row, half = row_of(v), np.uint64(m.size // 2)
    for x in range(np.uint64(v) * ROW):
        down[x] = m[row + x]
        up[x] = m[half + row + x]


@separate
def put(v, m, down, up):
    """The reverse of `take`."""
    row, half = row_of(v), np.uint64(m.size // 2)
    for x in range(np.uint64(v) * ROW):
        m[row + x] = down[x]
        m[half + row + x] = up[x]


@separate
def normalise(v, m, e):
    """Bring the mantissas of the first v nodes' weights into [1, 2), unless that would round their exponents."""
    for x in range(np.uint64(v) * ROW):
        exact = (m[x] > 0.0) & (abs(e[x]) < 2.0**52)
        e[x] = e[x] + exponent(m[x]) if exact else e[x]
        m[x] = mantissa(m[x]) if exact else m[x]


@separate
def centre(v, row, centres, centred):
    """Subtract node v's of the `centres` from its row."""
    at = np.uint64(v) * ROW
    middle = load(centres, at)
    for j in range(np.uint64(0), at, ROW):
        store(centred, j, load(row, j) - middle)


@separate
def law(v, m, e, e_p, d, top):
    """From the weights of all edges into node v, m·2ᵉ, the law p of its parent, m·2^e_p, and their sum d·2^top."""
    normalise(v, m, e)
    at = np.uint64(v) * ROW
    highest, total, one = filled(ABSENT), filled(0.0), filled(1.0)
    for j in range(np.uint64(0), at, ROW):
        highest = larger(highest, load(e, j))
    for j in range(np.uint64(0), at, ROW):
        less = load(e, j) - highest
        store(e_p, j, less)
        total = total + load(m, j) * power(less)
    total = choose(total, total, one)
    for j in range(np.uint64(0), at, ROW):
        store(m, j, load(m, j) / total)
    store(top, at, highest)
    store(d, at, total)


@compiled
def used(present, absent):
    """How many nodes there are up to the last one that some graph in the lanes has; those behind are padding."""
    nodes = present.size // LANES
    while nodes > 1:
        for lane in range(LANES):
            if present[(nodes - 1) * LANES + lane] > absent:
                return nodes
        nodes -= 1
    return nodes


@compiled
def count_unreached(first, end, top, present, unreached):
    """How many nodes that have an edge have none into them once those above them are eliminated, the root aside."""
    for lane in range(min(LANES, end - first)):
        unreached[first + lane] = 0
        for x in range(LANES + lane, top.size, LANES):
            unreached[first + lane] += top[x] == ABSENT and present[x] > -np.inf


@separate
def _add(v, m1, e1, m2, e2, m, e, start):
    """w ← w + w₁·w₂ for all pairs of the first v nodes; w₁ belongs to the higher one."""
    for i in range(1, v):
        at = np.uint64(i) * ROW
        row = start + row_of(i)
        m_i, e_i = load(m1, at), load(e1, at)
        for j in range(np.uint64(0), at, ROW):
            merge(m_i * load(m2, j), e_i + load(e2, j), m, e, row + j)


@separate
def _leave_out(nodes, d, top):
    """What `law` says of the nodes from n on, which no edge leads to."""
    for x in range(np.uint64(nodes) * ROW, np.uint64(d.size)):
        d[x] = 1.0
        top[x] = ABSENT


@separate
def _eliminate(nodes, m, e, d, top):
    """Eliminate nodes n−1, …, 1, of each the sum d·2^top of the weights into it; the mantissas of these become p's.

    Exponents and the weights of the edges down from a node stay what they were when it was eliminated. (Those of p are
    the difference to `top`, from which, as large as they may be, the former could not be had back.)
    """
    m_p, e_p, e_in, m_out, e_out = rows(nodes)
    half = np.uint64(m.size // 2)
    _leave_out(nodes, d, top)
    for v in range(nodes - 1, 0, -1):
        take(v, m, m_out, m_p)
        take(v, e, e_out, e_in)
        normalise(v, m_out, e_out)
        law(v, m_p, e_in, e_p, d, top)
        put(v, m, m_out, m_p)
        put(v, e, e_out, e_in)
        _add(v, m_p, e_p, m_out, e_out, m, e, np.uint64(0))
        _add(v, m_out, e_out, m_p, e_p, m, e, half)


@compiled
def rows(nodes):
    """Memory for five rows of a node."""
    size = nodes * LANES
    return aligned(size), aligned(size), aligned(size), aligned(size), aligned(size)


@separate
def _pass(v, m1, e1, m2, e2, m, e, start, high, low):
    """Add to both ends of every edge the marginal c = w₁·w₂·y of its part that leads through node v."""
    for i in range(1, v):
        at = np.uint64(i) * ROW
        row = start + row_of(i)
        m_i, e_i, received = load(m1, at), load(e1, at), load(high, at)
        for j in range(np.uint64(0), at, ROW):
            y = row + j
            c = m_i * load(m2, j) * load(m, y) * power(e_i + load(e2, j) + load(e, y))
            received = received + c
            store(low, j, load(low, j) + c)
        store(high, at, received)


@separate
def _restore(v, m_p, e_p, e_in, m_out, e_out, d, as_parent, as_child):
    """Of the edges of node v, y = x / w in the place of w, with x = p·(1 − S) + what its other end received."""
    at = np.uint64(v) * ROW
    zero, rest, whole = filled(0.0), filled(1.0), load(d, at)
    for j in range(np.uint64(0), at, ROW):
        rest = rest - load(as_parent, j)
    for j in range(np.uint64(0), at, ROW):
        m, out = load(m_p, j), load(m_out, j)
        x = m * power(load(e_p, j)) * rest + load(as_parent, j)
        store(m_p, j, choose(m, x / (m * whole), zero))
        store(e_in, j, choose(m, zero - load(e_in, j), zero))
        store(m_out, j, choose(out, load(as_child, j) / out, zero))
        store(e_out, j, choose(out, zero - load(e_out, j), zero))


@separate
def pick(slot, block, m, picked):
    """Copy what belongs to a block of edges, from the places of their pairs."""
    for x in range(min(BLOCK, slot.size - block)):
        store(picked, np.uint64(x) * ROW, load(m, np.uint64(slot[block + x]) * ROW))


@separate
def _to_marginals(block, m_edge, e_edge, m, e):
    """For a block of edges x = w·y in the place of y. The error of 1 − S is absolute: it may lead out of [0, 1]."""
    at = np.uint64(block) * ROW
    zero, one = filled(0.0), filled(1.0)
    for x in range(np.uint64(0), np.uint64(min(m.size, m_edge.size - block * LANES)), ROW):
        value = load(m_edge, at + x) * load(m, x) * power(load(e_edge, at + x) + load(e, x))
        store(m, x, choose(one - value, larger(zero, value), one))


@separate
def write(first, end, block, values, out):
    """Hand over what was found for a block of edges."""
    columns = out.shape[1]
    count = min(BLOCK, columns - block)
    squares = count // LANES * LANES if end - first >= LANES else 0
    for x in range(0, squares, LANES):
        transpose(out, first * columns + block + x, columns, values, x * LANES, LANES)
    for lane in range(min(LANES, end - first)):
        for x in range(np.uint64(squares), np.uint64(count)):
            out[first + lane, np.uint64(block) + x] = values[x * ROW + np.uint64(lane)]


@compiled
def nearby(begin, end, nodes, u, ends, out, unreached, memory):
    """Write utilities that `load_weights` would use into `out`, and in the last column what log Z of u is more."""
    _, (m_edge, _), present, _, _ = workspace(nodes, u.shape[1], memory)
    top, base = aligned(present.size), np.empty(LANES)
    unreached[begin:end] = 0
    for first in range(begin, end, LANES):
        transposed(first, end, u, m_edge)
        _tops(ends, m_edge, top, present)
        _bring_near(u, first, end, ends, m_edge, top, present, base)
        for lane in range(min(LANES, end - first)):
            for x in range(ends.shape[1]):
                out[first + lane, x] = m_edge[x * LANES + lane]
            out[first + lane, ends.shape[1]] = base[lane]


@separate
def _around(ends, hub, m_edge, present, top, least, child, from_hub, to_hub):
    """The largest utility of the edges from and into each node, the smallest into it, without its sign; which it has.

    `least` is of edges between other nodes than the root; from there leads `child`.
    """
    zero, one, infinity, nothing = filled(0.0), filled(1.0), filled(np.inf), filled(-np.inf)
    for x in (present, top, least):
        x[:] = -np.inf
    for x in (child, from_hub, to_hub):
        x[:] = 0.0
    for x in range(ends.shape[1]):
        i, j = ends[0, x], ends[1, x]
        if j == 0:
            continue
        tail, head = np.uint64(i) * ROW, np.uint64(j) * ROW
        u = load(m_edge, np.uint64(x) * ROW)
        here = u + infinity  # −∞ + ∞ has no sign
        store(present, tail, larger(load(present, tail), u))
        store(top, head, larger(load(top, head), u))
        if i == 0:
            store(child, head, choose(here, one, load(child, head)))
            continue
        store(least, head, larger(load(least, head), choose(here, zero - u, nothing)))
        if i == hub:
            store(from_hub, head, choose(here, one, load(from_hub, head)))
        elif j == hub:
            store(to_hub, tail, choose(here, one, load(to_hub, tail)))


@compiled
def _second_child(lane, hub, apart, present, top, least, child, from_hub, to_hub):
    """By how much edges from the root must be lower for trees with two of them to weigh exp(−apart) at the most.

    Infinity where it is not known: where a node has no edge from the hub or, being a child of the root, to the hub.
    """
    if child[hub * LANES + lane] == 0.0:
        return np.inf
    gap = 0.0
    for v in range(1, top.size // LANES):
        at = v * LANES + lane
        if top[at] > -np.inf:
            if v != hub and (from_hub[at] == 0.0 or child[at] > to_hub[at]):
                return np.inf
            gap = max(gap, top[at] + least[at])
        elif present[at] > -np.inf:
            return np.inf
    return apart + 4.0 * math.log(top.size // LANES) + 2.0 * gap


# A forest of trees from i and j, other children of the root aside, becomes a tree from i when nodes get other parents:
# those on the way from i to j through the hub, from the last one that is below i. These are two, j among them, and
# each loses the weight of one edge for that of another, at most `gap` lower. At most n⁴ forests become the same tree.
@compiled
def single_root(begin, end, nodes, apart, u, ends, out, shift, unreached, memory):
    """Write utilities whose law is that of the trees of u with a single child of the root into `out`, if it has rows.

    What log Z is more goes to `shift`. Trees with several children have less than exp(−apart) of the weight.
    """
    at_nodes, m_edge = cut(memory, 6, nodes * LANES)
    m_edge = m_edge[: ends.shape[1] * LANES]
    lanes = at_nodes[0], at_nodes[1], at_nodes[2], at_nodes[3], at_nodes[4], at_nodes[5]
    for first in range(begin, end, LANES):
        hub = nodes
        for x in range(ends.shape[1]):
            if ends[0, x] == 0 and 0 < ends[1, x] < hub and u[first, x] > -np.inf:
                hub = ends[1, x]
        hub = hub if hub < nodes else 0
        transposed(first, end, u, m_edge)
        _around(ends, hub, m_edge, *lanes)
        for row in range(first, min(first + LANES, end)):
            lower = _second_child(row - first, hub, apart, *lanes)
            unreached[row] = 0
            if lower <= _LOWER:
                shift[row] = lower
                if len(out):
                    copy(u[row], out[row])
                    for x in range(ends.shape[1]):
                        if ends[0, x] == 0:
                            out[row, x] -= lower
            else:
                near = out[row] if len(out) else np.empty(ends.shape[1])
                shift[row], unreached[row] = bring_near(nodes, row, u, ends, True, near)


@compiled(fastmath=MATHS)
def marginals(begin, end, nodes, u, ends, out, unreached, memory):
    """Write the marginals of rows `begin` to `end` into `out`."""
    slot = slots(nodes, ends)
    again = parallel(slot, nodes * (nodes - 1))
    (m, e), (m_edge, e_edge), present, (d, top), _ = workspace(nodes, u.shape[1], memory)
    m_p, e_p, e_in, m_out, e_out = rows(nodes)
    as_parent, as_child = aligned(nodes * LANES), aligned(nodes * LANES)
    y, e_y = aligned(BLOCK * LANES), aligned(BLOCK * LANES)
    base, half = np.empty(LANES), np.uint64(m.size // 2)
    for first in range(begin, end, LANES):
        load_weights(u, first, end, slot, again, ends, m, e, m_edge, e_edge, present, base)
        count = used(present, -np.inf)
        _eliminate(count, m, e, d, top)
        count_unreached(first, end, top, present, unreached)
        for v in range(1, count):
            as_parent[:] = 0.0
            as_child[:] = 0.0
            take(v, m, m_out, m_p)
            take(v, e, e_out, e_in)
            centre(v, e_in, top, e_p)
            _pass(v, m_p, e_p, m_out, e_out, m, e, np.uint64(0), as_parent, as_child)
            _pass(v, m_out, e_out, m_p, e_p, m, e, half, as_child, as_parent)
            _restore(v, m_p, e_p, e_in, m_out, e_out, d, as_parent, as_child)
            put(v, m, m_out, m_p)
            put(v, e, e_out, e_in)
        for block in range(0, u.shape[1], BLOCK):
            pick(slot, block, m, y)
            pick(slot, block, e, e_y)
            _to_marginals(block, m_edge, e_edge, y, e_y)
            write(first, end, block, y, out)


@compiled(fastmath=MATHS)
def log_partition(begin, end, nodes, u, ends, out, unreached, memory):
    """Write log Z of rows `begin` to `end` into `out`."""
    slot = slots(nodes, ends)
    again = parallel(slot, nodes * (nodes - 1))
    (m, e), (m_edge, e_edge), present, (d, top), _ = workspace(nodes, u.shape[1], memory)
    base = np.empty(LANES)
    for first in range(begin, end, LANES):
        load_weights(u, first, end, slot, again, ends, m, e, m_edge, e_edge, present, base)
        _eliminate(used(present, -np.inf), m, e, d, top)
        count_unreached(first, end, top, present, unreached)
        for lane in range(min(LANES, end - first)):
            log_z = 0.0
            for x in range(LANES + lane, d.size, LANES):
                log_z += math.log(d[x]) + (top[x] * LN2 if top[x] > ABSENT else 0.0)
            out[first + lane] = log_z + base[lane]


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
    shared = False
    for k in range(slot.size):
        shared |= again[k]
    if shared:
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
    _leave_out(nodes, d, top)
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


@compiled(fastmath=MATHS)
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
        count = used(present, -np.inf)
        _eliminate_tangent(count, m, e, dm, d, top, delta)
        count_unreached(first, end, top, present, unreached)
        for v in range(1, count):
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
