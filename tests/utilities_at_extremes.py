"""Scaled utilities that break naive algorithms: giant ranges, clusters within clusters, ties, gaps and denormals."""

from __future__ import annotations

import numpy as np

Pattern = np.ndarray


def uniform(n: int, reach: float, rng: np.random.Generator) -> Pattern:
    return rng.uniform(-reach / 2, reach / 2, n)


def far_from_zero(n: int, rng: np.random.Generator) -> Pattern:
    """Close together, but all a million away from 0."""
    return rng.choice([-1e6, 1e6]) + rng.normal(size=n)


def hierarchy(n: int, rng: np.random.Generator) -> Pattern:
    """Near-ties at each of the levels 0, -1e3 and -1e6."""
    return rng.choice([0.0, -1e3, -1e6], n) + rng.uniform(-1e-3, 1e-3, n)


def clusters_in_clusters(n: int, rng: np.random.Generator) -> Pattern:
    return rng.choice([0.0, -1e6], n) + rng.choice([0.0, -1e3], n) + rng.choice([0.0, -5.0], n) + rng.normal(size=n)


def exact_ties(n: int, rng: np.random.Generator) -> Pattern:
    return rng.choice([0.0, -1e3, -1e6], n)


def all_equal(n: int, rng: np.random.Generator) -> Pattern:
    return np.full(n, rng.normal())


def one_giant(n: int, rng: np.random.Generator) -> Pattern:
    s = rng.normal(size=n)
    s[rng.integers(n)] += 1e6
    return s


def one_dwarf(n: int, rng: np.random.Generator) -> Pattern:
    s = rng.normal(size=n)
    s[rng.integers(n)] -= 1e6
    return s


def denormal(n: int, rng: np.random.Generator) -> Pattern:
    return rng.normal(size=n) * 1e-310


def staircase(n: int, rng: np.random.Generator) -> Pattern:
    """Evenly spread over the whole range, in a random order, with small noise."""
    return rng.permutation(np.linspace(-1e6, 0.0, n)) + rng.normal(size=n)


PATTERNS = {
    "range-10": lambda n, rng: uniform(n, 10.0, rng),
    "range-1e3": lambda n, rng: uniform(n, 1e3, rng),
    "range-1e6": lambda n, rng: uniform(n, 1e6, rng),
    "far-from-zero": far_from_zero,
    "hierarchy": hierarchy,
    "clusters": clusters_in_clusters,
    "exact-ties": exact_ties,
    "all-equal": all_equal,
    "one-giant": one_giant,
    "one-dwarf": one_dwarf,
    "denormal": denormal,
    "staircase": staircase,
}
