r"""Elimination of dense graphs in float64, a block of nodes at a time; see `sstricks.ops.arborescence`.

What eliminating node v adds to the weights is one product of its column and its row, p_i w_vj. So once the nodes of a
block are eliminated, among themselves and on their own rows, what they add to all others is one product of two
matrices; the diagonal takes no part. Backwards it is the same: with y = ∂log Z/∂w,

.. math:: y_{vj} = \sum_i p_i y_{ij}, \quad S = \sum_j w_{vj} y_{vj}, \quad
          y_{iv} = (1 - S + \sum_j w_{vj} y_{ij}) / d_v

and, in the direction of a derivative, with ẇ = w a and :math:`\dot p_i = \dot w_{iv} / d_v - p_i \delta`,

.. math:: \dot w'_{ij} = \dot w_{ij} + \dot p_i w_{vj} + p_i \dot w_{vj}, \quad
          \dot y_{vj} = \sum_i \dot p_i y_{ij} + p_i \dot y_{ij}, \quad
          \dot y_{iv} = (\sum_j \dot w_{vj} y_{ij} + w_{vj} \dot y_{ij} - \dot S) / d_v - \delta y_{iv},

where the sums over the nodes below a block are products of matrices. An undirected graph has equal weights in both
directions, of which one is kept; its y is the sum of both, and S half the sum.

**Range.** Weights are at most 1, and so p ≤ 1 and d ≤ n. Nothing is subtracted from a weight, so a number is lost only
where a product leaves the range of float64. None does if no p and no w_vj that is not 0 is below `LEAST`, its square
being a normal number: this is looked up when the elimination is done. Then y ≤ 1 / w stays in the range as well.
Rows for which it does not hold are left to kernels with exponents. So are those with an edge below exp(−`_REACH`),
unless it is so far below that no tree with it can matter: a tree of edges in reach is more than exp(−`_REACH` n) times
as likely as the best one could be.

Row v of `out` are the weights w_vj of the edges to j < v, row v of `law` those of the edges from there, later p; both
become y, its transpose in the latter. What is above the diagonal counts from then on.
"""

import math

import numpy as np

from sstricks.ops.kernels.compiled import compiled
from sstricks.ops.kernels.floats import LANES, exp_nonpositive
from sstricks.ops.kernels.product import TILE, TILE_ROWS, add_product
from sstricks.ops.kernels.separate import MATHS, separate, separate_sums
from sstricks.ops.precision import MANY, SURE

BLOCK = 32
LEAST = 1e-140
_REACH = 320.0  # exp(−320) is a little above LEAST
_FIRST, _ONE = np.uint64(0), np.uint64(1)


