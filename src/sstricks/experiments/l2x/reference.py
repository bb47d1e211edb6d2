"""What is reached without any model of subsets: by chance, by a constant, by a ridge regression on words."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sstricks.experiments.l2x.corpus import Splits
from sstricks.experiments.l2x.reviews import Reviews
from sstricks.experiments.l2x.scores import chance_precision, chance_run_length

_PENALTIES = (1.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


@dataclass(frozen=True)
class Chance:
    """What k words that are chosen at random score on average.

    Attributes:
        subset_precision: mean over the annotated reviews, none if there is no such review.
        run_length: mean over all reviews.
    """

    subset_precision: float | None
    run_length: float


@dataclass(frozen=True)
class Reference:
    """What simple predictors score.

    Attributes:
        chance_precision: of words that are chosen at random, none if no test review is annotated.
        constant_mse: of the mean training rating, on the test reviews.
        ridge_mse: of a ridge regression on word indicators, on the test reviews.
        ridge_valid_mse: the same on the validation reviews.
        ridge_precision: the share of the k words of a test review that weigh most in it which are relevant, none if no
            test review is annotated.
        penalty: of the ridge, chosen by the validation reviews.
    """

    chance_precision: float | None
    constant_mse: float
    ridge_mse: float
    ridge_valid_mse: float
    ridge_precision: float | None
    penalty: float


def chance(reviews: Reviews, k: int, max_words: int) -> Chance:
    """What chance scores on reviews.

    Args:
        reviews: at least one.
        k: words of a subset.
        max_words: words after which a review is cut.

    Returns:
        The two expectations.
    """
    batch = reviews.select(torch.arange(len(reviews)), max_words)
    precision = _mean(chance_precision(batch.relevant, batch.lengths)[batch.annotated])
    runs = {length: chance_run_length(length, k) for length in set(batch.lengths.tolist())}
    return Chance(precision, float(np.mean([runs[length] for length in batch.lengths.tolist()])))


def reference(splits: Splits, k: int, max_words: int = 350, features: int = 1_500) -> Reference:
    """What a constant, and a ridge regression on whether the commonest words occur, score.

    Args:
        splits: of an aspect.
        k: words that count for the precision.
        max_words: words after which a review is cut.
        features: how many of the commonest words.

    Returns:
        The scores.
    """
    x, y = _indicators(splits.train, max_words, features), splits.train.ratings.double().numpy()
    mean, centre = x.mean(0, dtype=np.float64), y.mean()
    gram = (x.T @ x).astype(np.float64) - len(x) * np.outer(mean, mean)
    moment = x.T.astype(np.float64) @ (y - centre)
    solutions = {penalty: np.linalg.solve(gram + penalty * np.eye(features), moment) for penalty in _PENALTIES}

    def error(reviews: Reviews, weights: NDArray[np.float64]) -> float:
        rated = ~reviews.ratings.isnan().numpy()
        guess = centre + (_indicators(reviews, max_words, features) - mean) @ weights
        return float(np.square(guess - reviews.ratings.numpy())[rated].mean())

    valid = {penalty: error(splits.valid, weights) for penalty, weights in solutions.items()}
    penalty = min(valid, key=lambda candidate: valid[candidate])
    weights = solutions[penalty]
    rated = splits.test.ratings[~splits.test.ratings.isnan()].double().numpy()
    return Reference(
        chance(splits.test, k, max_words).subset_precision,
        float(np.square(rated - centre).mean()),
        error(splits.test, weights),
        valid[penalty],
        _heaviest_precision(splits.test, weights, k, max_words),
        penalty,
    )


def _indicators(reviews: Reviews, max_words: int, features: int) -> NDArray[np.float32]:
    # The vocabulary is in order of frequency; its first two numbers are of no word.
    batch = reviews.select(torch.arange(len(reviews)), max_words)
    inside = (batch.words >= 2) & (batch.words < features + 2)
    rows = torch.arange(len(batch)).unsqueeze(-1).expand_as(batch.words)
    x = torch.zeros(len(batch), features)
    x[rows[inside], batch.words[inside] - 2] = 1.0
    return x.numpy()


def _heaviest_precision(reviews: Reviews, weights: NDArray[np.float64], k: int, max_words: int) -> float | None:
    batch = reviews.select(torch.arange(len(reviews)), max_words, k)
    table = torch.zeros(max(len(weights) + 2, int(batch.words.max()) + 1), dtype=torch.double)
    table[2 : len(weights) + 2] = torch.from_numpy(np.abs(weights))
    weight = table[batch.words].masked_fill(~batch.present, -1.0)
    heaviest = weight.topk(k, dim=-1).indices
    counted = batch.present.gather(-1, heaviest)
    hits = (batch.relevant.gather(-1, heaviest) & counted).sum(-1).double() / counted.sum(-1)
    return _mean(hits[batch.annotated])


def _mean(values: Tensor) -> float | None:
    return values.mean().item() if len(values) else None
