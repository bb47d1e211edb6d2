"""Files of a user: written whole or not at all, read with clear words if they are damaged, never shared by accident."""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

PARTIAL = ".partial-"


class RunError(ValueError):
    """Something the user can fix. The command line prints the text without a traceback and exits with status 2."""


class FolderInUseError(RunError):
    """Another process works in the folder."""


def write_atomically(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Replace a file in one step, so that a process killed at any instant leaves the old bytes or the new ones.

    The content is given, or written to an open file by a function.
    """
    partial = path.parent / f"{PARTIAL}{os.getpid()}-{path.name}"
    try:
        with naming(path):
            with partial.open("wb") as file:
                file.write(content) if isinstance(content, bytes) else content(file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put a file's name into an OSError: writing to a full disk raises one without."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def write_json(path: Path, content: Mapping[str, object] | list[Any]) -> None:
    """Write JSON atomically; NaN and infinities, which JSON does not have, are an error."""
    write_atomically(path, f"{json.dumps(content, indent=2, allow_nan=False)}\n".encode())


def read_json(path: Path, remedy: str) -> Any:
    """The content of a JSON file; a RunError that ends with `remedy` if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: found no JSON ({error}). {remedy}") from None


def read_object(path: Path, remedy: str, **fields: Any) -> dict[str, Any]:
    """The same for a JSON object, which must have these fields of these types."""
    content = read_json(path, remedy)
    if not isinstance(content, dict):
        raise RunError(f"{path}: found {type(content).__name__}, expected an object with fields. {remedy}")
    for name, kind in fields.items():
        if name not in content or not isinstance(content[name], kind):
            found = repr(content[name]) if name in content else "nothing"
            expected = getattr(kind, "__name__", str(kind))
            raise RunError(f"{path}: found {found} in the field {name!r}, expected {expected}. {remedy}")
    return content


def check_metrics(file: Path, result: Mapping[str, Any], remedy: str) -> None:
    """Raise unless all metrics of a result are numbers or null."""
    for name, value in result.items():
        if "/" in name and (isinstance(value, bool) or not isinstance(value, int | float | None)):
            raise RunError(f"{file}: found {value!r} as {name}, expected a number or null. {remedy}")


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Create a folder if there is none, and keep other processes out of it for as long as this one works there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / ".lock").open("w")
    except OSError as error:
        raise RunError(f"--out {path}: cannot write there ({error.strerror}). Choose another folder.") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FolderInUseError(f"--out {path}: another process is training in it. Wait for its end.") from None
        for left_behind in (*path.glob(f"{PARTIAL}*"), *path.glob(f"checkpoints/{PARTIAL}*")):
            left_behind.unlink(missing_ok=True)
        yield


def refuse_foreign_files(path: Path, ours: Collection[str], kind: str) -> None:
    """Raise unless a folder holds nothing but files named in `ours`: what is there may be somebody's work."""
    foreign = sorted(name for name in os.listdir(path) if name not in ours) if path.is_dir() else []
    if foreign:
        listed = ", ".join([*foreign[:3], *(["…"] if foreign[3:] else [])])
        raise RunError(f"--out {path}: the folder is not empty ({listed}) and holds no {kind}. Choose a new folder.")


def differences(there: Mapping[str, object], here: Mapping[str, object]) -> str:
    """How two configurations differ, in words; empty if they do not."""
    absent = "(absent)"
    return "; ".join(
        f"{name} is {there.get(name, absent)!r} there and {here.get(name, absent)!r} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name, absent) != here.get(name, absent)
    )


def check_new_files(paths: Collection[Path], suffixes: Collection[str], *, force: bool, option: str = "--out") -> None:
    """Raise, before hours of work, if one of the files that an option names could not or must not be written."""
    for path in paths:
        where = f"{option} {path}"
        if path.suffix not in suffixes:
            raise RunError(f"{where}: found the suffix {path.suffix!r}, expected one of {', '.join(suffixes)}.")
        if not path.parent.is_dir():
            raise RunError(f"{where}: the folder {path.parent} does not exist. Create it, or name another.")
        if path.exists() and not (force and path.is_file()):
            raise RunError(f"{where}: it exists and was not touched. Add --force to replace it, or name another.")


def write_section(page: Path, name: str, content: str, option: str = "--page") -> None:
    """Replace the lines between `<!-- name -->` and `<!-- end -->` on a Markdown page, and not a byte else."""
    if not page.is_file():
        raise RunError(f"{option}: found no file {page}, expected a Markdown page.")
    try:
        text = page.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise RunError(f"{option}: {page} is not UTF-8 ({error}). Save it in that encoding, or name another.") from None
    begin = f"<!-- {name} -->"
    found = re.findall(rf"(?s)(.*{re.escape(begin)}\r?\n)(?:(?!<!-- ).)*(<!-- end -->.*)", text)
    if len(found) != 1 or text.count(begin) != 1:
        raise RunError(
            f"{option}: found {text.count(begin)} sections {name!r} in {page}, expected one line {begin} and, below "
            "it, <!-- end -->. Put these two lines where the table belongs."
        )
    before, after = found[0]
    shown = content.replace("\n", "\r\n") if before.endswith("\r\n") else content
    write_atomically(page, f"{before}{shown}{after}".encode())
