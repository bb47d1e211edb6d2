import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, BinaryIO

from sstricks.experiments.runs.errors import RunError

PARTIAL = ".partial-"


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace a file such that, whenever the process dies, its bytes are the old or the new ones, never a mixture.

    The bytes go to a neighbour in the same directory (a rename across file systems would be a copy), are forced to
    the disk, and then take the place of the old file in one step.

    Args:
        path: the file to create or replace; its directory must exist.
        write: receives a binary file open for writing.

    Raises:
        OSError: if the system refuses; it names the file that was to be replaced.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_atomically(folder / "a.txt", lambda file: file.write(b"tree"))
        >>> (folder / "a.txt").read_bytes()
        b'tree'
    """
    partial = path.parent / f"{PARTIAL}{os.getpid()}-{path.name}"
    try:
        with naming(path):
            with partial.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let what the system refuses name a file, which a write to a full disk does not.

    Args:
        path: the file.

    Yields:
        Once, to write it.

    Raises:
        OSError: if the system refuses.
    """
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON object atomically, two spaces deep, refusing numbers that JSON does not have (NaN, infinities).

    Args:
        path: the file to create or replace.
        content: what `json` can encode.
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_json(path: Path, remedy: str) -> Any:
    """Read a JSON file that may be damaged.

    Args:
        path: the file.
        remedy: what to do if it is, a sentence.

    Returns:
        Its content.

    Raises:
        RunError: if it is no JSON.
        OSError: if it cannot be read; `FileNotFoundError` if there is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of the syntax or of the encoding
        raise RunError(f"{path}: found no JSON ({error}). {remedy}") from None


def read_object(path: Path, remedy: str, fields: Mapping[str, type | UnionType]) -> dict[str, Any]:
    """Read a JSON object that may be damaged.

    Args:
        path: the file.
        remedy: what to do if it is, a sentence.
        fields: that the object has at least, and their types.

    Returns:
        Its content.

    Raises:
        RunError: if it is no such object.
        OSError: if it cannot be read; `FileNotFoundError` if there is none.
    """
    content = read_json(path, remedy)
    if not isinstance(content, dict):
        raise RunError(f"{path}: found {type(content).__name__}, expected an object with fields. {remedy}")
    for name, kind in fields.items():
        if name not in content or not isinstance(content[name], kind):
            found = repr(content[name]) if name in content else "nothing"
            expected = getattr(kind, "__name__", str(kind))
            raise RunError(f"{path}: found {found} in the field {name!r}, expected {expected}. {remedy}")
    return content


def remove_partial_files(folder: Path) -> None:
    """Delete what a killed `write_atomically` left behind in a folder that nobody else writes to.

    Args:
        folder: the directory to clean; its sub-directories are left alone.
    """
    for left_behind in folder.glob(f"{PARTIAL}*"):
        left_behind.unlink(missing_ok=True)


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
