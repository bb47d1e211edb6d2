import itertools

import numpy as np
import pytest
import torch

from sstricks.experiments.l2x.reference import chance, reference
from sstricks.experiments.l2x.scores import chance_precision, chance_run_length, run_length, subset_precision
from sstricks.experiments.l2x.synthetic import synthetic_corpus


def runs_by_hand(selected):
    runs = [len(list(group)) for value, group in itertools.groupby(selected) if value]
    return sum(runs) / len(runs)


def test_precision_and_runs_by_hand():
    selected = torch.tensor([[True, False, True, True], [False, True, False, False]])
    relevant = torch.tensor([[True, True, False, True], [False, False, True, True]])
    assert subset_precision(selected, relevant).tolist() == [2 / 3, 0.0]
    assert run_length(selected).tolist() == [1.5, 1.0]
    assert chance_precision(relevant, torch.tensor([4, 4])).tolist() == [0.75, 0.5]


def test_runs_of_random_subsets():
    selected = torch.rand(200, 9) < 0.5
    selected[:, 3] = True
    expected = [runs_by_hand(row) for row in selected.tolist()]
    assert run_length(selected).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("length", "k"), [(1, 1), (5, 1), (5, 2), (7, 4), (6, 6), (3, 10)])
def test_runs_by_chance_are_the_mean_over_all_subsets(length, k):
    size = min(k, length)
    subsets = itertools.combinations(range(length), size)
    means = [runs_by_hand([place in subset for place in range(length)]) for subset in subsets]
    assert chance_run_length(length, k) == pytest.approx(np.mean(means))


def test_chance_of_a_split():
    test = synthetic_corpus(20, 5, 40, seed=0).aspects["rooms"].test
    found = chance(test, 5, 350)
    ends = test.offsets.tolist()
    shares = [test.relevant[first:last].float().mean().item() for first, last in itertools.pairwise(ends)]
    assert found.subset_precision == pytest.approx(np.mean(shares))
    assert 1 < found.run_length < 2


def test_the_ridge_is_the_solution_of_the_regularized_least_squares():
    splits = synthetic_corpus(600, 200, 200, seed=0).aspects["rooms"]
    found = reference(splits, k=3, features=64)
    batch = splits.train.select(torch.arange(600), 350)
    x = np.zeros((600, 64))
    for row, words in enumerate(batch.words.tolist()):
        x[row, [word - 2 for word in words if 2 <= word < 66]] = 1
    y = splits.train.ratings.double().numpy()
    system = np.vstack([x - x.mean(0), np.sqrt(found.penalty) * np.eye(64)])
    weights = np.linalg.lstsq(system, np.concatenate([y - y.mean(), np.zeros(64)]), rcond=None)[0]
    test = splits.test.select(torch.arange(200), 350)
    z = np.zeros((200, 64))
    for row, words in enumerate(test.words.tolist()):
        z[row, [word - 2 for word in words if 2 <= word < 66]] = 1
    guess = y.mean() + (z - x.mean(0)) @ weights
    assert found.ridge_mse == pytest.approx(np.square(guess - splits.test.ratings.double().numpy()).mean(), rel=1e-4)
    assert found.ridge_mse < found.constant_mse / 2
    assert found.ridge_precision > 2 * found.chance_precision
