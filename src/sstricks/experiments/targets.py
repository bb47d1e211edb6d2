"""Files that an option of the command line names, to be written at the end of some work."""

from collections.abc import Sequence
from pathlib import Path

from sstricks.experiments.runs.errors import RunError

PICTURES = (".png", ".pdf", ".svg")
"""The suffixes of pictures that can be written."""


def check_targets(paths: Sequence[Path], suffixes: Sequence[str], *, force: bool, option: str = "--out") -> None:
    """Refuse, before any work is done, files that could not or must not be written.

    Args:
        paths: what the option named.
        suffixes: that are known.
        force: whether files that exist may be replaced.
        option: its name.

    Raises:
        RunError: if a suffix is not known, a folder does not exist, or a file does.
    """
    for path in paths:
        if path.suffix not in suffixes:
            raise RunError(f"{option} {path}: found the suffix {path.suffix!r}, expected one of {', '.join(suffixes)}.")
        if not path.parent.is_dir():
            raise RunError(f"{option} {path}: the folder {path.parent} does not exist. Create it, or name another.")
        if path.exists() and not (force and path.is_file()):
            raise RunError(
                f"{option} {path}: it exists and was not touched. Add --force to replace it, or name another."
            )
