"""The nearest point of a hull on the CPU, between two calls of the oracle; see `sstricks.ops.nearest_point`.

Active vertices are the first `count` rows of `vertices`, as bytes if they are of zeros and ones; L is the Cholesky
factor of V Vᵀ + 1 1ᵀ.
"""

import math

import numpy as np

from sstricks.ops.kernels.arrays import copy
from sstricks.ops.kernels.compiled import compiled

# What a vertex must have outside of the affine hull of the others, squared, so as to join them.
_OUTSIDE = 1e-9
_EPSILON = 2.220446049250313e-16
# The state of a row.
GOING, SHORT, REACHED = range(3)


@compiled
def _solve(count, factor, side):
    """side ← (L Lᵀ)⁻¹ side."""
    for i in range(count):
        value = side[i]
        for j in range(i):
            value -= factor[i, j] * side[j]
        side[i] = value / factor[i, i]
    for i in range(count - 1, -1, -1):
        side[i] /= factor[i, i]
        for j in range(i):
            side[j] -= factor[i, j] * side[i]


@compiled
def _join(count, v, vertices, factor, weights):
    """Take v among the active vertices, unless it lies in their affine hull; return whether it does not."""
    size = 1.0
    for e in range(v.size):
        size += v[e] * v[e]
    for i in range(count):
        value = 1.0
        for e in range(v.size):
            value += v[e] * vertices[i, e]
        for j in range(i):
            value -= factor[i, j] * factor[count, j]
        factor[count, i] = value / factor[i, i]
        size -= factor[count, i] ** 2
    if size < _OUTSIDE:
        return False
    factor[count, count] = math.sqrt(size)
    weights[count] = 0.0
    for e in range(v.size):
        vertices[count, e] = v[e]
    return True


@compiled
def _leave(count, k, vertices, factor, weights):
    """Take the k-th active vertex away; rotations make the factor triangular again."""
    for i in range(k, count - 1):
        weights[i] = weights[i + 1]
        copy(vertices[i + 1], vertices[i])
        for j in range(i + 2):
            factor[i, j] = factor[i + 1, j]
    for j in range(k, count - 1):
        size = math.hypot(factor[j, j], factor[j, j + 1])
        c, s = factor[j, j] / size, factor[j, j + 1] / size
        for i in range(j, count - 1):
            a, b = factor[i, j], factor[i, j + 1]
            factor[i, j], factor[i, j + 1] = c * a + s * b, c * b - s * a


@compiled
def _mix(count, u, vertices, weights, x, g):
    """The point and u − x."""
    for e in range(u.size):
        x[e] = 0.0
    for i in range(count):
        for e in range(u.size):
            x[e] += weights[i] * vertices[i, e]
    for e in range(u.size):
        g[e] = u[e] - x[e] if u[e] > -np.inf else 0.0


@compiled
def _lead(v, x, g):
    """gᵀ(v − x)."""
    lead = 0.0
    for e in range(x.size):
        lead += g[e] * (v[e] - x[e])
    return lead


@compiled
def _correct(count, u, vertices, factor, weights, x, g, step, unit):
    """To the nearest point of the affine hull of the active vertices, or as far as their hull goes; return their count.

    Vertices that stop the way leave, until none does.
    """
    while True:
        for i in range(count):
            step[i] = _lead(vertices[i], x, g)
            unit[i] = 1.0
        _solve(count, factor, step)
        _solve(count, factor, unit)
        total, whole = 0.0, 0.0
        for i in range(count):
            total += step[i]
            whole += unit[i]
        length = 1.0
        leaving = -1
        for i in range(count):
            step[i] -= unit[i] * total / whole
            if weights[i] + length * step[i] <= 0.0 and step[i] < 0.0:
                length = weights[i] / -step[i]
                leaving = i
        total = 0.0
        for i in range(count):
            weights[i] = max(weights[i] + length * step[i], 0.0)
            total += weights[i]
        if leaving >= 0:
            total -= weights[leaving]
            _leave(count, leaving, vertices, factor, weights)
            count -= 1
        for i in range(count):
            weights[i] /= total
        _mix(count, u, vertices, weights, x, g)
        if leaving < 0:
            return count


@compiled
def advance(begin, end, rows, best, u, tol, last, vertices, factor, weights, counts, x, g, gap, floor, stuck, state):
    """With the oracle's answers for g, move the points of some rows, or say that they are where they should be."""
    n = u.shape[1]
    room = weights.shape[1]
    step, unit = np.empty(room), np.empty(room)
    for at in range(begin, end):
        r = rows[at]
        v = best[at]
        count = counts[r]
        if count > 0:
            lead = _lead(v, x[r], g[r])
            noise, worst = 0.0, 0.0
            for e in range(n):
                reach = max(abs(v[e]), abs(x[r, e]))
                if reach > 0.0:
                    noise += abs(g[r, e]) * max(reach, 1.0)
            for i in range(count):
                worst = max(worst, abs(_lead(vertices[r, i], x[r], g[r])))
            floor[r] = 4.0 * _EPSILON * noise
            gap[r] = max(max(lead, worst), 0.0)
            if gap[r] <= tol + floor[r]:
                state[r] = REACHED
                continue
            if last:
                state[r] = SHORT
                continue
            joins = lead > 2.0 * worst and _join(count, v, vertices[r], factor[r], weights[r])
            stuck[r] = 0 if joins else stuck[r] + 1
            if stuck[r] > 3:
                state[r] = SHORT
                continue
            count += joins
        else:
            _join(0, v, vertices[r], factor[r], weights[r])
            weights[r, 0] = 1.0
            count = 1
            _mix(count, u[r], vertices[r], weights[r], x[r], g[r])
        counts[r] = _correct(count, u[r], vertices[r], factor[r], weights[r], x[r], g[r], step, unit)
