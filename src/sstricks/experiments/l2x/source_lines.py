import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.typed import type_name

Item = TypeVar("Item")


def read_lines(path: Path, parse: Callable[[str], Item]) -> Iterator[Item]:
    """The lines of a source of reviews, each as something else.

    Args:
        path: a text file, compressed if it ends in `.gz`.
        parse: makes something of a line, without its end; raises ValueError if the line is not what it expects.

    Yields:
        What became of each line that is not blank.

    Raises:
        RunError: if the file cannot be read, or a line is something else.
    """
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for line in file:
                number += 1
                if line.strip():
                    yield parse(line.rstrip("\n"))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise RunError(f"--source: cannot read {path} ({error}). Name a folder that has it, whole.") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"--source: cannot read {path}: line {number}: {error}. Restore the file.") from None


def object_of(line: str, fields: Mapping[str, type | UnionType]) -> dict[str, Any]:
    """A JSON object on a line of its own.

    Args:
        line: the text.
        fields: that it has at least, and their types.

    Returns:
        The object.

    Raises:
        ValueError: if the line is something else.
    """
    return fields_of(json.loads(line), "the line", fields)


def fields_of(content: object, name: str, fields: Mapping[str, type | UnionType]) -> dict[str, Any]:
    """A part of such an object, if it is an object with some fields.

    Args:
        content: the part.
        name: what to call it.
        fields: that it has at least, and their types.

    Returns:
        The part.

    Raises:
        ValueError: if it is something else.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{name} is {_short(content)}, expected an object")
    for field, kind in fields.items():
        if field not in content:
            raise ValueError(f"{name} has no {field!r}, expected the fields {list(fields)}")
        typed(content[field], f"{field!r} of {name}", kind)
    return content


def typed(content: object, name: str, kind: type | UnionType) -> Any:
    """A part of such an object, if it has a type.

    Args:
        content: the part.
        name: what to call it.
        kind: the type.

    Returns:
        The part.

    Raises:
        ValueError: if it has another type.
    """
    if not isinstance(content, kind):
        raise ValueError(f"{name} is {_short(content)}, expected {type_name(kind)}")
    return content


def _short(content: object) -> str:
    text = repr(content)
    return text if len(text) <= 40 else f"{text[:40]}…"
