from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, NamedTuple, get_type_hints

from sstricks.experiments.runs.config import NOT_REPEATED, RunConfig
from sstricks.experiments.runs.typed import has_type, type_name

Facts = Mapping[str, Any]

_NOT_A_SETUP = NOT_REPEATED | {"seed", "trial", "data"}


class Label(NamedTuple):
    """A heading and its place among its like; `Label(10, "k = 10")` comes before `Label(15, "k = 15")`."""

    rank: int
    text: str


@dataclass(frozen=True)
class Metric:
    """A metric as a table shows it.

    Attributes:
        name: in `result.json`.
        heading: of its column.
        digits: after the decimal point.
        scale: what values are multiplied by.
    """

    name: str
    heading: str
    digits: int
    scale: float = 1.0

    def show(self, value: float) -> str:
        """A value in the table's unit, with a minus sign instead of a hyphen.

        Args:
            value: in that unit.

        Returns:
            The text.

        Example:
            >>> Metric("test/elbo", "ELBO", 0).show(-589.06)
            '−589'
        """
        return f"{value:.{self.digits}f}".replace("-", "−")


@dataclass(frozen=True)
class Place:
    """Where a run belongs in the tables of its experiment.

    Attributes:
        table: the title.
        row: the labels of its row, from the outermost.
        block: the columns.
    """

    table: Label
    row: tuple[Label, ...]
    block: Label


@dataclass(frozen=True)
class Description:
    """What the tables of an experiment are made of.

    Attributes:
        experiment: its name.
        config: of its runs.
        monitor: the validation metric by which runs are selected; larger is better.
        selected_by: what a caption calls it.
        validation: what learning curves show of it.
        falls: whether that is better the smaller it is.
        subject: what titles of pictures call the experiment.
        metrics: the columns of a block.
        row_headings: of the columns with the labels of rows.
        place: where a run belongs.
        placing: the fields that `place` reads.
        tuned: the fields that a search may vary; runs that differ in any other field are not comparable.
        setup: what a caption says of runs that are.
        counterpart: the fields by which a run is looked up in the paper's tables.
        other_data: whether the paper's figures are of other data than a run's.
        caution: what a caption has to say beside the paper's figures.
    """

    experiment: str
    config: type[RunConfig]
    monitor: str
    selected_by: str
    validation: Metric
    falls: bool
    subject: str
    metrics: tuple[Metric, ...]
    row_headings: tuple[str, ...]
    place: Callable[[Facts], Place]
    placing: frozenset[str]
    tuned: frozenset[str]
    setup: Callable[[Facts], str]
    counterpart: Callable[[Facts], Facts]
    other_data: Callable[[Facts], bool]
    caution: Callable[[Facts], str]

    def completed(self, facts: Facts) -> Facts:
        """Facts with the defaults of fields that were introduced after they were recorded.

        Args:
            facts: of a run.

        Returns:
            More facts.
        """
        known = {field.name: field.default for field in self._fields if field.default is not MISSING}
        return known | dict(facts)

    def check(self, facts: Facts) -> None:
        """Refuse facts that no run of this version leaves behind.

        Args:
            facts: of a run, complete.

        Raises:
            ValueError: if a field of its configuration that a table needs is missing, or one has another type.
        """
        types = get_type_hints(self.config)
        for name in (*sorted(self.placing | {"preset"}), *(field.name for field in self._fields)):
            if name in facts and not has_type(facts[name], types[name]):
                raise ValueError(f"its configuration has {name} = {facts[name]!r}, expected {type_name(types[name])}")
            if name not in facts and (name in self.placing or name == "preset"):
                raise ValueError(f"its configuration lacks the field {name!r}")

    def setup_of(self, facts: Facts) -> Mapping[str, Any]:
        """What runs must have in common to stand in one table: data, preset, budget, sizes.

        Args:
            facts: complete.

        Returns:
            Some of the fields.
        """
        left_out = self.placing | self.tuned | _NOT_A_SETUP
        return {field.name: facts.get(field.name) for field in self._fields if field.name not in left_out}

    @property
    def _fields(self) -> "tuple[Field[Any], ...]":
        return fields(self.config)  # pyright: ignore[reportArgumentType]  # a dataclass
