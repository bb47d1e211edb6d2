"""Star-mesh elimination and maximum spanning trees on the CPU; see `sstricks.ops.spanning_tree` for the mathematics.

Marginals are carried as y = x/w, that is ∂log Z/∂w: between two nodes it is the same in the larger graph as in the
smaller one, so that only the row of the node that comes back is new,

    x_iv = p_i (1 − S) + Σ_j c_ij,   c_ij = w_iv p_j y_ij ≤ 1,   y_iv = x_iv / w_iv,

and no ρ is stored. Its derivative comes from a = d log w and from dx/w, both in the last graph in which the pair's
nodes are. Where a relaxation is a vertex, each ρ is 0 or 1 and the derivative is exactly zero, not merely small: it
will be divided by the temperature.

A pair of nodes i > j is stored by diagonals: those with i − j = 1 first, then those with i − j = 2, and so on, each by
rising j. What a stage does to all pairs of the nodes still there is then, for each diagonal, one loop over contiguous
memory in which the values at i, at j and at the pair all advance by one. What belongs to the row of node v is stored
from v(v−1)/2 on, by rising j. Every array is flat, with the lane as the last index. Loops take whole arrays and
unsigned offsets: a slice would cost two atomic operations each time, and a signed index its wrap-around test, which
keeps a loop from being vectorised. Loops over eight lanes have few arrays each, since every one of them first tests its
arrays for overlap.

**Maximum**: dense Prim, and Borůvka where the edge list is sparse. Edges are totally ordered by utility, then by index
(the lower first), so the maximum is unique and both agree on it.
"""

import math

import numpy as np

