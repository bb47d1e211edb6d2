"""Samples of arborescences of sparse graphs, backwards through the elimination; proof: `sstricks.ops.arborescence`.

There, every edge i → j of the tree is asked at each node v, from the last eliminated to the first, whether it leads
through v: yes with probability ρ_ij = q_ij / w'_ij, where w' is the edge's own weight and all q of nodes up to v. That
is the same as to choose, once the edge is in the tree, its own weight or one of these q in proportion, and to take the
edge out at that q's node. So no ratios are kept. The q of an edge are those of its nodes' common earlier neighbours.
"""

import numpy as np

from sstricks.ops.kernels.arrays import copy
from sstricks.ops.kernels.compiled import compiled
from sstricks.ops.kernels.separate import MATHS
from sstricks.ops.kernels.sparse import arrays, count_faults, cut, eliminate, load, power


def workspace_size(nodes, edges, pairs):
    """How many float64 the working memory has."""
    return 2 * edges + 6 * nodes + 12 * pairs


def uniforms_size(nodes, pairs):
    """How many numbers a sample takes: one for each edge that may be made, one for a parent, one for its edge."""
    return pairs + 3 * nodes


@compiled(fastmath=MATHS)
def _origin(k, x, into, plan, weights, own, uniform):
    """Through which node the edge from k (or into it) at entry x leads; −1 if it is one of the graph."""
    pointer, index, begin, earlier, place = plan
    m, e, p, e_p = weights
    j, at = index[x], index.size + x if into else x
    whole, top = m[at], e[at]
    part = own[0][at] * power(own[1][at] - top) / whole if own[0][at] > 0.0 else 0.0
    chosen, left = -1, uniform - part
    if part > 0.0 and left < 0.0:
        return chosen
    for y in range(begin[k], begin[k + 1]):
        v, a = earlier[y], place[y]
        b, end = a + 1, pointer[v + 1]
        while b < end:  # the first from j on
            middle = (b + end) // 2
            if index[middle] < j:
                b = middle + 1
            else:
                end = middle
        if b == pointer[v + 1] or index[b] != j:
            continue
        from_, to = (b, a) if into else (a, b)
        part = p[from_] * m[to] * power(e_p[from_] + e[to] - top) / whole
        if part > 0.0:
            chosen = v
            left -= part
            if left < 0.0:
                break
    return chosen


@compiled(fastmath=MATHS)
def _is_below(i, v, root, parent, stamp, below):
    """Whether the ancestors of i lead to v, and not to the root; what is found holds for node v's turn."""
    k = i
    while k != root and k != v and stamp[k] != v:
        k = parent[k]
    found = k == v or (k != root and below[k])
    k = i
    while k != root and k != v and stamp[k] != v:
        stamp[k], below[k] = v, found
        k = parent[k]
    return found


@compiled(fastmath=MATHS)
def _draw_parent(v, moved, plan, p, e_p, uniform, parent, stamp, below):
    """The entry of one of the nodes not below v, by the law of v's parent restricted to them."""
    pointer, index = plan[0], plan[1]
    root = pointer.size - 2
    top, total, chosen = -np.inf, 0.0, -1
    for turn in range(3):
        left = uniform * total
        for x in range(pointer[v], pointer[v + 1]):
            if p[x] > 0.0 and not (moved and _is_below(index[x], v, root, parent, stamp, below)):
                if turn == 0:
                    top = max(top, e_p[x])
                    continue
                weight = p[x] * power(e_p[x] - top)
                if turn == 1:
                    total += weight
                elif weight > 0.0:
                    chosen = x
                    left -= weight
                    if left < 0.0:
                        return chosen
    return chosen


@compiled(fastmath=MATHS)
def _draw_tree(plan, weights, own, d, uniforms, parent, origin, stamp, below):
    """Give every node its parent, restoring the nodes in the reverse order of their elimination."""
    pointer, index = plan[0], plan[1]
    parent[:] = -1
    origin[:] = -1
    stamp[:] = -1
    at_nodes = index.size
    for v in range(parent.size - 2, -1, -1):
        if d[v] == 0.0:
            continue
        moved = False
        for x in range(pointer[v], pointer[v + 1]):
            if origin[index[x]] == v:
                parent[index[x]] = v
                moved = True
        x = _draw_parent(v, moved, plan, weights[2], weights[3], uniforms[at_nodes + 3 * v], parent, stamp, below)
        if moved:
            for y in range(pointer[v], pointer[v + 1]):
                if origin[index[y]] == v:
                    origin[index[y]] = _origin(v, y, False, plan, weights, own, uniforms[y])
        if x >= 0:
            parent[v] = index[x]
            origin[v] = _origin(v, x, True, plan, weights, own, uniforms[at_nodes + 3 * v + 1])


@compiled(fastmath=MATHS)
def sample(begin, end, nodes, number, slot, plan, u, uniforms, ends, out, fault, memory):
    """Write one random tree for each row into `out`."""
    pairs = plan[1].size
    m0, memory = cut(memory, 2 * pairs)
    e0, memory = cut(memory, 2 * pairs)
    weights, _, (a, t), _, (m_edge, e_edge), at_nodes = arrays(True, False, nodes, slot.size, pairs, memory)
    m, e, p, e_p = weights
    best, present, d, top = at_nodes[0], at_nodes[1], at_nodes[2], at_nodes[3]
    where, parent, origin, stamp = np.empty((4, nodes), np.int64)
    below, left, last = np.empty(nodes, np.bool_), np.empty(nodes), np.empty(nodes, np.int64)
    for row in range(begin, end):
        load(True, u, row, ends, slot, m, e, m_edge, e_edge, best, present)
        copy(m, m0)
        copy(e, e0)
        eliminate(True, False, plan, m, e, p, e_p, a, t, d, top, where)
        fault[row] = count_faults(True, number, d, present)
        if fault[row]:
            continue
        _draw_tree(plan, weights, (m0, e0), d, uniforms[row], parent, origin, stamp, below)
        for v in range(nodes):
            left[v], last[v] = uniforms[row, pairs + 3 * v + 2], -1
        for x in range(slot.size):  # of parallel edges, one by its share
            out[row, x] = 0.0
            v = number[ends[1, x]]
            if parent[v] == number[ends[0, x]] and left[v] >= 0.0 and m_edge[x] > 0.0:
                part = m_edge[x] * power(e_edge[x] - e0[slot[x]]) / m0[slot[x]]
                if part > 0.0:
                    left[v] -= part
                    last[v] = x
        for v in range(nodes):
            if last[v] >= 0:
                out[row, last[v]] = 1.0
