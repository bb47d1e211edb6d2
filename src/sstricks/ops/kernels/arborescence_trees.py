"""Whole trees of directed graphs on the CPU: samples and the maximum arborescence.

**Samples** go backwards through the elimination; the proof stands in `sstricks.ops.arborescence`.

**Maximum**, by contraction of cycles: Tarjan's form of the Chu–Liu/Edmonds algorithm, O(n²). A path is grown backwards
along best edges from any node. Where it closes a cycle, that is contracted: an edge into the new node is worth what it
gains over the cycle's own edge at its head. Where it reaches the root's side, its nodes are settled, and another path
begins. At the end, the outermost contractions are opened first: the edge chosen for one replaces the own edges of all
contractions around its head.

Ties are broken as if every utility were raised by an infinitesimal of its own, that of edge 0 by far the largest, then
that of edge 1, and so on; so among the best trees the one is found that takes the lower edges. An edge's gain is its
utility less those of the chosen edges of all contractions around its head, its path. So of two edges with equal gains,
e is better than f if the least index in {e} ∪ path(f) is below the least in {f} ∪ path(e), the common part of both
paths left out.
"""

import numpy as np
from numba import njit

from sstricks.ops.kernels.arborescence import (
    ABSENT,
    count_unreached,
    law,
    load_weights,
    merge,
    normalise,
    parallel,
    put,
    rows,
    shares,
    slots,
    take,
    workspace,
)
from sstricks.ops.kernels.floats import LANES, ROW, power_of_two
from sstricks.ops.kernels.lanes import load, store
from sstricks.ops.kernels.separate import MATHS, separate
from sstricks.ops.kernels.spanning_tree import row_of


