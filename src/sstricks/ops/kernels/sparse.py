"""Elimination of sparse graphs; the mathematics stands in `sstricks.ops.arborescence` and `sstricks.ops.spanning_tree`.

Nodes are numbered in the order of their elimination. What is stored of a node are the edges between it and its later
neighbours, which are those of the graph and what is filled in (`sstricks.ops.kernels.minimum_degree`): first those out
of the node, then those into it, or of undirected graphs once. The later neighbours of a node are each other's
neighbours. So a node's weights are what it had, and a product for every earlier neighbour and every later one of these;
backwards, its y goes to the same ones. Mantissas and exponents are those of `sstricks.ops.kernels.arborescence`.
"""

import math

import numpy as np

from sstricks.ops.kernels.arborescence import ABSENT, exponentials
from sstricks.ops.kernels.arrays import copy
from sstricks.ops.kernels.compiled import compiled
from sstricks.ops.kernels.contraction import bring_near as bring_rooted_near
from sstricks.ops.kernels.floats import LN2, exponent, mantissa, power_of_two
from sstricks.ops.kernels.separate import MATHS
from sstricks.ops.kernels.spanning_tree import bring_near, shift
from sstricks.ops.precision import NEAR


def workspace_size(nodes, edges, pairs, tangent):
    """How many float64 the working memory of a kernel has, with so many pairs of neighbours."""
    return 2 * edges + 6 * nodes + pairs * (13 if tangent else 8)


@compiled
def cut(memory, size):
    return memory[:size], memory[size:]


@compiled(inline=True)
def power(k):
    """2ᵏ for whole numbers k, and 0 from 2⁻⁹⁰⁰ down."""
    return power_of_two(np.int64(k)) if k > -900.0 else 0.0


@compiled(fastmath=MATHS)
def _tops(directed, u, row, ends, top, present):
    """The largest utility of all edges or, in a directed graph, of those into each node; which nodes are there."""
    top[:] = -np.inf
    present[:] = 0.0
    largest = -np.inf
    for x in range(ends.shape[1]):
        if u[row, x] > -np.inf and (ends[1, x] > 0 or not directed):
            present[ends[0, x]] = present[ends[1, x]] = 1.0
            top[ends[1, x]] = max(top[ends[1, x]], u[row, x])
            largest = max(largest, u[row, x])
    for v in range(top.size):
        top[v] = top[v] if directed else largest
        top[v] = top[v] if top[v] > -np.inf else 0.0


@compiled(fastmath=MATHS)
def _is_near(directed, u, row, ends, top, present):
    """Whether edges that are not far below the best ones are enough for a tree; undirected, whether all are near."""
    reached = np.empty(top.size, np.bool_)
    reached[:] = False
    reached[0] = True
    far, grown = False, True
    while grown:
        grown = False
        for x in range(ends.shape[1]):
            i, j = ends[0, x], ends[1, x]
            near = top[j] - u[row, x] <= NEAR
            far = far or (not near and u[row, x] > -np.inf and (j > 0 or not directed))
            if near and reached[i] and not reached[j]:
                reached[j] = grown = True
        if not far:
            return True
        grown = grown and directed
    for v in range(top.size):
        if present[v] > 0.0 and not reached[v]:
            return False
    return directed


@compiled(fastmath=MATHS)
def load(directed, u, row, ends, slot, m, e, m_edge, e_edge, top, present):
    """The weights exp(u − top) of edges and pairs; what log Z is more, NaN for `shift`, which takes long to find.

    Where all trees need an edge far below others, the weights are those of near utilities with the same law.
    """
    nodes = top.size
    _tops(directed, u, row, ends, top, present)
    base = 0.0
    if _is_near(directed, u, row, ends, top, present):
        copy(u[row], m_edge)
    else:
        if directed:
            base, _ = bring_rooted_near(nodes, row, u, ends, False, m_edge)
        else:
            bring_near(nodes, u, row, m_edge)
            base = np.nan
        _tops(directed, m_edge.reshape(1, m_edge.size), 0, ends, top, present)
    count = 0
    for v in range(nodes):
        if present[v] > 0.0 and (v > 0 or not directed):
            base += top[v] if directed or count > 0 else 0.0
            count += 1
    for x in range(ends.shape[1]):
        e_edge[x] = top[ends[1, x]]
        if directed and ends[1, x] == 0:
            m_edge[x] = -np.inf
    exponentials(m_edge, e_edge)
    m[:] = 0.0
    e[:] = ABSENT
    for x in range(slot.size):
        _merge(m_edge[x], e_edge[x], m, e, slot[x])
    return base


@compiled(inline=True, fastmath=MATHS)
def _merge(added, new, m, e, y):
    """w ← w + w', that is added·2^new; returns by what the old and the new part were multiplied."""
    lead = new - e[y]
    less = power(-abs(lead))
    keep, part = (less, 1.0) if lead > 0.0 else (1.0, less)
    m[y] = m[y] * keep + added * part
    e[y] = max(e[y], new)
    return keep, part


