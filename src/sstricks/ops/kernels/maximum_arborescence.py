"""Maximum arborescences on the CPU, by contraction of cycles: Tarjan's form of the Chu–Liu/Edmonds algorithm, O(n²).

A path is grown backwards along best edges from any node. Where it closes a cycle, that is contracted: an edge into the
new node is worth what it gains over the cycle's own edge at its head. Where it reaches the root's side, its nodes are
settled, and another path begins. At the end, the outermost contractions are opened first: the edge chosen for one
replaces the own edges of all contractions around its head.

Ties are broken as if every utility were raised by an infinitesimal of its own, that of edge 0 by far the largest, then
that of edge 1, and so on; so among the best trees the one is found that takes the lower edges. An edge's gain is its
utility less those of the chosen edges of all contractions around its head, its path. So of two edges with equal gains,
e is better than f if the least index in {e} ∪ path(f) is below the least in {f} ∪ path(e), the common part of both
paths left out.
"""

import numpy as np
from numba import njit


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
