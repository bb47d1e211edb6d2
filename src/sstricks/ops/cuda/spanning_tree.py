"""Star-mesh elimination on a GPU; the mathematics stands in `sstricks.ops.spanning_tree`.

As on the CPU, marginals are carried as y = x/w, and row v of the weights stays as it was when node v was eliminated
until its marginals take its place. Both halves of the symmetric matrices are kept, so that a row can be read at once.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sstricks.ops.cuda.blocks import power_of_two
from sstricks.ops.cuda.floats import ABSENT, INF, LN2, exponential, normalised, power, quotient, summed
from sstricks.ops.cuda.graphs import any_above, claim, fill, pair, run_on_edges, strongest, transposed, turns
from sstricks.ops.precision import MANY as _MANY
from sstricks.ops.precision import NEAR as _NEAR
from sstricks.ops.precision import SURE as _SURE

NEAR, SURE, MANY = tl.constexpr(_NEAR), tl.constexpr(_SURE), tl.constexpr(_MANY)


@triton.jit
def _best(u, edges, BLOCK: tl.constexpr):
    """The largest utility, 0 if no edge is present, and whether one is NaN."""
    best = tl.full([BLOCK], -INF, tl.float64)
    odd = tl.zeros([BLOCK], tl.int32)
    for begin in range(0, edges, BLOCK):
        x = begin + tl.arange(0, BLOCK)
        value = tl.load(u + x, mask=x < edges, other=-INF)
        odd |= (value != value).to(tl.int32)
        best = tl.where(value > best, value, best)
    largest = tl.max(best, axis=0)
    return tl.where(largest > -INF, largest, 0.0), tl.max(odd, axis=0) > 0


@triton.jit
def _load(u, g, ends, edges, nodes, best, m, e, a, owner, done, TANGENT: tl.constexpr, BLOCK: tl.constexpr):
    """The weights exp(u − max u) of all pairs of nodes and, of each pair's edges, the mean of g by their shares."""
    fill(m, nodes * nodes, 0.0, BLOCK)
    fill(e, nodes * nodes, ABSENT, BLOCK)
    fill(owner, nodes * nodes, edges, BLOCK)
    fill(done, edges, 0, BLOCK)
    if TANGENT:
        fill(a, nodes * nodes, 0.0, BLOCK)
    tl.debug_barrier()
    left = edges
    while left > 0:
        claim(owner, done, ends, edges, nodes, False, BLOCK)
        merged = tl.zeros([BLOCK], tl.int32)
        for begin in range(0, edges, BLOCK):
            x = begin + tl.arange(0, BLOCK)
            at, turn = turns(owner, done, ends, x, edges, nodes, False)
            added, e_added = exponential(tl.load(u + x, mask=turn, other=-INF), best)
            old = tl.load(m + at, mask=turn, other=0.0)
            e_old = tl.load(e + at, mask=turn, other=ABSENT)
            total, e_total, part = summed(old, e_old, added, e_added)
            if TANGENT:
                ratio = quotient(part, total)
                mean = (1.0 - ratio) * tl.load(a + at, mask=turn, other=0.0)
                mean += ratio * tl.load(g + x, mask=turn, other=0.0)
                tl.store(a + at, mean, mask=turn)
                tl.store(a + transposed(at, nodes), mean, mask=turn)
            for _ in tl.static_range(2):
                tl.store(m + at, total, mask=turn)
                tl.store(e + at, e_total, mask=turn)
                at = transposed(at, nodes)
            merged += turn.to(tl.int32)
        left -= tl.sum(merged, axis=0)
        tl.debug_barrier()


@triton.jit
def _row(m, e, v, nodes, j):
    """The weights between node v and lower ones."""
    at = v * nodes + j
    return normalised(tl.load(m + at, mask=j < v, other=0.0), tl.load(e + at, mask=j < v, other=ABSENT))