@compiled(fastmath=MATHS)
def eliminate(directed, tangent, plan, m, e, p, e_p, a, t, d, top, where):
    """Eliminate all nodes but the last; p and t = d log w − δ of the weights into a node stand by themselves."""
    pointer, index, begin, earlier, place = plan
    half = index.size if directed else 0
    for i in range(d.size):
        for x in range(pointer[i], pointer[i + 1]):
            where[index[x]] = x
        for y in range(begin[i], begin[i + 1]):
            v, at = earlier[y], place[y]
            p_i, e_i, o_i, f_i = p[at], e_p[at], m[at], e[at]
            for x in range(at + 1, pointer[v + 1]):
                to = where[index[x]]
                keep, part = _merge(p_i * m[x], e_i + e[x], m, e, to)
                if tangent:
                    a[to] = a[to] * keep + part * p_i * m[x] * (t[at] + a[x])
                if directed:
                    keep, part = _merge(p[x] * o_i, e_p[x] + f_i, m, e, half + to)
                    if tangent:
                        a[half + to] = a[half + to] * keep + part * p[x] * o_i * (t[x] + a[at])
        highest, total, mean = ABSENT, 0.0, 0.0
        for x in range(pointer[i], pointer[i + 1]):
            for at in range(x, half + x + 1, max(half, 1)):
                here = m[at] > 0.0
                if tangent:
                    a[at] = a[at] / m[at] if here else 0.0
                if here and abs(e[at]) < 2.0**52:
                    e[at] += exponent(m[at])
                    m[at] = mantissa(m[at])
            highest = max(highest, e[half + x])
        for x in range(pointer[i], pointer[i + 1]):
            e_p[x] = e[half + x] - highest
            total += m[half + x] * power(e_p[x])
        d[i], top[i] = total, highest
        for x in range(pointer[i], pointer[i + 1]):
            p[x] = m[half + x] / total if total > 0.0 else 0.0
            if tangent:
                mean += p[x] * power(e_p[x]) * a[half + x]
        if tangent:
            for x in range(pointer[i], pointer[i + 1]):
                t[x] = a[half + x] - mean


@compiled(fastmath=MATHS)
def _restore(directed, tangent, plan, m, e, p, e_p, a, t, parent, child, dparent, dchild, where):
    """y in the place of weights, and ẏ in that of d log w, from the last node to the first."""
    pointer, index, begin, earlier, place = plan
    half = index.size if directed else 0
    whole = 1.0 if directed else 0.5
    parent[:] = 0.0
    child[:] = 0.0
    dparent[:] = 0.0
    dchild[:] = 0.0
    for i in range(pointer.size - 2, -1, -1):
        rest, drest = 1.0, 0.0
        for x in range(pointer[i], pointer[i + 1]):
            where[index[x]] = x
            rest -= whole * parent[x]
            if tangent:
                drest -= whole * dparent[x]
        for x in range(pointer[i], pointer[i + 1]):
            into = half + x
            here = m[into] > 0.0
            part = p[x] * power(e_p[x])
            marginal = part * rest + parent[x]
            if tangent:
                slope = part * (t[x] * rest + drest) + dparent[x]
                a[into] = (slope - marginal * a[into]) / m[into] if here else 0.0
                if directed:
                    a[x] = (dchild[x] - child[x] * a[x]) / m[x] if m[x] > 0.0 else 0.0
            m[into] = marginal / m[into] if here else 0.0
            e[into] = -e[into] if here else 0.0
            if directed:
                e[x] = -e[x] if m[x] > 0.0 else 0.0
                m[x] = child[x] / m[x] if m[x] > 0.0 else 0.0
        for y in range(begin[i], begin[i + 1]):
            v, at = earlier[y], place[y]
            p_i, e_i, o_i, f_i = p[at], e_p[at], m[at], e[at]
            to_parent, to_child, dto_parent, dto_child = 0.0, 0.0, 0.0, 0.0
            for x in range(at + 1, pointer[v + 1]):
                from_ = where[index[x]]
                weight = p_i * m[x] * power(e_i + e[x] + e[from_])
                c = weight * m[from_]
                to_parent += c
                if not directed:
                    parent[x] += c
                    if tangent:
                        dc = c * (t[at] + a[x]) + weight * a[from_]
                        dto_parent += dc
                        dparent[x] += dc
                else:
                    child[x] += c
                    back = p[x] * o_i * power(e_p[x] + f_i + e[half + from_])
                    b = back * m[half + from_]
                    to_child += b
                    parent[x] += b
                    if tangent:
                        dc = c * (t[at] + a[x]) + weight * a[from_]
                        dto_parent += dc
                        dchild[x] += dc
                        db = b * (t[x] + a[at]) + back * a[half + from_]
                        dto_child += db
                        dparent[x] += db
            parent[at] += to_parent
            if directed:
                child[at] += to_child
            if tangent:
                dparent[at] += dto_parent
                if directed:
                    dchild[at] += dto_child


