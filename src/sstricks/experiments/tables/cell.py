from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sstricks.experiments.tables.bootstrap import rank_by_score, selected_ranks, selection_error
from sstricks.experiments.tables.description import Description, Facts, Metric
from sstricks.experiments.tables.record import Record


@dataclass(frozen=True)
class Estimate:
    """What a cell says of a metric, in the table's unit.

    Attributes:
        value: of the selected run.
        error: the standard error of the selection; none if there is one run only.
    """

    value: float
    error: float | None


@dataclass(frozen=True)
class Cell:
    """Runs that differ in their seeds and tuned hyperparameters, and the one that validation selects among them (D.3).

    Attributes:
        facts: of one of the runs, complete: what all have in common, among other things.
        ranked: the runs to select from, the best first.
        diverged: runs that reached numbers that are not finite.
        unfinished: other runs that have not come to their end.
        estimates: of the first of `ranked`, by metric; none for a metric that was not measured.
    """

    facts: Facts
    ranked: Sequence[Record]
    diverged: Sequence[Record]
    unfinished: Sequence[Record]
    estimates: Mapping[str, Estimate]

    @property
    def seeds(self) -> list[int]:
        """Of the runs to select from, in order."""
        return sorted({int(record.facts.get("seed", 0)) for record in self.ranked})


def cell_of(description: Description, records: Sequence[Record]) -> Cell:
    """Select a run and estimate how much depends on which runs there were.

    Args:
        description: of the experiment.
        records: at least one, all of the same cell and setup.

    Returns:
        The cell.
    """
    scores = {id(record): record.score(description.monitor) for record in records}
    scored = [(record, score) for record in records if (score := scores[id(record)]) is not None]
    ranked = [scored[index][0] for index in rank_by_score([score for _, score in scored])]
    return Cell(
        facts=description.completed((ranked or records)[0].facts),
        ranked=ranked,
        diverged=[record for record in records if record.diverged or (record.finished and scores[id(record)] is None)],
        unfinished=[record for record in records if not record.finished and not record.diverged],
        estimates=_estimates(description.metrics, ranked),
    )


def _estimates(metrics: Sequence[Metric], ranked: Sequence[Record]) -> dict[str, Estimate]:
    counts = selected_ranks(len(ranked)) if len(ranked) > 1 else None
    found = {}
    for metric in metrics:
        values = [metric.scale * v for record in ranked if (v := record.score(metric.name)) is not None]
        if ranked and ranked[0].score(metric.name) is not None:
            error = None if counts is None or len(values) < len(ranked) else selection_error(values, counts)
            found[metric.name] = Estimate(values[0], error)
    return found
