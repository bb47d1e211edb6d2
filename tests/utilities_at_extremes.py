"""Utilities that break naive algorithms: giant ranges, clusters within clusters, ties, gaps and denormals."""

from __future__ import annotations

import zlib

import numpy as np
import torch

from cases import Case

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

# Numbers whose mixtures tie, absorb one another or overflow when they are added, subtracted or divided.
MIXTURES = (
    (0.0, 1.0, -1.0, 2.0, -2.0),
    (0.0, 1.0, -1.0, 1e15, -1e15),
    (0.0, 1.0, -1e9, -1e9 - 0.5),
    (-1e38, -1.1, -0.34, 0.54, 0.37, 2.79),
    (0.0, 1.0, 1e10, 1e20, -1e20),
    (0.0, 1.0, -1.0, 1e300, -1e300),
    (0.0, 1.0, 1.7e308, -1.7e308),
    (0.0, 5e-324, -5e-324, 1e-310),
)


def hostile(case: Case, rows: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Finite utilities of one mixture a row, some with noise, and temperatures from 1e-30 to 1e30."""
    rng = np.random.default_rng(zlib.crc32(str(case).encode()))
    mixtures = [MIXTURES[i] for i in rng.integers(len(MIXTURES), size=rows)]
    u = np.stack([rng.choice(mixture, case.problem.size) for mixture in mixtures])
    noise = rng.normal(size=u.shape) * (rng.random(u.shape) < 0.2)
    largest = torch.finfo(dtype).max
    temperatures = 10.0 ** rng.choice([-30, -15, -8, -3, 0, 0, 0, 3, 8, 15, 30], size=rows)
    return torch.tensor((u + noise).clip(-largest, largest), dtype=dtype), torch.tensor(temperatures)
