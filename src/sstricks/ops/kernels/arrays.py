"""Plain loops in place of what NumPy has for arrays: its sorting takes a second to compile, its copying 1.5 seconds.

Assigning an array to an array checks their shapes, and the message for those that differ brings all of Numba's strings
along.
"""

import numpy as np

from sstricks.ops.kernels.compiled import compiled


@compiled
def copy(source, to):
    """Write the first numbers of an array into another one, which is filled."""
    for x in range(to.size):
        to[x] = source[x]


@compiled
def add_up(x):
    """The sum of an array, from left to right."""
    total = 0.0
    for i in range(x.size):
        total += x[i]
    return total


@compiled
def descending(values):
    """Where the values stand, from the largest down; of equal ones the first comes first."""
    n = values.size
    order, merged = np.empty(n, np.int64), np.empty(n, np.int64)
    for x in range(n):
        order[x] = x
    width = 1
    while width < n:
        for begin in range(0, n, 2 * width):
            middle, end = min(begin + width, n), min(begin + 2 * width, n)
            left, right = begin, middle
            for to in range(begin, end):
                if right >= end or (left < middle and values[order[left]] >= values[order[right]]):
                    merged[to] = order[left]
                    left += 1
                else:
                    merged[to] = order[right]
                    right += 1
        order, merged = merged, order
        width *= 2
    return order
