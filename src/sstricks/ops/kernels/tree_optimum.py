"""Division of a graph into blocks on the CPU; see `sstricks.ops.tree_optimum` for the mathematics.

Every edge belongs to one block, a graph of its own: a subgraph, in which some sets of nodes have been contracted. What
is known of it are its edges' two ends, each contracted set being one of its nodes; so the arrays of all blocks together
have one entry per edge. Working arrays have one row per use: `at_nodes` (…, nodes + 1), `at_edges` (…, 2 · edges + 1).
"""

import numpy as np

from sstricks.ops.kernels.compiled import compiled
from sstricks.ops.kernels.separable import FEW, solve_row
from sstricks.ops.kernels.spanning_tree import root_of

# The rows of a graph's state.
TAIL, HEAD, BLOCK, RANK, OPEN = range(5)
# The rank of edges whose number is not given, only bounded: their x stays as it is.
FREE = 0
_ABSENT = -1
# How many roundings of a sum a violation must exceed: more than any link's multiplier leaves over.
_CLEAR = 32.0 * 2.220446049250313e-16


@compiled
def _list_neighbours(edges, graph, first, link):
    """Each node's edges: link[first[v]:first[v + 1]]."""
    first[:] = 0
    for e in edges:
        first[graph[TAIL, e]] += 1
        first[graph[HEAD, e]] += 1
    for v in range(1, first.size):
        first[v] += first[v - 1]
    for e in edges:
        for end in (TAIL, HEAD):
            v = graph[end, e]
            first[v] -= 1
            link[first[v]] = e


@compiled
def _connect(edges, graph, blocks, at_nodes, at_edges):
    """Make a block of every connected component of the matroid, numbered from `blocks` on; return the next number.

    Two edges are connected if some cycle has both; the cycles that single edges close with a forest are enough.
    """
    first, up, depth, queue = at_nodes[0], at_nodes[1], at_nodes[2], at_nodes[3]
    link, same, label = at_edges[0], at_edges[1], at_edges[2]
    _list_neighbours(edges, graph, first, link)
    depth[:] = -1
    for e in edges:
        same[e] = e
        label[e] = _ABSENT
    for start in edges:
        if depth[graph[TAIL, start]] >= 0:
            continue
        queue[0] = graph[TAIL, start]
        depth[queue[0]] = 0
        up[queue[0]] = _ABSENT
        size = 1
        at = 0
        while at < size:
            v = queue[at]
            at += 1
            for p in range(first[v], first[v + 1]):
                w = graph[TAIL, link[p]] + graph[HEAD, link[p]] - v
                if depth[w] < 0:
                    depth[w] = depth[v] + 1
                    up[w] = link[p]
                    queue[size] = w
                    size += 1
    for e in edges:
        v, w = graph[TAIL, e], graph[HEAD, e]
        while v != w:
            if depth[v] < depth[w]:
                v, w = w, v
            same[root_of(up[v], same)] = root_of(e, same)
            v = graph[TAIL, up[v]] + graph[HEAD, up[v]] - v
    begin = blocks
    for e in edges:
        root = root_of(e, same)
        if label[root] == _ABSENT:
            label[root] = blocks
            first[blocks - begin] = 0
            blocks += 1
        graph[BLOCK, e] = label[root]
        # An edge of the forest is that of its lower end.
        for end in (TAIL, HEAD):
            v = graph[end, e]
            first[label[root] - begin] += depth[v] > 0 and up[v] == e
    for e in edges:
        graph[RANK, e] = first[graph[BLOCK, e] - begin]
        graph[OPEN, e] = 1
    return blocks


