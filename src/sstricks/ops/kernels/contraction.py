"""Maximum arborescences and their potentials on the CPU, by contraction of cycles: Chu–Liu/Edmonds as Tarjan has it.

A path is grown backwards along best edges from any node. Where it closes a cycle, that is contracted: an edge into the
new node is worth what it gains over the cycle's own edge at its head. Where it reaches the root's side, its nodes are
settled, and another path begins. At the end, the outermost contractions are opened first: the edge chosen for one
replaces the own edges of all contractions around its head. O(n²) with the gains in a matrix, which of two edges from
one node keeps the better. Of sparse graphs they are in lists, in which of two edges from one node or contraction the
better stays at each contraction, and take as much memory as there are edges.

Ties are broken as if every utility were raised by an infinitesimal of its own, that of edge 0 by far the largest, then
that of edge 1, and so on; so among the best trees the one is found that takes the lower edges. An edge's gain is its
utility less those of the chosen edges of all contractions around its head, its path. So of two edges with equal gains,
e is better than f if the least index in {e} ∪ path(f) is below the least in {f} ∪ path(e), the common part of both
paths left out.

**Far apart.** Differences of utilities beyond `FAR` lose what decides among trees that all need a far edge. There,
gains are sums of two floats: exact as long as utilities of no more than two scales meet.

**Potentials.** Let b_S be the gain of the edge chosen for S, a node or a contraction, and δ(S) the edges into it. Every
edge is in δ(S) for just the S whose b_S was taken from its utility to give its last gain r_e ≤ 0, so for every tree

.. math:: \\sum_{e \\in T} u_e = \\sum_S b_S + \\sum_{e \\in T} r_e + \\sum_S b_S (|T \\cap \\delta(S)| - 1)

where b_S ≤ 0 for contractions, and |T ∩ δ(S)| is 1 for nodes and at least 1 for contractions: no term but the first is
positive, and all others are 0 for the best tree. (The b_S are an optimal dual solution of Edmonds' linear program.) A
tree of which some r_e or b_S (|T ∩ δ(S)| − 1) is below −c is e^−c times as likely as the best, at the most. So with c
well beyond the logarithm of the number of trees, the law does not change when r_e and b_S of contractions are raised
to −c where they are below it. That brings any utilities within (n + 1)c of each other.

**A single child of the root.** Let every edge from the root be lower than all others by a number beyond all: among
trees, those with the fewest children of the root come first, and then the weight decides. An edge from the root is then
chosen only for a node or contraction without any other. With it a path ends, so its gain never becomes a difference,
and the number is nowhere written down. Several such edges mean that no tree has a single child of the root. As
potentials, the edges from the root have r = −∞ unless they lead into the S for which one of them was chosen, and the
b_S of that one, if it is a contraction, is below every −c.
"""

import numpy as np

from sstricks.ops.kernels.arrays import copy
from sstricks.ops.kernels.compiled import compiled
from sstricks.ops.kernels.spanning_tree import root_of
from sstricks.ops.precision import FAR, LARGEST, MANY, SURE

_PAIRS = 8  # of nodes, for each edge: beyond it a graph is sparse


@compiled(inline=True)
def _difference(x, x_rest, y, y_rest):
    """x − y as the nearest float and the rest, for numbers that are given so; what the three sums lose is made up."""
    high = x - y
    back = high - x
    lost = (x - (high - back)) - (y + back)
    rest = x_rest - y_rest
    back = rest - x_rest
    last = (x_rest - (rest - back)) - (y_rest + back)
    low = lost + rest
    near = high + low
    back = near - high
    return near, ((high - (near - back)) + (low - back)) + last


@compiled
def _memory(nodes, edges):
    """Of nodes and contractions: gains of the edges from each node, and which they are; the chosen edge; and where.

    Of sparse graphs there are lists instead: the gains of all edges, the next one in the list, and the first.
    """
    most, sparse = 2 * nodes, nodes * nodes > _PAIRS * edges
    rows, listed = (0, edges) if sparse else (most, 0)
    gains = np.empty((rows, nodes)), np.empty((rows, nodes)), np.empty((rows, nodes), np.int64)
    first, kept = np.empty((2, most), np.int64)
    lists = np.empty(listed), np.empty(listed), np.empty(listed, np.int64), first, kept
    choice = np.empty(most), np.empty(most), np.empty(most, np.int64)
    outer, inside, present = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(nodes, np.bool_)
    return gains, lists, choice, outer, inside, present


@compiled
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


