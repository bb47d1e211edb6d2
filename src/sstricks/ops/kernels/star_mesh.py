"""How the eliminations of undirected and of directed graphs store pairs of nodes, and what they do to all of them.

A pair of nodes i > j is stored by diagonals: those with i − j = 1 first, then those with i − j = 2, and so on, each by
rising j. What a stage does to all pairs of the nodes still there is then, for each diagonal, one loop over contiguous
memory in which the values at i, at j and at the pair all advance by one. Stage v (the elimination of node v) stores
ratios, where it keeps any, from v(v−1)(v−2)/6 on, diagonal by diagonal, and what belongs to the row of node v from
v(v−1)/2 on, by rising j. Every array is flat, with the lane as the last index. Loops take whole arrays and unsigned
offsets: a slice would cost two atomic operations each time, and a signed index its wrap-around test, which keeps a
loop from being vectorised.
"""

import numpy as np
from numba import njit

from sstricks.ops.kernels.floats import LANES, power_of_two
from sstricks.ops.kernels.separate import separate

ROW = np.uint64(LANES)


@njit(inline="always")
def row_of(v):
    """Where the row of node v begins: the number of pairs of the first v nodes, times the lanes."""
    return np.uint64(v * (v - 1) // 2 * LANES)


@njit(inline="always")
def ratios_of(v):
    """Where stage v begins among the ratios."""
    return np.uint64(v * (v - 1) * (v - 2) // 6 * LANES)


@njit(inline="always")
def diagonal(nodes, apart):
    """Where the pairs of nodes that are `apart` numbers apart begin."""
    return np.uint64((apart - 1) * (2 * nodes - apart) // 2 * LANES)


@njit(nogil=True, cache=True, error_model="numpy")
def cut(memory, pieces, size):
    """The first so many pieces of the memory, and what remains."""
    return memory[: pieces * size].reshape(pieces, size), memory[pieces * size :]


@njit(nogil=True, cache=True, error_model="numpy")
def number(nodes, ends):
    """The number of each edge's pair of nodes."""
    pair = np.empty(ends.shape[1], np.int64)
    for x in range(ends.shape[1]):
        low = min(ends[0, x], ends[1, x])
        pair[x] = np.int64(diagonal(nodes, max(ends[0, x], ends[1, x]) - low)) // LANES + low
    return pair


@separate
def merge(count, m1, e1, shift, m2, e2, m, e, to, ratio, at):
    """w ← w + w₁·w₂, entry by entry, and ratio ← w₁·w₂ / (w + w₁·w₂); w₁ is read from `shift` on.

    The sum is not normalised: its mantissa stays between 1/(4n) and 4n, where it costs no digits.
    """
    for x in range(np.uint64(count)):
        y = to + x
        product = m1[shift + x] * m2[x]
        e_product = e1[shift + x] + e2[x]
        lead = e_product - e[y]
        less = power_of_two(-abs(lead))
        added = product if lead > 0 else product * less
        total = (m[y] * less if lead > 0 else m[y]) + added
        ratio[at + x] = added / (total + np.float64(total <= 0.0))
        m[y] = total
        e[y] = max(e_product, e[y])


@separate
def collect(pair, ends, m_edge, e_edge, m, e, share, present):
    """From the weights of edges those of their pairs, each edge's share of its pair's, and which nodes have an edge."""
    edges = pair.size
    one_m = np.ones(LANES)
    one_e = np.zeros(LANES, e.dtype)
    taken = np.zeros(m.size // LANES, np.uint8)
    parallel = False
    for x in range(edges):
        at = np.uint64(x) * ROW
        to = np.uint64(pair[x]) * ROW
        first = np.uint64(ends[0, x]) * ROW
        second = np.uint64(ends[1, x]) * ROW
        for lane in range(ROW):
            here = np.int64(m_edge[at + lane] > 0.0)
            present[first + lane] |= here
            present[second + lane] |= here
        if taken[pair[x]]:
            parallel = True
            merge(LANES, m_edge, e_edge, at, one_m, one_e, m, e, to, share, at)
        else:
            taken[pair[x]] = 1
            for lane in range(ROW):
                m[to + lane] = m_edge[at + lane]
                e[to + lane] = e_edge[at + lane]
                share[at + lane] = np.float64(m_edge[at + lane] > 0.0)
    if parallel:
        for x in range(edges):
            at = np.uint64(x) * ROW
            to = np.uint64(pair[x]) * ROW
            for lane in range(ROW):
                if m[to + lane] > 0.0:
                    share[at + lane] = m_edge[at + lane] / m[to + lane] * power_of_two(e_edge[at + lane] - e[to + lane])
