from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.tables.finder import find_records, without_repetition
from sstricks.experiments.tables.record import Record


def runs_of(paths: Sequence[Path], experiment: str | None, console: Console) -> list[Record]:
    """The runs of one experiment in some folders and files, each once; what is left out is said.

    Args:
        paths: what `find_records` takes.
        experiment: which one; none if there must be one only.
        console: where to say it.

    Returns:
        At least one run.

    Raises:
        RunError: if there is none, or they are of several experiments and none is named.
    """
    if not paths:
        raise RunError("found no PATH, expected folders of runs or JSON files with results. Name at least one.")
    found = find_records(paths)
    counts = Counter(str(record.facts["experiment"]) for record in found)
    kinds = ", ".join(f"{count} of {name}" for name, count in sorted(counts.items()))
    if experiment is None and len(counts) > 1:
        raise RunError(f"found runs of several experiments there, {kinds}. Name the folders of one of them.")
    wanted = next(iter(counts)) if experiment is None else experiment
    own = counts.pop(wanted, 0)
    if not own:
        raise RunError(f"found no runs of {wanted} there, but {kinds}. Name other folders.")
    records = without_repetition([record for record in found if record.facts["experiment"] == wanted])
    for count, what in ((own - len(records), "given more than once"), (counts.total(), "of other experiments")):
        if count:
            console.print(f"Left out: {count} {'run' if count == 1 else 'runs'} {what}.", highlight=False)
    return records
