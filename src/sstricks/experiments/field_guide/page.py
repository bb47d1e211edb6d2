"""A part of a Markdown page that a command writes, between two comments."""

from pathlib import Path

from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.files import write_atomically

_BEGIN, _END = "<!-- sst field-guide: pairs -->", "<!-- end -->"


def read_part(page: Path) -> str:
    """What stands between the markers.

    Args:
        page: the file.

    Raises:
        RunError: if there is no such page, or no markers in it.
    """
    return _split(page)[1]


def write_part(page: Path, content: str) -> None:
    """Replace what stands between the markers.

    Args:
        page: the file.
        content: what is to stand there.

    Raises:
        RunError: if there is no such page, or no markers in it.
    """
    before, _, after = _split(page)
    text = f"{before}{_BEGIN}\n{content}{_END}{after}"
    write_atomically(page, lambda file: file.write(text.encode()))


def _split(page: Path) -> tuple[str, str, str]:
    if not page.is_file():
        raise RunError(f"--page: found no file {page}, expected a Markdown page.")
    before, found, rest = page.read_text().partition(f"{_BEGIN}\n")
    content, closed, after = rest.partition(_END)
    if not found or not closed:
        raise RunError(f"--page: found no markers in {page}, expected a line {_BEGIN} and, below it, {_END}.")
    return before, content, after
