"""Flows on directed hypergraphs on the CPU; see `sstricks.ops.projective_optimum` for the mathematics.

A hyperedge takes its flow from one item, its origin, and hands it to two others. Each is given by the numbers of these
three, `links[:, e]`; where it hands on to one item or to none, the number of items stands for nothing. The hyperedges
out of an item come after all those out of the items to which they lead.
"""

import numpy as np

from sstricks.ops.kernels.compiled import compiled

_ROUNDING = 1e-13  # of a sum of utilities


@compiled
def begin(first, last, items, links, roots, value, far, z, ways):
    """The flow in which all ways of making up the root are alike, but those that are too far behind the best one.

    `value` is −∞ where a hyperedge is absent. Without any way, `ways` of the root stays 0.
    """
    above, mass = np.empty(items + 1), np.empty(items + 1)
    for row in range(first, last):
        v, best = value[row], ways[row]
        best[:] = -np.inf
        best[items] = 0.0
        for e in range(links.shape[1]):
            best[links[0, e]] = max(best[links[0, e]], v[e] + best[links[1, e]] + best[links[2, e]])
        least = best[roots[row]] - far[row] - _ROUNDING * abs(best[roots[row]])
        above[:] = -np.inf
        above[roots[row]] = 0.0
        for e in range(links.shape[1] - 1, -1, -1):
            a, b, c = links[0, e], links[1, e], links[2, e]
            here = above[a] + v[e]
            above[b] = max(above[b], here + best[c])
            above[c] = max(above[c], here + best[b])
            z[row, e] = 1.0 if here + best[b] + best[c] >= least else 0.0
        for e in range(links.shape[1]):
            z[row, e] = z[row, e] if v[e] > -np.inf else 0.0
        ways[row] = 0.0
        ways[row, items] = 1.0
        for e in range(links.shape[1]):
            z[row, e] *= ways[row, links[1, e]] * ways[row, links[2, e]]
            ways[row, links[0, e]] += z[row, e]
        _restore(items, links, roots[row], z[row], above, mass)


@compiled
def _restore(items, links, root, z, total, mass):
    total[:] = 0.0
    for e in range(links.shape[1]):
        total[links[0, e]] += z[e]
    mass[:] = 0.0
    mass[root] = 1.0
    for e in range(links.shape[1] - 1, -1, -1):
        if z[e] > 0.0:
            z[e] *= mass[links[0, e]] / total[links[0, e]]
            mass[links[1, e]] += z[e]
            mass[links[2, e]] += z[e]


@compiled
def restore(first, last, items, links, roots, z):
    """Make a flow of one unit from the root of numbers that are nearly one: only the shares of an item's are kept."""
    total, mass = np.empty(items + 1), np.empty(items + 1)
    for row in range(first, last):
        _restore(items, links, roots[row], z[row], total, mass)


@compiled
def eliminate(first, last, items, simple, links, d, ridge, matrix):
    """The upper half of A diag(d) Aᵀ, and of it, after the rows of the simple items, what is left without these."""
    near = np.empty(items, np.int64)
    for row in range(first, last):
        k = matrix[row]
        k[:] = 0.0
        for e in range(links.shape[1]):
            w = d[row, e]
            if w > 0.0:
                a, b, c = links[0, e], links[1, e], links[2, e]
                k[a, a] += w
                if b < items:
                    k[b, b] += w
                    k[min(a, b), max(a, b)] -= w
                if c < items:
                    k[c, c] += w
                    k[min(a, c), max(a, c)] -= w
                    if b < items:
                        k[min(b, c), max(b, c)] += w
        for a in range(items):
            k[a, a] = k[a, a] * ridge if k[a, a] > 0.0 else 1.0
        for q in range(simple):
            count = 0
            for a in range(q + 1, items):
                if k[q, a] != 0.0:
                    near[count] = a
                    count += 1
            for i in range(count):
                share = k[q, near[i]] / k[q, q]
                for j in range(i, count):
                    k[near[i], near[j]] -= share * k[q, near[j]]


@compiled
def descend(first, last, items, simple, matrix, side):
    """Carry the side of simple items' equations over to the others."""
    for row in range(first, last):
        for q in range(simple):
            share = side[row, q] / matrix[row, q, q]
            for a in range(q + 1, items):
                side[row, a] -= matrix[row, q, a] * share


@compiled
def ascend(first, last, items, simple, matrix, side):
    """The potentials of simple items, given those of the others."""
    for row in range(first, last):
        for q in range(simple - 1, -1, -1):
            value = side[row, q]
            for a in range(q + 1, items):
                value -= matrix[row, q, a] * side[row, a]
            side[row, q] = value / matrix[row, q, q]
