from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sstricks.experiments.l2x.corpus import read_splits
from sstricks.experiments.l2x.reference import reference
from sstricks.experiments.l2x.report import print_reference
from sstricks.experiments.l2x.sizes import check_splits
from sstricks.experiments.runs.errors import RunError


@dataclass(frozen=True)
class ReferenceOf:
    """Measure what chance, a constant and a ridge regression reach on prepared reviews."""

    data: Path
    """Folder of reviews that `sst prepare` wrote."""
    aspect: str = "service"
    """Whose rating is predicted."""
    k: int = 10
    """Words of a subset."""

    def run(self, console: Console) -> None:
        """Measure, and print a table.

        Args:
            console: where to print.

        Raises:
            RunError: if k is not positive, or the reviews cannot be read or are too few.
        """
        if self.k < 1:
            raise RunError(f"--k {self.k}: expected at least 1.")
        splits = read_splits(self.data, self.aspect)
        check_splits(f"--data {self.data}", self.aspect, splits)
        print_reference(console, reference(splits, self.k), self.k)
