from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sstricks.experiments.l2x.beer import beer_corpus
from sstricks.experiments.l2x.corpus import Corpus, write_corpus
from sstricks.experiments.l2x.hotels import hotel_corpus
from sstricks.experiments.l2x.sizes import check_numbers
from sstricks.experiments.l2x.synthetic import synthetic_corpus
from sstricks.experiments.runs.errors import RunError


@dataclass(frozen=True, kw_only=True)
class PrepareReviews(ABC):
    """A source of reviews, which go into a compact folder that `sst train l2x --data` reads."""

    out: Path
    """New folder for the prepared reviews; better not one that you share."""
    seed: int = 0
    """Of whatever is left to chance: the choice among equals, the halves of a held-out set, made-up reviews."""

    @abstractmethod
    def corpus(self) -> Corpus:
        """The reviews."""

    def run(self, console: Console) -> None:
        """Read, prepare, write, and say what there is.

        Args:
            console: where to print.

        Raises:
            RunError: if the reviews cannot be read, are too few, or the folder cannot be used.
        """
        if self.seed < 0:
            raise RunError(f"--seed is {self.seed}, expected at least 0: pass a larger number.")
        corpus = self.corpus()
        write_corpus(corpus, self.out)
        for aspect, splits in corpus.aspects.items():
            console.print(
                f"{aspect}: {len(splits.train)} training, {len(splits.valid)} validation, {len(splits.test)} test "
                f"reviews ({int(splits.test.annotated.sum())} annotated)",
                highlight=False,
            )
        console.print(f"Prepared in {self.out}, with {len(corpus.vocabulary)} words.", soft_wrap=True, highlight=False)


@dataclass(frozen=True, kw_only=True)
class PrepareHotels(PrepareReviews):
    """Hotel reviews with star ratings for service, location, rooms and cleanliness."""

    source: Path
    """Folder of train_filtered.jsonl.gz and annotated_test.jsonl.gz."""
    train_reviews: int = 30_000
    """Training reviews of each aspect: those whose rating the other ratings explain least."""
    valid_reviews: int = 2_500
    """Validation reviews of each aspect, of the same kind."""
    test_reviews: int = 5_000
    """Test reviews of each aspect, of the same kind, for the errors; the annotated ones are for the precision."""

    def corpus(self) -> Corpus:
        """The reviews."""
        check_numbers(self.train_reviews, self.valid_reviews, self.test_reviews)
        return hotel_corpus(self.source, self.train_reviews, self.valid_reviews, self.test_reviews, self.seed)


@dataclass(frozen=True, kw_only=True)
class PrepareBeer(PrepareReviews):
    """BeerAdvocate in the format of Lei et al. (2016), for those who hold a copy: it was withdrawn."""

    source: Path
    """Folder of reviews.aspectN.train.txt.gz, reviews.aspectN.heldout.txt.gz and annotations.json."""

    def corpus(self) -> Corpus:
        """The reviews."""
        return beer_corpus(self.source, self.seed)


@dataclass(frozen=True, kw_only=True)
class PrepareSynthetic(PrepareReviews):
    """Made-up reviews, to see that everything works."""

    train_reviews: int = 5_000
    """Training reviews."""
    valid_reviews: int = 500
    """Validation reviews."""
    test_reviews: int = 500
    """Test reviews, all annotated."""

    def corpus(self) -> Corpus:
        """The reviews."""
        check_numbers(self.train_reviews, self.valid_reviews, self.test_reviews)
        return synthetic_corpus(self.train_reviews, self.valid_reviews, self.test_reviews, self.seed)
