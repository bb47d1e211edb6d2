"""BeerAdvocate in the format in which Lei, Barzilay and Jaakkola (2016) published it, for those who hold a copy."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from sstricks.experiments.l2x.corpus import Corpus, Splits
from sstricks.experiments.l2x.reviews import Annotated, Reviews
from sstricks.experiments.l2x.source_lines import object_of, read_lines, typed
from sstricks.experiments.l2x.text import Vocabulary, words_of
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.seeds import generator_of

ASPECTS = ("appearance", "aroma", "palate", "taste", "overall")
"""In the order of the ratings and of the keys "0" to "4" of the annotations."""

_ANNOTATIONS = "annotations.json"
_FILE = re.compile(r"reviews\.aspect(\d+)\.train\.txt\.gz")


def beer_corpus(source: Path, seed: int) -> Corpus:
    """Prepare the de-correlated beer reviews, as App. D.6 does.

    A line of ``reviews.aspectN.train.txt.gz`` has five ratings in [0, 1], a tab, and tokens; N counts aspects from 0
    if there is a file with N = 0, from 1 if not. Half of ``reviews.aspectN.heldout.txt.gz`` is for validation, the
    other half for the test's errors; without that file, a tenth of the training reviews each. A line of
    ``annotations.json`` has the tokens ``x``, the ratings ``y`` and under "0" to "4" the spans [start, end) of tokens
    about each aspect; all of those reviews, and no others, are for the test's precision.

    Args:
        source: the folder of the files.
        seed: of the random halves.

    Returns:
        The aspects of which there is a file.

    Raises:
        RunError: if a file is missing or has another format.
    """
    numbered = {int(found[1]): path for path in sorted(source.glob("*")) if (found := _FILE.fullmatch(path.name))}
    if not numbered:
        raise RunError(f"--source {source}: it holds no reviews.aspectN.train.txt.gz. Name the folder of those files.")
    first = 0 if 0 in numbered else 1
    if max(numbered) - first >= len(ASPECTS):
        raise RunError(f"--source {source}: there are only {len(ASPECTS)} aspects, expected none after {ASPECTS[-1]}.")
    training = {ASPECTS[number - first]: _read(path, number - first) for number, path in numbered.items()}
    heldout = {
        ASPECTS[number - first]: _read(path, number - first)
        for number, name in numbered.items()
        if (path := name.with_name(name.name.replace("train", "heldout"))).exists()
    }
    vocabulary = Vocabulary.of(words for reviews in training.values() for words, _ in reviews)
    annotations = list(read_lines(source / _ANNOTATIONS, _annotation))
    aspects = {}
    for aspect, pairs in training.items():
        train = _encode(pairs, vocabulary)
        if aspect in heldout:
            valid, test = _parts(_encode(heldout[aspect], vocabulary), [2, 2], seed)
        else:
            train, valid, test = _parts(train, [10, 10], seed, rest=True)
        key = str(ASPECTS.index(aspect))
        spans = Reviews.of(_annotated(row, key, vocabulary) for row in annotations)
        aspects[aspect] = Splits(train, valid, Reviews.joined(test, spans))
    return Corpus("beer", vocabulary, aspects)


def _read(path: Path, column: int) -> list[tuple[list[str], float]]:
    def parse(line: str) -> tuple[list[str], float]:
        ratings, tab, text = line.partition("\t")
        values = [float(value) for value in ratings.split()]
        if not tab or len(values) != len(ASPECTS):
            raise ValueError(f"found {len(values)} ratings, expected {len(ASPECTS)}, a tab and tokens")
        if not 0 <= values[column] <= 1:
            raise ValueError(f"the rating of {ASPECTS[column]} is {values[column]}, expected a number in [0, 1]")
        return words_of(text), values[column]

    return list(read_lines(path, parse))


def _annotation(line: str) -> dict[str, Any]:
    row = object_of(line, {"x": list})
    for token in row["x"]:
        typed(token, "a token of 'x'", str)
    for key in map(str, range(len(ASPECTS))):
        for span in typed(row.get(key, []), repr(key), list):
            if len(typed(span, f"a span of {key!r}", list)) != 2 or not all(isinstance(end, int) for end in span):
                raise ValueError(f"a span of {key!r} is {span}, expected two integers, [start, end)")
    return row


def _annotated(row: dict[str, Any], key: str, vocabulary: Vocabulary) -> Annotated:
    words: list[str] = []
    relevant: list[bool] = []
    for place, token in enumerate(row["x"]):
        here = words_of(token)
        words += here
        relevant += [any(start <= place < end for start, end in row.get(key, ()))] * len(here)
    return Annotated(vocabulary.encode(words), math.nan, relevant)


def _encode(pairs: list[tuple[list[str], float]], vocabulary: Vocabulary) -> Reviews:
    return Reviews.of(Annotated(vocabulary.encode(words), rating) for words, rating in pairs)


def _parts(reviews: Reviews, shares: list[int], seed: int, *, rest: bool = False) -> Iterator[Reviews]:
    order = torch.randperm(len(reviews), generator=generator_of(seed))
    sizes = [len(order) // share for share in shares]
    left = len(order) - sum(sizes)
    sizes = [left, *sizes] if rest else [*sizes[:-1], sizes[-1] + left]
    return iter([reviews.take(part) for part in order.split(sizes)])
