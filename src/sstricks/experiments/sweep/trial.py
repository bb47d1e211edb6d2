import enum
from dataclasses import dataclass
from pathlib import Path

from sstricks.experiments.runs.experiment import Experiment
from sstricks.experiments.runs.files import write_json
from sstricks.experiments.runs.folder import RunFolder
from sstricks.experiments.runs.run import Result
from sstricks.experiments.sweep.ranges import Values


class TrialState(enum.Enum):
    """How far a trial has come, as its folder tells."""

    UNFINISHED = "unfinished"
    FINISHED = "finished"
    DIVERGED = "diverged"


@dataclass(frozen=True)
class Trial:
    """A run of a sweep, in a run folder of its own; picklable, since it is trained in another process.

    Attributes:
        index: from 0.
        path: its folder.
        values: its hyperparameters.
        experiment: what is trained.
    """

    index: int
    path: Path
    values: Values
    experiment: Experiment

    @property
    def title(self) -> str:
        """The number of the trial and its hyperparameters."""
        values = (f"{name} {value:g}" for name, value in self.values.items() if name != "seed")
        return "  ".join((self.path.name, *values))

    @property
    def state(self) -> TrialState:
        """How far it has come."""
        if RunFolder(self.path).result_file.exists():
            return TrialState.FINISHED
        return TrialState.DIVERGED if self._diverged_file.exists() else TrialState.UNFINISHED

    @property
    def result(self) -> Result | None:
        """What it came to, none if it diverged or is not finished."""
        return RunFolder(self.path).read_result() if self.state is TrialState.FINISHED else None

    def give_up(self, reason: str) -> None:
        """Record that the training diverged, which it would do again.

        Args:
            reason: at which step, for instance.
        """
        write_json(self._diverged_file, {"reason": reason})

    def explain(self, failure: str) -> str:
        """Keep the whole story of why the trial could not be trained, if there is a folder for it.

        Args:
            failure: a traceback.

        Returns:
            Its last line, and where the rest is.
        """
        last = failure.strip().splitlines()[-1]
        try:
            (self.path / "error.txt").write_text(failure)
        except OSError:
            return last
        return f"{last} (see {self.path / 'error.txt'})"

    @property
    def _diverged_file(self) -> Path:
        return self.path / "diverged.json"
