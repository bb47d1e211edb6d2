from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sstricks.experiments.runs.files import read_object, write_json

ScoreTrials = Callable[[Sequence[int], int], Iterable[tuple[int, float | None]]]
"""Trains the given trials up to the given step and yields (trial, score) as they end; None for one that diverged."""


@dataclass
class TrialRecord:
    """What is known of a run's trials: `trials.json`, rewritten whenever a trial ends.

    Attributes:
        file: where it is kept.
        scores: `scores[steps][trial]`, both as text, as JSON has it; null for a trial that diverged.
        survivor: the trial that goes on, once it is known.
    """

    file: Path
    scores: dict[str, dict[str, float | None]] = field(default_factory=dict)
    survivor: int | None = None

    @classmethod
    def load(cls, file: Path) -> "TrialRecord":
        """Read the record, or begin one.

        Args:
            file: the path; it need not exist.

        Returns:
            The record.

        Raises:
            RunError: if the file is damaged.
        """
        if not file.exists():
            return cls(file)
        remedy = "Restore the file, or start a new run in another folder."
        content = read_object(file, remedy, {"scores": dict, "survivor": int | None})
        return cls(file, content["scores"], content["survivor"])

    def save(self) -> None:
        """Write the record atomically."""
        write_json(self.file, {"scores": self.scores, "survivor": self.survivor})


@dataclass(frozen=True)
class Search:
    """Several short trainings of which the best goes on.

    All are trained for `first_steps`; the best of them, one in `factor`, to `factor` times that; and so on, until one
    is left.

    Attributes:
        num_trials: how many there are at first; 1 for no search.
        first_steps: the length of the first round.
        factor: by which the steps grow and the trials shrink from round to round, at least 2.

    Raises:
        ValueError: if a number is too small.

    Example:
        >>> Search(num_trials=6, first_steps=200).rounds
        [(200, 6), (400, 3), (800, 2)]
        >>> Search(num_trials=16, first_steps=50, factor=4).rounds
        [(50, 16), (200, 4)]
    """

    num_trials: int
    first_steps: int
    factor: int = 2

    def __post_init__(self) -> None:
        for name, found, least in (
            ("num_trials", self.num_trials, 1),
            ("first_steps", self.first_steps, 1),
            ("factor", self.factor, 2),
        ):
            if found < least:
                raise ValueError(f"{name} of the trials is {found}, expected at least {least}: pass a larger number.")

    @property
    def rounds(self) -> list[tuple[int, int]]:
        """The steps that the trials of each round reach, and how many they are."""
        rounds, steps, count = [], self.first_steps, self.num_trials
        while count > 1:
            rounds.append((steps, count))
            steps, count = steps * self.factor, -(-count // self.factor)
        return rounds

    @property
    def decided(self) -> int:
        """The step at which one trial is left, 0 without a search."""
        return self.rounds[-1][0] if self.num_trials > 1 else 0


def successive_halving(record: TrialRecord, search: Search, score: ScoreTrials) -> int:
    """Find the best of several short trainings while giving few steps to the bad ones.

    What the record already knows is not computed again, so that an interrupted search continues.

    Args:
        record: what is known so far; kept up to date.
        search: the plan.
        score: trains trials, numbered from 0, and says how good they are; larger is better.

    Returns:
        The survivor.
    """
    alive = list(range(search.num_trials))
    for steps, count in search.rounds:
        alive = alive[:count]
        known = record.scores.setdefault(str(steps), {})
        missing = [trial for trial in alive if str(trial) not in known]
        if missing:
            for trial, value in score(missing, steps):
                known[str(trial)] = value
                record.save()
        alive.sort(key=lambda trial: _rank(known[str(trial)]), reverse=True)  # stable: the lower number wins a tie
    record.survivor = alive[0]
    record.save()
    return alive[0]


def _rank(score: float | None) -> float:
    return float("-inf") if score is None else score
