"""The bootstrap of a model selection against its exact law, and against the procedure written out run by run."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from sstricks.experiments.tables.bootstrap import RESAMPLES, rank_by_score, selected_ranks, selection_error


def law(n):
    """P(the best-ranked of n draws from n has rank r), r from 1."""
    return [Fraction((n - r + 1) ** n - (n - r) ** n, n**n) for r in range(1, n + 1)]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_law_is_that_of_all_equally_likely_resamples(n):
    best = [min(draws) for draws in product(range(n), repeat=n)]
    assert law(n) == [Fraction(best.count(r), n**n) for r in range(n)]


@pytest.mark.parametrize("n", [1, 2, 3, 6, 20, 25, 100])
def test_counts_follow_the_law(n):
    counts = selected_ranks(n)
    assert counts.sum() == RESAMPLES == 100_000
    assert counts.shape == (n,)
    for count, p in zip(counts, map(float, law(n)), strict=True):
        deviation = (RESAMPLES * p * (1 - p)) ** 0.5
        assert abs(count - RESAMPLES * p) <= 5 * deviation + 1e-9


@pytest.mark.parametrize("n", [2, 3, 6, 20])
def test_the_error_is_the_standard_deviation_of_the_selected_value(n):
    values = np.random.default_rng(n).normal(size=n) * 100
    probabilities = np.array([float(p) for p in law(n)])
    mean = probabilities @ values
    exact = (probabilities @ (values - mean) ** 2) ** 0.5
    assert selection_error(values, selected_ranks(n)) == pytest.approx(exact, rel=0.02)


def test_two_runs_by_hand():
    """Both draws miss the better run with probability 1/4: the value is 10 with 3/4, else 30."""
    assert selection_error([10.0, 30.0], selected_ranks(2)) == pytest.approx(20 * (3 / 16) ** 0.5, rel=0.01)


def test_it_is_what_the_paper_describes_done_literally():
    rng = np.random.default_rng(7)
    valid, test = rng.normal(size=5), rng.normal(size=5)
    selected = []
    for _ in range(20_000):
        drawn = rng.choice(5, size=5, replace=True)
        selected.append(test[drawn[np.argmax(valid[drawn])]])
    ours = selection_error(test[rank_by_score(list(valid))], selected_ranks(5))
    assert ours == pytest.approx(np.std(selected), rel=0.05)


def test_it_is_reproducible_and_depends_on_the_seed():
    assert (selected_ranks(8) == selected_ranks(8)).all()
    assert (selected_ranks(8) != selected_ranks(8, seed=1)).any()


def test_resamples_that_do_not_fill_the_last_part_are_counted():
    assert selected_ranks(3, resamples=12_345).sum() == 12_345


def test_one_run_has_no_spread():
    assert selection_error([3.0], selected_ranks(1)) == 0.0


def test_ranking():
    assert rank_by_score([-5.0, -1.0, -3.0, -1.0]).tolist() == [1, 3, 2, 0]
