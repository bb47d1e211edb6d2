"""An order in which eliminating the nodes of a sparse graph fills in little, and what it then looks like.

The next node is one with the fewest neighbours (Tinney & Walker). What is left of the graph is kept as a quotient graph
(George & Liu): a node's neighbours are those it has by edges, and all those of an eliminated node that it was next to.
An eliminated node's neighbours become each other's, so it takes over the eliminated ones it was next to, and the lists
of a node never get longer than it had edges. Numbers of neighbours are bounds: those that a node shares with the one
just eliminated are told apart from the others of its lists, but the latter are not from each other (Amestoy, Davis &
Duff).
"""

import numpy as np

from sstricks.ops.kernels.arrays import copy
from sstricks.ops.kernels.compiled import compiled


@compiled
def _filled(size, number):
    """An array of whole numbers that are all the same."""
    array = np.empty(size, np.int64)
    array[:] = number
    return array


@compiled
def _accumulate(begin, fill):
    """From how many there are in each list, behind a zero, where the lists begin; and where to fill each from."""
    for v in range(fill.size):
        fill[v] = begin[v]
        begin[v + 1] += begin[v]


@compiled
def _adjacency(nodes, ends):
    """Where each node's neighbours begin, and the neighbours, each once."""
    begin, fill = np.empty(nodes + 1, np.int64), np.empty(nodes, np.int64)
    begin[:] = 0
    for x in range(ends.shape[1]):
        begin[ends[0, x] + 1] += 1
        begin[ends[1, x] + 1] += 1
    _accumulate(begin, fill)
    near = np.empty(2 * ends.shape[1], np.int64)
    for x in range(ends.shape[1]):
        for k in range(2):
            v = ends[k, x]
            near[fill[v]] = ends[1 - k, x]
            fill[v] += 1
    seen, count = _filled(nodes, -1), _filled(nodes, 0)
    for v in range(nodes):
        for x in range(begin[v], begin[v + 1]):
            if seen[near[x]] != v:
                seen[near[x]] = v
                near[begin[v] + count[v]] = near[x]
                count[v] += 1
    return begin, near, count


@compiled
def _unlink(v, degree, first, after, before):
    if before[v] >= 0:
        after[before[v]] = after[v]
    else:
        first[degree[v]] = after[v]
    if after[v] >= 0:
        before[after[v]] = before[v]


@compiled
def _link(v, degree, first, after, before):
    after[v], before[v] = first[degree[v]], -1
    if after[v] >= 0:
        before[after[v]] = v
    first[degree[v]] = v


@compiled
def _order(nodes, last, ends, most):
    """The nodes in their order, where the neighbours of each begin that come later, and these; `last` is the last.

    There are none if the products of an elimination, a later neighbour times another one, would be more than `most`.
    """
    begin, near, edges = _adjacency(nodes, ends)
    whole = _filled(nodes, 0)  # so many eliminated nodes are at the end of a node's piece of `near`
    start, size = _filled(nodes, 0), _filled(nodes, 0)  # an eliminated node's neighbours in `later`
    later = np.empty(4 * near.size + nodes, np.int64)
    state = _filled(nodes, 0)  # 1 once it is eliminated, 2 once another one took it over
    mark, outside, stamp = _filled(nodes, -1), _filled(nodes, 0), _filled(nodes, -1)
    degree = np.empty(nodes, np.int64)
    copy(edges, degree)
    first, after, before = _filled(nodes + 1, -1), _filled(nodes, -1), _filled(nodes, -1)
    order, pointer = np.empty(nodes, np.int64), _filled(nodes + 1, 0)
    for v in range(nodes - 1, -1, -1):
        if v != last:
            _link(v, degree, first, after, before)
    least, used, products = 0, 0, 0.0
    for turn in range(nodes):
        while least < nodes and first[least] < 0:
            least += 1
        v = first[least] if least < nodes else last
        if v != last:
            _unlink(v, degree, first, after, before)
        state[v] = 1
        order[turn] = v
        if used + nodes > later.size:
            more = np.empty(2 * later.size + nodes, np.int64)
            copy(later, more[:used])
            later = more
        start[v] = used
        mark[v] = turn
        for x in range(begin[v], begin[v] + edges[v]):
            w = near[x]
            if state[w] == 0 and mark[w] != turn:
                mark[w] = turn
                later[used] = w
                used += 1
        for x in range(begin[v + 1] - whole[v], begin[v + 1]):
            e = near[x]
            for y in range(start[e], start[e] + size[e]):
                w = later[y]
                if state[w] == 0 and mark[w] != turn:
                    mark[w] = turn
                    later[used] = w
                    used += 1
            state[e] = 2
        size[v] = used - start[v]
        pointer[turn + 1] = used
        rest = nodes - turn - 1
        products += float(size[v]) * size[v]
        clique = size[v] == rest
        if products + (float(rest) * rest * rest / 3.0 if clique else 0.0) > most:
            return order[:0], pointer, later[:0]
        if clique:  # then they are eliminated in any order
            later = _complete(start[v], rest, last, turn, order, pointer, later)
            return order, pointer, later
        for x in range(start[v], used):
            w = later[x]
            kept = begin[w + 1]
            for y in range(begin[w + 1] - 1, begin[w + 1] - whole[w] - 1, -1):
                e = near[y]
                if state[e] == 1:
                    kept -= 1
                    near[kept] = e
                    if stamp[e] != turn:
                        stamp[e], outside[e] = turn, size[e]
                    outside[e] -= 1
            count = 0
            for y in range(begin[w], begin[w] + edges[w]):
                if mark[near[y]] != turn and state[near[y]] == 0:
                    near[begin[w] + count] = near[y]
                    count += 1
            edges[w] = count
            whole[w] = begin[w + 1] - kept + 1
            near[kept - 1] = v
        for x in range(start[v], used):
            w = later[x]
            bound = edges[w] + size[v] - 1
            for y in range(begin[w + 1] - whole[w] + 1, begin[w + 1]):
                bound += outside[near[y]]
            bound = min(bound, degree[w] + size[v] - 1, nodes - turn - 2)
            if w != last:
                _unlink(w, degree, first, after, before)
            degree[w] = max(bound, 0)
            if w != last:
                _link(w, degree, first, after, before)
                least = min(least, degree[w])
    return order, pointer, later[:used]


