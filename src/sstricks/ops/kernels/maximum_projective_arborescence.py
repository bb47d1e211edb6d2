"""Eisner's dynamic program on the CPU; the mathematics stands in `sstricks.ops.projective_arborescence`.

Of two ways to divide a span that are worth the same, the one whose tree has the lowest edge that the other lacks is
kept. That is the lexicographic order of the indicator vectors; since disjoint unions respect it, keeping the first tree
of every span yields the first tree of all. Only where something ties are trees compared, by a second run.

Edges are ordered by their heads. Let k < k' be two divisions of the span i…j, and read → and R as the kept trees.

- Between i and j, R(i, k)·L(k+1, j) and R(i, k')·L(k'+1, j) compare as R(i, k) and R(i, k'): in the latter some node up
  to k is the head of one behind k, or i would not be above all; and edges from nodes up to k are in these parts only.
- Of R(i, j), →(i, k)·R(k, j) and →(i, k')·R(k', j) compare as →(i, k) and →(i, k'), and these as the sets of i's
  dependents: only the latter has i → k', and edges from i come before all others and are in these parts only.
- Of L(i, j), every tree has some R(i, f) as its part that i heads. Where f differs, the trees compare as these parts,
  as above. Where it does not, their lists of edges are compared behind them.

So it is enough to rank, for every i, the R(i, k), and the →(i, k), as the spans grow. The dependents of i in →(i, j)
are j, which is larger than all so far, and those of some →(i, k), or none: it comes right before that one. R(i, j) and
R(i, j') compare by their first parts and, where both are the same →(i, k), by R(k, j) and R(k, j').
"""

import numpy as np

from sstricks.ops.kernels.compiled import compiled

# What spans a stretch of nodes: the dependents of its first node or of its last one, or a dependency between the two.
RIGHT, LEFT, RIGHTWARD, LEFTWARD = 0, 1, 2, 3
# The tables that a division is looked up in: of the nodes between two ends, of RIGHT, and of LEFT.
BETWEEN, TO_RIGHT, TO_LEFT = 0, 1, 2
# Behind these tables, where something ties: for each of them, at [i, k], whose rank counts for the division at k of a
# span that begins at i; and for a kind, at [i, k], the rank of the tree of the span i…k.
FIRST, RANK = 3, 6


@compiled(inline=True)
def edge(nodes, i, j):
    """The coordinate of i → j: pairs in lexicographic order, those with i = j or j = 0 left out."""
    return j - 1 if i == 0 else nodes - 1 + (i - 1) * (nodes - 2) + j - 1 - (1 if j > i else 0)


@compiled
def present_nodes(nodes, u, row, order):
    """Write the root and the nodes that have an edge into `order`; return how many, or 0 if only the root has none."""
    order[0] = 0
    count = 0
    rootless = False
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
            count = 1
            rootless = True
    return 0 if rootless and count > 1 else count


@compiled
def push(stack, size, kind, i, j):
    stack[size, 0] = kind
    stack[size, 1] = i
    stack[size, 2] = j
    return size + 1


@compiled
def push_parts(stack, size, table, i, j, k):
    """The two parts of a division at k."""
    if table == BETWEEN:
        return push(stack, push(stack, size, RIGHT, i, k), LEFT, k + 1, j)
    if table == TO_RIGHT:
        return push(stack, push(stack, size, RIGHTWARD, i, k), RIGHT, k, j)
    return push(stack, push(stack, size, LEFT, i, k), LEFTWARD, k, j)


@compiled
def attach(kind, i, j, head):
    """Write the head that a span is about, if any; return the table that divides the span, −1 where nothing does."""
    if kind == RIGHTWARD:
        head[j] = i
    elif kind == LEFTWARD:
        head[i] = j
    elif i == j:
        return -1
    return BETWEEN if kind >= RIGHTWARD else (TO_RIGHT if kind == RIGHT else TO_LEFT)


@compiled
def trace(i, j, back, stack, head):
    """Write the head of every node in the tree in which i heads all up to j."""
    size = push(stack, 0, RIGHT, i, j)
    while size > 0:
        size -= 1
        kind, i, j = stack[size, 0], stack[size, 1], stack[size, 2]
        table = attach(kind, i, j, head)
        if table >= 0:
            size = push_parts(stack, size, table, i, j, back[table, i, j])


