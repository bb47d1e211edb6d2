from collections.abc import Mapping

from sstricks.experiments.l2x.corpus import Splits
from sstricks.experiments.runs.errors import RunError

LEAST: Mapping[str, int] = {"train": 1, "valid": 2, "test": 1}
"""Different ratings that a split needs: the share of their variance that is explained chooses checkpoints."""


def check_numbers(train_reviews: int, valid_reviews: int, test_reviews: int) -> None:
    """Refuse numbers of reviews that no training could do with.

    Args:
        train_reviews: what `--train-reviews` says.
        valid_reviews: what `--valid-reviews` says.
        test_reviews: what `--test-reviews` says.

    Raises:
        RunError: if one is too small.
    """
    given = {"train": train_reviews, "valid": valid_reviews, "test": test_reviews}
    for name, least in LEAST.items():
        if given[name] < least:
            raise RunError(f"--{name}-reviews is {given[name]}, expected at least {least}: pass a larger number.")


def check_splits(place: str, aspect: str, splits: Splits) -> None:
    """Refuse reviews that are too few to train and to measure with.

    Args:
        place: where they come from, for the message.
        aspect: whose ratings they have.
        splits: of that aspect.

    Raises:
        RunError: if a split has too few different ratings.
    """
    for name, least in LEAST.items():
        ratings = getattr(splits, name).ratings
        rated = ratings[~ratings.isnan()]
        different = len(rated.unique())
        if different < least:
            raise RunError(
                f"{place}: the {name} split of {aspect} has {len(rated)} rated reviews with {different} different "
                f"ratings, expected at least {least}. Prepare more reviews."
            )
