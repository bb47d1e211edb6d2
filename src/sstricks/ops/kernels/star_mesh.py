"""How the elimination of undirected graphs stores pairs of nodes.

A pair of nodes i > j is stored by diagonals: those with i − j = 1 first, then those with i − j = 2, and so on, each by
rising j. What a stage does to all pairs of the nodes still there is then, for each diagonal, one loop over contiguous
memory in which the values at i, at j and at the pair all advance by one. What belongs to the row of node v is stored
from v(v−1)/2 on, by rising j. Every array is flat, with the lane as the last index. Loops take whole arrays and
unsigned offsets: a slice would cost two atomic operations each time, and a signed index its wrap-around test, which
keeps a loop from being vectorised.
"""

import numpy as np
from numba import njit

from sstricks.ops.kernels.floats import LANES

ROW = np.uint64(LANES)


@njit(inline="always")
def row_of(v):
    """Where the row of node v begins: the number of pairs of the first v nodes, times the lanes."""
    return np.uint64(v * (v - 1) // 2 * LANES)


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
