"""Elimination of directed graphs on a GPU; the mathematics stands in `sstricks.ops.arborescence`.

Row i and column j of a matrix belong to the edge from node i to node j. As on the CPU, marginals are carried as
y = x/w, and what belongs to the edges of node v stays as it was when v was eliminated until its marginals take its
place. For the derivative see `sstricks.ops.cuda.spanning_tree`: with c = q·y, of which q = p_i·w_vj,

    dc_ij = c_ij (t_i + a_vj − a'_ij) + q_ij dx'_ij / w'_ij,

where a' and dx'/w' are those of the last graph in which both nodes are. Where a relaxation is a vertex, each term is
exactly zero, not merely small: it will be divided by the temperature.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sstricks.ops.cuda.blocks import power_of_two
from sstricks.ops.cuda.floats import ABSENT, INF, LN2, exponential, normalised, power, quotient, summed
from sstricks.ops.cuda.graphs import any_above, claim, fill, pair, run_on_edges, strongest, turns
from sstricks.ops.precision import FAR as _FAR
from sstricks.ops.precision import LARGEST as _LARGEST
from sstricks.ops.precision import MANY as _MANY
from sstricks.ops.precision import NEAR as _NEAR
from sstricks.ops.precision import SURE as _SURE

FAR, NEAR, LARGEST = tl.constexpr(_FAR), tl.constexpr(_NEAR), tl.constexpr(_LARGEST)
SURE, MANY = tl.constexpr(_SURE), tl.constexpr(_MANY)


@triton.jit
def _tops(u, ends, edges, nodes, tops, BLOCK: tl.constexpr):
    """The largest utility of the edges into each node, −∞ without any; returns whether one is NaN."""
    fill(tops, nodes, -INF, BLOCK)
    tl.debug_barrier()
    odd = tl.zeros([BLOCK], tl.int32)
    for begin in range(0, edges, BLOCK):
        x = begin + tl.arange(0, BLOCK)
        value = tl.load(u + x, mask=x < edges, other=-INF)
        head = tl.load(ends + edges + x, mask=x < edges, other=0)
        odd |= (value != value).to(tl.int32)
        tl.atomic_max(tops + head, value, mask=(head > 0) & (value > -INF), sem="relaxed")
    tl.debug_barrier()
    return tl.max(odd, axis=0) > 0


@triton.jit
def _weight(u, ends, x, edges, tops, inside):
    """The weights of edges, relative to the largest into the same node; those into the root have none."""
    head = tl.load(ends + edges + x, mask=inside, other=0)
    inside = inside & (head > 0)
    top = tl.load(tops + head, mask=inside, other=0.0, cache_modifier=".cg")
    return exponential(tl.load(u + x, mask=inside, other=-INF), tl.where(top > -INF, top, 0.0))


@triton.jit
def _load(u, g, ends, edges, nodes, tops, m, e, a, owner, done, TANGENT: tl.constexpr, BLOCK: tl.constexpr):
    """The weights of all pairs of nodes and, of each pair's edges, the mean of g by their shares."""
    fill(m, nodes * nodes, 0.0, BLOCK)
    fill(e, nodes * nodes, ABSENT, BLOCK)
    fill(owner, nodes * nodes, edges, BLOCK)
    fill(done, edges, 0, BLOCK)
    if TANGENT:
        fill(a, nodes * nodes, 0.0, BLOCK)
    tl.debug_barrier()
    left = edges
    while left > 0:
        claim(owner, done, ends, edges, nodes, True, BLOCK)
        merged = tl.zeros([BLOCK], tl.int32)
        for begin in range(0, edges, BLOCK):
            x = begin + tl.arange(0, BLOCK)
            at, turn = turns(owner, done, ends, x, edges, nodes, True)
            added, e_added = _weight(u, ends, x, edges, tops, turn)
            old = tl.load(m + at, mask=turn, other=0.0)
            e_old = tl.load(e + at, mask=turn, other=ABSENT)
            total, e_total, part = summed(old, e_old, added, e_added)
            if TANGENT:
                ratio = quotient(part, total)
                mean = (1.0 - ratio) * tl.load(a + at, mask=turn, other=0.0)
                tl.store(a + at, mean + ratio * tl.load(g + x, mask=turn, other=0.0), mask=turn)
            tl.store(m + at, total, mask=turn)
            tl.store(e + at, e_total, mask=turn)
            merged += turn.to(tl.int32)
        left -= tl.sum(merged, axis=0)
        tl.debug_barrier()


@triton.jit
def _edges_at(m, e, at, inside):
    """The weights of some edges of a node."""
    return normalised(tl.load(m + at, mask=inside, other=0.0), tl.load(e + at, mask=inside, other=ABSENT))


@triton.jit
def _stage(v):
    """Where the ratios of the stage that eliminates node v begin: after those of all lower ones, each v × v."""
    return v * (v - 1) * (2 * v - 1) // 6


