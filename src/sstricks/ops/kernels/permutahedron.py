"""Permutahedra on the CPU; see `sstricks.ops.permutahedron`."""

import math

import numpy as np

from sstricks.ops.kernels.compiled import compiled

_FEW = 64  # So many are sooner sorted by inserting each in its place.
_SOME = 300  # As many are sorted nearly by two bytes, more by three.
_DIGIT, _DIGITS = 256, 8
_TOP = np.uint64(1 << 63)
_BYTE = np.uint64(255)


@compiled
def _is_sorted(n, keys, order):
    """Whether the keys increase, or all decrease strictly, in which case the order is turned round."""
    up, down = True, True
    for i in range(1, n):
        up &= keys[i - 1] <= keys[i]
        down &= keys[i - 1] > keys[i]
    if down:
        for i in range(n):
            order[i] = n - 1 - i
    return up or down


@compiled
def _insert(n, keys, order, most):
    """Sort what is nearly sorted; return whether it took no more than so many moves, or else leave the rest."""
    moves = 0
    for i in range(1, n):
        key, index = keys[i], order[i]
        j = i
        while j > 0 and keys[j - 1] > key:
            keys[j] = keys[j - 1]
            order[j] = order[j - 1]
            j -= 1
        keys[j] = key
        order[j] = index
        moves += i - j
        if moves > most:
            return False
    return True


@compiled
def _by_digits(n, first, keys, order, keys_too, order_too, counts):
    """Sort by one byte after the other from the `first` on, the highest last; skip those that all keys share.

    Returns:
        The keys, their order, and the other two arrays.
    """
    for d in range(first, _DIGITS):
        for v in range(_DIGIT):
            counts[d, v] = 0
    for i in range(n):
        key = keys[i] >> np.uint64(8 * first)
        for d in range(first, _DIGITS):
            counts[d, key & _BYTE] += 1
            key >>= np.uint64(8)
    for d in range(first, _DIGITS):
        shift = np.uint64(8 * d)
        count = counts[d]
        if count[(keys[0] >> shift) & _BYTE] == n:
            continue
        at = 0
        for v in range(_DIGIT):
            many = count[v]
            count[v] = at
            at += many
        for i in range(n):
            key = keys[i]
            digit = (key >> shift) & _BYTE
            to = count[digit]
            keys_too[to] = key
            order_too[to] = order[i]
            count[digit] = to + 1
        keys, keys_too = keys_too, keys
        order, order_too = order_too, order
    return keys, order, keys_too, order_too


@compiled
def _memory(n):
    """What sorting n numbers takes: the floats and their bits, an order, both once more, and counts of digits."""
    floats, counts = np.empty(n), np.empty((_DIGITS, _DIGIT), np.int64)
    return floats, floats.view(np.uint64), np.empty(n, np.int64), np.empty(n, np.uint64), np.empty(n, np.int64), counts


@compiled
def _descending(n, u, memory):
    """Where the utilities stand, absent ones first, then from the largest down; of equal ones the first comes first.

    The bits of a positive float, and those of a negative one turned round, are in the order of the numbers.

    Returns:
        The order, and how many are absent.
    """
    floats, keys, order, keys_too, order_too, counts = memory
    absent = 0
    for i in range(n):
        floats[i] = np.float64(u[i]) + 0.0  # zero has one sign
    for i in range(n):
        key = keys[i]
        if u[i] == -math.inf:
            absent += 1
            key = np.uint64(0)
        elif key < _TOP:
            key ^= _TOP - np.uint64(1)
        keys[i] = key
        order[i] = i
    if _is_sorted(n, keys, order):
        return order, absent
    if n <= _FEW:
        _insert(n, keys, order, n * n)
        return order, absent
    # The first 4, or 12, bits after the point are nearly enough: what then stands in the wrong place is near its own.
    keys, order, keys_too, order_too = _by_digits(n, 6 if n <= _SOME else 5, keys, order, keys_too, order_too, counts)
    if not _insert(n, keys, order, 4 * n):
        keys, order, keys_too, order_too = _by_digits(n, 0, keys, order, keys_too, order_too, counts)
    return order, absent


@compiled
def order(begin, end, u, out):
    """Write where the numbers stand, from the largest down; of equal ones the first comes first."""
    n = u.shape[1]
    memory = _memory(n)
    for r in range(begin, end):
        found, _ = _descending(n, u[r], memory)
        for p in range(n):
            out[r, p] = found[p]


@compiled
def arrange(begin, end, u, values, out):
    """Write the values, in descending order, to the utilities in descending order, and 0 where they are absent."""
    n = u.shape[1]
    memory = _memory(n)
    for r in range(begin, end):
        place, absent = _descending(n, u[r], memory)
        for p in range(absent):
            out[r, place[p]] = 0.0
        for p in range(absent, n):
            out[r, place[p]] = values[r, p]