@compiled(inline=True)
def _listed(count, i, j):
    """Where the tree of the span i…j is listed; one of width w has w edges."""
    w = j - i
    return count * (w * (w - 1) // 2) - (w - 1) * w * (2 * w - 1) // 6 + i * w


@compiled(inline=True)
def _kinds(table):
    """Of which kinds the two parts of a division are."""
    return (RIGHT, LEFT) if table == BETWEEN else ((RIGHTWARD, RIGHT) if table == TO_RIGHT else (LEFT, LEFTWARD))


@compiled
def _list(kind, table, i, j, k, link, count, lists):
    """List the tree of a span: that of its division at k and, if there is one, the edge that links the two parts."""
    one, two = _kinds(table)
    begin = to = _listed(count, i, j)
    first, second = _listed(count, i, k), _listed(count, k + 1 if table == BETWEEN else k, j)
    for at in range(k - i):
        lists[kind, to + at] = lists[one, first + at]
    to += k - i
    for at in range(j - k - (table == BETWEEN)):
        lists[kind, to + at] = lists[two, second + at]
    to += j - k - (table == BETWEEN)
    if link >= 0:
        while to > begin and lists[kind, to - 1] > link:
            lists[kind, to] = lists[kind, to - 1]
            to -= 1
        lists[kind, to] = link


@compiled
def _rank_rightward(i, j, back):
    """Rank →(i, j) among the →(i, k) of narrower spans; →(i, i) stands for no dependents."""
    last = back[BETWEEN, i, j]
    position = back[RANK + RIGHTWARD, i, i if last == i else back[TO_RIGHT, i, last]]
    for k in range(i, j):
        back[RANK + RIGHTWARD, i, k] += back[RANK + RIGHTWARD, i, k] >= position
    back[RANK + RIGHTWARD, i, j] = position


@compiled
def _rank_right(i, j, back):
    """Rank R(i, j) among the R(i, k) of narrower spans."""
    k = back[TO_RIGHT, i, j]
    position = 0
    for other in range(i, j):
        at = back[TO_RIGHT, i, other]
        first = back[RANK + RIGHTWARD, i, at] < back[RANK + RIGHTWARD, i, k]
        second = back[RANK + RIGHT, k, other] < back[RANK + RIGHT, k, j]
        earlier = second if at == k else first
        position += earlier
        back[RANK + RIGHT, i, other] += not earlier
    back[RANK + RIGHT, i, j] = position


@compiled
def _nth(i, j, k, at, count, lists):
    """The edge number `at` of the tree of a division of LEFT at k."""
    if at < k - i:
        return lists[LEFT, _listed(count, i, k) + at]
    return lists[LEFTWARD, _listed(count, k, j) + at - (k - i)]


@compiled
def _comes_first(i, j, k, other, begin, count, lists):
    """Whether the tree of LEFT divided at k has the lowest edge in which it differs from the one divided at `other`.

    Their first `begin` edges are the same.
    """
    for at in range(begin, j - i):
        one, two = _nth(i, j, k, at, count, lists), _nth(i, j, other, at, count, lists)
        if one != two:
            return one < two
    return False


@compiled
def _divide(table, i, j, chart, one, first, two, last, steps, back, count, lists):
    """The best of all divisions: the sums of row i of chart `one`, from `first` on, and row j of `two`, from `last` on.

    Divisions are numbered from i, those of RIGHT from i + 1. Without lists the first of them is kept. Returns also
    whether several are best.
    """
    start = np.uint64(i + 1 if table == TO_RIGHT else i)
    row, column = np.uint64(i), np.uint64(j)
    kind = RIGHTWARD if table == TO_RIGHT else RIGHT
    first, last = np.uint64(first), np.uint64(last)
    value = chart[one, row, first] + chart[two, column, last]
    at = start
    ties = False
    for s in range(np.uint64(1), np.uint64(steps)):
        candidate = chart[one, row, first + s] + chart[two, column, last + s]
        if candidate >= value:
            if candidate == value:
                if value == -np.inf:
                    continue
                ties = True
                if lists.size == 0:
                    continue
                mine, other = back[FIRST + table, row, start + s], back[FIRST + table, row, at]
                if back[RANK + kind, row, mine] > back[RANK + kind, row, other]:
                    continue
                if mine == other and not _comes_first(i, j, start + s, at, mine - i, count, lists):
                    continue
            else:
                ties = False
            value = candidate
            at = start + s
    back[table, row, column] = at
    return value, ties


@compiled
def eisner(count, weight, single, chart, back, lists):
    """Fill the charts for `count` nodes from the weights of i → j; return the best value, −∞ if there is no tree.

    Charts: RIGHT and LEFT by rows, both again by columns, RIGHTWARD by rows, LEFTWARD by columns, so that each
    division reads two rows. Returns also whether any span has several best trees; with `lists`, (4, (n³ − n)/6), those
    are told apart. With `single`, the root has a single child.
    """
    tied = False
    for i in range(count):
        chart[:4, i, i] = 0.0
        if lists.size > 0:
            back[RANK:, i, i] = 0
            back[TO_RIGHT, i, i] = i
            for j in range(back.shape[2]):
                back[FIRST:RANK, i, j] = j
    for width in range(1, count):
        for i in range(count - width):
            j = i + width
            value, ties = _divide(BETWEEN, i, j, chart, 0, i, 3, i + 1, width, back, count, lists)
            tied |= ties
            chart[4, i, j] = value + weight[i, j]
            chart[5, j, i] = value + weight[j, i]
            if lists.size > 0:
                _list(RIGHTWARD, BETWEEN, i, j, back[BETWEEN, i, j], i * count + j, count, lists)
                _list(LEFTWARD, BETWEEN, i, j, back[BETWEEN, i, j], j * count + i, count, lists)
                _rank_rightward(i, j, back)
            value, ties = _divide(TO_RIGHT, i, j, chart, 4, i + 1, 2, i + 1, width, back, count, lists)
            tied |= ties
            if single and i == 0 and j < count - 1:
                value = -np.inf
            chart[0, i, j] = chart[2, j, i] = value
            if lists.size > 0:
                back[FIRST + TO_LEFT, i, i] = back[BETWEEN, i, j]
            value, ties = _divide(TO_LEFT, i, j, chart, 1, i, 5, i, width, back, count, lists)
            tied |= ties
            chart[1, i, j] = chart[3, j, i] = value
            if lists.size > 0:
                _list(RIGHT, TO_RIGHT, i, j, back[TO_RIGHT, i, j], -1, count, lists)
                _list(LEFT, TO_LEFT, i, j, back[TO_LEFT, i, j], -1, count, lists)
                _rank_right(i, j, back)
                back[FIRST + TO_LEFT, i, j] = back[FIRST + TO_LEFT, i, back[TO_LEFT, i, j]]
    return chart[0, 0, count - 1], tied


@compiled
def maximum_projective_arborescence(begin, end, nodes, single, u, out, feasible):
    """Write the best trees of rows `begin` to `end` into `out`, and whether there are any.

    With `single`, the root has a single child.
    """
    order = np.empty(nodes, np.int64)
    weight = np.empty((nodes, nodes))
    chart = np.empty((6, nodes, nodes))
    back = np.empty((9, nodes, nodes), np.int64)
    stack = np.empty((2 * nodes + 2, 3), np.int64)
    head = np.empty(nodes, np.int64)
    unlisted = np.empty((4, 0), np.int32)
    lists = unlisted
    for r in range(begin, end):
        out[r] = 0.0
        feasible[r] = False
        count = present_nodes(nodes, u, r, order)
        if count == 0:
            continue
        for a in range(count):
            weight[a, 0] = -np.inf
            for b in range(1, count):
                if a != b:
                    weight[a, b] = u[r, edge(nodes, order[a], order[b])]
        value, tied = eisner(count, weight, single, chart, back, unlisted)
        if tied:
            if lists.size == 0:
                lists = np.empty((4, (nodes**3 - nodes) // 6), np.int32)
            eisner(count, weight, single, chart, back, lists)
        feasible[r] = value > -np.inf
        if feasible[r]:
            trace(0, count - 1, back, stack, head)
            for b in range(1, count):
                out[r, edge(nodes, order[head[b]], order[b])] = 1.0
