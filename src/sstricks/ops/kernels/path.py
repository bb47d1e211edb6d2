"""Paths of acyclic graphs on the CPU; the mathematics, and what a schedule is, stands in `sstricks.ops.path`.

`LANES` problems go in lockstep. What belongs to the edge e of the schedule, or to the node v, stands at e·LANES + lane
or v·LANES + lane.
"""

import math

import numpy as np

from sstricks.ops.kernels.compiled import compiled
from sstricks.ops.kernels.floats import LANES, LN2, LN2_HIGH, LN2_LOW, LOG2_E, ROW, exp_reduced
from sstricks.ops.kernels.lanes import choose, exponent, filled, larger, load, mantissa, power, store

_MATHS = {"contract", "nsz", "arcp"}
_ZERO = -1e306  # the exponent of zero: below the sum of all others, and no sum with it overflows


@compiled
def _sorted_by(keys, count, order):
    """Write into `order` where the keys 0, …, count − 1 stand, equal ones as they are; return where each key begins."""
    begin = np.zeros(count + 1, np.int64)
    for x in range(keys.size):
        begin[keys[x] + 1] += 1
    for k in range(count):
        begin[k + 1] += begin[k]
    at = np.empty(count, np.int64)
    for k in range(count):
        at[k] = begin[k]
    for x in range(keys.size):
        order[at[keys[x]]] = x
        at[keys[x]] += 1
    return begin


@compiled
def _towards_sinks(edges, nodes, order):
    """Order nodes so that every edge leads to an earlier one (Kahn 1962); return a node on a cycle, or −1."""
    size = edges.shape[1]
    entering = np.empty(size, np.int64)
    begin = _sorted_by(edges[1], nodes, entering)
    left = np.zeros(nodes, np.int64)
    for e in range(size):
        left[edges[0, e]] += 1
    found = 0
    for v in range(nodes):
        if left[v] == 0:
            order[found] = v
            found += 1
    done = 0
    while done < found:
        for i in range(begin[order[done]], begin[order[done] + 1]):
            v = edges[0, entering[i]]
            left[v] -= 1
            if left[v] == 0:
                order[found] = v
                found += 1
        done += 1
    if found == nodes:
        return -1
    after = np.empty(nodes, np.int64)
    node = -1
    for e in range(size):
        if left[edges[0, e]] > 0 and left[edges[1, e]] > 0:
            after[edges[0, e]] = edges[1, e]
            node = edges[0, e]
    for _ in range(nodes):
        node = after[node]
    return node


@compiled
def schedule(edges, nodes, source, sink, out):
    """Write the schedule of a graph; return a node on a cycle, or −1. Without a path, none of its edges is used."""
    size = edges.shape[1]
    tail, head = edges[0], edges[1]
    upwards = np.empty(nodes, np.int64)
    cycle = _towards_sinks(edges, nodes, upwards)
    if cycle >= 0:
        return cycle
    leaving = np.empty(size, np.int64)
    begin = _sorted_by(tail, nodes, leaving)
    reached = np.zeros(nodes, np.int64)
    reached[source] = 1
    for i in range(nodes - 1, -1, -1):
        v = upwards[i]
        for x in range(begin[v], begin[v + 1]):
            if reached[v]:
                reached[head[leaving[x]]] = 1
    level = np.empty(nodes, np.int64)  # of nodes on a path
    for i in range(nodes):
        v = upwards[i]
        level[v] = -1
        if v == sink and reached[v]:
            level[v] = 0
        elif reached[v]:
            for x in range(begin[v], begin[v + 1]):
                if level[head[leaving[x]]] >= 0:
                    level[v] = max(level[v], level[head[leaving[x]]] + 1)
    depth = level[source]
    if depth < 0:
        return -1
    for v in range(nodes):
        if level[v] < 0:
            level[v] = depth + 1
    order = np.empty(nodes, np.int64)
    stops = _sorted_by(level, depth + 2, order)
    count = stops[depth + 1]
    number = np.empty(nodes, np.int64)
    for i in range(nodes):
        number[order[i]] = i
    key = np.empty(size, np.int64)
    for e in range(size):  # the edges that are on no path, as if they left a last node
        key[e] = number[tail[e]] if max(number[tail[e]], number[head[e]]) < count else count
    starts = _sorted_by(key, count + 1, out[0])
    used = starts[count]
    least = np.empty(nodes, np.int64)
    for v in range(nodes):
        least[v] = size
    for i in range(size):
        out[3, out[0, i]] = i
    for i in range(used):
        e = out[0, i]
        out[1, i] = number[tail[e]]
        out[2, i] = number[head[e]]
        least[tail[e]] = min(least[tail[e]], e)
    unsorted = 0
    for i in range(used):
        if least[head[out[0, i]]] < out[0, i]:
            unsorted = 1
    for k in range(depth):
        out[4, k] = starts[stops[k + 1]]
        out[5, k] = stops[k + 1]
    out[4, depth] = used
    out[5, depth] = count
    low = size
    for k in range(depth - 1, -1, -1):
        for i in range(out[4, k], out[4, k + 1]):
            low = min(low, out[2, i])
        out[6, k] = low
    out[0, size] = unsorted
    out[1, size] = depth
    out[2, size] = used
    out[3, size] = sink
    return -1


