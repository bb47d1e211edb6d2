from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sstricks.experiments.l2x.reviews import Annotated, Batch, Reviews
from sstricks.experiments.l2x.run import L2XRun, trained
from sstricks.experiments.l2x.text import UNKNOWN, Token, tokenize
from sstricks.experiments.runs.errors import RunError


@dataclass(frozen=True)
class Explanation:
    """The words of a review that one model selects, and what it predicts from them.

    Attributes:
        relaxation: with which the model was trained.
        k: how many words it selects.
        aspect: of which it predicts the rating.
        selected: for each token of the review whether it is selected.
        rating: what the selected words lead to, in [0, 1].
        read: how many tokens, from the first, the model reads.
        unknown: which of those are in no training review often enough to have a vector of their own.
        variant: what else sets the model apart: a complex encoder, finite differences.
    """

    relaxation: str
    k: int
    aspect: str
    selected: Sequence[bool]
    rating: float
    read: int
    unknown: Sequence[str]
    variant: Sequence[str] = ()


@dataclass(frozen=True)
class Review:
    """A text with its tokens.

    Attributes:
        text: as it was written.
        tokens: what the models see.
    """

    text: str
    tokens: Sequence[Token]

    @classmethod
    def of(cls, text: str) -> "Review":
        """Cut up a text.

        Args:
            text: a review.

        Returns:
            It and its tokens.

        Raises:
            RunError: if there is no word in it.
        """
        tokens = tokenize(text)
        if not tokens:
            raise RunError("the review has no words. Give some text.")
        return cls(text, tokens)


def explain(run: L2XRun, folder: Path, review: Review) -> Explanation:
    """Let a trained model select the words of a review that say most about its rating.

    Args:
        run: the one that the folder's configuration describes.
        folder: of the run.
        review: any text; what comes after `max_words` is not read.

    Returns:
        The selection.
    """
    words = run.data().vocabulary.encode(token.text for token in review.tokens)
    selected, rating = trained(run, folder).explain(_batch(run, words))
    chosen = selected[0, : len(words)].tolist()
    read = min(len(words), run.config.max_words)
    unread = [False] * (len(words) - read)
    unknown = [token.text for token, word in zip(review.tokens[:read], words, strict=False) if word == UNKNOWN]
    c = run.config
    variant = [
        *(["complex encoder"] if c.encoder == "complex" else []),
        *(["finite differences"] if c.gradient == "finite-difference" else []),
    ]
    return Explanation(c.relaxation, c.k, c.aspect, [*chosen, *unread], float(rating[0]), read, unknown, variant)


def test_review(run: L2XRun, number: int) -> Review:
    """A test review, as it is prepared: in lower case, its tokens with blanks between.

    Args:
        run: has the data.
        number: from 0.

    Returns:
        The review.

    Raises:
        RunError: if there are not as many.
    """
    test, vocabulary = run.data().splits.test, run.data().vocabulary
    if not 0 <= number < len(test):
        raise RunError(f"--review {number}: there are {len(test)} test reviews, numbered from 0. Choose one of them.")
    words = [vocabulary[word] for word in test.take(torch.tensor([number])).words.tolist()]
    tokens, start = [], 0
    for word in words:
        tokens.append(Token(word, start, start + len(word)))
        start += len(word) + 1
    return Review(" ".join(words), tokens)


def _batch(run: L2XRun, words: Sequence[int]) -> Batch:
    reviews = Reviews.of([Annotated(words, float("nan"))])
    return reviews.select(torch.tensor([0]), run.config.max_words, run.config.k)