@compiled(fastmath=MATHS)
def count_faults(directed, number, d, present):
    """How many nodes the root does not reach, or how many components there are."""
    count = 0
    for v in range(number.size):
        count += d[number[v]] == 0.0 and present[v] > 0.0 and (v > 0 or not directed)
    return count


@compiled
def arrays(directed, tangent, nodes, edges, pairs, memory):
    """Weights, laws, what nodes receive, and the same of derivatives; sums; weights of edges, of which nodes are there.

    What is not needed is empty.
    """
    ways = 2 * pairs if directed else pairs
    m, memory = cut(memory, ways)
    e, memory = cut(memory, ways)
    p, memory = cut(memory, pairs)
    e_p, memory = cut(memory, pairs)
    parent, memory = cut(memory, pairs)
    child, memory = cut(memory, pairs)
    a, memory = cut(memory, ways if tangent else 0)
    t, memory = cut(memory, pairs if tangent else 0)
    dparent, memory = cut(memory, pairs if tangent else 0)
    dchild, memory = cut(memory, pairs if tangent else 0)
    m_edge, memory = cut(memory, edges)
    e_edge, memory = cut(memory, edges)
    at_nodes = memory[: 4 * nodes].reshape(4, nodes)
    return (m, e, p, e_p), (parent, child), (a, t), (dparent, dchild), (m_edge, e_edge), at_nodes


@compiled(fastmath=MATHS)
def log_partition(begin, end, nodes, directed, number, slot, plan, u, ends, out, fault, memory):
    """Write log Z of rows `begin` to `end` into `out`."""
    weights, _, (a, t), _, (m_edge, e_edge), at_nodes = arrays(directed, False, nodes, slot.size, plan[1].size, memory)
    m, e, p, e_p = weights
    best, present, d, top = at_nodes[0], at_nodes[1], at_nodes[2], at_nodes[3]
    where = np.empty(nodes, np.int64)
    for row in range(begin, end):
        base = load(directed, u, row, ends, slot, m, e, m_edge, e_edge, best, present)
        eliminate(directed, False, plan, m, e, p, e_p, a, t, d, top, where)
        fault[row] = count_faults(directed, number, d, present)
        log_z = shift(nodes, u, row, ends) if np.isnan(base) else base
        for v in range(nodes):
            log_z += math.log(d[v]) + top[v] * LN2 if d[v] > 0.0 else 0.0
        out[row] = log_z


@compiled(fastmath=MATHS)
def marginals(begin, end, nodes, directed, number, slot, plan, u, ends, out, fault, memory):
    """Write the marginals of rows `begin` to `end` into `out`."""
    taken = arrays(directed, False, nodes, slot.size, plan[1].size, memory)
    (m, e, p, e_p), (parent, child), (a, t), (dparent, dchild), (m_edge, e_edge), at_nodes = taken
    best, present, d, top = at_nodes[0], at_nodes[1], at_nodes[2], at_nodes[3]
    where = np.empty(nodes, np.int64)
    for row in range(begin, end):
        load(directed, u, row, ends, slot, m, e, m_edge, e_edge, best, present)
        eliminate(directed, False, plan, m, e, p, e_p, a, t, d, top, where)
        fault[row] = count_faults(directed, number, d, present)
        _restore(directed, False, plan, m, e, p, e_p, a, t, parent, child, dparent, dchild, where)
        for x in range(slot.size):  # the error of 1 − S is absolute: it may lead out of [0, 1]
            value = m_edge[x] * m[slot[x]] * power(e_edge[x] + e[slot[x]])
            out[row, x] = min(max(value, 0.0), 1.0)


@compiled(fastmath=MATHS)
def marginals_jvp(begin, end, nodes, directed, number, slot, plan, u, g, ends, out, fault, memory):
    """Write the derivative of the marginals in the direction g into `out`."""
    taken = arrays(directed, True, nodes, slot.size, plan[1].size, memory)
    (m, e, p, e_p), (parent, child), (a, t), (dparent, dchild), (m_edge, e_edge), at_nodes = taken
    best, present, d, top = at_nodes[0], at_nodes[1], at_nodes[2], at_nodes[3]
    where = np.empty(nodes, np.int64)
    for row in range(begin, end):
        load(directed, u, row, ends, slot, m, e, m_edge, e_edge, best, present)
        a[:] = 0.0
        steepest = 0.0
        for x in range(slot.size):
            a[slot[x]] += m_edge[x] * power(e_edge[x] - e[slot[x]]) * g[row, x]
            steepest = max(steepest, abs(g[row, x]))
        # Less than this is rounding, which the smallest temperatures would turn into an infinite gradient.
        least = nodes * 2.0**-50 * steepest if directed else 0.0
        eliminate(directed, True, plan, m, e, p, e_p, a, t, d, top, where)
        fault[row] = count_faults(directed, number, d, present)
        _restore(directed, True, plan, m, e, p, e_p, a, t, parent, child, dparent, dchild, where)
        for x in range(slot.size):
            y = slot[x]
            slope = m_edge[x] * power(e_edge[x] + e[y]) * (a[y] + m[y] * g[row, x])
            out[row, x] = 0.0 if abs(slope) <= least else slope