@compiled
def _best_edge(v, nodes, gains, heads, chosen, outer, single):
    """The tail of the best edge into v, −1 if it has none; with a single child, the root if it has no other."""
    gain, rest, which = gains
    best, at = -np.inf, -1
    for i in range(1 if single else 0, nodes):
        if gain[v, i] > best:
            best, at = gain[v, i], i
        elif gain[v, i] == best and at >= 0:
            more = rest[v, i] - rest[v, at]
            if more > 0.0 or (more == 0.0 and _wins(which[v, i], which[v, at], heads, chosen, outer)):
                at = i
    return 0 if single and at < 0 and gain[v, 0] > -np.inf else at


@compiled
def _contract(new, path, begin, end, nodes, far, gains, choice, outer, inside, heads):
    """Make of the nodes path[begin:end], a cycle, one node."""
    gain, rest, which = gains
    best, more, chosen = choice
    for k in range(begin, end):
        outer[path[k]] = new
    for i in range(nodes):
        gain[new, i] = -np.inf
        rest[new, i] = 0.0
    for k in range(begin, end):
        c = path[k]
        for i in range(nodes):
            value, left = gain[c, i] - best[c], 0.0
            if far and value > -np.inf:
                value, left = _difference(gain[c, i], rest[c, i], best[c], more[c])
            better = value > gain[new, i]
            if value == gain[new, i] and value > -np.inf:
                lead = left - rest[new, i]
                better = lead > 0.0 or (lead == 0.0 and _wins(which[c, i], which[new, i], heads, chosen, outer))
            if better:
                gain[new, i] = value
                rest[new, i] = left
                which[new, i] = which[c, i]
    for i in range(nodes):
        if outer[inside[i]] == new:
            inside[i] = new
            gain[new, i] = -np.inf
            rest[new, i] = 0.0


@compiled
def _best_listed(v, lists, ends, chosen, outer, single):
    """The best edge into v, −1 if it has none; with a single child, one from the root if it has no other."""
    gain, _, after, first, _ = lists
    best, at, x = -np.inf, -1, first[v]
    from_root = False
    while x >= 0:
        lower = single and ends[0, x] == 0
        if at < 0 or lower == from_root:
            tied = gain[x] == best and at >= 0
            better = gain[x] > best or (tied and _is_better(x, at, lists, ends[1], chosen, outer))
        else:
            better = from_root
        if better:
            best, at, from_root = gain[x], x, lower
        x = after[x]
    return at


@compiled
def _is_better(x, y, lists, heads, chosen, outer):
    """Whether edge x gains more than y."""
    gain, rest = lists[0], lists[1]
    lead = gain[x] - gain[y] if gain[x] != gain[y] else rest[x] - rest[y]
    return lead > 0.0 or (lead == 0.0 and _wins(x, y, heads, chosen, outer))


@compiled
def _contract_lists(new, path, begin, end, far, lists, choice, outer, inside, ends):
    """`_contract`, with lists: of the edges from one node or contraction the best stays, of those from `new` none."""
    gain, rest, after, first, kept = lists
    best, more, chosen = choice
    for k in range(begin, end):
        outer[path[k]] = inside[path[k]] = new
    for k in range(begin, end):
        c = path[k]
        x = first[c]
        while x >= 0:
            if far:
                gain[x], rest[x] = _difference(gain[x], rest[x], best[c], more[c])
            else:
                gain[x] -= best[c]
            tail = root_of(ends[0, x], inside)
            y = kept[tail]
            if tail != new and (y < 0 or _is_better(x, y, lists, ends[1], chosen, outer)):
                kept[tail] = x
            x = after[x]
    for k in range(begin, end):
        x = first[path[k]]
        while x >= 0:
            following, tail = after[x], root_of(ends[0, x], inside)
            if kept[tail] == x:
                kept[tail] = -1
                after[x] = first[new]
                first[new] = x
            x = following


