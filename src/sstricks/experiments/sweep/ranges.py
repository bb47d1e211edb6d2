import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sstricks.experiments.runs.seeds import fold_in

Values = dict[str, Any]
"""Hyperparameters by name."""


@dataclass(frozen=True)
class LogUniform:
    """Numbers whose logarithm is uniform.

    Attributes:
        low: the least.
        high: the largest.

    Example:
        >>> LogUniform(1e-4, 1e-2).at(0.5)
        0.001
    """

    low: float
    high: float

    def at(self, share: float) -> float:
        """The number below which a share of all draws is, to four digits, so that it can be typed again.

        Args:
            share: from 0 to 1.

        Returns:
            A number of the range.
        """
        return _short(self.low * (self.high / self.low) ** share)


@dataclass(frozen=True)
class Uniform:
    """Numbers between two bounds.

    Attributes:
        low: the least.
        high: the largest.

    Example:
        >>> Uniform(0.1, 2.0).at(0.5)
        1.05
    """

    low: float
    high: float

    def at(self, share: float) -> float:
        """The number below which a share of all draws is, to four digits, so that it can be typed again.

        Args:
            share: from 0 to 1.

        Returns:
            A number of the range.
        """
        return _short(self.low + (self.high - self.low) * share)


@dataclass(frozen=True)
class Choice:
    """A few values, all as likely.

    Attributes:
        values: at least one.

    Example:
        >>> [Choice((1, 3, 10)).at(share) for share in (0.0, 0.4, 0.999)]
        [1, 3, 10]
    """

    values: tuple[float, ...]

    def at(self, share: float) -> float:
        """The value that is reached after a share of them.

        Args:
            share: from 0 to below 1.

        Returns:
            One of the values.
        """
        return self.values[int(share * len(self.values))]


Range = LogUniform | Uniform | Choice
Ranges = Mapping[str, Range]
"""Of the hyperparameters by name."""


def draw(ranges: Ranges, seed: int, trial: int) -> Values:
    """The hyperparameters of a trial of a random search, and the seed of its run.

    They depend on the arguments alone, and each on its own range alone: a search can be extended, and searching one
    more hyperparameter leaves the others as they were.

    Args:
        ranges: of what is searched.
        seed: of the search.
        trial: from 0.

    Returns:
        A value for each name, and `seed`.

    Example:
        >>> draw({"lr": LogUniform(1e-4, 1e-2)}, seed=0, trial=1)
        {'seed': 90044589, 'lr': 0.001742}
    """
    values = {name: range_.at(fold_in(seed, "sweep", trial, name) / 2**63) for name, range_ in ranges.items()}
    return {"seed": fold_in(seed, "sweep", trial) % 2**31, **values}


def describe_range(range_: Range) -> dict[str, Any]:
    """A range in JSON's types.

    Args:
        range_: the range.

    Returns:
        Its kind and its bounds or values.

    Example:
        >>> describe_range(LogUniform(1e-4, 1e-2))
        {'kind': 'LogUniform', 'low': 0.0001, 'high': 0.01}
    """
    return {"kind": type(range_).__name__, **dataclasses.asdict(range_)}


def _short(value: float) -> float:
    return float(f"{value:.4g}")