@compiled
def _complete(at, rest, last, turn, order, pointer, later):
    """What is left of the graph is complete: the node of this turn has the `rest` as neighbours, from `at` on."""
    nodes = np.empty(rest, np.int64)
    copy(later[at:], nodes)
    for k in range(rest):
        if nodes[k] == last:
            nodes[k], nodes[rest - 1] = nodes[rest - 1], last
    whole = np.empty(at + rest * (rest + 1) // 2, np.int64)
    copy(later, whole[:at])
    for k in range(rest + 1):
        copy(nodes[k:], whole[at : at + rest - k])
        at += rest - k
        pointer[turn + k + 1] = at
        if k < rest:
            order[turn + k + 1] = nodes[k]
    return whole


@compiled
def _transposed(pointer, index):
    """In which lists each number stands, by rising list, and where there."""
    nodes = pointer.size - 1
    begin, fill = np.empty(nodes + 1, np.int64), np.empty(nodes, np.int64)
    begin[:] = 0
    for x in range(index.size):
        begin[index[x] + 1] += 1
    _accumulate(begin, fill)
    lists, places = np.empty(index.size, np.int64), np.empty(index.size, np.int64)
    for v in range(nodes):
        for x in range(pointer[v], pointer[v + 1]):
            lists[fill[index[x]]] = v
            places[fill[index[x]]] = x
            fill[index[x]] += 1
    return begin, lists, places


@compiled
def analyse(nodes, last, ends, most=np.inf):
    """The graph with what is filled in, its nodes numbered by their order; without nodes if that takes too much.

    Returns the node's number; where the later neighbours of each begin, and these by rising number; where the earlier
    ones begin, these, and where the node stands among their later ones; where each edge stands, and whether it leads to
    the earlier one of its nodes.
    """
    order, pointer, later = _order(nodes, last, ends, most)
    if order.size == 0:
        return order, pointer, order, pointer, order, order, order, np.empty(0, np.bool_)
    number = np.empty(nodes, np.int64)
    for k in range(nodes):
        number[order[k]] = k
    for x in range(later.size):
        later[x] = number[later[x]]
    begin, earlier, _ = _transposed(pointer, later)
    _, index, _ = _transposed(begin, earlier)  # twice transposed, they are sorted
    begin, earlier, place = _transposed(pointer, index)
    slot, down = np.empty(ends.shape[1], np.int64), np.empty(ends.shape[1], np.bool_)
    for x in range(ends.shape[1]):
        i, j = number[ends[0, x]], number[ends[1, x]]
        low, high = min(i, j), max(i, j)
        at, end = pointer[low], pointer[low + 1] - 1
        while at < end:
            middle = (at + end) // 2
            if index[middle] < high:
                at = middle + 1
            else:
                end = middle
        slot[x] = at
        down[x] = j == low
    return number, pointer, index, begin, earlier, place, slot, down