@compiled
def _contract_all(nodes, row, u, ends, limit, single, memory, settled, on_path, path):
    """Choose an edge into every node and contraction; how many these are, and how many nodes the root does not reach.

    With `single`, it also counts the children of the root after the first. Gains are sums of two floats if a utility is
    larger than the limit.
    """
    gains, lists, choice, outer, inside, present = memory
    gain, rest, which = gains
    best, more, chosen = choice
    sparse = gain.size == 0
    gain[:nodes] = -np.inf
    rest[:nodes] = 0.0
    copy(u[row], lists[0])
    lists[1][:] = 0.0
    lists[3][:] = -1
    lists[4][:] = -1
    present[:] = False
    outer[:] = -1
    chosen[:] = -1
    settled[:] = False
    on_path[:] = False
    for v in range(inside.size):
        inside[v] = v
    far = False
    for x in range(ends.shape[1]):
        i, j = ends[0, x], ends[1, x]
        if j > 0 and u[row, x] > -np.inf:
            present[i] = present[j] = True
            far |= abs(u[row, x]) > limit
            if sparse:
                lists[2][x] = lists[3][j]
                lists[3][j] = x
            elif u[row, x] > gain[j, i]:  # strictly: of parallel edges that tie, the first
                gain[j, i] = u[row, x]
                which[j, i] = x
    settled[0] = True
    count = nodes
    unreached = 0
    children = 0
    for start in range(1, nodes):
        v = root_of(start, inside)
        if not present[start] or settled[v]:
            continue
        length = 0
        while True:
            path[length] = v
            length += 1
            on_path[v] = True
            if sparse:
                edge = _best_listed(v, lists, ends, chosen, outer, single)
                if edge >= 0:
                    chosen[v], best[v], more[v] = edge, lists[0][edge], lists[1][edge]
            else:
                edge = _best_edge(v, nodes, gains, ends[1], chosen, outer, single)
                if edge >= 0:
                    chosen[v], best[v], more[v] = which[v, edge], gain[v, edge], rest[v, edge]
            if edge < 0:
                unreached += 1
                break
            w = root_of(ends[0, chosen[v]], inside)
            if settled[w]:
                children += w == 0
                break
            if on_path[w]:
                first = length - 1
                while path[first] != w:
                    first -= 1
                if sparse:
                    _contract_lists(count, path, first, length, far, lists, choice, outer, inside, ends)
                else:
                    _contract(count, path, first, length, nodes, far, gains, choice, outer, inside, ends[1])
                length = first
                v = count
                count += 1
            else:
                v = w
        for k in range(length):
            settled[path[k]] = True
    return count, unreached + (max(children - 1, 0) if single else 0)


@compiled
def maximum_arborescence(begin, end, nodes, single, u, ends, out, unreached):
    """Write the maximum arborescences of rows `begin` to `end`, rooted at node 0, into `out`.

    With `single`, the root has a single child.
    """
    heads = ends[1]
    memory = _memory(nodes, ends.shape[1])
    chosen, outer = memory[2][2], memory[3]
    settled, on_path, opened = np.empty((3, 2 * nodes), np.bool_)
    path = np.empty(2 * nodes, np.int64)
    for r in range(begin, end):
        count, unreached[r] = _contract_all(nodes, r, u, ends, FAR / 2, single, memory, settled, on_path, path)
        out[r] = 0.0
        for v in range(count):
            opened[v] = chosen[v] < 0
        for v in range(count - 1, 0, -1):
            if not opened[v]:
                out[r, chosen[v]] = 1.0
                w = heads[chosen[v]]
                while w != v:
                    opened[w] = True
                    w = outer[w]


@compiled
def bring_near(nodes, row, u, ends, single, near):
    """Write utilities with the law of a row of u, but near each other, into `near`; return what log Z of u is more.

    With `single`, it is the law of the trees in which the root has a single child. Returns also how many nodes the root
    does not reach.
    """
    memory = _memory(nodes, ends.shape[1])
    (best, more, chosen), outer = memory[2], memory[3]
    settled, on_path = np.empty((2, 2 * nodes), np.bool_)
    path = np.empty(2 * nodes, np.int64)
    value = np.empty((1, ends.shape[1]))
    for x in range(ends.shape[1]):
        value[0, x] = min(max(u[row, x], -LARGEST), LARGEST) if u[row, x] > -np.inf else -np.inf
    count, unreached = _contract_all(nodes, 0, value, ends, 0.0, single, memory, settled, on_path, path)
    least = -(SURE + MANY * nodes)
    lowest = np.empty(count)  # b_S of contractions, raised to −c
    shift = 0.0
    for s in range(1, count):
        if chosen[s] >= 0:
            b = best[s] + more[s]
            lowest[s] = least if single and ends[0, chosen[s]] == 0 else max(b, least)
            shift += b if s < nodes else b - lowest[s]
    for x in range(ends.shape[1]):
        a, s = ends[0, x], ends[1, x]
        near[x] = -np.inf
        if s == 0 or value[0, x] == -np.inf:
            continue
        usable = not single or a > 0
        gain, rest, entered = value[0, x], 0.0, 0.0
        while s >= 0:  # all S around the head, until the tail is in it
            while 0 <= a < s:
                a = outer[a]
            if a == s:
                break
            if chosen[s] >= 0:
                gain, rest = _difference(gain, rest, best[s], more[s])
                entered += lowest[s] if s >= nodes else 0.0
                usable = usable or ends[0, chosen[s]] == 0
            s = outer[s]
        if usable:
            near[x] = max(gain + rest, least) + entered
    return shift, unreached
