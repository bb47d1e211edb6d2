"""Maximum spanning trees on the CPU: dense Prim, and Kruskal where the edge list is sparse.

Edges are totally ordered by utility, then by index (the lower first), so the maximum is unique and both agree on it.
"""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
def prim(begin, end, nodes, u, ends, out, components):
    """O(n²) for a graph: grow one tree from the first node that has an edge."""
    edges = u.shape[1]
    weight = np.empty((nodes, nodes))
    which = np.empty((nodes, nodes), np.int64)
    best = np.empty(nodes)
    link = np.empty(nodes, np.int64)
    outside = np.empty(nodes, np.int64)
    for r in range(begin, end):
        weight[:] = -np.inf
        for x in range(edges):
            i, j = ends[0, x], ends[1, x]
            if u[r, x] > weight[i, j]:  # strictly: of parallel edges that tie, the first
                weight[i, j] = weight[j, i] = u[r, x]
                which[i, j] = which[j, i] = x
            out[r, x] = 0.0
        count = 0
        for v in range(nodes):
            present = False
            for w in range(nodes):
                present |= weight[v, w] > -np.inf
            if present:
                outside[count] = v
                count += 1
                best[v] = -np.inf
        components[r] = min(count, 1)
        while count > 0:
            # Scan the nodes outside for the best link; a node without any starts another component.
            at = 0
            for k in range(1, count):
                v, w = outside[k], outside[at]
                if best[v] > best[w] or (best[v] == best[w] and best[v] > -np.inf and link[v] < link[w]):
                    at = k
            v = outside[at]
            if best[v] > -np.inf:
                out[r, link[v]] = 1.0
            count -= 1
            outside[at] = outside[count]
            reached = False
            for k in range(count):
                w = outside[k]
                if weight[v, w] > best[w] or (weight[v, w] == best[w] and best[w] > -np.inf and which[v, w] < link[w]):
                    best[w] = weight[v, w]
                    link[w] = which[v, w]
                reached |= best[w] > -np.inf
            if count > 0 and not reached:
                components[r] += 1


@njit(nogil=True, cache=True, error_model="numpy")
def kruskal(begin, end, nodes, u, ends, out, components):
    """O(E log E) for a graph: take edges from the best on, unless they close a cycle."""
    parent = np.empty(nodes, np.int64)
    for r in range(begin, end):
        order = np.argsort(-u[r], kind="mergesort")  # stable: ties keep the order of their indices
        for v in range(nodes):
            parent[v] = -1
        components[r] = 0
        for x in order:
            out[r, x] = 0.0
            if u[r, x] == -np.inf:
                continue
            a, b = ends[0, x], ends[1, x]
            for v in (a, b):
                if parent[v] < 0:
                    parent[v] = v
                    components[r] += 1
            while parent[a] != a:
                parent[a] = parent[parent[a]]
                a = parent[a]
            while parent[b] != b:
                parent[b] = parent[parent[b]]
                b = parent[b]
            if a != b:
                parent[a] = b
                out[r, x] = 1.0
                components[r] -= 1
