"""Made-up reviews of hotels, in which it is known why each aspect is rated as it is."""

from collections.abc import Sequence

import numpy as np

from sstricks.experiments.l2x.corpus import Corpus, Splits
from sstricks.experiments.l2x.reviews import Annotated, Reviews
from sstricks.experiments.l2x.text import Vocabulary

_NOUNS = {
    "service": ("staff", "reception", "concierge", "waiter"),
    "location": ("location", "neighbourhood", "street", "quarter"),
    "rooms": ("room", "bed", "bathroom", "suite"),
}
_GOOD = {
    "service": ("friendly", "helpful", "attentive", "prompt", "courteous"),
    "location": ("central", "convenient", "walkable", "scenic", "lively"),
    "rooms": ("spacious", "comfortable", "bright", "cozy", "modern"),
}
_BAD = {
    "service": ("rude", "slow", "careless", "surly", "unhelpful"),
    "location": ("remote", "noisy", "unsafe", "isolated", "shabby"),
    "rooms": ("cramped", "dingy", "worn", "stuffy", "damp"),
}
_FILLERS = (
    *("we", "stayed", "here", "for", "two", "nights", "in", "may", "with", "our", "family", "and", "the", "weather"),
    *("it", "was", "a", "long", "trip", "by", "train", "then", "they", "had", "dinner", "at", "six", "of", "course"),
)
_LEVELS = 5

ASPECTS = tuple(_NOUNS)


def synthetic_corpus(train_reviews: int, valid_reviews: int, test_reviews: int, seed: int) -> Corpus:
    """Draw reviews whose aspects are rated independently, one sentence about each and some about none.

    A sentence about an aspect calls one of its nouns three things in a row, each of them good with the probability that
    its rating is. The rating is one of five levels from 0 to 1. Sentences come in random order. All test reviews are
    annotated.

    Args:
        train_reviews: number of training reviews.
        valid_reviews: number of validation reviews.
        test_reviews: number of test reviews.
        seed: chooses the reviews.

    Returns:
        The three aspects of the same reviews.
    """
    generator = np.random.default_rng(seed)
    counts = (train_reviews, valid_reviews, test_reviews)
    drawn = [[_review(generator) for _ in range(count)] for count in counts]
    vocabulary = Vocabulary.of((words for words, _, _ in drawn[0]), least=1)
    return Corpus(
        "synthetic",
        vocabulary,
        {
            aspect: Splits(
                *(
                    Reviews.of(
                        Annotated(
                            vocabulary.encode(words),
                            float(ratings[column]),
                            [about == aspect for about in abouts] if split == 2 else None,
                        )
                        for words, abouts, ratings in reviews
                    )
                    for split, reviews in enumerate(drawn)
                )
            )
            for column, aspect in enumerate(ASPECTS)
        },
    )


def _review(generator: np.random.Generator) -> tuple[list[str], list[str], Sequence[float]]:
    ratings = generator.integers(_LEVELS, size=len(ASPECTS)) / (_LEVELS - 1)
    sentences = [(aspect, _opinion(aspect, rating, generator)) for aspect, rating in zip(ASPECTS, ratings, strict=True)]
    sentences += [("", _filler(generator)) for _ in range(generator.integers(1, 4))]
    words: list[str] = []
    abouts: list[str] = []
    for place in generator.permutation(len(sentences)):
        about, sentence = sentences[place]
        words += sentence
        abouts += [about] * len(sentence)
    return words, abouts, ratings.tolist()


def _opinion(aspect: str, rating: float, generator: np.random.Generator) -> list[str]:
    said = [str(generator.choice((_GOOD if generator.random() < rating else _BAD)[aspect])) for _ in range(3)]
    return ["the", str(generator.choice(_NOUNS[aspect])), "was", *said, "."]


def _filler(generator: np.random.Generator) -> list[str]:
    return [*map(str, generator.choice(_FILLERS, size=generator.integers(3, 9))), "."]
