"""Projective dependency trees without dynamic programs: every choice of heads is looked at."""

from __future__ import annotations

import itertools

import numpy as np


def projective_trees(n: int) -> np.ndarray:
    """All of them on the root 0 and words 1..n−1, as matrices [head, modifier]."""
    found = []
    for heads in itertools.product(range(n), repeat=n - 1):
        arcs = list(zip(heads, range(1, n), strict=True))
        if is_tree(arcs, n) and not any(cross(a, b) for a, b in itertools.combinations(arcs, 2)):
            x = np.zeros((n, n))
            x[tuple(zip(*arcs, strict=True))] = 1
            found.append(x)
    return np.array(found)


def is_tree(arcs: list[tuple[int, int]], n: int) -> bool:
    head = {m: h for h, m in arcs}
    for word in range(1, n):
        at = word
        for _ in range(n):
            at = head.get(at, 0)
        if at != 0:
            return False
    return True


def cross(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two arcs above the sentence meet; the root stands left of all words."""
    (i, j), (k, m) = sorted((min(a), max(a)) for a in (a, b))
    return i < k < j < m