@triton.jit
def _eliminate(
    m, e, a, at_nodes, ratios, nodes, TANGENT: tl.constexpr, RATIOS: tl.constexpr, R: tl.constexpr, N: tl.constexpr
):  # fmt: skip
    """Eliminate nodes n−1, …, 1; return log Z and how many nodes the root does not reach.

    `at_nodes` gets, of each node, the sum of the weights into it d·2^top and the mean of their d log w; `ratios`, if
    they are wanted, those of all stages.
    """
    j = tl.arange(0, N)
    present = any_above(m, 0.0, 1, nodes, nodes, R, N) | any_above(m, 0.0, nodes, 1, nodes, R, N)
    sums = tl.zeros([N], tl.float64)
    tops = tl.zeros([N], tl.float64)
    for step in range(1, nodes):
        v = nodes - step
        m_in, e_in = _edges_at(m, e, j * nodes + v, j < v)
        m_out, e_out = _edges_at(m, e, v * nodes + j, j < v)
        top = tl.max(e_in, axis=0)
        d = tl.sum(m_in * power(e_in - top), axis=0)
        sums = tl.where(j == v, d, sums)
        tops = tl.where(j == v, top, tops)
        tl.store(at_nodes + v, d)
        tl.store(at_nodes + nodes + v, top)
        if TANGENT:
            mean = tl.load(a + j * nodes + v, mask=j < v, other=0.0)
            mean = tl.sum(quotient(m_in, d) * power(e_in - top) * mean, axis=0)
            tl.store(at_nodes + 2 * nodes + v, mean)
            a_out = tl.load(a + v * nodes + j, mask=j < v, other=0.0)
        for begin in range(0, v, R):
            i = begin + tl.arange(0, R)
            m_i, e_i = _edges_at(m, e, i * nodes + v, i < v)
            at = i[:, None] * nodes + j[None, :]
            inside = (i[:, None] < v) & (j[None, :] < v) & (i[:, None] != j[None, :])
            total, e_total, part = summed(
                tl.load(m + at, mask=inside, other=0.0),
                tl.load(e + at, mask=inside, other=ABSENT),
                quotient(m_i, d)[:, None] * m_out[None, :],
                (e_i - top)[:, None] + e_out[None, :],
            )
            if RATIOS:
                to = ratios + _stage(v) + i[:, None] * v + j[None, :]
                tl.store(to, quotient(part, total), mask=inside)
            if TANGENT:
                t = tl.load(a + i * nodes + v, mask=i < v, other=0.0) - mean
                ratio = quotient(part, total)
                rest = (1.0 - ratio) * tl.load(a + at, mask=inside, other=0.0)
                tl.store(a + at, rest + ratio * (t[:, None] + a_out[None, :]), mask=inside)
            tl.store(m + at, total, mask=inside)
            tl.store(e + at, e_total, mask=inside)
        tl.debug_barrier()
    log_z = tl.sum(tl.where(sums > 0.0, tl.log(sums) + tops * LN2, 0.0), axis=0)
    unreached = (j > 0) & (sums == 0.0) & (present > 0)
    return log_z, tl.sum(unreached.to(tl.int32), axis=0)


@triton.jit
def _restore(m, e, a, dy, at_nodes, nodes, TANGENT: tl.constexpr, R: tl.constexpr, N: tl.constexpr):
    """Bring nodes 1, …, n−1 back: y = x/w takes the place of the weights m·2ᵉ, and dy becomes dx/w at y's exponents."""
    j = tl.arange(0, N)
    as_parent = at_nodes + 3 * nodes
    for v in range(1, nodes):
        m_out, e_out = _edges_at(m, e, v * nodes + j, j < v)
        d = tl.load(at_nodes + v)
        top = tl.load(at_nodes + nodes + v)
        as_child = tl.zeros([R, N], tl.float64)
        if TANGENT:
            das_child = tl.zeros([R, N], tl.float64)
            mean = tl.load(at_nodes + 2 * nodes + v)
            a_out = tl.load(a + v * nodes + j, mask=j < v, other=0.0)
        for begin in range(0, v, R):
            i = begin + tl.arange(0, R)
            m_i, e_i = _edges_at(m, e, i * nodes + v, i < v)
            at = i[:, None] * nodes + j[None, :]
            inside = (i[:, None] < v) & (j[None, :] < v) & (i[:, None] != j[None, :])
            e_y = tl.load(e + at, mask=inside, other=0.0)
            q = quotient(m_i, d)[:, None] * m_out[None, :] * power((e_i - top)[:, None] + e_out[None, :] + e_y)
            c = q * tl.load(m + at, mask=inside, other=0.0)
            as_child += c
            tl.store(as_parent + i, tl.sum(c, axis=1), mask=i < v)
            if TANGENT:
                t = tl.load(a + i * nodes + v, mask=i < v, other=0.0) - mean
                growth = t[:, None] + a_out[None, :] - tl.load(a + at, mask=inside, other=0.0)
                dc = c * growth + q * tl.load(dy + at, mask=inside, other=0.0)
                das_child += dc
                tl.store(as_parent + nodes + i, tl.sum(dc, axis=1), mask=i < v)
        m_in, e_in = _edges_at(m, e, j * nodes + v, j < v)
        tl.debug_barrier()
        by_parent = tl.load(as_parent + j, mask=j < v, other=0.0)
        p = quotient(m_in, d) * power(e_in - top)
        rest = 1.0 - tl.sum(by_parent, axis=0)
        tl.store(m + j * nodes + v, quotient(p * rest + by_parent, m_in), mask=j < v)
        tl.store(e + j * nodes + v, tl.where(m_in > 0.0, -e_in, 0.0), mask=j < v)
        tl.store(m + v * nodes + j, quotient(tl.sum(as_child, axis=0), m_out), mask=j < v)
        tl.store(e + v * nodes + j, tl.where(m_out > 0.0, -e_out, 0.0), mask=j < v)
        if TANGENT:
            dby_parent = tl.load(as_parent + nodes + j, mask=j < v, other=0.0)
            t = tl.load(a + j * nodes + v, mask=j < v, other=0.0) - mean
            slope = p * (t * rest - tl.sum(dby_parent, axis=0)) + dby_parent
            tl.store(dy + j * nodes + v, quotient(slope, m_in), mask=j < v)
            tl.store(dy + v * nodes + j, quotient(tl.sum(das_child, axis=0), m_out), mask=j < v)
        tl.debug_barrier()