@triton.jit
def _eliminate(m, e, a, at_nodes, nodes, TANGENT: tl.constexpr, R: tl.constexpr, N: tl.constexpr):
    """Eliminate nodes n−1, …, 1; return log Z, how many nodes are present and how many components they make.

    `at_nodes` gets, of each node, the sum of its row d·2^top and the mean of d log w.
    """
    j = tl.arange(0, N)
    present = any_above(m, 0.0, 1, nodes, nodes, R, N)
    sums = tl.zeros([N], tl.float64)
    tops = tl.zeros([N], tl.float64)
    for step in range(1, nodes):
        v = nodes - step
        m_j, e_j = _row(m, e, v, nodes, j)
        top = tl.max(e_j, axis=0)
        d = tl.sum(m_j * power(e_j - top), axis=0)
        m_p = quotient(m_j, d)
        e_p = e_j - top
        sums = tl.where(j == v, d, sums)
        tops = tl.where(j == v, top, tops)
        tl.store(at_nodes + v, d)
        tl.store(at_nodes + nodes + v, top)
        if TANGENT:
            a_j = tl.load(a + v * nodes + j, mask=j < v, other=0.0)
            mean = tl.sum(m_p * power(e_p) * a_j, axis=0)
            t = a_j - mean
            tl.store(at_nodes + 2 * nodes + v, mean)
        for begin in range(0, v, R):
            i = begin + tl.arange(0, R)
            m_i, e_i = _row(m, e, v, nodes, i)
            at = i[:, None] * nodes + j[None, :]
            inside = (i[:, None] < v) & (j[None, :] < v) & (i[:, None] != j[None, :])
            total, e_total, part = summed(
                tl.load(m + at, mask=inside, other=0.0),
                tl.load(e + at, mask=inside, other=ABSENT),
                m_i[:, None] * m_p[None, :],
                e_i[:, None] + e_p[None, :],
            )
            if TANGENT:
                a_i = tl.load(a + v * nodes + i, mask=i < v, other=0.0)
                ratio = quotient(part, total)
                mean_ij = (1.0 - ratio) * tl.load(a + at, mask=inside, other=0.0)
                tl.store(a + at, mean_ij + ratio * (a_i[:, None] + t[None, :]), mask=inside)
            tl.store(m + at, total, mask=inside)
            tl.store(e + at, e_total, mask=inside)
        tl.debug_barrier()
    log_z = tl.sum(tl.where(sums > 0.0, tl.log(sums) + tops * LN2, 0.0), axis=0)
    components = tl.sum(tl.where(sums > 0.0, 0, present), axis=0)
    return log_z, tl.sum(present, axis=0), components


@triton.jit
def _restore(m, e, a, dy, at_nodes, nodes, TANGENT: tl.constexpr, R: tl.constexpr, N: tl.constexpr):
    """Bring nodes 1, …, n−1 back: y = x/w takes the place of the weights m·2ᵉ, and dy becomes dx/w at y's exponents."""
    j = tl.arange(0, N)
    for v in range(1, nodes):
        m_j, e_j = _row(m, e, v, nodes, j)
        d = tl.load(at_nodes + v)
        m_p = quotient(m_j, d)
        e_p = e_j - tl.load(at_nodes + nodes + v)
        received = tl.zeros([R, N], tl.float64)
        if TANGENT:
            dreceived = tl.zeros([R, N], tl.float64)
            t = tl.load(a + v * nodes + j, mask=j < v, other=0.0) - tl.load(at_nodes + 2 * nodes + v)
        for begin in range(0, v, R):
            i = begin + tl.arange(0, R)
            m_i, e_i = _row(m, e, v, nodes, i)
            at = i[:, None] * nodes + j[None, :]
            inside = (i[:, None] < v) & (j[None, :] < v) & (i[:, None] != j[None, :])
            e_y = tl.load(e + at, mask=inside, other=0.0)
            q = m_i[:, None] * m_p[None, :] * power(e_i[:, None] + e_p[None, :] + e_y)
            c = q * tl.load(m + at, mask=inside, other=0.0)
            received += c
            if TANGENT:
                a_i = tl.load(a + v * nodes + i, mask=i < v, other=0.0)
                growth = a_i[:, None] + t[None, :] - tl.load(a + at, mask=inside, other=0.0)
                dreceived += c * growth + q * tl.load(dy + at, mask=inside, other=0.0)
        by_node = tl.sum(received, axis=0)
        rest = 1.0 - 0.5 * tl.sum(by_node, axis=0)
        p = m_p * power(e_p)
        y = quotient(p * rest + by_node, m_j)
        e_y = tl.where(m_j > 0.0, -e_j, 0.0)
        tl.debug_barrier()
        tl.store(m + v * nodes + j, y, mask=j < v)
        tl.store(m + j * nodes + v, y, mask=j < v)
        tl.store(e + v * nodes + j, e_y, mask=j < v)
        tl.store(e + j * nodes + v, e_y, mask=j < v)
        if TANGENT:
            dby_node = tl.sum(dreceived, axis=0)
            drest = -0.5 * tl.sum(dby_node, axis=0)
            slope = quotient(p * (t * rest + drest) + dby_node, m_j)
            tl.store(dy + v * nodes + j, slope, mask=j < v)
            tl.store(dy + j * nodes + v, slope, mask=j < v)
        tl.debug_barrier()


