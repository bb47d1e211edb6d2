from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sstricks.diagnosis import Diagnosis, diagnose
from sstricks.experiments.diagnosis.problem import (
    LossName,
    RegularizerName,
    StructureName,
    UtilityName,
    make_loss,
    make_trick,
)
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.seeds import generator_of
from sstricks.experiments.targets import PICTURES


@dataclass(frozen=True)
class Diagnose:
    """Measure bias and variance of the gradient estimators on a small random problem, at several temperatures.

    The truth is enumerated where the law of X is known (one-hot and k-subset with gumbel or negative-exponential,
    subset with logistic utilities), else estimated, with its standard error. For a problem of your own, call
    sst.diagnose(trick, loss).
    """

    structure: StructureName = "one-hot"
    """What X is."""
    n: int = 5
    """Its size: elements, or nodes of the complete graph."""
    k: int = 2
    """How many elements a k-subset has."""
    utility: UtilityName = "gumbel"
    """Law of the utilities; their parameters are random."""
    regularizer: RegularizerName = "exponential-family"
    """What relaxes the argmax."""
    loss: LossName = "quadratic"
    """rebar: |x - 0.49|^2. quadratic: random, with interactions. network: random, one hidden layer."""
    temperatures: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
    """Where the relaxed estimators are tried."""
    samples: int = 10_000
    """Utilities for each estimator."""
    truth_samples: int = 200_000
    """Utilities for the truth, where it must be estimated."""
    seed: int = 0
    """Of the problem and of the noise."""
    out: tuple[Path, ...] = ()
    """New files to write: .csv for the numbers; .png, .svg or .pdf for the picture."""

    def run(self, console: Console) -> None:
        """Measure, print the table, write the files.

        Args:
            console: where to print.

        Raises:
            RunError: if the values do not fit together, or a file exists.
        """
        for path in self.out:
            if path.suffix not in (".csv", *PICTURES):
                raise RunError(f"--out: found {path}, expected a name that ends in .csv, {', '.join(PICTURES)}.")
            if path.exists():
                raise RunError(f"--out: {path} exists and is left as it is. Remove it, or choose another name.")
        try:
            found = self._measure(console)
        except ValueError as error:
            raise RunError(str(error)) from None
        console.print(found)
        for path in self.out:
            path.parent.mkdir(parents=True, exist_ok=True)
            (found.to_csv if path.suffix == ".csv" else found.plot)(path)
            console.print(f"Written: {path}", soft_wrap=True, highlight=False)

    def _measure(self, console: Console) -> Diagnosis:
        trick = make_trick(self.structure, self.n, self.k, self.utility, self.regularizer, self.seed)
        loss = make_loss(self.loss, trick.event_shape.numel(), self.seed)
        columns = (TextColumn("sampling"), BarColumn(), TextColumn("{task.percentage:.0f}%"), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("", total=None)
            return diagnose(
                trick,
                loss,
                temperatures=self.temperatures,
                samples=self.samples,
                truth_samples=self.truth_samples,
                generator=generator_of(self.seed),
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
