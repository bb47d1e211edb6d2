"""Eisner's dynamic program on the CPU; the mathematics stands in `sstricks.ops.projective_arborescence`.

Of two ways to divide a span that are worth the same, the one whose tree has the lowest edge that the other lacks is
kept. That is the lexicographic order of the indicator vectors; since it is respected by disjoint unions, keeping the
first tree of every span yields the first tree of all. Trees are read off the back-pointers for the comparison only,
so that where nothing ties nothing is paid.
"""

import numpy as np
from numba import njit

# What spans a stretch of nodes: the dependents of its first node or of its last one, or a dependency between the two.
RIGHT, LEFT, RIGHTWARD, LEFTWARD = 0, 1, 2, 3
# The tables that a division is looked up in: of the nodes between two ends, of RIGHT, and of LEFT.
_BETWEEN, _RIGHT, _LEFT = 0, 1, 2


@njit(inline="always")
def edge(nodes, i, j):
    """The coordinate of i → j: pairs in lexicographic order, those with i = j or j = 0 left out."""
    return j - 1 if i == 0 else nodes - 1 + (i - 1) * (nodes - 2) + j - 1 - (1 if j > i else 0)


@njit(nogil=True, cache=True, error_model="numpy")
def present_nodes(nodes, u, row, order):
    """Write the nodes that have an edge into `order`; return how many there are, or 0 if the root is not one."""
    count = 0
    for v in range(nodes):
        present = False
        for w in range(nodes):
            if w != v:
                present |= w > 0 and u[row, edge(nodes, v, w)] > -np.inf
                present |= v > 0 and u[row, edge(nodes, w, v)] > -np.inf
        if present:
            order[count] = v
            count += 1
        elif v == 0:
            return 0
    return count


@njit(nogil=True, cache=True, error_model="numpy")
def _push(stack, size, kind, i, j):
    stack[size, 0] = kind
    stack[size, 1] = i
    stack[size, 2] = j
    return size + 1


@njit(nogil=True, cache=True, error_model="numpy")
def _push_parts(stack, size, table, i, j, k):
    """The two parts of a division at k."""
    if table == _BETWEEN:
        return _push(stack, _push(stack, size, RIGHT, i, k), LEFT, k + 1, j)
    if table == _RIGHT:
        return _push(stack, _push(stack, size, RIGHTWARD, i, k), RIGHT, k, j)
    return _push(stack, _push(stack, size, LEFT, i, k), LEFTWARD, k, j)


@njit(nogil=True, cache=True, error_model="numpy")
def trace(table, i, j, k, back, stack, head):
    """Write the head of every node that gets one inside the span i…j, divided at k."""
    size = _push_parts(stack, 0, table, i, j, k)
    while size > 0:
        size -= 1
        kind, i, j = stack[size, 0], stack[size, 1], stack[size, 2]
        if kind == RIGHTWARD:
            head[j] = i
        elif kind == LEFTWARD:
            head[i] = j
        elif i == j:
            continue
        table = _BETWEEN if kind >= RIGHTWARD else (_RIGHT if kind == RIGHT else _LEFT)
        size = _push_parts(stack, size, table, i, j, back[table, i, j])


@njit(nogil=True, cache=True, error_model="numpy")
def _comes_first(table, i, j, k, other, back, stack, heads):
    """Whether the tree of the division at k has the lowest edge in which it differs from that at `other`."""
    nodes = heads.shape[1]
    heads[:, i : j + 1] = -1
    trace(table, i, j, k, back, stack, heads[0])
    trace(table, i, j, other, back, stack, heads[1])
    lowest = nodes * nodes
    first = False
    for v in range(i, j + 1):
        if heads[0, v] != heads[1, v]:
            for which in range(2):
                if heads[which, v] * nodes + v < lowest:
                    lowest = heads[which, v] * nodes + v
                    first = which == 0
    return first


@njit(nogil=True, cache=True, error_model="numpy")
def _divide(table, i, j, chart, one, first, two, last, steps, back, stack, heads):
    """The best of all divisions: the sums of row i of chart `one`, from `first` on, and row j of `two`, from `last` on.

    Divisions are numbered from i, those of RIGHT from i + 1.
    """
    start = np.uint64(i + 1 if table == _RIGHT else i)
    row, column = np.uint64(i), np.uint64(j)
    first, last = np.uint64(first), np.uint64(last)
    value = chart[one, row, first] + chart[two, column, last]
    at = start
    for s in range(np.uint64(1), np.uint64(steps)):
        candidate = chart[one, row, first + s] + chart[two, column, last + s]
        if candidate >= value and (
            candidate > value
            or (value > -np.inf and _comes_first(table, i, j, np.int64(start + s), np.int64(at), back, stack, heads))
        ):
            value = candidate
            at = start + s
    back[table, row, column] = at
    return value


@njit(nogil=True, cache=True, error_model="numpy")
def eisner(count, weight, chart, back, stack, heads):
    """Fill the charts for `count` nodes from the weights of i → j; return the best value, −∞ if there is no tree.

    Charts: RIGHT and LEFT by rows, both again by columns, RIGHTWARD by rows, LEFTWARD by columns, so that each
    division reads two rows.
    """
    for i in range(count):
        chart[:4, i, i] = 0.0
    for width in range(1, count):
        for i in range(count - width):
            j = i + width
            between = _divide(_BETWEEN, i, j, chart, 0, i, 3, i + 1, width, back, stack, heads)
            chart[4, i, j] = between + weight[i, j]
            chart[5, j, i] = between + weight[j, i]
            value = _divide(_RIGHT, i, j, chart, 4, i + 1, 2, i + 1, width, back, stack, heads)
            chart[0, i, j] = chart[2, j, i] = value
            value = _divide(_LEFT, i, j, chart, 1, i, 5, i, width, back, stack, heads)
            chart[1, i, j] = chart[3, j, i] = value
    return chart[0, 0, count - 1]


@njit(nogil=True, cache=True, error_model="numpy")
def maximum_projective_arborescence(begin, end, nodes, u, out, feasible):
    """Write the best trees of rows `begin` to `end` into `out`, and whether there are any."""
    order = np.empty(nodes, np.int64)
    weight = np.empty((nodes, nodes))
    chart = np.empty((6, nodes, nodes))
    back = np.empty((3, nodes, nodes), np.int64)
    stack = np.empty((2 * nodes + 2, 3), np.int64)
    heads = np.empty((2, nodes), np.int64)
    for r in range(begin, end):
        out[r] = 0.0
        count = present_nodes(nodes, u, r, order)
        for a in range(count):
            weight[a, 0] = -np.inf
            for b in range(1, count):
                if a != b:
                    weight[a, b] = u[r, edge(nodes, order[a], order[b])]
        feasible[r] = count > 0 and eisner(count, weight, chart, back, stack, heads) > -np.inf
        if feasible[r]:
            trace(_RIGHT, 0, count - 1, back[_RIGHT, 0, count - 1], back, stack, heads[0])
            for b in range(1, count):
                out[r, edge(nodes, order[heads[0, b]], order[b])] = 1.0