from sstricks.ops.kernels.arrays import add_up, copy, descending
from sstricks.ops.kernels.compiled import compiled
from sstricks.ops.kernels.floats import (
    LANES,
    LARGEST,
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
from sstricks.ops.kernels.lanes import choose, filled, larger, load, store
from sstricks.ops.kernels.separate import MATHS, separate
from sstricks.ops.precision import MANY, NEAR, SURE

_FARTHEST = 1e305  # differences of scaled utilities end below it


@compiled(inline=True)
def row_of(v):
    """Where the row of node v begins: the number of pairs of the first v nodes, times the lanes."""
    return np.uint64(v * (v - 1) // 2 * LANES)


@compiled(inline=True)
def diagonal(nodes, apart):
    """Where the pairs of nodes that are `apart` numbers apart begin."""
    return np.uint64((apart - 1) * (2 * nodes - apart) // 2 * LANES)


@compiled
def cut(memory, pieces, size):
    """The first so many pieces of the memory, and what remains."""
    return memory[: pieces * size].reshape(pieces, size), memory[pieces * size :]


@compiled
def number(nodes, ends):
    """The number of each edge's pair of nodes."""
    pair = np.empty(ends.shape[1], np.int64)
    for x in range(ends.shape[1]):
        low = min(ends[0, x], ends[1, x])
        pair[x] = np.int64(diagonal(nodes, max(ends[0, x], ends[1, x]) - low)) // LANES + low
    return pair


def workspace_size(nodes, edges):
    """How many float64 the working memory of a kernel has."""
    return LANES * (10 * (nodes * (nodes - 1) // 2) + 5 * nodes + 3 * edges)


@compiled
def _workspace(nodes, edges, memory):
    """The weights of all pairs, the rows, the edges, the nodes; each begins at a multiple of 64 bytes."""
    pairs, memory = cut(memory, 6, nodes * (nodes - 1) // 2 * LANES)
    at_edges, memory = cut(memory, 3, edges * LANES)
    at_nodes, memory = cut(memory, 5, nodes * LANES)
    weights = (pairs[0], pairs[1].view(np.int64))
    rows = (pairs[2], pairs[3].view(np.int64), pairs[4], pairs[5].view(np.int64))
    edge_weights = (at_edges[0], at_edges[1].view(np.int64), at_edges[2])
    received = (at_nodes[0], at_nodes[1], at_nodes[2], at_nodes[3])
    return weights, rows, edge_weights, received, at_nodes[4].view(np.int64), memory


@separate
def _exponentials(m, e):
    """Turn logarithms m into weights m·2ᵉ."""
    for x in range(np.uint64(m.size)):
        value = max(m[x], -LARGEST)
        k = np.floor(value * LOG2_E + 0.5)
        absent = np.float64(m[x] < -1e300)
        m[x] = exp_reduced((value - k * LN2_HIGH) - k * LN2_LOW) * (1.0 - absent)
        e[x] = NOTHING if absent > 0.0 else np.int64(k)


@separate
def _merge(count, m1, e1, shift, m2, e2, row, m, e, to):
    """w ← w + w₁·w₂, entry by entry; w₁ is read from row + shift on, w₂ from row on.

    The sum is not normalised: its mantissa stays between 1/(4n) and 4n, where it costs no digits.
    """
    for x in range(np.uint64(count)):
        y = to + x
        product = m1[row + shift + x] * m2[row + x]
        e_product = e1[row + shift + x] + e2[row + x]
        lead = e_product - e[y]
        less = power_of_two(-abs(lead))
        m[y] = (m[y] * less if lead > 0 else m[y]) + (product if lead > 0 else product * less)
        e[y] = max(e_product, e[y])


@separate
def _merge_tangent(count, m1, e1, shift, m2, e2, row, m, e, a, to, a_row, t):
    """`_merge`, and the mean of d log w and d log(w₁·w₂) = a + t by their shares, exact where one of them is all."""
    for x in range(np.uint64(count)):
        y = to + x
        product = m1[row + shift + x] * m2[row + x]
        e_product = e1[row + shift + x] + e2[row + x]
        lead = e_product - e[y]
        less = power_of_two(-abs(lead))
        added = product if lead > 0 else product * less
        total = (m[y] * less if lead > 0 else m[y]) + added
        ratio = added / (total + np.float64(total <= 0.0))
        a[y] = (1.0 - ratio) * a[y] + ratio * (a_row[row + shift + x] + t[row + x])
        m[y] = total
        e[y] = max(e_product, e[y])


@separate
def _reach(ends, m_edge, present, reached):
    """Mark the nodes that have an edge, and those that edges not far below the best one connect to those marked."""
    zero, one, limit, infinity = filled(0.0), filled(1.0), filled(NEAR), filled(np.inf)
    present[:] = 0.0
    before = 0.0
    while before < add_up(reached):
        before = add_up(reached)
        for x in range(ends.shape[1]):
            i, j = np.uint64(ends[0, x]) * ROW, np.uint64(ends[1, x]) * ROW
            below = load(m_edge, np.uint64(x) * ROW)
            here = choose(below + infinity, one, zero)  # −∞ + ∞ has no sign
            store(present, i, larger(load(present, i), here))
            store(present, j, larger(load(present, j), here))
            near = choose(below + limit, larger(load(reached, i), load(reached, j)), zero)
            store(reached, i, larger(load(reached, i), near))
            store(reached, j, larger(load(reached, j), near))


@compiled
def _find_far(nodes, ends, m_edge, far):
    """In which lanes all trees have an edge far below the best one; where some have none, far edges do not matter."""
    present, reached = np.empty(nodes * LANES), np.empty(nodes * LANES)
    reached[:] = 0.0
    for lane in range(LANES):
        for x in range(ends.shape[1]):
            if m_edge[x * LANES + lane] == 0.0:
                reached[ends[0, x] * LANES + lane] = 1.0
                break
    _reach(ends, m_edge, present, reached)
    for lane in range(LANES):
        far[lane] = False
        for x in range(lane, present.size, LANES):
            far[lane] |= present[x] > reached[x]


@compiled
def bring_near(nodes, u, row, near):
    """Write utilities with the law of a row of u, but near each other, none above 0; `sstricks.ops.spanning_tree`."""
    most = SURE + MANY * nodes
    before, height = np.inf, 0.0
    for x in descending(u[row]):
        height -= min(before - u[row, x], most) if before < np.inf else 0.0
        before = u[row, x]
        near[x] = height if before > -np.inf else -np.inf


@compiled(fastmath=MATHS)
def _load(nodes, u, begin, end, pair, ends, m, e, m_edge, e_edge, present, best, far):
    """The weights exp(u − max u) of all edges and of all pairs of nodes; which nodes are present; max u.

    Where all trees need an edge far below the best one, the weights are those of near utilities with the same law.
    """
    edges = u.shape[1]
    m[:] = 0.0
    e[:] = NOTHING
    present[:] = 0
    beyond = 0
    for lane in range(LANES):
        row = min(begin + lane, end - 1)
        best[lane] = -np.inf
        for x in range(edges):
            best[lane] = max(best[lane], u[row, x])
        best[lane] = best[lane] if best[lane] > -np.inf else 0.0
        for x in range(np.uint64(edges)):
            here = u[row, x] > -np.inf
            below = max(u[row, x] - best[lane], -_FARTHEST) if here else -np.inf
            m_edge[x * ROW + np.uint64(lane)] = below
            beyond += here & (below < -NEAR)
    far[:] = False
    if beyond:
        _find_far(nodes, ends, m_edge, far)
        for lane in range(LANES):
            if far[lane]:
                bring_near(nodes, u, min(begin + lane, end - 1), m_edge[lane::LANES])
    _exponentials(m_edge, e_edge)
    one_m, one_e = np.empty(LANES), np.empty(LANES, np.int64)
    one_m[:] = 1.0
    one_e[:] = 0
    for x in range(edges):
        at = np.uint64(x) * ROW
        first = np.uint64(ends[0, x]) * ROW
        second = np.uint64(ends[1, x]) * ROW
        for lane in range(ROW):
            present[first + lane] |= np.int64(m_edge[at + lane] > 0.0)
        for lane in range(ROW):
            present[second + lane] |= np.int64(m_edge[at + lane] > 0.0)
        _merge(LANES, m_edge, e_edge, at, one_m, one_e, np.uint64(0), m, e, np.uint64(pair[x]) * ROW)


@separate
def _row_law(nodes, v, m, e, m_row, e_row, m_p, e_p, top, d):
    """Row v of the weights, normalised; p, the law of v's neighbour; and the row's sum, d·2^top."""
    row = row_of(v)
    for j in range(v):
        from_ = diagonal(nodes, v - j) + np.uint64(j) * ROW
        to = row + np.uint64(j) * ROW
        for lane in range(ROW):
            m_row[to + lane] = m[from_ + lane]
        for lane in range(ROW):
            e_row[to + lane] = e[from_ + lane]
    for x in range(row, row + np.uint64(v) * ROW):
        here = m_row[x] > 0.0
        e_row[x] = e_row[x] + exponent(m_row[x]) if here else NOTHING
        m_row[x] = mantissa(m_row[x]) if here else 0.0
    for lane in range(ROW):
        top[lane] = NOTHING
        d[lane] = 0.0
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            top[lane] = max(top[lane], e_row[row + j * ROW + lane])
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            e_p[row + j * ROW + lane] = e_row[row + j * ROW + lane] - top[lane]
    for x in range(row, row + np.uint64(v) * ROW):
        m_p[x] = m_row[x] * power_of_two(e_p[x])
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            d[lane] += m_p[row + j * ROW + lane]
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            x = row + j * ROW + lane
            m_p[x] = m_row[x] / d[lane] if d[lane] > 0.0 else 0.0


@compiled
def _used(present):
    """How many nodes there are up to the last one that some graph in the lanes has; those behind are padding."""
    nodes = present.size // LANES
    while nodes > 1:
        for lane in range(LANES):
            if present[(nodes - 1) * LANES + lane]:
                return nodes
        nodes -= 1
    return nodes


@compiled(fastmath=MATHS)
def _account(v, top, d, present, log_z, isolated):
    """Take the sum of row v into log Z, or count v as a component of its own."""
    for lane in range(LANES):
        if d[lane] > 0.0:
            log_z[lane] += math.log(d[lane]) + top[lane] * LN2
        else:
            isolated[lane] += present[v * LANES + lane]


@compiled(fastmath=MATHS)
def _eliminate(nodes, weights, rows, present, log_z, isolated):
    """Eliminate nodes n−1, …, 1: their rows and laws, log Z and how many components there are."""
    m, e = weights
    m_row, e_row, m_p, e_p = rows
    top = np.empty(LANES, np.int64)
    d = np.empty(LANES)
    log_z[:] = 0.0
    copy(present, isolated)
    for v in range(_used(present) - 1, 0, -1):
        _row_law(nodes, v, m, e, m_row, e_row, m_p, e_p, top, d)
        _account(v, top, d, present, log_z, isolated)
        for apart in range(1, v):
            shift = np.uint64(apart) * ROW
            count = (v - apart) * LANES
            _merge(count, m_row, e_row, shift, m_p, e_p, row_of(v), m, e, diagonal(nodes, apart))


@separate
def _receive(count, shift, row, m_row, e_row, m_p, e_p, m_y, e_y, to, low, high):
    """Add c = w·p·y of every pair on a diagonal to what its two nodes, j and i = j + apart, receive."""
    for x in range(np.uint64(count)):
        e = e_row[row + shift + x] + e_p[row + x] + e_y[to + x]
        c = m_row[row + shift + x] * m_p[row + x] * m_y[to + x] * power_of_two(e)
        low[x] += c
        high[shift + x] += c


@separate
def _receive_tangent(count, shift, row, m_row, e_row, m_p, e_p, a_row, t, m_y, e_y, a, dx, to, low, high, dlow, dhigh):
    """`_receive` and its derivative, dc = c·(d log(w·p) − d log w') + w·p·dx'/w'."""
    for x in range(np.uint64(count)):
        e = e_row[row + shift + x] + e_p[row + x] + e_y[to + x]
        q = m_row[row + shift + x] * m_p[row + x] * power_of_two(e)
        c = q * m_y[to + x]
        dc = c * (a_row[row + shift + x] + t[row + x] - a[to + x]) + q * dx[to + x]
        low[x] += c
        high[shift + x] += c
        dlow[x] += dc
        dhigh[shift + x] += dc


@separate
def _remain(v, whole, low, high, rest):
    """low ← what each node received in all; high ← half of what that leaves of `whole`, for every node."""
    for x in range(np.uint64(v) * ROW):
        low[x] += high[x]
    rest[:] = whole
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            rest[lane] -= low[j * ROW + lane]
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            high[j * ROW + lane] = 0.5 * rest[lane]


@separate
def _scatter(nodes, v, row, begin, to):
    """Put a row, which begins at `begin`, where its pairs are stored."""
    for j in range(v):
        at = diagonal(nodes, v - j) + np.uint64(j) * ROW
        for lane in range(ROW):
            to[at + lane] = row[begin + np.uint64(j) * ROW + lane]


@separate
def _gather(nodes, v, from_, row, begin):
    """The reverse of `_scatter`."""
    for j in range(v):
        at = diagonal(nodes, v - j) + np.uint64(j) * ROW
        for lane in range(ROW):
            row[begin + np.uint64(j) * ROW + lane] = from_[at + lane]


@separate
def _restore(v, m_row, e_row, m_p, e_p, low, high):
    """low ← y = x/w of row v, to be read at the exponents e_row, where x = p·(1 − S) + what each node received."""
    row = row_of(v)
    for x in range(np.uint64(v) * ROW):
        here = m_row[row + x] > 0.0
        marginal = m_p[row + x] * power_of_two(e_p[row + x]) * high[x] + low[x]
        low[x] = marginal / m_row[row + x] if here else 0.0
        e_row[row + x] = -e_row[row + x] if here else np.int64(0)


@separate
def _restore_tangent(v, m_row, e_row, m_p, e_p, t, low, high, dlow, dhigh):
    """`_restore` and its derivative: dlow ← dx/w."""
    row = row_of(v)
    for x in range(np.uint64(v) * ROW):
        here = m_row[row + x] > 0.0
        p = m_p[row + x] * power_of_two(e_p[row + x])
        marginal = p * high[x] + low[x]
        slope = p * (t[row + x] * high[x] + dhigh[x]) + dlow[x]
        low[x] = marginal / m_row[row + x] if here else 0.0
        dlow[x] = slope / m_row[row + x] if here else 0.0
        e_row[row + x] = -e_row[row + x] if here else np.int64(0)


@compiled(fastmath=MATHS)
def marginals(begin, end, nodes, u, ends, out, components, memory):
    """Write the marginals of rows `begin` to `end` into `out`."""
    pair = number(nodes, ends)
    weights, rows, (m_edge, e_edge, _), (low, high, _, _), present, _ = _workspace(nodes, u.shape[1], memory)
    m, e = weights
    m_row, e_row, m_p, e_p = rows
    log_z, best, rest = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    far = np.empty(LANES, np.bool_)
    isolated = np.empty(LANES, np.int64)
    for first in range(begin, end, LANES):
        _load(nodes, u, first, end, pair, ends, m, e, m_edge, e_edge, present, best, far)
        _eliminate(nodes, weights, rows, present, log_z, isolated)
        for v in range(1, _used(present)):
            low[:] = 0.0
            high[:] = 0.0
            row = row_of(v)
            for apart in range(1, v):
                shift = np.uint64(apart) * ROW
                count = (v - apart) * LANES
                _receive(count, shift, row, m_row, e_row, m_p, e_p, m, e, diagonal(nodes, apart), low, high)
            _remain(v, 2.0, low, high, rest)
            _restore(v, m_row, e_row, m_p, e_p, low, high)
            _scatter(nodes, v, low, np.uint64(0), m)
            _scatter(nodes, v, e_row, row, e)
        for lane in range(min(LANES, end - first)):
            components[first + lane] = isolated[lane]
            for k in range(u.shape[1]):
                at, to = k * LANES + lane, pair[k] * LANES + lane
                value = m_edge[at] * m[to] * power_of_two(e_edge[at] + e[to])
                out[first + lane, k] = min(max(value, 0.0), 1.0)


@compiled
def shift(nodes, u, row, ends):
    """What log Z of a row of u is more than that of the near utilities: what they differ by on the best tree."""
    tree, near = np.empty((1, ends.shape[1])), np.empty(ends.shape[1])
    boruvka(0, 1, nodes, u[row : row + 1], ends, tree, np.empty(1, np.int64))
    bring_near(nodes, u, row, near)
    shift = 0.0
    for x in range(near.size):
        if tree[0, x] > 0.0:
            shift += u[row, x] - near[x]
    return shift


@compiled(fastmath=MATHS)
def log_partition(begin, end, nodes, u, ends, out, components, memory):
    """Write log Z of rows `begin` to `end` into `out`."""
    pair = number(nodes, ends)
    weights, rows, (m_edge, e_edge, _), _, present, _ = _workspace(nodes, u.shape[1], memory)
    log_z, best, far = np.empty(LANES), np.empty(LANES), np.empty(LANES, np.bool_)
    isolated = np.empty(LANES, np.int64)
    for first in range(begin, end, LANES):
        _load(nodes, u, first, end, pair, ends, weights[0], weights[1], m_edge, e_edge, present, best, far)
        _eliminate(nodes, weights, rows, present, log_z, isolated)
        for lane in range(min(LANES, end - first)):
            components[first + lane] = isolated[lane]
            size = 0
            for v in range(nodes):
                size += present[v * LANES + lane]
            out[first + lane] = log_z[lane] + max(size - 1, 0) * best[lane]
            if far[lane]:
                out[first + lane] = log_z[lane] + shift(nodes, u, first + lane, ends)


@compiled(fastmath=MATHS)
def _load_tangent(g, begin, end, pair, m_edge, e_edge, m, e, g_edge, a):
    """The incoming direction, edge by edge, and a = d log w of all pairs: its mean by the edges' shares."""
    for lane in range(LANES):
        row = min(begin + lane, end - 1)
        for x in range(np.uint64(g.shape[1])):
            g_edge[x * ROW + np.uint64(lane)] = g[row, x]
    a[:] = 0.0
    for k in range(g.shape[1]):
        at, to = np.uint64(k) * ROW, np.uint64(pair[k]) * ROW
        _add_share(m_edge, e_edge, g_edge, at, m, e, a, to)


@separate
def _add_share(m_edge, e_edge, g_edge, at, m, e, a, to):
    """Add to a pair's a what one of its edges contributes."""
    for lane in range(ROW):
        part = m_edge[at + lane] * power_of_two(e_edge[at + lane] - e[to + lane])
        a[to + lane] += part / (m[to + lane] + np.float64(m[to + lane] <= 0.0)) * g_edge[at + lane]


@separate
def _center(v, m_p, e_p, a_row, t, mean):
    """t: row v of a = d log w, less its mean under p."""
    row = row_of(v)
    for x in range(row, row + np.uint64(v) * ROW):
        t[x] = m_p[x] * power_of_two(e_p[x]) * a_row[x]
    mean[:] = 0.0
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            mean[lane] += t[row + j * ROW + lane]
    for j in range(np.uint64(v)):
        for lane in range(ROW):
            t[row + j * ROW + lane] = a_row[row + j * ROW + lane] - mean[lane]


@compiled(fastmath=MATHS)
def _eliminate_tangent(nodes, weights, rows, present, a, a_row, t, isolated):
    """`_eliminate` and its derivative: a = d log w of all pairs and of the rows, and t."""
    m, e = weights
    m_row, e_row, m_p, e_p = rows
    top = np.empty(LANES, np.int64)
    d, log_z, mean = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    log_z[:] = 0.0
    copy(present, isolated)
    for v in range(_used(present) - 1, 0, -1):
        _row_law(nodes, v, m, e, m_row, e_row, m_p, e_p, top, d)
        _account(v, top, d, present, log_z, isolated)
        _gather(nodes, v, a, a_row, row_of(v))
        _center(v, m_p, e_p, a_row, t, mean)
        for apart in range(1, v):
            shift = np.uint64(apart) * ROW
            count = (v - apart) * LANES
            to = diagonal(nodes, apart)
            _merge_tangent(count, m_row, e_row, shift, m_p, e_p, row_of(v), m, e, a, to, a_row, t)


@compiled(fastmath=MATHS)
def marginals_jvp(begin, end, nodes, u, g, ends, out, components, memory):
    """Write the derivative of the marginals in the direction g into `out`."""
    pair = number(nodes, ends)
    edges = u.shape[1]
    weights, rows, at_edges, (low, high, dlow, dhigh), present, memory = _workspace(nodes, edges, memory)
    m_edge, e_edge, g_edge = at_edges
    m, e = weights
    m_row, e_row, m_p, e_p = rows
    tangents, _ = cut(memory, 4, nodes * (nodes - 1) // 2 * LANES)
    a, a_row, t, dx = tangents[0], tangents[1], tangents[2], tangents[3]
    best, rest, far = np.empty(LANES), np.empty(LANES), np.empty(LANES, np.bool_)
    isolated = np.empty(LANES, np.int64)
    for first in range(begin, end, LANES):
        _load(nodes, u, first, end, pair, ends, m, e, m_edge, e_edge, present, best, far)
        _load_tangent(g, first, end, pair, m_edge, e_edge, m, e, g_edge, a)
        _eliminate_tangent(nodes, weights, rows, present, a, a_row, t, isolated)
        dx[:] = 0.0
        for v in range(1, _used(present)):
            low[:] = 0.0
            high[:] = 0.0
            dlow[:] = 0.0
            dhigh[:] = 0.0
            row = row_of(v)
            for apart in range(1, v):
                shift = np.uint64(apart) * ROW
                count = (v - apart) * LANES
                to = diagonal(nodes, apart)
                _receive_tangent(
                    count, shift, row, m_row, e_row, m_p, e_p, a_row, t, m, e, a, dx, to, low, high, dlow, dhigh
                )
            _remain(v, 2.0, low, high, rest)
            _remain(v, 0.0, dlow, dhigh, rest)
            _restore_tangent(v, m_row, e_row, m_p, e_p, t, low, high, dlow, dhigh)
            _scatter(nodes, v, low, np.uint64(0), m)
            _scatter(nodes, v, dlow, np.uint64(0), dx)
            _scatter(nodes, v, e_row, row, e)
        for lane in range(min(LANES, end - first)):
            components[first + lane] = isolated[lane]
            for k in range(edges):
                at, to = k * LANES + lane, pair[k] * LANES + lane
                slope = m[to] * (g_edge[at] - a[to]) + dx[to]
                out[first + lane, k] = m_edge[at] * slope * power_of_two(e_edge[at] + e[to])


@compiled
def prim(begin, end, nodes, u, ends, out, components):
    """O(n²) for a graph: grow one tree from the first node that has an edge."""
    edges = u.shape[1]
    weight = np.empty((nodes, nodes))
    which = np.empty((nodes, nodes), np.int64)
    best = np.empty(nodes)
    link = np.empty(nodes, np.int64)
    outside = np.empty(nodes, np.int64)
    for r in range(begin, end):
        weight[:] = -np.inf
        for x in range(edges):
            i, j = ends[0, x], ends[1, x]
            if u[r, x] > weight[i, j]:  # strictly: of parallel edges that tie, the first
                weight[i, j] = weight[j, i] = u[r, x]
                which[i, j] = which[j, i] = x
            out[r, x] = 0.0
        count = 0
        for v in range(nodes):
            present = False
            for w in range(nodes):
                present |= weight[v, w] > -np.inf
            if present:
                outside[count] = v
                count += 1
                best[v] = -np.inf
        components[r] = min(count, 1)
        while count > 0:
            # Scan the nodes outside for the best link; a node without any starts another component.
            at = 0
            for k in range(1, count):
                v, w = outside[k], outside[at]
                if best[v] > best[w] or (best[v] == best[w] and best[v] > -np.inf and link[v] < link[w]):
                    at = k
            v = outside[at]
            if best[v] > -np.inf:
                out[r, link[v]] = 1.0
            count -= 1
            outside[at] = outside[count]
            reached = False
            for k in range(count):
                w = outside[k]
                if weight[v, w] > best[w] or (weight[v, w] == best[w] and best[w] > -np.inf and which[v, w] < link[w]):
                    best[w] = weight[v, w]
                    link[w] = which[v, w]
                reached |= best[w] > -np.inf
            if count > 0 and not reached:
                components[r] += 1


@compiled
def root_of(v, parent):
    """The root of v in a forest of parents, which is flattened on the way."""
    while parent[v] != v:
        parent[v] = parent[parent[v]]
        v = parent[v]
    return v


@compiled
def boruvka(begin, end, nodes, u, ends, out, components):
    """O(E log n) for a graph: every component takes its best edge to another one, until there are none."""
    edges = ends.shape[1]
    left, value = np.empty(edges, np.int64), np.empty(edges)
    one, other = np.empty((2, edges), np.int64)
    number, parent, link = np.empty((3, nodes), np.int64)
    best = np.empty(nodes)
    for r in range(begin, end):
        number[:] = -1
        many, count = 0, 0  # components, and edges between them: what is left of the graph
        for x in range(edges):
            out[r, x] = 0.0
            if u[r, x] > -np.inf:
                for k in range(2):
                    if number[ends[k, x]] < 0:
                        number[ends[k, x]] = many
                        many += 1
                left[count], value[count] = x, u[r, x]
                one[count], other[count] = number[ends[0, x]], number[ends[1, x]]
                count += 1
        components[r] = many
        while count > 0:
            for c in range(many):
                parent[c] = c
                best[c] = -np.inf
            for x in range(count):  # strictly: of edges that tie, the first
                if value[x] > best[one[x]]:
                    best[one[x]], link[one[x]] = value[x], x
                if value[x] > best[other[x]]:
                    best[other[x]], link[other[x]] = value[x], x
            for c in range(many):
                if best[c] > -np.inf:
                    a, b = root_of(one[link[c]], parent), root_of(other[link[c]], parent)
                    if a != b:  # else both chose this edge
                        parent[max(a, b)] = min(a, b)
                        out[r, left[link[c]]] = 1.0
                        components[r] -= 1
            before, many = many, 0
            for c in range(before):
                if parent[c] == c:
                    number[c] = many
                    many += 1
                else:
                    number[c] = number[root_of(c, parent)]
            kept = 0
            for x in range(count):
                a, b = number[one[x]], number[other[x]]
                if a != b:
                    left[kept], value[kept], one[kept], other[kept] = left[x], value[x], a, b
                    kept += 1
            count = kept