@triton.jit
def _steepest(g, edges, BLOCK: tl.constexpr):
    """The largest absolute value, and whether one is NaN."""
    largest = tl.zeros([BLOCK], tl.float64)
    odd = tl.zeros([BLOCK], tl.int32)
    for begin in range(0, edges, BLOCK):
        x = begin + tl.arange(0, BLOCK)
        value = tl.load(g + x, mask=x < edges, other=0.0)
        odd |= (value != value).to(tl.int32)
        largest = tl.where(tl.abs(value) > largest, tl.abs(value), largest)
    return tl.max(largest, axis=0), tl.max(odd, axis=0) > 0


@triton.jit(do_not_specialize=["rows", "edges", "nodes"])
def _marginals(
    u, g, ends, out, floats, integers, rows, edges, nodes,
    TANGENT: tl.constexpr, R: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    square = nodes * nodes
    m = floats + program * ((4 if TANGENT else 2) * square + 6 * nodes)
    e = m + square
    tops = e + square
    at_nodes = tops + nodes
    a = at_nodes + 5 * nodes
    dy = a + square
    owner = integers + program * (square + edges)
    for row in range(program, rows, tl.num_programs(0)):
        begin = row * edges
        odd = _tops(u + begin, ends, edges, nodes, tops, BLOCK)
        _load(u + begin, g + begin, ends, edges, nodes, tops, m, e, a, owner, owner + square, TANGENT, BLOCK)
        _, unreached = _eliminate(m, e, a, at_nodes, m, nodes, TANGENT, False, R, N)
        _restore(m, e, a, dy, at_nodes, nodes, TANGENT, R, N)
        if TANGENT:
            steepest, odd_slope = _steepest(g + begin, edges, BLOCK)
            odd |= odd_slope
            # Less than this is rounding, which the smallest temperatures would turn into an infinite gradient.
            least = steepest * nodes * 2.0**-50
        for first in range(0, edges, BLOCK):
            x = first + tl.arange(0, BLOCK)
            inside = x < edges
            at = pair(ends, x, edges, nodes, True)
            weight, e_weight = _weight(u + begin, ends, x, edges, tops, inside)
            here = inside & (weight > 0.0)
            weight *= power(e_weight + tl.load(e + at, mask=here, other=0.0))
            y = tl.load(m + at, mask=here, other=0.0)
            if TANGENT:
                growth = tl.load(g + begin + x, mask=here, other=0.0) - tl.load(a + at, mask=here, other=0.0)
                value = weight * (y * growth + tl.load(dy + at, mask=here, other=0.0))
                value = tl.where(tl.abs(value) > least, value, 0.0)
            else:
                value = tl.clamp(weight * y, 0.0, 1.0)  # the error of 1 − S is absolute: it may leave [0, 1]
            tl.store(out + begin + x, tl.where(odd | (unreached > 0), float("nan"), value), mask=inside)
        tl.debug_barrier()


@triton.jit(do_not_specialize=["rows", "edges", "nodes"])
def _log_partition(
    u, shift, ends, out, floats, integers, rows, edges, nodes,
    R: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    square = nodes * nodes
    m = floats + program * (2 * square + 4 * nodes)
    e = m + square
    tops = e + square
    owner = integers + program * (square + edges)
    j = tl.arange(0, N)
    for row in range(program, rows, tl.num_programs(0)):
        begin = row * edges
        odd = _tops(u + begin, ends, edges, nodes, tops, BLOCK)
        _load(u + begin, u, ends, edges, nodes, tops, m, e, m, owner, owner + square, False, BLOCK)
        log_z, unreached = _eliminate(m, e, m, tops + nodes, m, nodes, False, False, R, N)
        top = tl.load(tops + j, mask=j < nodes, other=0.0, cache_modifier=".cg")
        log_z += tl.sum(tl.where(top > -INF, top, 0.0), axis=0) + tl.load(shift + row)
        tl.store(out + row, tl.where(odd | (unreached > 0), float("nan"), log_z))
        tl.debug_barrier()


@triton.jit
def _pick(
    u, uniforms, ends, edges, nodes, tops, m, e, left_at, which, owner, done, BLOCK: tl.constexpr
):  # fmt: skip
    """Of the edges of each pair of nodes, the one that the head's number falls to, by its share of their weight."""
    for begin in range(0, edges, BLOCK):
        x = begin + tl.arange(0, BLOCK)
        at = pair(ends, x, edges, nodes, True)
        tl.store(left_at + at, tl.load(uniforms + tl.maximum(at % nodes - 1, 0)), mask=x < edges)
        tl.store(done + x, 0, mask=x < edges)
    fill(which, nodes * nodes, 0, BLOCK)
    tl.debug_barrier()
    left = edges
    while left > 0:
        claim(owner, done, ends, edges, nodes, True, BLOCK)
        drawn = tl.zeros([BLOCK], tl.int32)
        for begin in range(0, edges, BLOCK):
            x = begin + tl.arange(0, BLOCK)
            at, turn = turns(owner, done, ends, x, edges, nodes, True)
            weight, e_weight = _weight(u, ends, x, edges, tops, turn)
            whole = tl.load(m + at, mask=turn, other=0.0)
            share = quotient(weight * power(e_weight - tl.load(e + at, mask=turn, other=0.0)), whole)
            number = tl.load(left_at + at, mask=turn, other=-1.0)
            reached = turn & (share > 0.0) & (number >= 0.0)
            tl.store(which + at, x, mask=reached)
            tl.store(left_at + at, number - share, mask=reached)
            drawn += turn.to(tl.int32)
        left -= tl.sum(drawn, axis=0)
        tl.debug_barrier()


@triton.jit
def _draw(m, e, ratios, uniforms, parent_at, nodes, N: tl.constexpr):
    """Give every node its parent, restoring nodes in the reverse order; an absent node is its own."""
    j = tl.arange(0, N)
    parent = tl.zeros([N], tl.int32)
    for v in range(1, nodes):
        used = v * (v - 1) // 2
        lower = (j > 0) & (j < v)
        here = lower & (parent != j)
        through = tl.load(ratios + _stage(v) + parent * v + j, mask=here, other=0.0)
        parent = tl.where(here & (tl.load(uniforms + used + j - 1, mask=lower, other=1.0) < through), v, parent)
        ancestor = tl.where(j == v, v, parent)
        hops = 1
        while hops < v:
            tl.debug_barrier()
            tl.store(parent_at + j, ancestor, mask=j <= v)
            tl.debug_barrier()
            ancestor = tl.load(parent_at + ancestor, mask=j <= v, other=0)
            hops *= 2
        m_in, e_in = _edges_at(m, e, j * nodes + v, j < v)
        among = (j < v) & (ancestor == 0) & (m_in > 0.0)
        e_in = tl.where(among, e_in, ABSENT)
        weight = tl.where(among, m_in * power(e_in - tl.max(e_in, axis=0)), 0.0)
        sums = tl.cumsum(weight, axis=0)
        number = tl.load(uniforms + used + v - 1) * tl.sum(weight, axis=0)
        last = tl.max(tl.where(weight > 0.0, j, -1), axis=0)
        chosen = tl.minimum(tl.min(tl.where((weight > 0.0) & (sums > number), j, N), axis=0), last)
        parent = tl.where(j == v, tl.where(last < 0, v, chosen), parent)
    return parent


@triton.jit(do_not_specialize=["rows", "edges", "nodes"])
def _sample(
    u, uniforms, ends, out, floats, integers, rows, edges, nodes,
    R: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    square = nodes * nodes
    m = floats + program * (3 * square + 4 * nodes + _stage(nodes))
    e = m + square
    left_at = e + square
    tops = left_at + square
    at_nodes = tops + nodes
    ratios = at_nodes + 3 * nodes
    which = integers + program * (2 * square + edges + nodes)
    owner = which + square
    done = owner + square
    parent_at = done + edges
    j = tl.arange(0, N)
    for row in range(program, rows, tl.num_programs(0)):
        begin = row * edges
        numbers = uniforms + row * ((nodes - 1) * (nodes + 2) // 2)
        odd = _tops(u + begin, ends, edges, nodes, tops, BLOCK)
        fill(out + begin, edges, 0.0, BLOCK)
        _load(u + begin, u, ends, edges, nodes, tops, m, e, m, owner, done, False, BLOCK)
        _pick(
            u + begin, numbers + nodes * (nodes - 1) // 2, ends, edges, nodes, tops, m, e, left_at, which, owner, done,
            BLOCK,
        )  # fmt: skip
        _log_z, unreached = _eliminate(m, e, m, at_nodes, ratios, nodes, False, True, R, N)
        parent = _draw(m, e, ratios, numbers, parent_at, nodes, N)
        there = (j > 0) & (j < nodes) & (parent != j)
        edge = tl.load(which + parent * nodes + j, mask=there, other=0)
        tl.store(out + begin + edge, 1.0, mask=there)
        if odd | (unreached > 0):
            tl.debug_barrier()
            fill(out + begin, edges, float("nan"), BLOCK)
        tl.debug_barrier()


@triton.jit
def _wins(e, f, among, heads, chosen, outer):
    """Where edge e comes before edge f, if their gains are equal; see `sstricks.ops.kernels.contraction`."""
    v = tl.load(heads + e, mask=among, other=0).to(tl.int32)
    w = tl.load(heads + f, mask=among, other=0).to(tl.int32)
    for_e, for_f = e, f
    while tl.max((v != w).to(tl.int32), axis=0) > 0:  # a contraction has a higher number than what is in it
        behind, ahead = v < w, v > w
        for_f = tl.minimum(for_f, tl.load(chosen + v, mask=behind, other=1 << 30))
        for_e = tl.minimum(for_e, tl.load(chosen + w, mask=ahead, other=1 << 30))
        v = tl.where(behind, tl.load(outer + v, mask=behind, other=0), v)
        w = tl.where(ahead, tl.load(outer + w, mask=ahead, other=0), w)
    return among & (for_e < for_f)


@triton.jit
def _difference(x, x_rest, y, y_rest):
    """x − y as the nearest float and the rest, for numbers that are given so."""
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


@triton.jit
def _best_tail(gain, rest, which, v, nodes, heads, chosen, outer, j, SINGLE: tl.constexpr):
    """The best gain of an edge into v, −∞ if it has none, the rest of it, and the tail of that edge.

    With a single child, an edge from the root is the best only if there is no other.
    """
    row = tl.load(gain + v * nodes + j, mask=j < nodes, other=-INF)
    if SINGLE:
        others = tl.where(j > 0, row, -INF)
        row = tl.where(tl.max(others, axis=0) > -INF, others, row)
    edge = tl.load(which + v * nodes + j, mask=j < nodes, other=0)
    top = tl.max(row, axis=0)
    tied = (row == top) & (row > -INF)
    left = tl.load(rest + v * nodes + j, mask=tied, other=0.0)
    most = tl.max(tl.where(tied, left, -INF), axis=0)
    tied = tied & (left == most)
    tail = tl.min(tl.where(tied, j, nodes - 1), axis=0)
    tied = tied & (j > tail)
    while tl.max(tied.to(tl.int32), axis=0) > 0:  # those that come before the best so far
        best = tl.load(which + v * nodes + tail)
        tied = _wins(edge, tl.zeros_like(edge) + best, tied, heads, chosen, outer)
        tail = tl.where(tl.max(tied.to(tl.int32), axis=0) > 0, tl.min(tl.where(tied, j, nodes - 1), axis=0), tail)
        tied = tied & (j > tail)
    return top, most, tail


@triton.jit
def _contract(new, path, first, length, nodes, far, gain, rest, which, inside, best, more, heads, chosen, outer, j, k):
    """Make one node of a cycle, the path from `first` on; returns in which node each node is."""
    cycle = (k >= first) & (k < length)
    tl.store(outer + tl.load(path + k, mask=cycle, other=0), new, mask=cycle)
    tl.debug_barrier()
    row = tl.full(j.shape, -INF, tl.float64)
    low = tl.zeros_like(row)
    edge = tl.zeros_like(j)
    for at in range(first, length):
        c = tl.load(path + at)
        value = tl.load(gain + c * nodes + j, mask=j < nodes, other=-INF)
        here = value > -INF
        value, left = _difference(
            value, tl.load(rest + c * nodes + j, mask=here, other=0.0), tl.load(best + c), tl.load(more + c)
        )
        value = tl.where(here, value, -INF)
        left = tl.where(here, tl.where(far > 0, left, 0.0), 0.0)
        candidate = tl.load(which + c * nodes + j, mask=j < nodes, other=0)
        tied = here & (value == row)
        better = (value > row) | (tied & (left > low))
        better = better | _wins(candidate, edge, tied & (left == low), heads, chosen, outer)
        row = tl.where(better, value, row)
        low = tl.where(better, left, low)
        edge = tl.where(better, candidate, edge)
    inside = tl.where(tl.load(outer + inside, mask=j < nodes, other=-1) == new, new, inside)
    tl.store(gain + new * nodes + j, tl.where(inside == new, -INF, row), mask=j < nodes)
    tl.store(rest + new * nodes + j, low, mask=j < nodes)
    tl.store(which + new * nodes + j, edge, mask=j < nodes)
    return inside


@triton.jit
def _any_beyond(u, ends, edges, limit, BLOCK: tl.constexpr):
    """1 if a utility is larger than the limit in absolute value, 0 otherwise."""
    some = tl.zeros([BLOCK], tl.int32)
    for begin in range(0, edges, BLOCK):
        x = begin + tl.arange(0, BLOCK)
        value = tl.load(u + x, mask=x < edges, other=0.0)
        head = tl.load(ends + edges + x, mask=x < edges, other=0)
        some |= ((tl.abs(value) > limit) & (value > -INF) & (head > 0)).to(tl.int32)
    return tl.max(some, axis=0)


@triton.jit
def _contract_all(
    u, ends, edges, nodes, limit, gain, rest, which, best, more, chosen, outer, path, state, owner, done,
    SINGLE: tl.constexpr, R: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Choose an edge into every node and contraction: paths grow backwards along best edges.

    Gains are sums of two floats if a utility is larger than the limit. Returns how many nodes and contractions there
    are, how many nodes the root does not reach (with a single child, its other children count as well), and whether
    a utility is NaN.
    """
    FRESH: tl.constexpr = 0
    ON_PATH: tl.constexpr = 1
    SETTLED: tl.constexpr = 2
    heads = ends + edges
    j = tl.arange(0, N)
    k = tl.arange(0, 2 * N)
    fill(chosen, 2 * nodes, -1, BLOCK)
    fill(outer, 2 * nodes, -1, BLOCK)
    fill(state, 2 * nodes, FRESH, BLOCK)
    fill(rest, nodes * nodes, 0.0, BLOCK)
    far = _any_beyond(u, ends, edges, limit, BLOCK)
    odd = strongest(u, ends, edges, nodes, gain, which, owner, done, True, BLOCK)
    present = any_above(gain, -INF, 1, nodes, nodes, R, N) | any_above(gain, -INF, nodes, 1, nodes, R, N)
    tl.store(state, SETTLED)
    tl.debug_barrier()
    inside = tl.where(j < nodes, j, 0)
    count = nodes
    unreached = 0
    children = 0
    start = tl.min(tl.where((present > 0) & (j > 0), j, N), axis=0)
    while start < N:
        v = tl.sum(tl.where(j == start, inside, 0), axis=0)
        length = 0
        growing = True
        while growing:
            tl.store(path + length, v)
            tl.store(state + v, ON_PATH)
            length += 1
            top, most, tail = _best_tail(gain, rest, which, v, nodes, heads, chosen, outer, j, SINGLE)
            if top > -INF:
                tl.store(chosen + v, tl.load(which + v * nodes + tail))
                tl.store(best + v, top)
                tl.store(more + v, most)
                w = tl.sum(tl.where(j == tail, inside, 0), axis=0)
                tl.debug_barrier()
                there = tl.load(state + w)
                if there == ON_PATH:
                    first = tl.min(tl.where(tl.load(path + k, mask=k < length, other=-1) == w, k, 2 * N), axis=0)
                    inside = _contract(
                        count, path, first, length, nodes, far,
                        gain, rest, which, inside, best, more, heads, chosen, outer, j, k,
                    )  # fmt: skip
                    length = first
                    v = count
                    count += 1
                else:
                    children += (w == 0).to(tl.int32)
                    v = w
                    growing = there == FRESH
            else:
                unreached += 1
                growing = False
            tl.debug_barrier()
        tl.store(state + tl.load(path + k, mask=k < length, other=0), SETTLED, mask=k < length)
        tl.debug_barrier()
        waiting = (present > 0) & (tl.load(state + inside) != SETTLED)
        start = tl.min(tl.where(waiting, j, N), axis=0)
    if SINGLE:
        unreached += tl.maximum(children - 1, 0)
    return count, unreached, odd


@triton.jit(do_not_specialize=["rows", "edges", "nodes"])
def _maximum(
    u, ends, out, floats, integers, rows, edges, nodes,
    SINGLE: tl.constexpr, R: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Contraction of cycles as on the CPU; ties are broken as there."""
    program = tl.program_id(0).to(tl.int64)
    square = nodes * nodes
    gain = floats + program * (4 * square + 4 * nodes)
    rest = gain + 2 * square
    best = rest + 2 * square
    which = integers + program * (3 * square + edges + 8 * nodes)
    owner = which + 2 * square
    done = owner + square
    chosen = done + edges
    outer = chosen + 2 * nodes
    path = outer + 2 * nodes
    k = tl.arange(0, 2 * N)
    for row in range(program, rows, tl.num_programs(0)):
        begin = row * edges
        fill(out + begin, edges, 0.0, BLOCK)
        count, unreached, odd = _contract_all(
            u + begin, ends, edges, nodes, FAR / 2, gain, rest, which, best, best + 2 * nodes,
            chosen, outer, path, path + 2 * nodes, owner, done, SINGLE, R, N, BLOCK,
        )  # fmt: skip
        # The outermost contractions are opened first: an edge replaces those of all contractions around its head.
        opened = (tl.load(chosen + k, mask=k < count, other=-1) < 0).to(tl.int32)
        for step in range(1, count):
            v = count - step
            if tl.sum(tl.where(k == v, opened, 0), axis=0) == 0:
                edge = tl.load(chosen + v)
                tl.store(out + begin + edge, 1.0)
                w = tl.load(ends + edges + edge).to(tl.int32)
                while w != v:
                    opened = tl.where(k == w, 1, opened)
                    w = tl.load(outer + w)
        if odd | (unreached > 0):
            tl.debug_barrier()
            fill(out + begin, edges, float("nan"), BLOCK)
        tl.debug_barrier()


@triton.jit
def _missed(u, ends, edges, nodes, tops, reached, N: tl.constexpr, BLOCK: tl.constexpr):
    """How many nodes the root misses by edges that are not far below the best edge into the same node."""
    j = tl.arange(0, N)
    tl.store(reached + j, (j == 0).to(tl.int32), mask=j < nodes)
    there = tl.load(tops + j, mask=(j > 0) & (j < nodes), other=-INF, cache_modifier=".cg") > -INF
    missed = tl.sum(there.to(tl.int32), axis=0)
    growing = missed > 0
    while growing:
        tl.debug_barrier()
        for begin in range(0, edges, BLOCK):
            x = begin + tl.arange(0, BLOCK)
            tail = tl.load(ends + x, mask=x < edges, other=0)
            head = tl.load(ends + edges + x, mask=x < edges, other=0)
            top = tl.load(tops + head, mask=head > 0, other=0.0, cache_modifier=".cg")
            near = (head > 0) & (top - tl.load(u + x, mask=x < edges, other=-INF) <= NEAR)
            near = near & (tl.load(reached + tail, mask=near, other=0, cache_modifier=".cg") > 0)
            tl.atomic_max(reached + head, 1, mask=near, sem="relaxed")
        tl.debug_barrier()
        yet = tl.load(reached + j, mask=there, other=1, cache_modifier=".cg") == 0
        left = tl.sum(yet.to(tl.int32), axis=0)
        growing = (left > 0) & (left < missed)
        missed = left
    return missed


@triton.jit
def _lowest(s, among, ends, nodes, least, best, more, chosen, SINGLE: tl.constexpr):
    """The gains of contractions, none lower than `least`, and which of them begin at the root's single child."""
    value = tl.load(best + s, mask=among, other=0.0) + tl.load(more + s, mask=among, other=0.0)
    value = tl.maximum(value, least)
    first = among
    if SINGLE:
        edge = tl.load(chosen + s, mask=among, other=-1)
        first = among & (edge >= 0)
        first = first & (tl.load(ends + edge, mask=first, other=1) == 0)
        value = tl.where(first, least, value)
    return value, first


@triton.jit
def _near(u, ends, x, edges, nodes, least, inside, best, more, chosen, outer, SINGLE: tl.constexpr):
    """Some edges' last gains, and those of the contractions that they lead into, both no lower than `least`."""
    a = tl.load(ends + x, mask=inside, other=0).to(tl.int32)
    s = tl.load(ends + edges + x, mask=inside, other=0).to(tl.int32)
    gain = tl.load(u + x, mask=inside, other=-INF)
    here = inside & (s > 0) & (gain > -INF)
    usable = here
    if SINGLE:
        usable = here & (a > 0)
    rest = tl.zeros_like(gain)
    entered = tl.zeros_like(gain)
    among = here
    while tl.max(among.to(tl.int32), axis=0) > 0:  # all that is around the head, until the tail is in it
        below = among & (a >= 0) & (a < s)
        while tl.max(below.to(tl.int32), axis=0) > 0:
            a = tl.where(below, tl.load(outer + a, mask=below, other=0), a)
            below = among & (a >= 0) & (a < s)
        among = among & (a != s)
        own = tl.load(best + s, mask=among, other=0.0)
        own_rest = tl.load(more + s, mask=among, other=0.0)
        gain, rest = _difference(gain, rest, own, own_rest)
        lowest, first = _lowest(s, among, ends, nodes, least, best, more, chosen, SINGLE)
        entered += tl.where(among & (s >= nodes), lowest, 0.0)
        usable = usable | first
        s = tl.where(among, tl.load(outer + s, mask=among, other=-1), s)
        among = among & (s >= 0)
    return tl.where(here & usable, tl.maximum(gain + rest, least) + entered, -INF)


@triton.jit(do_not_specialize=["rows", "edges", "nodes"])
def _nearby(
    u, shift, ends, out, floats, integers, rows, edges, nodes,
    SINGLE: tl.constexpr, R: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Where all trees need a far edge, near utilities with the same law, and what log Z is more; see the CPU's.

    With a single child of the root, they are those of its law, everywhere.
    """
    program = tl.program_id(0).to(tl.int64)
    square = nodes * nodes
    gain = floats + program * (4 * square + 5 * nodes)
    rest = gain + 2 * square
    best = rest + 2 * square
    more = best + 2 * nodes
    tops = more + 2 * nodes
    which = integers + program * (3 * square + edges + 9 * nodes)
    owner = which + 2 * square
    done = owner + square
    chosen = done + edges
    outer = chosen + 2 * nodes
    path = outer + 2 * nodes
    state = path + 2 * nodes
    k = tl.arange(0, 2 * N)
    least = -(SURE + MANY * nodes)
    for row in range(program, rows, tl.num_programs(0)):
        begin = row * edges
        odd = _tops(u + begin, ends, edges, nodes, tops, BLOCK)
        for first in range(0, edges, BLOCK):
            x = first + tl.arange(0, BLOCK)
            value = tl.load(u + begin + x, mask=x < edges, other=0.0)
            tl.store(out + begin + x, value, mask=x < edges)
        tl.store(shift + row, 0.0)
        missed = 0
        if SINGLE:
            missed = 1
        elif (_any_beyond(u + begin, ends, edges, NEAR / 2, BLOCK) > 0) & (not odd):
            missed = _missed(u + begin, ends, edges, nodes, tops, state + 2 * nodes, N, BLOCK)
        if missed > 0:
            for first in range(0, edges, BLOCK):
                x = first + tl.arange(0, BLOCK)
                value = tl.load(u + begin + x, mask=x < edges, other=0.0)
                bounded = tl.minimum(tl.maximum(value, -LARGEST), LARGEST)
                tl.store(out + begin + x, tl.where(value > -INF, bounded, value), mask=x < edges)
            tl.debug_barrier()
            count, unreached, _nan = _contract_all(
                out + begin, ends, edges, nodes, 0.0, gain, rest, which, best, more,
                chosen, outer, path, state, owner, done, SINGLE, R, N, BLOCK,
            )  # fmt: skip
            if SINGLE and (odd | (unreached > 0)):
                fill(out + begin, edges, float("nan"), BLOCK)
                tl.store(shift + row, float("nan"))
            elif unreached == 0:
                for first in range(0, edges, BLOCK):
                    x = first + tl.arange(0, BLOCK)
                    value = _near(
                        out + begin, ends, x, edges, nodes, least, x < edges, best, more, chosen, outer, SINGLE
                    )
                    tl.store(out + begin + x, value, mask=x < edges)
                some = (k > 0) & (k < count)
                some = some & (tl.load(chosen + k, mask=some, other=-1) >= 0)
                value = tl.load(best + k, mask=some, other=0.0) + tl.load(more + k, mask=some, other=0.0)
                lowest, _raised = _lowest(k, some, ends, nodes, least, best, more, chosen, SINGLE)
                value = tl.where(k < nodes, value, value - lowest)
                tl.store(shift + row, tl.sum(tl.where(some, value, 0.0), axis=0))
        tl.debug_barrier()


def nearby(u: Tensor, edges: Tensor, nodes: int, single: bool = False) -> tuple[Tensor, Tensor]:
    """Launch; returns the utilities, shape (rows, E), and what log Z of u is more than theirs, shape (rows,)."""
    memory = 4 * nodes**2 + 5 * nodes, 3 * nodes**2 + u.shape[1] + 9 * nodes
    shift = u.new_empty(len(u))
    out = run_on_edges(_nearby, (u, shift), edges, torch.empty_like(u), nodes, *memory, constants=(single,))
    return out, shift


def marginals(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    memory = 2 * nodes**2 + 6 * nodes, nodes**2 + u.shape[1]
    u, _ = nearby(u, edges, nodes)
    return run_on_edges(_marginals, (u, u), edges, torch.empty_like(u), nodes, *memory, constants=(False,))


def marginals_jvp(u: Tensor, g: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    memory = 4 * nodes**2 + 6 * nodes, nodes**2 + u.shape[1]
    u, _ = nearby(u, edges, nodes)
    return run_on_edges(_marginals, (u, g), edges, torch.empty_like(u), nodes, *memory, constants=(True,))


def log_partition(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    memory = 2 * nodes**2 + 4 * nodes, nodes**2 + u.shape[1]
    u, shift = nearby(u, edges, nodes)
    return run_on_edges(_log_partition, (u, shift), edges, u.new_empty(len(u)), nodes, *memory)


def maximum_arborescence(u: Tensor, edges: Tensor, nodes: int, single: bool = False) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    memory = 4 * nodes**2 + 4 * nodes, 3 * nodes**2 + u.shape[1] + 8 * nodes
    warps = max(1, power_of_two(nodes) // 128)
    out = torch.empty_like(u)
    return run_on_edges(_maximum, (u,), edges, out, nodes, *memory, warps=warps, constants=(single,))


def sample(u: Tensor, uniforms: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    floats = 3 * nodes**2 + 4 * nodes + nodes * (nodes - 1) * (2 * nodes - 1) // 6
    integers = 2 * nodes**2 + u.shape[1] + nodes
    u, _ = nearby(u, edges, nodes)
    return run_on_edges(_sample, (u, uniforms), edges, torch.empty_like(u), nodes, floats, integers)
