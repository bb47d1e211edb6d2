"""What a model selection would have reported had other runs been drawn (App. D.3)."""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 100_000
"""As many as in the paper."""

_AT_ONCE = 10_000  # resamples that are in memory together


def rank_by_score(scores: Sequence[float]) -> NDArray[np.intp]:
    """The runs from the best to the worst; of equals the first comes first.

    Args:
        scores: of each run in validation, larger is better.

    Returns:
        Their indices.

    Example:
        >>> rank_by_score([1.0, 3.0, 3.0, 2.0]).tolist()
        [1, 2, 3, 0]
    """
    return np.argsort(-np.asarray(scores, dtype=float), kind="stable")


@functools.cache
def selected_ranks(num_runs: int, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.int64]:
    r"""How often each run is selected if as many runs as there are, are drawn from them with replacement.

    Runs are numbered by rank, so that the best of a resample is the smallest number in it, whose law is known:

    .. math:: P(r) = \frac{(N - r)^N - (N - r - 1)^N}{N^N}, \qquad r = 0, \dots, N - 1

    Args:
        num_runs: N.
        resamples: M.
        seed: of the draws.

    Returns:
        M counts in all, by rank.

    Example:
        >>> selected_ranks(3, resamples=27_000).sum()
        np.int64(27000)
    """
    generator = np.random.default_rng(seed)
    counts = np.zeros(num_runs, dtype=np.int64)
    for start in range(0, resamples, _AT_ONCE):
        size = (min(_AT_ONCE, resamples - start), num_runs)
        best = generator.integers(num_runs, size=size, dtype=np.int32).min(axis=1)
        counts += np.bincount(best, minlength=num_runs)
    counts.setflags(write=False)  # all cells with as many runs share them
    return counts


def selection_error(ranked: Sequence[float], counts: NDArray[np.int64]) -> float:
    """The standard deviation of the selected run's value over the resamples.

    Args:
        ranked: the value of each run, in the order of their validation scores.
        counts: how often each of them was selected.

    Returns:
        In the unit of the values.

    Example:
        >>> selection_error([1.0, 5.0], np.array([1, 1]))
        2.0
    """
    values = np.asarray(ranked, dtype=float)
    mean = np.average(values, weights=counts)
    return float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))
