import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.files import write_atomically
from sstricks.experiments.tables.grid import Grid
from sstricks.experiments.tables.latex import latex
from sstricks.experiments.tables.markdown import markdown
from sstricks.experiments.tables.record import Record
from sstricks.experiments.tables.rows import comma_separated
from sstricks.experiments.tables.tabulation import Tabulation
from sstricks.experiments.targets import check_targets


@dataclass(frozen=True)
class Contents:
    """What can be written.

    Attributes:
        records: all runs.
        tables: what became of them.
        grids: the same as text.
        paper: whether the paper's figures are wanted.
    """

    records: Sequence[Record]
    tables: Sequence[Tabulation]
    grids: Sequence[Grid]
    paper: bool


_FORMATS: Mapping[str, Callable[[Contents], str]] = {
    ".md": lambda contents: markdown(contents.grids),
    ".csv": lambda contents: comma_separated(contents.tables, paper=contents.paper),
    ".tex": lambda contents: latex(contents.grids),
    ".json": lambda contents: json.dumps([record.to_json() for record in contents.records], indent=1) + "\n",
}


def check_tables(paths: Sequence[Path], *, force: bool) -> None:
    """Refuse files to which no table could or must be written.

    Args:
        paths: what `--out` named.
        force: whether files that exist may be replaced.
    """
    check_targets(paths, list(_FORMATS), force=force)


def write_tables(paths: Sequence[Path], contents: Contents) -> None:
    """Write tables in the formats that the files' suffixes say.

    Args:
        paths: checked.
        contents: what to write.

    Raises:
        RunError: if a file cannot be written.
    """
    for path in paths:
        text = _FORMATS[path.suffix](contents)
        try:
            write_atomically(path, lambda file, text=text: file.write(text.encode()))
        except OSError as error:
            raise RunError(
                f"--out {path}: cannot write there ({error.strerror or error}). Choose a folder that you may write, on "
                "a disk that is not full."
            ) from None
