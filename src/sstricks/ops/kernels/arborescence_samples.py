"""Samples of arborescences on the CPU, backwards through the elimination; proof: `sstricks.ops.arborescence`."""

import numpy as np

from sstricks.ops.kernels.arborescence import (
    ABSENT,
    count_unreached,
    law,
    load_weights,
    merge,
    normalise,
    parallel,
    put,
    rows,
    shares,
    slots,
    take,
    workspace,
)
from sstricks.ops.kernels.compiled import compiled
from sstricks.ops.kernels.floats import LANES, ROW, power_of_two
from sstricks.ops.kernels.lanes import load, store
from sstricks.ops.kernels.separate import MATHS, separate
from sstricks.ops.kernels.spanning_tree import row_of


@compiled(inline=True)
def _ratios_of(v):
    """Where stage v begins among the ratios."""
    return np.uint64(v * (v - 1) * (v - 2) // 6 * LANES)


@separate
def _merge_all(v, m1, e1, m2, e2, m, e, start, ratio, begin):
    """w ← w + w₁·w₂ for all pairs of the first v nodes, and the ratios ρ; w₁ belongs to the higher one."""
    for i in range(1, v):
        at = np.uint64(i) * ROW
        row = row_of(i)
        m_i, e_i = load(m1, at), load(e1, at)
        for j in range(np.uint64(0), at, ROW):
            part = merge(m_i * load(m2, j), e_i + load(e2, j), m, e, start + row + j)
            store(ratio, begin + row + j, part)


@compiled(fastmath=MATHS)
def _eliminate_by_ratios(nodes, m, e, d, top, ratio):
    """`_eliminate` that keeps the ratios ρ of every stage."""
    m_p, e_p, e_in, m_out, e_out = rows(nodes)
    up = np.uint64(m.size // 2)
    up_ratio = np.uint64(_ratios_of(nodes))
    for v in range(nodes - 1, 0, -1):
        take(v, m, m_out, m_p)
        take(v, e, e_out, e_in)
        normalise(v, m_out, e_out)
        law(v, m_p, e_in, e_p, d, top)
        put(v, m, m_out, m_p)
        put(v, e, e_out, e_in)
        at = _ratios_of(v)
        _merge_all(v, m_p, e_p, m_out, e_out, m, e, np.uint64(0), ratio, at)
        _merge_all(v, m_out, e_out, m_p, e_p, m, e, up, ratio, up_ratio + at)


@compiled
def _reached(v, parent, status):
    """Mark with 1 the nodes below v whose ancestors lead to the root without passing v, with 2 the others."""
    status[:v] = 0
    status[0] = 1
    status[v] = 2
    for j in range(1, v):
        i = j
        while i >= 0 and status[i] == 0:
            i = parent[i]
        found = 2 if i < 0 else status[i]
        i = j
        while i >= 0 and status[i] == 0:
            status[i] = found
            i = parent[i]


@compiled
def _draw_parent(v, m, e, lane, status, uniform):
    """One of the nodes marked with 1, by the law of v's parent restricted to them; −1 where v is absent."""
    up = m.size // 2 + np.int64(row_of(v)) + lane
    top = ABSENT
    for i in range(v):
        at = up + i * LANES
        if status[i] == 1 and m[at] > 0.0:
            top = max(top, e[at])
    total = 0.0
    chosen = -1
    for turn in range(2):
        left = uniform * total
        for i in range(v):
            at = up + i * LANES
            weight = m[at]
            if status[i] == 1 and weight > 0.0:
                weight *= power_of_two(e[at] - top)
                if turn == 0:
                    total += weight
                elif weight > 0.0:
                    chosen = i
                    left -= weight
                    if left < 0.0:
                        return chosen
    return chosen


@compiled
def _draw_tree(nodes, ratio, m, e, lane, uniforms, parent, status):
    """Give every node its parent, restoring the nodes in the reverse order of their elimination."""
    up_ratio = np.int64(_ratios_of(nodes))
    used = 0
    parent[0] = -1
    for v in range(1, nodes):
        stage = np.int64(_ratios_of(v)) + lane
        for j in range(1, v):
            i = parent[j]
            if i > j:
                at = stage + np.int64(row_of(i)) + j * LANES
            else:
                at = stage + np.int64(row_of(j)) + i * LANES + up_ratio
            if i >= 0 and uniforms[used + j - 1] < ratio[at]:
                parent[j] = v
        _reached(v, parent, status)
        parent[v] = _draw_parent(v, m, e, lane, status, uniforms[used + v - 1])
        used += v
    return used


@compiled
def sample(begin, end, nodes, u, uniforms, ends, out, unreached, memory):
    """Write one random tree for each row into `out`."""
    slot = slots(nodes, ends)
    again = parallel(slot, nodes * (nodes - 1))
    edges = u.shape[1]
    (m, e), (m_edge, e_edge), present, (d, top), memory = workspace(nodes, edges, memory)
    share, ratio = memory[: edges * LANES], memory[edges * LANES :]
    base = np.empty(LANES)
    parent = np.empty(nodes, np.int64)
    status = np.empty(nodes, np.int64)
    left = np.empty(nodes)
    last = np.empty(nodes, np.int64)
    for first in range(begin, end, LANES):
        load_weights(u, first, end, slot, again, ends, m, e, m_edge, e_edge, present, base)
        shares(slot, m, e, m_edge, e_edge, share)
        _eliminate_by_ratios(nodes, m, e, d, top, ratio)
        count_unreached(first, end, top, present, unreached)
        for lane in range(min(LANES, end - first)):
            row = first + lane
            used = _draw_tree(nodes, ratio, m, e, lane, uniforms[row], parent, status)
            for j in range(1, nodes):
                left[j] = uniforms[row, used + j - 1]
                last[j] = -1
            for x in range(u.shape[1]):  # of parallel edges, one by its share
                out[row, x] = 0.0
                j = ends[1, x]
                part = share[x * LANES + lane]
                if j > 0 and parent[j] == ends[0, x] and left[j] >= 0.0 and part > 0.0:
                    left[j] -= part
                    last[j] = x
            for j in range(1, nodes):
                if last[j] >= 0:
                    out[row, last[j]] = 1.0