@compiled(fastmath=_MATHS)
def _weigh(count, u, weight, power):
    """The exponentials of utilities as mantissas in [0.7, 1.42] and exponents; beyond 10¹⁵ their order is kept."""
    for x in range(count):
        here = u[x] > -np.inf
        v = u[x] if here else 0.0
        k = np.floor(v * LOG2_E + 0.5)
        rest = (v - k * LN2_HIGH) - k * LN2_LOW
        weight[x] = exp_reduced(min(max(rest, -0.35), 0.35)) if here else 0.0
        power[x] = k if here else _ZERO


@compiled
def _gather(first, end, edge, u, out, x):
    for lane in range(LANES):
        out[x * ROW + np.uint64(lane)] = u[min(first + lane, end - 1), edge]


@compiled
def _most_leaving(graph):
    """The largest number of edges that leave one node."""
    most = a = 0
    for b in range(1, graph[2, -1] + 1):
        if b == graph[2, -1] or graph[1, b] != graph[1, a]:
            most = max(most, b - a)
            a = b
    return most


@compiled
def _shares(first, end, graph, u, beta, beta_power, share, is_kept):
    """Go through the nodes from the sink to the source, and write the shares of all edges if they are to be kept."""
    used = graph[2, -1]
    space = _most_leaving(graph) * LANES
    value = np.empty(space)
    powers = np.empty(space)
    weight = np.empty(space)
    none = filled(0.0)
    store(beta, ROW - ROW, filled(1.0))
    store(beta_power, ROW - ROW, none)
    a = 0
    while a < used:
        v = graph[1, a]
        b = a
        while b < used and graph[1, b] == v:
            _gather(first, end, graph[0, b], u, value, np.uint64(b - a))
            b += 1
        here = share[a * LANES :] if is_kept else weight
        _weigh((b - a) * LANES, value, here, powers)
        top = filled(_ZERO)
        for e in range(a, b):
            at, to = np.uint64(e - a) * ROW, np.uint64(graph[2, e]) * ROW
            store(here, at, load(here, at) * load(beta, to))
            whole = load(powers, at) + load(beta_power, to)
            store(powers, at, whole)
            top = larger(whole, top)
        total = none
        for e in range(a, b):
            at = np.uint64(e - a) * ROW
            part = load(here, at) * power(load(powers, at) - top)
            store(here, at, part)
            total = total + part
        at = np.uint64(v) * ROW
        store(beta, at, choose(total, mantissa(total), none))
        store(beta_power, at, choose(total, top + exponent(total), filled(_ZERO)))
        if is_kept:
            safe = choose(total, total, filled(1.0))
            for e in range(a, b):
                at = np.uint64(e - a) * ROW
                store(here, at, load(here, at) / safe)
        a = b


@compiled
def _nodes(graph):
    return graph[5, graph[1, -1]]


@compiled
def _is_feasible(first, end, source, beta, feasible):
    for lane in range(min(LANES, end - first)):
        feasible[first + lane] = beta[source * LANES + lane] > 0.0


@compiled
def _at_source(nodes, law):
    """The probability of being at each node before the first step."""
    law[: nodes * LANES] = 0.0
    law[(nodes - 1) * LANES : nodes * LANES] = 1.0


@compiled
def log_partition(begin, end, graph, u, out, feasible, memory):
    """Write log Z of rows `begin` to `end` into `out`, and into `feasible` whether there is any path."""
    nodes = _nodes(graph)
    beta = memory
    powers = memory[nodes * LANES :]
    for first in range(begin, end, LANES):
        _shares(first, end, graph, u, beta, powers, memory, False)
        _is_feasible(first, end, nodes - 1, beta, feasible)
        for lane in range(min(LANES, end - first)):
            x = (nodes - 1) * LANES + lane
            out[first + lane] = math.log(beta[x]) + powers[x] * LN2


@compiled
def marginals(begin, end, graph, u, out, feasible, memory):
    """Write the marginals of rows `begin` to `end` into `out`, and into `feasible` whether there is any path."""
    nodes = _nodes(graph)
    used = graph[2, -1]
    law = memory
    powers = memory[nodes * LANES :]
    share = memory[2 * nodes * LANES :]
    for first in range(begin, end, LANES):
        _shares(first, end, graph, u, law, powers, share, True)
        _is_feasible(first, end, nodes - 1, law, feasible)
        _at_source(nodes, law)
        for e in range(used - 1, -1, -1):
            at, to = np.uint64(e) * ROW, np.uint64(graph[2, e]) * ROW
            x = load(law, np.uint64(graph[1, e]) * ROW) * load(share, at)
            store(share, at, x)
            store(law, to, load(law, to) + x)
        for lane in range(min(LANES, end - first)):
            for e in range(used):
                out[first + lane, graph[0, e]] = min(share[e * LANES + lane], 1.0)


