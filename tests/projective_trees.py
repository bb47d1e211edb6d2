"""Projective dependency trees from their definition; none of the library's algorithms are used."""

from __future__ import annotations

import itertools

import numpy as np

Edges = tuple[tuple[int, int], ...]


def ordered_pairs(n: int) -> Edges:
    return tuple((i, j) for i in range(n) for j in range(n) if i != j and j != 0)


def descendants(heads: dict[int, int], node: int) -> set[int]:
    """The node itself and all whose chain of heads meets it; nothing for nodes on a cycle."""
    found = set()
    for v in [*heads, 0]:
        chain = [v]
        while chain[-1] in heads and heads[chain[-1]] not in chain:
            chain.append(heads[chain[-1]])
        if node in chain:
            found.add(v)
    return found


def is_projective_tree(heads: dict[int, int], nodes: list[int]) -> bool:
    """Everybody descends from node 0, and everybody's descendants are neighbours among the nodes."""
    if descendants(heads, 0) != set(nodes):
        return False
    for v in nodes:
        places = sorted(nodes.index(d) for d in descendants(heads, v))
        if places != list(range(places[0], places[-1] + 1)):
            return False
    return True


def projective_vertices(edges: Edges) -> np.ndarray:
    """Every choice of one edge into each node but 0 that is a projective tree on the nodes that some edge touches."""
    nodes = sorted({v for edge in edges for v in edge})
    into = [[e for e, (_, j) in enumerate(edges) if j == v] for v in nodes if v != 0]
    rows = [
        [int(e in chosen) for e in range(len(edges))]
        for chosen in itertools.product(*into)
        if nodes[:1] == [0] and is_projective_tree({edges[e][1]: edges[e][0] for e in chosen}, nodes)
    ]
    return np.array(rows, dtype=np.int8).reshape(-1, len(edges))


def projective_trees(n: int) -> np.ndarray:
    """All of them on the root 0 and words 1..n−1, as matrices [head, modifier]."""
    pairs = ordered_pairs(n)
    vertices = projective_vertices(pairs)
    trees = np.zeros((len(vertices), n, n))
    for pair, (head, modifier) in enumerate(pairs):
        trees[:, head, modifier] = vertices[:, pair]
    return trees
