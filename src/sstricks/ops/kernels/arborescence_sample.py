"""Exact samples of arborescences on the CPU, backwards through the elimination; the proof stands in the operators."""

import numpy as np
from numba import njit

from sstricks.ops.kernels.arborescence import ABSENT, aligned, laws, load, read, slots, workspace
from sstricks.ops.kernels.floats import LANES, power_of_two
from sstricks.ops.kernels.separate import MATHS
from sstricks.ops.kernels.star_mesh import ROW, diagonal, merge, ratios_of, row_of


@njit(nogil=True, cache=True, error_model="numpy", fastmath=MATHS)
def _eliminate_by_ratios(nodes, m, e, present, p, m_all, e_all, ratio, log_z, unreached):
    """`_eliminate` that keeps the ratios ρ of every stage."""
    m_p = aligned(nodes * LANES)
    e_p = aligned(nodes * LANES)
    m_out = aligned(nodes * LANES)
    e_out = aligned(nodes * LANES)
    top = np.empty(LANES)
    d = np.empty(LANES)
    log_z[:] = 0.0
    unreached[:] = 0
    up = np.uint64(m.size // 2)
    up_ratio = np.uint64(ratios_of(nodes))
    for v in range(nodes - 1, 0, -1):
        laws(nodes, v, m, e, p, m_p, e_p, m_all, e_all, top, d, log_z, unreached, present)
        read(nodes, v, np.uint64(0), m, e, m_out, e_out)
        at = ratios_of(v)
        for apart in range(1, v):
            count = (v - apart) * LANES
            shift = np.uint64(apart) * ROW
            to = diagonal(nodes, apart)
            merge(count, m_p, e_p, shift, m_out, e_out, m, e, to, ratio, at)
            merge(count, m_out, e_out, shift, m_p, e_p, m, e, up + to, ratio, up_ratio + at)
            at += np.uint64(count)


@njit(nogil=True, cache=True, error_model="numpy")
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


@njit(nogil=True, cache=True, error_model="numpy")
def _draw_parent(v, m_all, e_all, lane, status, uniform):
    """One of the nodes marked with 1, by the law of v's parent restricted to them; −1 where v is absent."""
    at = np.int64(row_of(v)) + lane
    top = ABSENT
    for i in range(v):
        if status[i] == 1 and m_all[at + i * LANES] > 0.0:
            top = max(top, e_all[at + i * LANES])
    total = 0.0
    chosen = -1
    for turn in range(2):
        left = uniform * total
        for i in range(v):
            weight = m_all[at + i * LANES]
            if status[i] == 1 and weight > 0.0:
                weight *= power_of_two(e_all[at + i * LANES] - top)
                if turn == 0:
                    total += weight
                elif weight > 0.0:
                    chosen = i
                    left -= weight
                    if left < 0.0:
                        return chosen
    return chosen


@njit(nogil=True, cache=True, error_model="numpy")
def _draw_tree(nodes, ratio, m_all, e_all, lane, uniforms, parent, status):
    """Give every node its parent, restoring the nodes in the reverse order of their elimination."""
    up_ratio = np.int64(ratios_of(nodes))
    used = 0
    parent[0] = -1
    for v in range(1, nodes):
        stage = np.int64(ratios_of(v)) + lane
        for j in range(1, v):
            i = parent[j]
            if i > j:
                at = stage + np.int64(diagonal(v, i - j)) + j * LANES
            else:
                at = stage + np.int64(diagonal(v, j - i)) + i * LANES + up_ratio
            if i >= 0 and uniforms[used + j - 1] < ratio[at]:
                parent[j] = v
        _reached(v, parent, status)
        parent[v] = _draw_parent(v, m_all, e_all, lane, status, uniforms[used + v - 1])
        used += v
    return used


@njit(nogil=True, cache=True, error_model="numpy")
def sample(begin, end, nodes, u, uniforms, ends, out, unreached, memory):
    """Write one random tree for each row into `out`."""
    slot = slots(nodes, ends)
    (m, e), (m_edge, e_edge, share), present, (p, m_all, e_all), (log_z, base), missed, memory = workspace(
        nodes, u.shape[1], memory
    )
    ratio = memory[: 2 * ratios_of(nodes)]
    parent = np.empty(nodes, np.int64)
    status = np.empty(nodes, np.int64)
    left = np.empty(nodes)
    last = np.empty(nodes, np.int64)
    for first in range(begin, end, LANES):
        load(u, first, end, slot, ends, m, e, m_edge, e_edge, share, present, base)
        _eliminate_by_ratios(nodes, m, e, present, p, m_all, e_all, ratio, log_z, missed)
        for lane in range(min(LANES, end - first)):
            row = first + lane
            unreached[row] = missed[lane]
            used = _draw_tree(nodes, ratio, m_all, e_all, lane, uniforms[row], parent, status)
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
