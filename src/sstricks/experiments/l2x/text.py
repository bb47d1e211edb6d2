"""One tokeniser for every source of reviews and for what a user types, and the vocabulary that numbers the tokens."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PAD, UNKNOWN = 0, 1
"""The numbers of what is no word and of a word that no training review has often enough."""

_NAMES = ("<pad>", "<unknown>")
_APOSTROPHES = str.maketrans("’`´", "'''")
_TOKEN = re.compile(
    r"[^\W\d_]+(?=n't\b)|n't\b|'(?:s|m|d|ll|re|ve)\b"  # as in the Penn treebank, on which GloVe was trained
    r"|[^\W\d_]+|\d+|[^\w\s]|_",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Token:
    """A word, a number or a mark.

    Attributes:
        text: in lower case.
        start: where it begins in the text that was cut up.
        end: where it ends there.
    """

    text: str
    start: int
    end: int


def tokenize(text: str) -> list[Token]:
    """Cut a text into words, numbers and single marks; a contraction into its two words.

    Args:
        text: anything.

    Returns:
        The tokens in order.

    Example:
        >>> [token.text for token in tokenize("We didn’t like it: 40$!")]
        ['we', 'did', "n't", 'like', 'it', ':', '40', '$', '!']
    """
    plain = text.translate(_APOSTROPHES)
    return [Token(match.group().lower(), *match.span()) for match in _TOKEN.finditer(plain)]


def words_of(text: str) -> list[str]:
    """The tokens of a text without their places.

    Args:
        text: anything.

    Returns:
        Words, numbers and marks in lower case.
    """
    return [token.text for token in tokenize(text)]


@dataclass(frozen=True)
class Vocabulary:
    """The words that have a number of their own, from 2 on.

    Attributes:
        words: in the order of their numbers.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        numbers = {word: number for number, word in enumerate(self.words, start=len(_NAMES))}
        object.__setattr__(self, "_numbers", numbers)

    def __len__(self) -> int:
        return len(_NAMES) + len(self.words)

    def __getitem__(self, number: int) -> str:
        return (*_NAMES, *self.words)[number] if number < len(_NAMES) else self.words[number - len(_NAMES)]

    @classmethod
    def of(cls, reviews: Iterable[Sequence[str]], least: int = 3) -> "Vocabulary":
        """The words that some reviews have often enough, the commonest first.

        Args:
            reviews: words of each.
            least: how often a word must come in all.

        Returns:
            The vocabulary.

        Example:
            >>> Vocabulary.of([["a", "clean", "room"], ["a", "room"]], least=2).words
            ('a', 'room')
        """
        counts = Counter(word for review in reviews for word in review)
        kept = [word for word, count in counts.items() if count >= least]
        return cls(tuple(sorted(kept, key=lambda word: (-counts[word], word))))

    def encode(self, words: Iterable[str]) -> list[int]:
        """Numbers of words.

        Args:
            words: of a review.

        Returns:
            As many numbers, `UNKNOWN` where a word has none.
        """
        numbers: dict[str, int] = getattr(self, "_numbers")  # noqa: B009  (a frozen dataclass has no such field)
        return [numbers.get(word, UNKNOWN) for word in words]