@compiled
def _push(v, graph, done, first, link, share, slack, load, eps, level, pointer, queue, path):
    """Move as much as can be of the load of node v to others, by blocking flows (Dinic).

    Returns how many nodes, listed in `queue`, v can still move something to, none of which has any slack then.
    """
    nodes = level.size
    while True:
        level[:] = -1
        level[v] = 0
        queue[0] = v
        size, at, limit = 1, 0, nodes
        while at < size and level[queue[at]] < limit:
            i = queue[at]
            at += 1
            pointer[i] = first[i]
            for p in range(first[i], first[i + 1]):
                e = link[p]
                j = graph[TAIL, e] + graph[HEAD, e] - i
                if done[j] and level[j] < 0 and share[TAIL if graph[TAIL, e] == i else HEAD, e] > 0.0:
                    level[j] = level[i] + 1
                    pointer[j] = first[j]
                    queue[size] = j
                    size += 1
                    if slack[j] > eps:
                        limit = level[j]
        if limit == nodes or load[v] <= eps:
            return size
        depth = 0
        i = v
        while load[v] > eps:
            if i != v and slack[i] > eps:
                amount = min(load[v], slack[i])
                j = i
                for k in range(depth - 1, -1, -1):
                    e = path[k]
                    j = graph[TAIL, e] + graph[HEAD, e] - j
                    amount = min(amount, share[TAIL if graph[TAIL, e] == j else HEAD, e])
                load[v] -= amount
                slack[i] -= amount
                for k in range(depth - 1, -1, -1):
                    e = path[k]
                    i = graph[TAIL, e] + graph[HEAD, e] - i
                    end = TAIL if graph[TAIL, e] == i else HEAD
                    share[end, e] -= amount
                    share[TAIL + HEAD - end, e] += amount
                depth = 0
                continue
            if pointer[i] < first[i + 1]:
                e = link[pointer[i]]
                j = graph[TAIL, e] + graph[HEAD, e] - i
                if done[j] and level[j] == level[i] + 1 and share[TAIL if graph[TAIL, e] == i else HEAD, e] > 0.0:
                    path[depth] = e
                    depth += 1
                    i = j
                else:
                    pointer[i] += 1
                continue
            if i == v:
                break
            depth -= 1
            i = graph[TAIL, path[depth]] + graph[HEAD, path[depth]] - i
            pointer[i] += 1


@compiled
def _violated(edges, x, graph, at_nodes, at_edges, share, slack, load):
    """Give each node its part in the partition with the most violation; return whether there is any."""
    first, part, done, queue = at_nodes[0], at_nodes[1], at_nodes[2], at_nodes[3]
    level, pointer = at_nodes[4], at_nodes[5]
    link, path, kept = at_edges[0], at_edges[1], at_edges[2]
    count = 0
    for e in edges:
        if x[e] > 0.0:
            kept[count] = e
            count += 1
    kept = kept[:count]
    _list_neighbours(kept, graph, first, link)
    eps = _CLEAR * (4.0 * graph[RANK, edges[0]] + edges.size)
    for v in range(part.size):
        part[v] = v
    done[:] = 0
    found = False
    for v in range(first.size - 1):
        if first[v] == first[v + 1]:
            continue
        done[v] = 1
        slack[v] = 0.0
        load[v] = 0.0
        for p in range(first[v], first[v + 1]):
            e = link[p]
            if done[graph[TAIL, e] + graph[HEAD, e] - v]:
                end = TAIL if graph[TAIL, e] == v else HEAD
                share[end, e] = x[e]
                share[TAIL + HEAD - end, e] = 0.0
                load[v] += x[e]
        size = _push(v, graph, done, first, link, share, slack, load, eps, level, pointer, queue, path)
        if load[v] > eps:
            for k in range(1, size):
                part[root_of(queue[k], part)] = root_of(v, part)
                found = True
        slack[v] = 1.0
    if graph[RANK, edges[0]] == FREE:
        return found
    for e in edges:
        if found and root_of(graph[TAIL, e], part) != root_of(graph[HEAD, e], part):
            return True
    for v in range(part.size):  # all of it is no violation but of rounding
        part[v] = v
    return False


@compiled
def _grouped(keys, edges, count, start, order):
    """Sort edges by their key in range(count): those with key b are order[start[b]:start[b + 1]]."""
    start[: count + 1] = 0
    for e in edges:
        start[keys[e]] += 1
    for b in range(1, count + 1):
        start[b] += start[b - 1]
    for k in range(edges.size - 1, -1, -1):
        e = edges[k]
        start[keys[e]] -= 1
        order[start[keys[e]]] = e


