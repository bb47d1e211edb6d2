"""The paper's own figures, which `paper/*.csv` has as they are printed, with the table that each comes from.

The first columns name a cell by the fields of a configuration, where an empty one means any value; the others are a
metric's value, and its standard error under the name `± metric`, in the unit of the paper's tables.
"""

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from sstricks.experiments.tables.description import Description, Facts

SOURCE = "Paulus et al. (2020)"
_ERROR = "± "


@dataclass(frozen=True)
class Published:
    """A cell of one of the paper's tables.

    Attributes:
        table: which one, such as `Table 1`.
        values: by metric, as they are printed; those that are not are missing.
        errors: standard errors by metric, as they are printed.
        other_data: whether it is of other data than the runs beside which it stands.
    """

    table: str
    values: Mapping[str, str]
    errors: Mapping[str, str]
    other_data: bool

    def show(self, metric: str) -> str | None:
        """A value with its standard error.

        Args:
            metric: its name.

        Returns:
            The text, none if nothing is printed.
        """
        value, error = self.values.get(metric), self.errors.get(metric)
        text = value if value is None or error is None else f"{value} ± {error}"
        return None if text is None else text.replace("-", "−")


def published(description: Description, facts: Facts) -> Published | None:
    """What the paper has for runs like this one.

    Args:
        description: of the experiment.
        facts: of a run, complete.

    Returns:
        The cell, none if the paper has no such.
    """
    counterpart = description.counterpart(facts)
    for row in _rows(description.experiment):
        metrics = {name: value for name, value in row.items() if "/" in name and value}
        fields = {name: value for name, value in row.items() if "/" not in name and name != "table" and value}
        if all(str(counterpart[name]) == value for name, value in fields.items()):
            values = {name: value for name, value in metrics.items() if not name.startswith(_ERROR)}
            errors = {name[len(_ERROR) :]: value for name, value in metrics.items() if name.startswith(_ERROR)}
            return Published(row["table"], values, errors, other_data=description.other_data(facts))
    return None


@functools.cache
def _rows(experiment: str) -> list[dict[str, str]]:
    file = resources.files("sstricks.experiments.tables").joinpath("paper", f"{experiment}.csv")
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
