from dataclasses import dataclass, fields
from pathlib import Path

from rich.console import Console

from sstricks.experiments.listops.data import Specification, check_sizes
from sstricks.experiments.listops.storage import load_or_make
from sstricks.experiments.runs.errors import RunError


@dataclass(frozen=True)
class PrepareListOps:
    """ListOps expressions (App. D.5.1), the same that training draws by itself if it is given the same numbers."""

    out: Path
    """New folder for the expressions; if it has them already, they are read and checked."""
    train: int = Specification.train
    """Training expressions."""
    valid: int = Specification.valid
    """Validation expressions."""
    test: int = Specification.test
    """Test expressions."""
    max_depth: int = Specification.max_depth
    """There are as many expressions of every depth from 1 to this."""
    min_length: int = Specification.min_length
    """Fewest tokens of an expression."""
    min_length_from: int = Specification.min_length_from
    """Smallest depth at which --min-length holds; no expression of depth 1 has more than seven tokens."""
    max_length: int = Specification.max_length
    """Most tokens of an expression."""
    seed: int = Specification.seed
    """Chooses the expressions; the --data-seed of training."""

    def run(self, console: Console) -> None:
        """Draw the expressions and write them, and say what there is.

        Args:
            console: where to print.

        Raises:
            RunError: if there are no such expressions, or the folder cannot be used.
        """
        try:
            specification = Specification(**{each.name: getattr(self, each.name) for each in fields(Specification)})
            check_sizes(specification)
        except ValueError as error:
            raise RunError(str(error)) from None
        splits = load_or_make(specification, self.out)
        console.print(
            f"{len(splits.train)} training, {len(splits.valid)} validation, {len(splits.test)} test expressions, "
            f"checksum {splits.metadata['checksum'][:16]}…, in {self.out}.",
            soft_wrap=True,
            highlight=False,
        )
