"""The bipartite Laplacian system on the CPU; the mathematics stands in `sstricks.ops.two_way`."""

import numpy as np
from numba import njit

from sstricks.ops.kernels.separate import separate_sums


@separate_sums
def _dot(m, a, i, b, k):
    total = 0.0
    for j in range(np.uint64(m)):
        total += a[i, j] * b[k, j]
    return total


@separate_sums
def _add(m, factor, source, i, out):
    for j in range(np.uint64(m)):
        out[j] += factor * source[i, j]


@separate_sums
def _passed_on(m, d, i, held, inverse, ground, gamma, share):
    """What row i passes on to each column it meets, and what comes to it from the ground and from the right side."""
    lost, gained = 0.0, 0.0
    for j in range(np.uint64(m)):
        share[i, j] = d[i, j] * inverse[j]
        lost += d[i, j] * held[j] + share[i, j] * ground[j]
        gained += share[i, j] * gamma[j]
    return lost, gained


@separate_sums
def _spread(first, n, factor, w, i, k):
    for row in range(np.uint64(first), np.uint64(n)):
        w[k, row] += factor * w[i, row]


@njit(nogil=True, cache=True, error_model="numpy")
def solve(d, rows, columns, damping, rho, gamma, p, q, share, w, loss, right, inverse, ground, held):
    """Write p and q with (L + damping) (p, q) = (ρ, γ) on the rows and columns that are free, zero on the others."""
    n, m = d.shape
    inverse[:] = damping
    ground[:] = damping
    for i in range(n):
        _add(m, 1.0, d, i, inverse)
        if not rows[i]:
            _add(m, 1.0, d, i, ground)
    for j in range(m):
        held[j] = 0.0 if columns[j] else 1.0
        inverse[j] = 1.0 / inverse[j] if columns[j] and inverse[j] > 0.0 else 0.0
    for i in range(n):
        loss[i], right[i] = _passed_on(m, d, i, held, inverse, ground, gamma, share)
        loss[i] += damping
        right[i] += rho[i]
    for i in range(n):
        for k in range(i + 1, n):
            w[i, k] = _dot(m, share, i, d, k) if rows[i] and rows[k] else 0.0
    for i in range(n):
        total = loss[i]
        for k in range(i + 1, n):
            total += w[i, k]
        p[i] = total  # kept here until it is needed again
        if total <= 0.0 or not rows[i]:
            continue
        for k in range(i + 1, n):
            factor = w[i, k] / total
            if factor > 0.0:
                loss[k] += factor * loss[i]
                right[k] += factor * right[i]
                _spread(k + 1, n, factor, w, i, k)
    for i in range(n - 1, -1, -1):
        value = right[i]
        for k in range(i + 1, n):
            value += w[i, k] * p[k]
        p[i] = value / p[i] if rows[i] and p[i] > 0.0 else 0.0
    for j in range(m):
        q[j] = gamma[j]
    for i in range(n):
        if rows[i]:
            _add(m, p[i], d, i, q)
    for j in range(m):
        q[j] *= inverse[j]


@njit(nogil=True, cache=True, error_model="numpy")
def fits(begin, end, d, k, rows, columns, out):
    """Write the two-way fit A(AᵀDA)⁺Aᵀk of problems `begin` to `end` into `out`."""
    n, m = d.shape[1], d.shape[2]
    weight, share, w = np.empty((n, m)), np.empty((n, m)), np.empty((n, n))
    p, loss, right, rho = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    q, inverse, ground, held, gamma = np.empty(m), np.empty(m), np.empty(m), np.empty(m), np.empty(m)
    for r in range(begin, end):
        gamma[:] = 0.0
        for i in range(n):
            rho[i] = 0.0
            for j in range(m):
                weight[i, j] = d[r, i, j] if d[r, i, j] > 1e-18 else 0.0
                rho[i] += k[r, i, j]
                gamma[j] -= k[r, i, j]
        solve(weight, rows[r], columns[r], 0.0, rho, gamma, p, q, share, w, loss, right, inverse, ground, held)
        for i in range(n):
            for j in range(m):
                out[r, i, j] = p[i] - q[j]
