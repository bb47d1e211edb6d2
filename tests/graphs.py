"""Small graphs to test on, as lists of node pairs."""

from __future__ import annotations

import itertools
import random

Edges = list[tuple[int, int]]

SQUARE_WITH_DIAGONAL: Edges = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]
DOUBLED_TRIANGLE: Edges = [(0, 1), (0, 1), (1, 2), (2, 0), (2, 0)]  # parallel edges
TRIANGLES_ON_A_BRIDGE: Edges = [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 5), (5, 3)]
STAR: Edges = [(0, 1), (0, 2), (3, 0)]  # a single tree
# Three components, one with parallel edges.
TRIANGLE_AND_EDGES: Edges = [(0, 1), (0, 2), (3, 4), (1, 2), (5, 6), (5, 6)]


def complete(n: int) -> Edges:
    return list(itertools.combinations(range(n), 2))


def touched(edges: Edges) -> frozenset[int]:
    return frozenset(v for edge in edges for v in edge)


def components(edges: list[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """The edges of each component; what follows the two ends of an edge is its own."""
    parts: list[list[tuple[int, ...]]] = []
    for edge in edges:
        met = [part for part in parts if touched([(a, b) for a, b, *_ in part]) & set(edge[:2])]
        parts = [part for part in parts if part not in met] + [[edge, *(e for part in met for e in part)]]
    return parts


def connected(edges: Edges, nodes: frozenset[int]) -> bool:
    if not nodes:
        return False
    reached, frontier = set[int](), [min(nodes)]
    while frontier:
        v = frontier.pop()
        if v not in reached:
            reached.add(v)
            frontier += [b if a == v else a for a, b in edges if v in (a, b)]
    return reached == nodes


def random_connected(num_nodes: int, num_extra: int, seed: int) -> Edges:
    """A random tree and ``num_extra`` random edges, shuffled; pairs of nodes, whose edges may be parallel, have random
    directions."""
    rng = random.Random(seed)
    edges = [(rng.randrange(v), v) for v in range(1, num_nodes)]
    edges += [tuple(rng.sample(range(num_nodes), 2)) for _ in range(num_extra)]
    rng.shuffle(edges)
    turned = {frozenset(edge): rng.random() < 0.5 for edge in edges}
    return [(max(edge), min(edge)) if turned[frozenset(edge)] else (min(edge), max(edge)) for edge in edges]