@compiled
def marginals_jvp(begin, end, graph, u, g, out, feasible, memory):
    """Write the derivative of the marginals in the direction g into `out`."""
    nodes = _nodes(graph)
    used = graph[2, -1]
    law = memory
    slope = memory[nodes * LANES :]
    share = memory[2 * nodes * LANES :]
    dshare = memory[(2 * nodes + used) * LANES :]
    for first in range(begin, end, LANES):
        _shares(first, end, graph, u, law, slope, share, True)
        _is_feasible(first, end, nodes - 1, law, feasible)
        store(slope, ROW - ROW, filled(0.0))
        a = 0
        while a < used:
            v = graph[1, a]
            mean = filled(0.0)
            b = a
            while b < used and graph[1, b] == v:
                _gather(first, end, graph[0, b], g, dshare, np.uint64(b))
                at = np.uint64(b) * ROW
                gain = load(dshare, at) + load(slope, np.uint64(graph[2, b]) * ROW)
                store(dshare, at, gain)
                mean = mean + load(share, at) * gain
                b += 1
            store(slope, np.uint64(v) * ROW, mean)
            for e in range(a, b):
                at = np.uint64(e) * ROW
                store(dshare, at, load(share, at) * (load(dshare, at) - mean))
            a = b
        dlaw = slope
        _at_source(nodes, law)
        dlaw[: nodes * LANES] = 0.0
        for e in range(used - 1, -1, -1):
            of, at, to = np.uint64(graph[1, e]) * ROW, np.uint64(e) * ROW, np.uint64(graph[2, e]) * ROW
            here, c = load(law, of), load(share, at)
            dx = load(dlaw, of) * c + here * load(dshare, at)
            store(dshare, at, dx)
            store(law, to, load(law, to) + here * c)
            store(dlaw, to, load(dlaw, to) + dx)
        for lane in range(min(LANES, end - first)):
            for e in range(used):
                out[first + lane, graph[0, e]] = dshare[e * LANES + lane]


@compiled
def sample(begin, end, graph, u, uniform, out, feasible, memory):
    """Write the paths that the uniforms lead to into `out`, which is zero, and whether there is any into `feasible`."""
    nodes = _nodes(graph)
    used = graph[2, -1]
    beta = memory
    share = memory[2 * nodes * LANES :]
    starts = np.zeros(nodes + 1, np.int64)
    level = np.zeros(nodes, np.int64)
    for e in range(used):
        starts[graph[1, e] + 1] = e + 1
    for k in range(graph[1, -1]):
        for v in range(graph[5, k], graph[5, k + 1]):
            level[v] = k
    for first in range(begin, end, LANES):
        _shares(first, end, graph, u, beta, memory[nodes * LANES :], share, True)
        _is_feasible(first, end, nodes - 1, beta, feasible)
        for lane in range(min(LANES, end - first)):
            r = first + lane
            for s in range(uniform.shape[1] if feasible[r] else 0):
                v = nodes - 1
                while v > 0:
                    # The last edge of a share above zero takes what rounding leaves.
                    rest = uniform[r, s, level[v]]
                    chosen = -1
                    for e in range(starts[v], starts[v + 1]):
                        c = share[e * LANES + lane]
                        if c > 0.0:
                            chosen = e
                            rest -= c
                            if rest < 0.0:
                                break
                    out[r, s, graph[0, chosen]] = 1.0
                    v = graph[2, chosen]


@compiled
def _is_first(e, f, graph, choice):
    """Whether of two paths, by these edges and on in the best way, the first has the first edge that not both have."""
    least_e, least_f = graph[0, e], graph[0, f]
    v, w = graph[2, e], graph[2, f]
    while v != w:
        if v > w:
            least_e = min(least_e, graph[0, choice[v]])
            v = graph[2, choice[v]]
        else:
            least_f = min(least_f, graph[0, choice[w]])
            w = graph[2, choice[w]]
    return least_e < least_f


@compiled
def maximum_path(begin, end, graph, u, out, feasible):
    """Write the best path of rows `begin` to `end` into `out`, which is zero, and whether there is any."""
    nodes = _nodes(graph)
    used = graph[2, -1]
    value = np.empty(nodes)
    choice = np.empty(nodes, np.int64)
    for r in range(begin, end):
        value[:] = -np.inf
        value[0] = 0.0
        for e in range(used):
            v = graph[1, e]
            found = u[r, graph[0, e]] + value[graph[2, e]]
            if found > value[v]:
                value[v] = found
                choice[v] = e
            elif graph[0, -1] and found == value[v] and found > -np.inf and _is_first(e, choice[v], graph, choice):
                choice[v] = e
        feasible[r] = value[nodes - 1] > -np.inf
        v = nodes - 1
        while feasible[r] and v > 0:
            out[r, graph[0, choice[v]]] = 1.0
            v = graph[2, choice[v]]