@compiled
def begin_division(begin, end, nodes, u, ends, state, components):
    """The blocks of graphs without any constraint but that on the whole; and of how many components graphs are."""
    count = u.shape[1]
    at_nodes = np.empty((6, nodes + 1), np.int64)
    at_edges = np.empty((6, 2 * count + 1), np.int64)
    present = np.empty(count, np.int64)
    for r in range(begin, end):
        graph = state[r]
        size = 0
        at_nodes[4, :] = 0
        for e in range(count):
            graph[TAIL, e] = ends[0, e]
            graph[HEAD, e] = ends[1, e]
            graph[BLOCK, e] = _ABSENT
            graph[RANK, e] = 0
            graph[OPEN, e] = 0
            if u[r, e] > -np.inf:
                present[size] = e
                size += 1
                at_nodes[4, ends[0, e]] = 1
                at_nodes[4, ends[1, e]] = 1
        _connect(present[:size], graph, np.int64(0), at_nodes, at_edges)
        components[r] = 0  # as many as there are roots in the forest
        for v in range(nodes):
            components[r] += at_nodes[4, v] == 1 and at_nodes[2, v] == 0


@compiled
def divide(begin, end, nodes, x, state):
    """Divide every open block that a constraint is violated in, and close the others.

    In those that are closed, only the edges between 0 and 1 may vary while the others stay as they are. These are
    divided into blocks for the derivative; they share one multiplier, and have x already.
    """
    count = x.shape[1]
    at_nodes = np.empty((6, nodes + 1), np.int64)
    at_edges = np.empty((8, 2 * count + 1), np.int64)
    share = np.empty((2, count))
    slack, load = np.empty(nodes), np.empty(nodes)
    start, order, inner, outer = at_edges[3], at_edges[4], at_edges[5], at_edges[6]
    for r in range(begin, end):
        graph = state[r]
        size, blocks = 0, np.int64(0)
        for e in range(count):
            if graph[BLOCK, e] != _ABSENT:
                at_edges[7, size] = e
                size += 1
                blocks = max(blocks, graph[BLOCK, e] + 1)
        _grouped(graph[BLOCK], at_edges[7, :size], blocks, start, order)
        fresh = np.int64(0)
        for b in range(blocks):
            edges = order[start[b] : start[b + 1]]
            if not graph[OPEN, edges[0]]:
                for e in edges:
                    graph[BLOCK, e] = fresh
                fresh += 1
                continue
            violated = _violated(edges, x[r], graph, at_nodes, at_edges, share, slack, load)
            part = at_nodes[1]
            free = graph[RANK, edges[0]] == FREE
            if not violated and not free:  # an edge that is 1 is a tight set
                for e in edges:
                    if x[r, e] == 1.0:
                        part[root_of(graph[TAIL, e], part)] = root_of(graph[HEAD, e], part)
            insides, outsides = 0, 0
            for e in edges:
                tail, head = root_of(graph[TAIL, e], part), root_of(graph[HEAD, e], part)
                if tail == head or (not violated and not free and x[r, e] == 0.0):
                    inner[insides] = e
                    insides += 1
                else:
                    graph[TAIL, e], graph[HEAD, e] = tail, head
                    outer[outsides] = e
                    outsides += 1
            if free:
                for e in outer[:outsides]:
                    graph[BLOCK, e] = fresh
                    graph[OPEN, e] = violated
                fresh += outsides > 0
            else:
                fresh = _connect(outer[:outsides], graph, fresh, at_nodes, at_edges)
            if violated:  # parts have no node in common: what connects their edges lies within one
                fresh = _connect(inner[:insides], graph, fresh, at_nodes, at_edges)
                continue
            for e in inner[:insides]:
                graph[BLOCK, e] = fresh
            fresh += insides > 0
            for e in edges:
                graph[OPEN, e] = 0


@compiled
def solve_blocks(begin, end, link, u, state, out):
    """Write x = φ(u + ν), with one ν for each open block, into `out`."""
    count = u.shape[1]
    present, order = np.empty(count, np.int64), np.empty(count, np.int64)
    start = np.empty(count + 1, np.int64)
    v, x, y = np.empty(count), np.empty(count), np.empty(count)
    largest = np.empty(FEW)
    for r in range(begin, end):
        size, blocks = 0, np.int64(0)
        for e in range(count):
            if state[r, OPEN, e]:
                present[size] = e
                size += 1
                blocks = max(blocks, state[r, BLOCK, e] + 1)
        _grouped(state[r, BLOCK], present[:size], blocks, start, order)
        for b in range(blocks):
            low, n = start[b], start[b + 1] - start[b]
            if n == 0 or state[r, RANK, order[low]] == FREE:
                continue
            for i in range(n):
                v[i] = u[r, order[low + i]]
            solve_row(link, state[r, RANK, order[low]], v[:n], x[:n], y[:n], largest)
            for i in range(n):
                out[r, order[low + i]] = x[i]
