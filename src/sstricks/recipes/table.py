"""`sst table`: finished runs in the paper's tables, selected on validation, with the error of that selection (App. D.3).

Every recipe has a `Layout`, which says where a run belongs. Runs of different presets, data or sizes never share a
table; runs that differ only in their seeds and in what is tuned share a cell.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

Facts = Mapping[str, Any]
"""What a result says: configuration and more, by name."""


class Label(NamedTuple):
    """A heading and its place among its like: `Label(10, "k = 10")` comes before `Label(15, "k = 15")`."""

    rank: int
    text: str


@dataclass(frozen=True)
class Metric:
    """A metric as a table shows it: values times `scale`, with so many `digits`."""

    name: str
    heading: str
    digits: int
    scale: float = 1.0


class Place(NamedTuple):
    """Where a run belongs: the table's title, the labels of its row from the outermost, and the block of columns."""

    table: Label
    row: tuple[Label, ...]
    block: Label


@dataclass(frozen=True)
class Layout:
    """How the tables of an experiment are made.

    Attributes:
        subject: what titles of pictures call the experiment.
        selected_by: what a caption calls the metric that selects runs.
        validation: the metric that learning curves show.
        falls: whether that is better the smaller it is.
        metrics: the columns of a block.
        rows: headings of the columns with row labels.
        place: where a run belongs; KeyError if it has a value that this version does not know.
        placing: the fields that `place` reads.
        tuned: the fields that a search may vary; runs that differ in any other field are not comparable.
        setup: what a caption says of runs that are.
        counterpart: the facts by which a run is looked up in the paper's tables (`paper/*.csv`).
        other_data: whether the paper's figures are of other data than a run's.
        caution: what a caption has to say beside the paper's figures; `None` if they are not comparable at all.
    """

    subject: str
    selected_by: str
    validation: Metric
    falls: bool
    metrics: tuple[Metric, ...]
    rows: tuple[str, ...]
    place: Callable[[Facts], Place]
    placing: frozenset[str]
    tuned: frozenset[str]
    setup: Callable[[Facts], str]
    caution: Callable[[Facts], str | None]
    counterpart: Callable[[Facts], Facts] = lambda facts: facts
    other_data: Callable[[Facts], bool] = lambda facts: False
