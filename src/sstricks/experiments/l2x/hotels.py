"""Hotel reviews with star ratings for aspects, and test reviews whose sentences say which aspect they are of."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sstricks.experiments.l2x.corpus import Corpus, Splits
from sstricks.experiments.l2x.reviews import Annotated, Reviews
from sstricks.experiments.l2x.source_lines import fields_of, object_of, read_lines, typed
from sstricks.experiments.l2x.text import Vocabulary, words_of
from sstricks.experiments.runs.errors import RunError

_TRAINING, _TEST = "train_filtered.jsonl.gz", "annotated_test.jsonl.gz"
_STARS = 5
_CATEGORIES = {
    "service": lambda category: category.startswith("SERVICE#"),
    "location": lambda category: category.startswith("LOCATION#"),
    "rooms": lambda category: category.startswith(("ROOMS#", "ROOM_AMENITIES#")),
    "cleanliness": lambda category: category.endswith("#CLEANLINESS"),
}
"""The aspects, and which categories of opinions are about each."""

ASPECTS = tuple(_CATEGORIES)

_TORN = re.compile(r"(?<=\w) ' (?=(?:s|t|m|d|ll|re|ve)\b)", re.IGNORECASE)


def hotel_corpus(source: Path, train_reviews: int, valid_reviews: int, test_reviews: int, seed: int) -> Corpus:
    """Prepare the hotel reviews: for each aspect, those whose rating the other aspects' ratings explain least.

    The ratings of the aspects correlate, so that a model could predict one from words about another. As the published
    beer reviews are, the rated reviews of an aspect are therefore the ones with the largest absolute residual in a
    linear regression of its rating on the others, ties in random order; which of them are for training, for validation
    and for the test's errors is random. As in App. D.6, the annotated reviews are for the test's precision only: they
    are few, and their ratings were not chosen, so that praise of anything predicts them. Those of an aspect have a
    rating and a sentence about it.

    Args:
        source: the folder of the two files.
        train_reviews: training reviews of each aspect.
        valid_reviews: validation reviews of each aspect.
        test_reviews: test reviews of each aspect without annotations.
        seed: of the random order.

    Returns:
        The four aspects.

    Raises:
        RunError: if a file is missing, or there are fewer reviews with all four ratings.
    """
    training_rows = read_lines(source / _TRAINING, _training_row)
    rows = [row for row in training_rows if all(_rated(row["ratings"], aspect) for aspect in ASPECTS)]
    heldout = valid_reviews + test_reviews
    if len(rows) < train_reviews + heldout:
        raise RunError(
            f"--train-reviews {train_reviews}, --valid-reviews {valid_reviews} and --test-reviews {test_reviews}: "
            f"{source / _TRAINING} has {len(rows)} reviews with all ratings. Ask for fewer."
        )
    ratings = np.array([[row["ratings"][aspect] / _STARS for aspect in ASPECTS] for row in rows])
    words = [words_of(row["text"]) for row in rows]
    generator = np.random.default_rng(seed)
    chosen = {
        aspect: least_explained(ratings, column, train_reviews + heldout, generator)
        for column, aspect in enumerate(ASPECTS)
    }
    training = sorted({int(row) for rows_of in chosen.values() for row in rows_of[heldout:]})
    vocabulary = Vocabulary.of(words[row] for row in training)
    numbers = {row: vocabulary.encode(words[row]) for rows_of in chosen.values() for row in map(int, rows_of)}
    tests = list(read_lines(source / _TEST, _test_row))

    def reviews(rows_of: NDArray[np.int64], column: int) -> Reviews:
        return Reviews.of(Annotated(numbers[int(row)], float(ratings[row, column])) for row in rows_of)

    return Corpus(
        "hotels",
        vocabulary,
        {
            aspect: Splits(
                reviews(chosen[aspect][heldout:], column),
                reviews(chosen[aspect][:valid_reviews], column),
                Reviews.joined(
                    reviews(chosen[aspect][valid_reviews:heldout], column),
                    Reviews.of(_annotated(tests, aspect, vocabulary)),
                ),
            )
            for column, aspect in enumerate(ASPECTS)
        },
    )


def least_explained(
    ratings: NDArray[np.float64], column: int, count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """The rows with the largest absolute residual of one column in a linear regression on the others.

    Args:
        ratings: (N, m).
        column: which one is explained.
        count: how many rows.
        generator: of the order of equal residuals, and of that of the result.

    Returns:
        Rows in random order.
    """
    others = np.column_stack([np.delete(ratings, column, 1), np.ones(len(ratings))])
    solution, *_ = np.linalg.lstsq(others, ratings[:, column], rcond=None)
    residual = np.abs(ratings[:, column] - others @ solution).round(9)  # equal ratings have equal residuals
    order = np.lexsort((generator.permutation(len(ratings)), -residual))
    return generator.permutation(order[:count])


def sentence_text(tokens: Sequence[str]) -> str:
    """A test sentence as it would be written, so that its contractions are cut up as in the training reviews.

    Args:
        tokens: as published, some with apostrophes of their own.

    Returns:
        The tokens with blanks between.

    Example:
        >>> sentence_text(["It", "wasn", "'", "t", "the", "guests", "'", "room"])
        "It wasn't the guests ' room"
    """
    return _TORN.sub("'", " ".join(tokens))


def _annotated(tests: list[dict[str, Any]], aspect: str, vocabulary: Vocabulary) -> Iterator[Annotated]:
    about = _CATEGORIES[aspect]
    for row in tests:
        words: list[str] = []
        relevant: list[bool] = []
        for sentence in row["sentences"]:
            here = words_of(sentence_text(sentence["tokens"]))
            words += here
            relevant += [any(about(opinion["category"]) for opinion in sentence["opinions"])] * len(here)
        if any(relevant) and _rated(row["stars"], aspect):
            yield Annotated(vocabulary.encode(words), math.nan, relevant)


def _rated(ratings: Mapping[str, float], aspect: str) -> bool:
    rating = ratings.get(aspect, math.nan)
    return 1 <= rating <= _STARS


def _training_row(line: str) -> dict[str, Any]:
    row = object_of(line, {"text": str, "ratings": dict})
    _check_stars(row["ratings"])
    return row


def _test_row(line: str) -> dict[str, Any]:
    row = object_of(line, {"stars": dict, "sentences": list})
    _check_stars(row["stars"])
    for sentence in row["sentences"]:
        fields_of(sentence, "a sentence", {"tokens": list, "opinions": list})
        for token in sentence["tokens"]:
            typed(token, "a token", str)
        for opinion in sentence["opinions"]:
            fields_of(opinion, "an opinion", {"category": str})
    return row


def _check_stars(ratings: Mapping[str, object]) -> None:
    for aspect in ASPECTS:
        typed(ratings.get(aspect, math.nan), f"the rating of {aspect}", int | float)
