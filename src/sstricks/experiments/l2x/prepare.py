from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from sstricks.experiments.l2x.beer import beer_corpus
from sstricks.experiments.l2x.corpus import Corpus, write_corpus
from sstricks.experiments.l2x.hotels import hotel_corpus
from sstricks.experiments.l2x.sizes import check_numbers
from sstricks.experiments.l2x.synthetic import synthetic_corpus
from sstricks.experiments.runs.errors import RunError


@dataclass(frozen=True)
class PrepareHotels:
    """Hotel reviews with star ratings for service, location, rooms and cleanliness."""

    source: Path
    """Folder of train_filtered.jsonl.gz and annotated_test.jsonl.gz."""
    out: Path
    """New folder for the prepared reviews; better not one that you share."""
    train_reviews: int = 30_000
    """Training reviews of each aspect: those whose rating the other ratings explain least."""
    valid_reviews: int = 2_500
    """Validation reviews of each aspect, of the same kind."""
    test_reviews: int = 5_000
    """Test reviews of each aspect, of the same kind, for the errors; the annotated ones are for the precision."""
    seed: int = 0
    """Of the choice among equals, and of which are for validation and test."""

    def corpus(self) -> Corpus:
        """The reviews."""
        check_numbers(self.train_reviews, self.valid_reviews, self.test_reviews)
        return hotel_corpus(self.source, self.train_reviews, self.valid_reviews, self.test_reviews, self.seed)


@dataclass(frozen=True)
class PrepareBeer:
    """BeerAdvocate in the format of Lei et al. (2016), for those who hold a copy: it was withdrawn."""

    source: Path
    """Folder of reviews.aspectN.train.txt.gz, reviews.aspectN.heldout.txt.gz and annotations.json."""
    out: Path
    """New folder for the prepared reviews."""
    seed: int = 0
    """Of the halves of the held-out reviews."""

    def corpus(self) -> Corpus:
        """The reviews."""
        return beer_corpus(self.source, self.seed)


@dataclass(frozen=True)
class PrepareSynthetic:
    """Made-up reviews, to see that everything works."""

    out: Path
    """New folder for the prepared reviews."""
    train_reviews: int = 5_000
    """Training reviews."""
    valid_reviews: int = 500
    """Validation reviews."""
    test_reviews: int = 500
    """Test reviews, all annotated."""
    seed: int = 0
    """Chooses the reviews."""

    def corpus(self) -> Corpus:
        """The reviews."""
        check_numbers(self.train_reviews, self.valid_reviews, self.test_reviews)
        return synthetic_corpus(self.train_reviews, self.valid_reviews, self.test_reviews, self.seed)


@dataclass(frozen=True)
class Prepare:
    """Turn reviews into a compact folder that `sst train l2x --data` reads."""

    data: (
        Annotated[PrepareHotels, tyro.conf.subcommand("hotels")]
        | Annotated[PrepareBeer, tyro.conf.subcommand("beer")]
        | Annotated[PrepareSynthetic, tyro.conf.subcommand("synthetic")]
    )

    def run(self, console: Console) -> None:
        """Read, prepare, write, and say what there is.

        Args:
            console: where to print.

        Raises:
            RunError: if the reviews cannot be read, are too few, or the folder cannot be used.
        """
        if self.data.seed < 0:
            raise RunError(f"--seed is {self.data.seed}, expected at least 0: pass a larger number.")
        corpus = self.data.corpus()
        write_corpus(corpus, self.data.out)
        for aspect, splits in corpus.aspects.items():
            console.print(
                f"{aspect}: {len(splits.train)} training, {len(splits.valid)} validation, {len(splits.test)} test "
                f"reviews ({int(splits.test.annotated.sum())} annotated)",
                highlight=False,
            )
        console.print(
            f"Prepared in {self.data.out}, with {len(corpus.vocabulary)} words.", soft_wrap=True, highlight=False
        )
