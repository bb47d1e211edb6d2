"""How projective trees are laid out on the CPU: from utilities to the weights of spans, and from spans back to edges.

Spans are stored by width, those of one width by their first node: whatever is done to all spans of a width is, for
each way to divide them, one loop over contiguous memory. The probabilities of the divisions follow in the same order,
width by width, division by division. Every array is flat, with the lane as the last index.
"""

import numpy as np
from numba import njit

from sstricks.ops.extremes import FAR
from sstricks.ops.kernels.floats import LANES, LN2_HIGH, LN2_LOW, LOG2_E, NOTHING, exp_reduced
from sstricks.ops.kernels.maximum_projective_arborescence import edge, eisner, present_nodes

_MATHS = {"contract", "nsz", "arcp"}


@njit(inline="always")
def width_from(nodes, w):
    """Where the spans of width w begin."""
    return np.uint64((w * nodes - w * (w - 1) // 2) * LANES)


@njit(inline="always")
def divisions_from(nodes, w):
    """Where the divisions of the spans of width w begin: after Σ v (n − v) over v < w others."""
    return np.uint64((nodes * (w * (w - 1) // 2) - (w - 1) * w * (2 * w - 1) // 6) * LANES)


@njit(nogil=True, cache=True, error_model="numpy")
def _least_loss(count, gap):
    """What the best tree loses against taking every node's best edge, −∞ for none at all."""
    chart = np.empty((6, count, count))
    back = np.empty((3, count, count), np.int64)
    return eisner(count, -gap, chart, back, np.empty((4, 0), np.int32))[0]


@njit(nogil=True, cache=True, error_model="numpy")
def _load_row(nodes, u, row, lane, order, gap, rest, m, low, base, stretch, counts):
    """One row's −(utility less the best of the edges into the same node), as a number and what its rounding lost.

    A tree has one edge into each node, so these shifts change log Z only. Losses beyond `FAR` stay beyond it; where
    even the best tree's is, all of them are brought nearer in proportion, which keeps the order of the trees.
    """
    count = present_nodes(nodes, u, row, order)
    counts[lane] = count
    base[lane] = 0.0
    stretch[lane] = 1.0
    far = 0.0
    for b in range(1, count):
        best = -np.inf
        for a in range(count):
            if a != b:
                best = max(best, u[row, edge(nodes, order[a], order[b])])
        if best == -np.inf:
            counts[lane] = 0
            return
        base[lane] += best
        for a in range(count):
            gap[a, b] = np.inf
            value = u[row, edge(nodes, order[a], order[b])] if a != b else -np.inf
            if value > -np.inf:
                gap[a, b] = best - value
                taken = gap[a, b] - best
                rest[a, b] = (best - (gap[a, b] - taken)) - (value + taken)
                far = max(far, gap[a, b])
    if far > FAR:
        gap[:, 0] = np.inf
        loss = -_least_loss(count, gap[:count, :count])
        if FAR < loss < np.inf:
            stretch[lane] = loss / FAR
        for b in range(1, count):
            for a in range(count):
                if FAR < gap[a, b] < np.inf:
                    gap[a, b] = min(gap[a, b] / stretch[lane], 2.0 * FAR)
                    rest[a, b] = 0.0
    for b in range(1, count):
        for a in range(count):
            if gap[a, b] < np.inf:
                to = np.int64(width_from(nodes, abs(a - b))) + min(a, b) * LANES + lane
                m[0 if a < b else 1, to] = -gap[a, b]
                low[0 if a < b else 1, to] = -rest[a, b]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)
def _exponentials(m, low, e):
    """Turn logarithms m + low into weights m·2ᵉ."""
    for x in range(np.uint64(m.size)):
        present = m[x] > -1e300
        value = m[x] if present else 0.0
        k = np.floor(value * LOG2_E + 0.5)
        power = exp_reduced(((value - k * LN2_HIGH) - k * LN2_LOW) + low[x])
        m[x] = power if present else 0.0
        e[x] = np.int64(k) if present else NOTHING


@njit(nogil=True, cache=True, error_model="numpy")
def load(nodes, u, begin, end, orders, gap, rest, m, low, e, base, stretch, counts):
    """The weights of all edges, to the right (0) and to the left (1), of as many rows as there are lanes."""
    m[:] = -np.inf
    low[:] = 0.0
    for lane in range(LANES):
        _load_row(nodes, u, min(begin + lane, end - 1), lane, orders[lane], gap, rest, m, low, base, stretch, counts)
    _exponentials(m[0], low[0], e[0])
    _exponentials(m[1], low[1], e[1])


@njit(inline="always")
def has_tree(nodes, counts, m, lane):
    return counts[lane] > 0 and m[0, np.int64(width_from(nodes, max(counts[lane] - 1, 0))) + lane] > 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def store(nodes, first, end, orders, counts, m, x, certain, out, feasible):
    """Put what stands at the edges' spans into the edges' places; if `certain`, so that every node has one head."""
    for lane in range(min(LANES, end - first)):
        row = first + lane
        order = orders[lane]
        feasible[row] = has_tree(nodes, counts, m, lane)
        out[row] = 0.0
        for b in range(1, counts[lane]):
            total = 0.0
            for a in range(counts[lane]):
                if a != b:
                    from_ = np.int64(width_from(nodes, abs(a - b))) + min(a, b) * LANES + lane
                    value = x[2 if a < b else 3, from_]
                    out[row, edge(nodes, order[a], order[b])] = value
                    total += value
            if certain and total > 0.0:
                for a in range(counts[lane]):
                    if a != b:
                        out[row, edge(nodes, order[a], order[b])] /= total


@njit(nogil=True, cache=True, error_model="numpy")
def load_direction(nodes, g, begin, end, orders, counts, out):
    """The direction g, laid out as the weights are."""
    out[:] = 0.0
    for lane in range(LANES):
        row = min(begin + lane, end - 1)
        for a in range(counts[lane]):
            for b in range(1, counts[lane]):
                if a != b:
                    to = np.int64(width_from(nodes, abs(a - b))) + min(a, b) * LANES + lane
                    out[0 if a < b else 1, to] = g[row, edge(nodes, orders[lane, a], orders[lane, b])]
