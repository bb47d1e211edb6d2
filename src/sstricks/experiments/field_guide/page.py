"""The part of the field guide's page that the command writes."""

from pathlib import Path

from sstricks.experiments.marked import MarkedPart


def read_part(page: Path) -> str:
    """What stands between the markers.

    Args:
        page: the file.

    Returns:
        The table.
    """
    return _part(page).read()


def write_part(page: Path, content: str) -> None:
    """Replace what stands between the markers.

    Args:
        page: the file.
        content: what is to stand there.
    """
    _part(page).write(content)


def _part(page: Path) -> MarkedPart:
    return MarkedPart(page, "sst field-guide: pairs", "--page")