@triton.jit(do_not_specialize=["rows", "edges", "nodes"])
def _marginals(
    u, g, ends, out, floats, integers, rows, edges, nodes,
    TANGENT: tl.constexpr, R: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    square = nodes * nodes
    m = floats + program * ((4 if TANGENT else 2) * square + 3 * nodes)
    e = m + square
    at_nodes = e + square
    a = at_nodes + 3 * nodes
    dy = a + square
    owner = integers + program * (square + edges)
    for row in range(program, rows, tl.num_programs(0)):
        begin = row * edges
        best, odd = _best(u + begin, edges, BLOCK)
        _load(u + begin, g + begin, ends, edges, nodes, best, m, e, a, owner, owner + square, TANGENT, BLOCK)
        _, _, components = _eliminate(m, e, a, at_nodes, nodes, TANGENT, R, N)
        _restore(m, e, a, dy, at_nodes, nodes, TANGENT, R, N)
        if TANGENT:
            odd |= _best(g + begin, edges, BLOCK)[1]
        for first in range(0, edges, BLOCK):
            x = first + tl.arange(0, BLOCK)
            inside = x < edges
            at = pair(ends, x, edges, nodes, False)
            weight, e_weight = exponential(tl.load(u + begin + x, mask=inside, other=-INF), best)
            weight *= power(e_weight + tl.load(e + at, mask=inside, other=0.0))
            y = tl.load(m + at, mask=inside, other=0.0)
            if TANGENT:
                growth = tl.load(g + begin + x, mask=inside, other=0.0) - tl.load(a + at, mask=inside, other=0.0)
                value = weight * (y * growth + tl.load(dy + at, mask=inside, other=0.0))
            else:
                value = tl.clamp(weight * y, 0.0, 1.0)  # the error of 1 − S is absolute: it may leave [0, 1]
            tl.store(out + begin + x, tl.where(odd | (components > 1), float("nan"), value), mask=inside)
        tl.debug_barrier()


@triton.jit(do_not_specialize=["rows", "edges", "nodes"])
def _log_partition(
    u, shift, ends, out, floats, integers, rows, edges, nodes,
    R: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    square = nodes * nodes
    m = floats + program * (2 * square + 3 * nodes)
    e = m + square
    owner = integers + program * (square + edges)
    for row in range(program, rows, tl.num_programs(0)):
        begin = row * edges
        best, odd = _best(u + begin, edges, BLOCK)
        _load(u + begin, u, ends, edges, nodes, best, m, e, m, owner, owner + square, False, BLOCK)
        log_z, present, components = _eliminate(m, e, m, e + square, nodes, False, R, N)
        value = log_z + tl.maximum(present - 1, 0) * best + tl.load(shift + row)
        tl.store(out + row, tl.where(odd | (components > 1), float("nan"), value))
        tl.debug_barrier()


@triton.jit
def _grow(
    u, ends, edges, nodes, weight, which, owner, done, out, level,
    LEVELS: tl.constexpr, R: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Prim's algorithm: one tree grows from the first node that has an edge; edges are ordered as on the CPU.

    Marks the tree's edges in `out` or, with LEVELS, writes the least utility on the tree's path between any two nodes.
    Returns whether a utility is NaN, whether the tree spans, and of every node the utility of the edge it came by.
    """
    j = tl.arange(0, N)
    odd = strongest(u, ends, edges, nodes, weight, which, owner, done, False, BLOCK)
    outside = any_above(weight, -INF, 1, nodes, nodes, R, N)
    count = tl.sum(outside, axis=0)
    v = tl.min(tl.where(outside > 0, j, N - 1), axis=0)
    best = tl.full([N], -INF, tl.float64)
    link = tl.zeros([N], tl.int32)
    links = tl.full([N], -INF, tl.float64)
    reached = True
    if LEVELS:
        tl.store(level + v * nodes + v, INF, mask=v < nodes)
    for _ in range(1, count):
        outside = tl.where(j == v, 0, outside)
        at = v * nodes + j
        value = tl.load(weight + at, mask=(j < nodes) & (outside > 0), other=-INF)
        edge = tl.load(which + at, mask=(j < nodes) & (outside > 0), other=0)
        better = (value > best) | ((value == best) & (edge < link))
        best = tl.where(outside > 0, tl.where(better, value, best), -INF)
        link = tl.where(better, edge, link)
        top = tl.max(best, axis=0)
        # An edge leads to one node outside: of links that tie, the lowest one tells the node as well.
        first = tl.min(tl.where((outside > 0) & (best == top), link.to(tl.int64) * N + j, 1 << 60), axis=0)
        v = (first % N).to(tl.int32)
        if LEVELS:
            came = (first // N).to(tl.int32)
            parent = tl.load(ends + came).to(tl.int32) + tl.load(ends + edges + came).to(tl.int32) - v
            parent = tl.where(top > -INF, parent, v)  # where nothing leads on, the edge is any
            links = tl.where(j == v, top, links)
            tl.debug_barrier()
            # Those outside are written as well, and again when they are reached.
            path = tl.load(level + parent * nodes + j, mask=(j < nodes) & (outside == 0), other=-INF)
            path = tl.where(j == v, INF, tl.minimum(path, top))
            tl.store(level + v * nodes + j, path, mask=j < nodes)
            tl.store(level + j * nodes + v, path, mask=j < nodes)
        else:
            tl.store(out + first // N, 1.0, mask=top > -INF)
        reached = reached & (top > -INF)
    return odd, reached, links


@triton.jit(do_not_specialize=["rows", "edges", "nodes"])
def _maximum(
    u, ends, out, floats, integers, rows, edges, nodes,
    R: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    square = nodes * nodes
    weight = floats + program * square
    which = integers + program * (2 * square + edges)
    owner = which + square
    for row in range(program, rows, tl.num_programs(0)):
        begin = row * edges
        fill(out + begin, edges, 0.0, BLOCK)
        odd, reached, _links = _grow(
            u + begin, ends, edges, nodes, weight, which, owner, owner + square, out + begin, weight,
            False, R, N, BLOCK,
        )  # fmt: skip
        if odd | (not reached):
            tl.debug_barrier()
            fill(out + begin, edges, float("nan"), BLOCK)
        tl.debug_barrier()


@triton.jit
def _height(weights, steps, level, nodes):
    """How far below the best utility a level is when all steps between the tree's edges are cut down."""
    height = tl.zeros_like(level)
    for s in range(nodes):
        height -= tl.where(tl.load(weights + s) > level, tl.load(steps + s), 0.0)
    return height


@triton.jit(do_not_specialize=["rows", "edges", "nodes"])
def _nearby(
    u, shift, ends, out, floats, integers, rows, edges, nodes,
    R: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Where a utility is far below the best one, near utilities with the same law, and what log Z is more.

    It is enough to cut down the steps between the edges of the best tree: an edge is below the least edge on the path
    that it would close by what it always was, or by more than a tree can lose.
    """
    program = tl.program_id(0).to(tl.int64)
    square = nodes * nodes
    weight = floats + program * (2 * square + 2 * nodes)
    level = weight + square
    weights = level + square
    steps = weights + nodes
    which = integers + program * (2 * square + edges)
    owner = which + square
    j = tl.arange(0, N)
    most = SURE + MANY * nodes
    for row in range(program, rows, tl.num_programs(0)):
        begin = row * edges
        best, odd = _best(u + begin, edges, BLOCK)
        beyond = tl.zeros([BLOCK], tl.int32)
        for first in range(0, edges, BLOCK):
            x = first + tl.arange(0, BLOCK)
            value = tl.load(u + begin + x, mask=x < edges, other=-INF)
            beyond |= ((best - value > NEAR) & (value > -INF)).to(tl.int32)
            tl.store(out + begin + x, value, mask=x < edges)
        tl.store(shift + row, 0.0)
        if (tl.max(beyond, axis=0) > 0) & (not odd):
            _odd, _reached, links = _grow(
                u + begin, ends, edges, nodes, weight, which, owner, owner + square, out + begin, level,
                True, R, N, BLOCK,
            )  # fmt: skip
            tl.store(weights + j, links, mask=j < nodes)
            tl.debug_barrier()
            below = tl.full([N], -INF, tl.float64)
            for s in range(nodes):
                link = tl.load(weights + s)
                after = (link < links) | ((link == links) & (s > j))
                below = tl.where(after, tl.maximum(below, link), below)
            step = tl.where((links > -INF) & (below > -INF), tl.minimum(links - below, most), 0.0)
            tl.store(steps + j, step, mask=j < nodes)
            tl.debug_barrier()
            for first in range(0, edges, BLOCK):
                x = first + tl.arange(0, BLOCK)
                value = tl.load(u + begin + x, mask=x < edges, other=-INF)
                here = value > -INF
                least = tl.load(level + pair(ends, x, edges, nodes, False), mask=here, other=0.0)
                near = _height(weights, steps, least, nodes) + tl.maximum(value - least, -most)
                tl.store(out + begin + x, tl.where(here, near, -INF), mask=x < edges)
            more = links - _height(weights, steps, links, nodes)
            tl.store(shift + row, tl.sum(tl.where(links > -INF, more, 0.0), axis=0))
        tl.debug_barrier()


def nearby(u: Tensor, edges: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """Launch; returns the utilities, shape (rows, E), and what log Z of u is more than theirs, shape (rows,)."""
    shift = u.new_empty(len(u))
    memory = 2 * nodes**2 + 2 * nodes, 2 * nodes**2 + u.shape[1]
    return run_on_edges(_nearby, (u, shift), edges, torch.empty_like(u), nodes, *memory), shift


def marginals(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    u, _ = nearby(u, edges, nodes)
    memory = 2 * nodes**2 + 3 * nodes, nodes**2 + u.shape[1]
    return run_on_edges(_marginals, (u, u), edges, torch.empty_like(u), nodes, *memory, constants=(False,))


def marginals_jvp(u: Tensor, g: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    u, _ = nearby(u, edges, nodes)
    memory = 4 * nodes**2 + 3 * nodes, nodes**2 + u.shape[1]
    return run_on_edges(_marginals, (u, g), edges, torch.empty_like(u), nodes, *memory, constants=(True,))


def log_partition(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    u, shift = nearby(u, edges, nodes)
    memory = 2 * nodes**2 + 3 * nodes, nodes**2 + u.shape[1]
    return run_on_edges(_log_partition, (u, shift), edges, u.new_empty(len(u)), nodes, *memory)


def maximum_spanning_tree(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    memory = nodes**2, 2 * nodes**2 + u.shape[1]
    warps = max(1, power_of_two(nodes) // 64)
    return run_on_edges(_maximum, (u,), edges, torch.empty_like(u), nodes, *memory, warps=warps)
