"""Marginals and their directional derivatives in extended precision, by algorithms that no contender uses.

numpy's long double has 64 bits of mantissa on x86-64: logarithms of size 10⁶ keep thirteen digits after the point, so
a central difference in it is good to about 1e-8. Sums only, no differences: the range of the utilities is irrelevant.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.longdouble]

STEP = np.longdouble(1e-5)


def spanning_tree(u: Array, pairs: NDArray[np.int64], num_nodes: int, chosen: NDArray[np.int64]) -> Array:
    """P(e ∈ T) of the `chosen` edges for one u (E,): the edge's share of the conductance between its ends.

    All other nodes are eliminated by the star–mesh transform, in logs, once per chosen edge.
    """
    i, j = pairs
    net = np.full((num_nodes, num_nodes), -np.inf, dtype=np.longdouble)
    net[i, j] = net[j, i] = u
    ends = pairs[:, chosen]
    others = np.array([[v for v in range(num_nodes) if v not in pair] for pair in ends.T], dtype=np.int64)
    order = np.concatenate([ends.T, others], axis=1)
    nets = net[order[:, :, None], order[:, None, :]]
    for v in range(num_nodes - 1, 1, -1):
        star = nets[:, v, :v]
        total = np.logaddexp.reduce(star, axis=-1)[:, None, None]
        nets = np.logaddexp(nets[:, :v, :v], star[:, :, None] + star[:, None, :] - total)
        nets[:, np.arange(v), np.arange(v)] = -np.inf
    return np.exp(u[chosen] - nets[:, 0, 1])


def log_partition(net: Array) -> np.longdouble:
    """Log Z of the arborescences from node 0, for u of the edge i → j at [i, j]; symmetric for spanning trees.

    The directed star–mesh transform, in logs: an eliminated node leaves the sum of the edges into it as a factor. A
    node without edges is absent.
    """
    net, value = net.copy(), np.longdouble(0)
    for v in range(len(net) - 1, 0, -1):
        heads, dependents = (np.flatnonzero(line[:v] > -np.inf) for line in (net[:, v], net[v]))
        if not heads.size and not dependents.size:
            continue
        total = np.logaddexp.reduce(net[heads, v])
        value += total
        mesh = np.ix_(heads, dependents)
        net[mesh] = np.logaddexp(net[mesh], net[heads, v, None] + net[v, dependents] - total)
    return value


def k_subset(u: Array, k: int) -> Array:
    """P(i ∈ S) for u (batch, n): counts of the coordinates before i and after i, joined."""
    before, after = _counts(u, k), _counts(u[:, ::-1], k)
    n = u.shape[-1]
    total = before[-1][:, k, None]
    shares = [
        np.logaddexp.reduce(before[i][:, :k] + after[n - 1 - i][:, k - 1 :: -1][:, :k], axis=-1) + u[:, i]
        for i in range(n)
    ]
    return np.exp(np.stack(shares, axis=-1) - total)


def _counts(u: Array, k: int) -> list[Array]:
    table = np.full((len(u), k + 1), -np.inf, dtype=np.longdouble)
    table[:, 0] = 0
    tables = [table]
    for u_i in u.T:
        shifted = np.concatenate([np.full_like(table[:, :1], -np.inf), table[:, :-1] + u_i[:, None]], axis=-1)
        table = np.logaddexp(table, shifted)
        tables.append(table)
    return tables


def chain_k_subset(u: Array, k: int) -> Array:
    """P(i ∈ S) and P(i, i + 1 ∈ S) for u (batch, 2n − 1): what leads to the item or pair, joined with what follows."""
    n = (u.shape[-1] + 1) // 2
    items, pairs = u[:, :n], u[:, n:]
    before = _chains(items, pairs, k)
    after = _chains(items[:, ::-1], pairs[:, ::-1], k)
    total = np.logaddexp(before[-1][0][:, k], before[-1][1][:, k])[:, None]
    shares = [_joined(before[i][1], after[n - 1 - i][1], k + 1) - items[:, i, None] for i in range(n)]
    shares += [_joined(before[i][1], after[n - 2 - i][1], k) + pairs[:, i, None] for i in range(n - 1)]
    return np.exp(np.concatenate(shares, axis=-1) - total)


def _joined(left: Array, right: Array, count: int) -> Array:
    """All ways of taking `count` items, those at the seam counted on either side."""
    return np.logaddexp.reduce(left[:, : count + 1] + right[:, count::-1][:, -count - 1 :], axis=-1)[:, None]


def _chains(items: Array, pairs: Array, k: int) -> list[tuple[Array, Array]]:
    """After each item, by count up to k + 1: the weight of leaving it and of taking it, in logs."""
    never = np.full((len(items), k + 2), -np.inf, dtype=np.longdouble)
    left, taken = never.copy(), never
    left[:, 0] = 0
    tables = []
    for i in range(items.shape[-1]):
        near = taken + (pairs[:, i - 1, None] if i else 0)
        grown = np.logaddexp(left, near)[:, :-1] + items[:, i, None]
        left, taken = np.logaddexp(left, taken), np.concatenate([never[:, :1], grown], axis=-1)
        tables.append((left, taken))
    return tables


def paths(u: Array, edges: NDArray[np.int64], sink: int) -> Array:
    """Log Σ exp(u·x) over the paths from node 0 to the sink, for one u (E,), if edges lead to higher nodes."""
    value = np.full(edges.max() + 1, -np.inf, dtype=np.longdouble)
    value[0] = 0
    for e in np.argsort(edges[0], kind="stable"):
        tail, head = edges[:, e]
        value[head] = np.logaddexp(value[head], value[tail] + u[e])
    return value[sink]


def ranks(u: Array) -> Array:
    """The Euclidean projection of rows of u (batch, n) onto the hull of the orders of 1, …, n.

    In descending order it is u − v with v_i = min over j ≤ i of max over k ≥ i of the mean of u − w over j…k.
    """
    n = u.shape[-1]
    found = np.empty_like(u)
    for row, x in zip(u, found, strict=True):
        order = np.argsort(-row, kind="stable")
        sums = np.concatenate([[0], (row[order] - np.arange(n, 0, -1)).cumsum()])
        j, k = np.arange(n)[:, None], np.arange(n)
        mean = np.where(k >= j, (sums[1:] - sums[:-1, None]) / np.maximum(k - j + 1, 1), -np.inf)
        most = np.maximum.accumulate(mean[:, ::-1], -1)[:, ::-1]
        x[order] = row[order] - np.where(j <= k, most, np.inf).min(0)
    return found


def projective(u: Array, pairs: NDArray[np.int64], chosen: NDArray[np.int64]) -> Array:
    """P(e ∈ T) of the `chosen` edges for one u (E,): the part of Z that is left without the other edges into its node.

    Z by the stretches that subtrees fill: `whole[v, i, j]` has v over all of i…j−1, and in `forest[h, i, j]` subtrees
    of dependents of h fill i…j−1. In logs, once per chosen edge and once for all.
    """
    head, dependent = pairs
    n = int(pairs.max()) + 1
    kept = np.full((len(chosen) + 1, n, n), -np.inf, dtype=np.longdouble)
    kept[:, head, dependent] = u
    for row, e in enumerate(chosen):
        kept[row, :, dependent[e]] = -np.inf
        kept[row, head[e], dependent[e]] = u[e]
    shape = (len(kept), n, n + 1, n + 1)
    whole, forest, first = (np.full(shape, -np.inf, dtype=np.longdouble) for _ in range(3))
    for length in range(n + 1):
        for i in range(n - length + 1):
            j = i + length
            if length == 0:
                forest[:, :, i, i] = 0
                continue
            for v in range(i, j):
                whole[:, v, i, j] = forest[:, v, i, v] + forest[:, v, v + 1, j]
            first[:, :, i, j] = np.logaddexp.reduce(kept[:, :, i:j] + whole[:, None, i:j, i, j], axis=-1)
            ends = np.arange(i + 1, j + 1)
            forest[:, :, i, j] = np.logaddexp.reduce(first[:, :, i, ends] + forest[:, :, ends, j], axis=-1)
    total = whole[:, 0, 0, n]
    return np.exp(total[:-1] - total[-1])
