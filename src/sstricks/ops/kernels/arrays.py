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


@compiled
def nth_largest(v, k):
    """The k-th largest of v, which is partitioned around it (Hoare's selection; np.partition takes 5 s to compile)."""
    low, high = 0, v.size - 1
    while low < high:
        a, b, c = v[low], v[(low + high) // 2], v[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while v[i] > pivot:
                i += 1
            while v[j] < pivot:
                j -= 1
            if i <= j:
                v[i], v[j] = v[j], v[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            break
    return v[k - 1]