@njit(inline="always")
def _ratios_of(v):
    """Where stage v begins among the ratios."""
    return np.uint64(v * (v - 1) * (v - 2) // 6 * LANES)


@separate
def _merge_all(v, m1, e1, m2, e2, m, e, start, ratio, begin):
    """w ← w + w₁·w₂ for all pairs of the first v nodes, and the ratios ρ; w₁ belongs to the higher one."""
    for i in range(1, v):
        at = np.uint64(i) * ROW
        row = row_of(i)
        m_i, e_i = load(m1, at), load(e1, at)
        for j in range(np.uint64(0), at, ROW):
            part = merge(m_i * load(m2, j), e_i + load(e2, j), m, e, start + row + j)
            store(ratio, begin + row + j, part)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
def _eliminate_by_ratios(nodes, m, e, d, top, ratio):
    """`_eliminate` that keeps the ratios ρ of every stage."""
    m_p, e_p, e_in, m_out, e_out = rows(nodes)
    up = np.uint64(m.size // 2)
    up_ratio = np.uint64(_ratios_of(nodes))
    for v in range(nodes - 1, 0, -1):
        take(v, m, m_out, m_p)
        take(v, e, e_out, e_in)
        normalise(v, m_out, e_out)
        law(v, m_p, e_in, e_p, d, top)
        put(v, m, m_out, m_p)
        put(v, e, e_out, e_in)
        at = _ratios_of(v)
        _merge_all(v, m_p, e_p, m_out, e_out, m, e, np.uint64(0), ratio, at)
        _merge_all(v, m_out, e_out, m_p, e_p, m, e, up, ratio, up_ratio + at)


@njit(nogil=True, cache=True, error_model="numpy")
def _reached(v, parent, status):
    """Mark with 1 the nodes below v whose ancestors lead to the root without passing v, with 2 the others."""
    status[:v] = 0
    status[0] = 1
    status[v] = 2
    for j in range(1, v):
        i = j
        while i >= 0 and status[i] == 0:
            i = parent[i]
        found = 2 if i < 0 else status[i]
        i = j
        while i >= 0 and status[i] == 0:
            status[i] = found
            i = parent[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _draw_parent(v, m, e, lane, status, uniform):
    """One of the nodes marked with 1, by the law of v's parent restricted to them; −1 where v is absent."""
    up = m.size // 2 + np.int64(row_of(v)) + lane
    top = ABSENT
    for i in range(v):
        at = up + i * LANES
        if status[i] == 1 and m[at] > 0.0:
            top = max(top, e[at])
    total = 0.0
    chosen = -1
    for turn in range(2):
        left = uniform * total
        for i in range(v):
            at = up + i * LANES
            weight = m[at]
            if status[i] == 1 and weight > 0.0:
                weight *= power_of_two(e[at] - top)
                if turn == 0:
                    total += weight
                elif weight > 0.0:
                    chosen = i
                    left -= weight
                    if left < 0.0:
                        return chosen
    return chosen


@njit(nogil=True, cache=True, error_model="numpy")
def _draw_tree(nodes, ratio, m, e, lane, uniforms, parent, status):
    """Give every node its parent, restoring the nodes in the reverse order of their elimination."""
    up_ratio = np.int64(_ratios_of(nodes))
    used = 0
    parent[0] = -1
    for v in range(1, nodes):
        stage = np.int64(_ratios_of(v)) + lane
        for j in range(1, v):
            i = parent[j]
            if i > j:
                at = stage + np.int64(row_of(i)) + j * LANES
            else:
                at = stage + np.int64(row_of(j)) + i * LANES + up_ratio
            if i >= 0 and uniforms[used + j - 1] < ratio[at]:
                parent[j] = v
        _reached(v, parent, status)
        parent[v] = _draw_parent(v, m, e, lane, status, uniforms[used + v - 1])
        used += v
    return used


@njit(nogil=True, cache=True, error_model="numpy")
def sample(begin, end, nodes, u, uniforms, ends, out, unreached, memory):
    """Write one random tree for each row into `out`."""
    slot = slots(nodes, ends)
    again = parallel(slot, nodes * (nodes - 1))
    edges = u.shape[1]
    (m, e), (m_edge, e_edge), present, (d, top), memory = workspace(nodes, edges, memory)
    share, ratio = memory[: edges * LANES], memory[edges * LANES :]
    base = np.empty(LANES)
    parent = np.empty(nodes, np.int64)
    status = np.empty(nodes, np.int64)
    left = np.empty(nodes)
    last = np.empty(nodes, np.int64)
    for first in range(begin, end, LANES):
        load_weights(u, first, end, slot, again, ends, m, e, m_edge, e_edge, present, base)
        shares(slot, m, e, m_edge, e_edge, share)
        _eliminate_by_ratios(nodes, m, e, d, top, ratio)
        count_unreached(first, end, top, present, unreached)
        for lane in range(min(LANES, end - first)):
            row = first + lane
            used = _draw_tree(nodes, ratio, m, e, lane, uniforms[row], parent, status)
            for j in range(1, nodes):
                left[j] = uniforms[row, used + j - 1]
                last[j] = -1
            for x in range(u.shape[1]):  # of parallel edges, one by its share
                out[row, x] = 0.0
                j = ends[1, x]
                part = share[x * LANES + lane]
                if j > 0 and parent[j] == ends[0, x] and left[j] >= 0.0 and part > 0.0:
                    left[j] -= part
                    last[j] = x
            for j in range(1, nodes):
                if last[j] >= 0:
                    out[row, last[j]] = 1.0


@njit(nogil=True, cache=True, error_model="numpy")
def _wins(e, f, heads, chosen, outer):
    """Whether edge e comes before edge f, where their gains are equal."""
    v, w = heads[e], heads[f]
    for_e, for_f = e, f
    while v != w:  # a contraction has a higher number than what is in it
        if v < w:
            for_f = min(for_f, chosen[v])
            v = outer[v]
        else:
            for_e = min(for_e, chosen[w])
            w = outer[w]
    return for_e < for_f


@njit(nogil=True, cache=True, error_model="numpy")
def _best_edge(v, nodes, gain, which, heads, chosen, outer):
    """The tail of the best edge into v, −1 if it has none."""
    best, at = -np.inf, -1
    for i in range(nodes):
        if gain[v, i] > best:
            best, at = gain[v, i], i
        elif gain[v, i] == best and at >= 0 and _wins(which[v, i], which[v, at], heads, chosen, outer):
            at = i
    return at


@njit(nogil=True, cache=True, error_model="numpy")
def _contract(new, path, begin, end, nodes, gain, which, inside, best, heads, chosen, outer):
    """Make of the nodes path[begin:end], a cycle, one node."""
    for k in range(begin, end):
        outer[path[k]] = new
    for i in range(nodes):
        gain[new, i] = -np.inf
    for k in range(begin, end):
        c = path[k]
        for i in range(nodes):
            value = gain[c, i] - best[c]
            if value > gain[new, i] or (
                value == gain[new, i] and value > -np.inf and _wins(which[c, i], which[new, i], heads, chosen, outer)
            ):
                gain[new, i] = value
                which[new, i] = which[c, i]
    for i in range(nodes):
        if outer[inside[i]] == new:
            inside[i] = new
            gain[new, i] = -np.inf


@njit(nogil=True, cache=True, error_model="numpy")
def maximum_arborescence(begin, end, nodes, u, ends, out, unreached):
    """Write the maximum arborescences of rows `begin` to `end`, rooted at node 0, into `out`."""
    edges = u.shape[1]
    heads = ends[1]
    gain = np.empty((2 * nodes, nodes))
    which = np.empty((2 * nodes, nodes), np.int64)
    best = np.empty(2 * nodes)
    chosen = np.empty(2 * nodes, np.int64)
    outer = np.empty(2 * nodes, np.int64)
    settled = np.empty(2 * nodes, np.bool_)
    on_path = np.empty(2 * nodes, np.bool_)
    opened = np.empty(2 * nodes, np.bool_)
    path = np.empty(2 * nodes, np.int64)
    inside = np.empty(nodes, np.int64)
    present = np.empty(nodes, np.bool_)
    for r in range(begin, end):
        gain[:nodes] = -np.inf
        present[:] = False
        outer[:] = -1
        chosen[:] = -1
        settled[:] = False
        on_path[:] = False
        for v in range(nodes):
            inside[v] = v
        for x in range(edges):
            i, j = ends[0, x], ends[1, x]
            out[r, x] = 0.0
            if j > 0 and u[r, x] > -np.inf:
                present[i] = present[j] = True
                if u[r, x] > gain[j, i]:  # strictly: of parallel edges that tie, the first
                    gain[j, i] = u[r, x]
                    which[j, i] = x
        unreached[r] = 0
        settled[0] = True
        count = nodes
        for start in range(1, nodes):
            if not present[start] or settled[inside[start]]:
                continue
            length = 0
            v = inside[start]
            while True:
                path[length] = v
                length += 1
                on_path[v] = True
                tail = _best_edge(v, nodes, gain, which, heads, chosen, outer)
                if tail < 0:
                    unreached[r] += 1
                    break
                chosen[v] = which[v, tail]
                best[v] = gain[v, tail]
                w = inside[tail]
                if settled[w]:
                    break
                if on_path[w]:
                    first = length - 1
                    while path[first] != w:
                        first -= 1
                    _contract(count, path, first, length, nodes, gain, which, inside, best, heads, chosen, outer)
                    length = first
                    v = count
                    count += 1
                else:
                    v = w
            for k in range(length):
                settled[path[k]] = True
        for v in range(count):
            opened[v] = chosen[v] < 0
        for v in range(count - 1, 0, -1):
            if not opened[v]:
                out[r, chosen[v]] = 1.0
                w = heads[chosen[v]]
                while w != v:
                    opened[w] = True
                    w = outer[w]
