"""Viterbi's algorithm for correlated k-subsets on the CPU; what it computes stands in `sstricks.ops.chain_argmax`."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
def chain_argmax(begin, end, k, u, out, feasible):
    """Write the best vertex of rows `begin` to `end` into `out`, and into `feasible` whether there is any."""
    n = (u.shape[1] + 1) // 2
    best = np.empty((2, 2, k + 2))  # this item and the next, s, j + 1
    chosen = np.empty((n, 2, k + 1), dtype=np.uint8)
    for r in range(begin, end):
        best[:] = -np.inf
        best[0, :, 1] = 0.0
        now = 0
        for i in range(n - 1, -1, -1):
            for s in range(2):
                reward = u[r, i]
                if s == 1 and i > 0:
                    reward += u[r, n + i - 1]
                for j in range(k + 1):
                    stay = best[now, 0, j + 1]
                    take = best[now, 1, j] + reward
                    chosen[i, s, j] = take >= stay
                    best[1 - now, s, j + 1] = max(take, stay)
            now = 1 - now
        feasible[r] = best[now, 0, k + 1] > -np.inf
        out[r] = 0.0
        if not feasible[r]:
            continue
        left = k
        s = 0
        for i in range(n):
            take = chosen[i, s, left]
            if take:
                out[r, i] = 1.0
                left -= 1
                if s == 1:
                    out[r, n + i - 1] = 1.0
            s = take