@compiled
def blocks(begin, end, entropic, u, values, out):
    """Write the first position of its block for every coordinate, −1 where it is absent, by pooling neighbours.

    The level of a block is its `base` and `rest`, so that no digit of what stands above a large base is lost.
    """
    n = u.shape[1]
    memory = _memory(n)
    first = np.empty(n + 1, np.int64)
    base, lift, peak, fill, rest = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for r in range(begin, end):
        place, absent = _descending(n, u[r], memory)
        top = -1
        for p in range(absent, n):
            top += 1
            first[top] = p
            base[top] = u[r, place[p]]
            if entropic:
                lift[top], peak[top], fill[top] = 1.0, values[r, p], 1.0
                rest[top] = -values[r, p]
            else:
                lift[top], fill[top] = 0.0, values[r, p]
                rest[top] = -values[r, p]
            while top > 0 and (base[top - 1] - base[top]) + (rest[top - 1] - rest[top]) < 0.0:
                a, b = top - 1, top
                if entropic:
                    lift[a] += lift[b] * math.exp(base[b] - base[a])
                    fill[a] += fill[b] * math.exp(peak[b] - peak[a])
                    rest[a] = math.log(lift[a] / fill[a]) - peak[a]
                else:
                    lift[a] += lift[b] + (p + 1 - first[b]) * (base[b] - base[a])
                    fill[a] += fill[b]
                    rest[a] = (lift[a] - fill[a]) / (p + 1 - first[a])
                top -= 1
        first[top + 1] = n
        for p in range(absent):
            out[r, place[p]] = -1
        for b in range(top + 1):
            for p in range(first[b], first[b + 1]):
                out[r, place[p]] = first[b]


@compiled
def _centre(n, g, labels, count, base, total):
    """For every block that there is: how many it has, some g in it, and the mean of what g is more than that."""
    for i in range(n):
        count[i] = 0.0
    for i in range(n):
        b = labels[i]
        if b < 0:
            continue
        if count[b] == 0.0:
            base[b], total[b] = g[i], 0.0
        count[b] += 1.0
        total[b] += g[i] - base[b]
    for b in range(n):
        if count[b] > 1.0:
            total[b] /= count[b]


@compiled
def centred(begin, end, g, labels, out):
    """Write g less its mean over the block of each coordinate, 0 where it is absent."""
    n = g.shape[1]
    count, base, total = np.empty(n), np.empty(n), np.empty(n)
    for r in range(begin, end):
        _centre(n, g[r], labels[r], count, base, total)
        for i in range(n):
            b = labels[r, i]
            out[r, i] = (g[r, i] - base[b]) - total[b] if b >= 0 else 0.0


@compiled
def _share(n, values, count, share):
    """The sum of the values of every block that there is."""
    for b in range(n):
        share[b] = 0.0
        for p in range(b, b + np.int64(count[b])):
            share[b] += values[p]


@compiled
def projected(begin, end, u, values, labels, out):
    """Write u less its mean over the block of each coordinate plus that of the values, 0 where it is absent."""
    n = u.shape[1]
    count, base, total, share = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for r in range(begin, end):
        _centre(n, u[r], labels[r], count, base, total)
        _share(n, values[r], count, share)
        for b in range(n):
            if count[b] > 1.0:
                share[b] /= count[b]
        for i in range(n):
            b = labels[r, i]
            out[r, i] = ((u[r, i] - base[b]) - total[b]) + share[b] if b >= 0 else 0.0


@compiled
def summed(begin, end, g, labels, out):
    """Write the sum of g over the block of each coordinate, 0 where it is absent."""
    n = g.shape[1]
    total = np.empty(n)
    for r in range(begin, end):
        for i in range(n):
            total[i] = 0.0
        for i in range(n):
            if labels[r, i] >= 0:
                total[labels[r, i]] += g[r, i]
        for i in range(n):
            out[r, i] = total[labels[r, i]] if labels[r, i] >= 0 else 0.0


@compiled
def _exponentials(n, u, labels, count, high, total, out):
    """Write u less the largest in the block, and for every block that there is how many it has, and Σ exp of that."""
    for i in range(n):
        high[i], total[i], count[i] = -math.inf, 0.0, 0.0
    for i in range(n):
        b = labels[i]
        if b >= 0:
            high[b] = max(high[b], u[i])
            count[b] += 1.0
    for i in range(n):
        b = labels[i]
        if b >= 0:
            out[i] = u[i] - high[b]
            total[b] += math.exp(out[i])


@compiled
def log_softmax(begin, end, u, labels, out):
    """Write u less the logarithm of the sum of exp(u) over the block of each coordinate, −∞ where it is absent."""
    n = u.shape[1]
    count, high, total = np.empty(n), np.empty(n), np.empty(n)
    for r in range(begin, end):
        _exponentials(n, u[r], labels[r], count, high, total, out[r])
        for b in range(n):
            total[b] = math.log(total[b])
        for i in range(n):
            b = labels[r, i]
            out[r, i] = out[r, i] - total[b] if b >= 0 else -math.inf


@compiled
def spread_softmax(begin, end, u, values, labels, out):
    """Write the softmax over the block of each coordinate times the sum of the values there, 0 where it is absent."""
    n = u.shape[1]
    count, high, total, share = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for r in range(begin, end):
        _exponentials(n, u[r], labels[r], count, high, total, out[r])
        _share(n, values[r], count, share)
        for b in range(n):
            share[b] /= total[b]
        for i in range(n):
            b = labels[r, i]
            out[r, i] = math.exp(out[r, i]) * share[b] if b >= 0 else 0.0