def _step(nodes):
    """The distance of rows: no multiple of a large power of two, for which caches have little room."""
    return -(-nodes // TILE) * TILE + LANES


step_of = compiled(_step)


def workspace_size(nodes, edges, tangent):
    """How many float64 the working memory of a kernel has."""
    step = _step(nodes)
    return (2 * -(-nodes // TILE) * TILE + 2 * BLOCK) * step * (2 if tangent else 1) + edges + 4 * nodes


@compiled
def _cut(memory, size):
    return memory[:size], memory[size:]


@compiled
def _matrices(nodes, memory):
    """Two square matrices as one array and each by itself, two blocks of rows, and the memory left."""
    step = step_of(nodes)
    size = (step - LANES) * step
    both, memory = _cut(memory, 2 * size)
    g, memory = _cut(memory, BLOCK * step)
    h, memory = _cut(memory, BLOCK * step)
    return both, both[:size], both[size:], g, h, memory


@separate_sums
def _total(count, a, at):
    total = 0.0
    for x in range(np.uint64(count)):
        total += a[at + x]
    return total


@separate_sums
def _dot(count, a, at, b, b_at):
    total = 0.0
    for x in range(np.uint64(count)):
        total += a[at + x] * b[b_at + x]
    return total


@separate
def _add(count, factor, a, at, to, to_at):
    for x in range(np.uint64(count)):
        to[to_at + x] += factor * a[at + x]


@separate
def _copy(count, a, at, to, to_at):
    for x in range(np.uint64(count)):
        to[to_at + x] = a[at + x]


@separate
def _divide(count, a, at, total):
    for x in range(np.uint64(count)):
        a[at + x] /= total


@separate
def _centre(count, law, dlaw, at, total, delta):
    """ṗ in the place of ẇ."""
    for x in range(np.uint64(count)):
        dlaw[at + x] = dlaw[at + x] / total - law[at + x] * delta


@separate
def _far_below(rows, step, bits):
    """Whether some number below the diagonal is not 0, but below `LEAST`; positive floats are ordered as integers."""
    least = ~np.uint64(0)
    for v in range(np.uint64(rows)):
        at = v * step
        for x in range(v):
            least = min(least, bits[at + x] - _ONE)  # from 0, the largest
    return least < np.float64(LEAST).view(np.uint64)


@compiled(fastmath=MATHS)
def _lower(lo, count, step, a, b, c):
    """C ← C + AᵀB for the nodes below `lo`, with the rows of a block for A and B."""
    at = np.uint64(lo) * step
    add_product(lo, lo, count, True, a, at, _ONE, step, b, at, step, c, _FIRST, step)


@compiled
def _used(present):
    """How many nodes there are up to the last one that is there; those behind are padding."""
    nodes = present.size
    while nodes > 1 and present[nodes - 1] == 0.0:
        nodes -= 1
    return nodes


@compiled(fastmath=MATHS)
def _eliminate(nodes, step, directed, tangent, out, law, dout, dlaw, d, delta):
    """Eliminate nodes n−1, …, 1: p and the weights out of each when it was its turn, and their derivatives ṗ, ẇ."""
    hi = nodes
    while hi > 0:
        lo = (hi - 1) // BLOCK * BLOCK
        for v in range(hi - 1, max(lo, 1) - 1, -1):
            at = np.uint64(v) * step
            if not directed:
                _copy(v, out, at, law, at)
            d[v] = _total(v, law, at)
            total = d[v] if d[v] > 0.0 else 1.0
            _divide(v, law, at, total)
            if tangent:
                if not directed:
                    _copy(v, dout, at, dlaw, at)
                delta[v] = _total(v, dlaw, at) / total
                _centre(v, law, dlaw, at, total, delta[v])
            for w in range(lo, v):
                x, to = at + np.uint64(w), np.uint64(w) * step
                _add(w, law[x], out, at, out, to)
                if directed:
                    _add(w, out[x], law, at, law, to)
                if tangent:
                    _add(w, law[x], dout, at, dout, to)
                    _add(w, dlaw[x], out, at, dout, to)
                    if directed:
                        _add(w, out[x], dlaw, at, dlaw, to)
                        _add(w, dout[x], law, at, dlaw, to)
        if lo > 0:
            count = hi - lo
            if tangent:
                _lower(lo, count, step, law, dout, dout)
                _lower(lo, count, step, dlaw, out, dout)
                if directed:
                    _lower(lo, count, step, out, dlaw, dlaw)
                    _lower(lo, count, step, dout, law, dlaw)
            _lower(lo, count, step, law, out, out)
            if directed:
                _lower(lo, count, step, out, law, law)
        hi = lo


@compiled(fastmath=MATHS)
def _from_below(lo, hi, step, c, y, g):
    """G ← G + C·Y for the rows of a block, over the nodes below it."""
    rows = -(-(hi - lo) // TILE_ROWS) * TILE_ROWS
    add_product(rows, lo, lo, False, c, np.uint64(lo) * step, step, _ONE, y, _FIRST, step, g, _FIRST, step)


@compiled(fastmath=MATHS)
def _from_block(lo, v, step, c, y, transposed, g):
    """Add to row v of C·Y what comes from the nodes of its own block, of which those below v have their y."""
    at, to = np.uint64(v) * step, np.uint64(v - lo) * step
    for w in range(lo, v):
        _add(lo, c[at + np.uint64(w)], y, np.uint64(w) * step, g, to)
        g[to + np.uint64(w)] += _dot(v, c, at, transposed, np.uint64(w) * step)


@separate
def _finish(count, w, at, shift, scale, g, row):
    """(G + shift) / scale where there is a weight, 0 elsewhere: ∂log Z/∂w may be beyond the range at w = 0."""
    for x in range(np.uint64(count)):
        g[row + x] = (g[row + x] + shift) / scale if w[at + x] > 0.0 else 0.0


@separate
def _turn(begin, end, v, step, from_, to):
    """Write row v into column v, from row `begin` to `end`."""
    for w in range(np.uint64(begin), np.uint64(end)):
        to[w * step + np.uint64(v)] = from_[np.uint64(v) * step + w]


@separate
def _turn_block(lo, hi, step, from_, to):
    """The same for the nodes of a block and all below it."""
    for w in range(np.uint64(lo)):
        for v in range(np.uint64(lo), np.uint64(hi)):
            to[w * step + v] = from_[v * step + w]


@compiled(fastmath=MATHS)
def _restore(nodes, step, directed, tangent, out, law, dout, dlaw, d, delta, g, h, dg, dh):
    """y and ẏ in the place of weights and laws."""
    other, dother = (law, dlaw) if directed else (out, dout)  # the transposed matrices
    part = 1.0 if directed else 0.5
    for lo in range(0, nodes, BLOCK):
        hi = min(lo + BLOCK, nodes)
        g[:] = 0.0
        _from_below(lo, hi, step, law, out, g)
        if directed:
            h[:] = 0.0
            _from_below(lo, hi, step, out, law, h)
        if tangent:
            dg[:] = 0.0
            _from_below(lo, hi, step, dlaw, out, dg)
            _from_below(lo, hi, step, law, dout, dg)
            if directed:
                dh[:] = 0.0
                _from_below(lo, hi, step, dout, law, dh)
                _from_below(lo, hi, step, out, dlaw, dh)
        for v in range(lo, hi):
            at, row = np.uint64(v) * step, np.uint64(v - lo) * step
            scale = d[v] if d[v] > 0.0 else 1.0
            _from_block(lo, v, step, law, out, other, g)
            rest, drest = 1.0 - part * _dot(v, out, at, g, row), 0.0
            if tangent:
                _from_block(lo, v, step, dlaw, out, other, dg)
                _from_block(lo, v, step, law, dout, dother, dg)
                drest = -part * (_dot(v, dout, at, g, row) + _dot(v, out, at, dg, row))
            if directed:
                _from_block(lo, v, step, out, law, out, h)
                if tangent:
                    _from_block(lo, v, step, dout, law, out, dh)
                    _from_block(lo, v, step, out, dlaw, dout, dh)
                    _finish(v, law, at, drest, scale, dh, row)
                _finish(v, law, at, rest, scale, h, row)
                _copy(v, h, row, law, at)
                if tangent:
                    _add(v, -delta[v], h, row, dh, row)
                    _copy(v, dh, row, dlaw, at)
                rest = drest = 0.0
            if tangent:
                _finish(v, out, at, (drest - delta[v] * rest) / scale, 1.0, dg, row)
                _copy(v, dg, row, dout, at)
            _finish(v, out, at, rest / scale, 1.0, g, row)
            _copy(v, g, row, out, at)
            _close(v, lo, step, out, other)
            if tangent:
                _close(v, lo, step, dout, dother)
        if hi < nodes:
            _turn_block(lo, hi, step, out, other)
            if directed:
                _turn_block(lo, hi, step, law, out)
            if tangent:
                _turn_block(lo, hi, step, dout, dother)
                if directed:
                    _turn_block(lo, hi, step, dlaw, dout)


@compiled(fastmath=MATHS)
def _close(v, lo, step, y, other):
    """Complete what is above the diagonal in the block of node v."""
    _turn(lo, v, v, step, y, other)
    _turn(lo, v, v, step, other, y)
    y[np.uint64(v) * (step + _ONE)] = 0.0
    other[np.uint64(v) * (step + _ONE)] = 0.0


@separate
def _slots(nodes, directed, ends, slot):
    """Where each edge's weight stands in the two matrices."""
    step = step_of(nodes)
    for x in range(slot.size):
        low, high = min(ends[0, x], ends[1, x]), max(ends[0, x], ends[1, x])
        slot[x] = high * step + low
        if directed and ends[0, x] < ends[1, x]:
            slot[x] += (step - LANES) * step


@compiled(fastmath=MATHS)
def _tops(nodes, directed, u, row, ends, top, present):
    """The largest utility of all edges or, in a directed graph, of those into each node; which nodes are there."""
    top[:] = -np.inf
    present[:] = 0.0
    largest = -np.inf
    for x in range(ends.shape[1]):
        tail, head, value = ends[0, x], ends[1, x], u[row, x]
        if value > -np.inf and (head > 0 or not directed):
            present[tail] = present[head] = 1.0
            top[head] = max(top[head], value)
            largest = max(largest, value)
    for v in range(nodes):
        top[v] = largest if not directed else top[v]
        top[v] = top[v] if top[v] > -np.inf else 0.0
    if directed:
        top[0] = np.inf  # nothing leads there


@separate
def _weigh(nodes, u, row, ends, top, w):
    """The weights; how many edges cannot be told, and whether some are left out that no tree of the others needs."""
    irrelevant = -(SURE + (MANY + _REACH) * nodes)
    for x in range(np.uint64(w.size)):
        w[x] = u[row, x] - top[ends[1, x]]
    beyond, far = 0, 0
    for x in range(np.uint64(w.size)):
        beyond += (w[x] < -_REACH) & (w[x] >= irrelevant)
        far += (w[x] < irrelevant) & (w[x] > -np.inf)
        w[x] = exp_nonpositive(w[x]) if w[x] >= -_REACH else 0.0
    return beyond, far


@compiled(fastmath=MATHS)
def _load(nodes, directed, u, row, ends, slot, both, w, top, present):
    """The weights exp(u − top) of edges and pairs; whether float64 may do, and whether edges are left out."""
    _tops(nodes, directed, u, row, ends, top, present)
    beyond, far = _weigh(nodes, u, row, ends, top, w)
    if beyond:
        return False, False
    both[:] = 0.0
    for x in range(slot.size):
        both[slot[x]] += w[x]
    return True, far > 0


@compiled(fastmath=MATHS)
def _exact(nodes, step, directed, out, law, d, present, far, fault, row):
    """Whether no number was lost; how many nodes had no edge to those below, or components there are."""
    fault[row] = 0 if directed else present[0]
    for v in range(1, nodes):
        fault[row] += d[v] == 0.0 and present[v] > 0.0
    if far and fault[row] > (0 if directed else 1):
        return False
    return not (_far_below(nodes, step, out.view(np.uint64)) or _far_below(nodes, step, law.view(np.uint64)))


@compiled(fastmath=MATHS)
def log_partition(begin, end, nodes, directed, u, ends, out, fault, served, memory):
    """Write log Z of rows `begin` to `end` into `out`, and which rows that was possible for."""
    both, weights, law, _, _, memory = _matrices(nodes, memory)
    w, memory = _cut(memory, ends.shape[1])
    d, top, present = memory[:nodes], memory[nodes : 2 * nodes], memory[2 * nodes : 3 * nodes]
    slot, step = np.empty(ends.shape[1], np.int64), np.uint64(step_of(nodes))
    _slots(nodes, directed, ends, slot)
    nothing = both[:0]
    for row in range(begin, end):
        served[row], far = _load(nodes, directed, u, row, ends, slot, both, w, top, present)
        size = _used(present)
        if served[row]:
            _eliminate(size, step, directed, False, weights, law, nothing, nothing, d, d)
            served[row] = _exact(size, step, directed, weights, law, d, present, far, fault, row)
            log_z, first = 0.0, not directed
            for v in range(size):
                if present[v] > 0.0 and v > 0 and d[v] > 0.0:
                    log_z += math.log(d[v])
                if present[v] > 0.0 and not first and (v > 0 or not directed):
                    log_z += top[v]
                first = first and present[v] == 0.0
            out[row] = log_z


@separate
def _to_marginals(row, slot, w, y, out):
    for x in range(slot.size):
        out[row, x] = min(max(w[x] * y[slot[x]], 0.0), 1.0)


@compiled(fastmath=MATHS)
def marginals(begin, end, nodes, directed, u, ends, out, fault, served, memory):
    """Write the marginals of rows `begin` to `end` into `out`, and which rows that was possible for."""
    both, weights, law, g, h, memory = _matrices(nodes, memory)
    w, memory = _cut(memory, ends.shape[1])
    d, top, present = memory[:nodes], memory[nodes : 2 * nodes], memory[2 * nodes : 3 * nodes]
    slot, step = np.empty(ends.shape[1], np.int64), np.uint64(step_of(nodes))
    _slots(nodes, directed, ends, slot)
    nothing = both[:0]
    for row in range(begin, end):
        served[row], far = _load(nodes, directed, u, row, ends, slot, both, w, top, present)
        size = _used(present)
        if served[row]:
            _eliminate(size, step, directed, False, weights, law, nothing, nothing, d, d)
            served[row] = _exact(size, step, directed, weights, law, d, present, far, fault, row)
        if served[row]:
            _restore(size, step, directed, False, weights, law, nothing, nothing, d, d, g, h, nothing, nothing)
            _to_marginals(row, slot, w, both, out)


@separate
def _load_tangent(g, row, slot, w, dw):
    """ẇ in the direction of row `row` of g, whose largest number, by which it is divided, is returned."""
    steepest = 0.0
    for x in range(np.uint64(w.size)):
        steepest = max(steepest, abs(g[row, x]))
    scale = steepest if steepest > 0.0 else 1.0
    dw[:] = 0.0
    for x in range(slot.size):
        dw[slot[x]] += w[x] * (g[row, x] / scale)
    return scale


@separate
def _to_slopes(row, slot, w, y, dy, g, scale, least, out):
    """w·(ẏ + y·g), but 0 for what is not above the least, which is rounding."""
    for x in range(slot.size):
        slope = w[x] * (dy[slot[x]] + y[slot[x]] * (g[row, x] / scale))
        out[row, x] = 0.0 if abs(slope) <= least else scale * slope


@compiled(fastmath=MATHS)
def marginals_jvp(begin, end, nodes, directed, u, g, ends, out, fault, served, memory):
    """Write the derivative of the marginals in the direction g into `out`, and which rows that was possible for."""
    both, weights, law, y, z, memory = _matrices(nodes, memory)
    dboth, dweights, dlaw, dy, dz, memory = _matrices(nodes, memory)
    w, memory = _cut(memory, ends.shape[1])
    d, top, present = memory[:nodes], memory[nodes : 2 * nodes], memory[2 * nodes : 3 * nodes]
    delta = memory[3 * nodes : 4 * nodes]
    slot, step = np.empty(ends.shape[1], np.int64), np.uint64(step_of(nodes))
    _slots(nodes, directed, ends, slot)
    # Less than this is rounding, which the smallest temperatures would turn into an infinite gradient.
    least = nodes * 2.0**-50 if directed else 0.0
    for row in range(begin, end):
        served[row], far = _load(nodes, directed, u, row, ends, slot, both, w, top, present)
        size = _used(present)
        if served[row]:
            scale = _load_tangent(g, row, slot, w, dboth)
            _eliminate(size, step, directed, True, weights, law, dweights, dlaw, d, delta)
            served[row] = _exact(size, step, directed, weights, law, d, present, far, fault, row)
            if served[row]:
                _restore(size, step, directed, True, weights, law, dweights, dlaw, d, delta, y, z, dy, dz)
                _to_slopes(row, slot, w, both, dboth, g, scale, least, out)
