import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.files import read_json
from sstricks.experiments.runs.typed import has_type
from sstricks.experiments.tables.record import Record


def find_records(paths: Sequence[Path]) -> list[Record]:
    """All runs in and below some folders, and in some files of results.

    A folder with a `config.json` is a run, and what is inside it belongs to it: its trials are not runs.

    Args:
        paths: folders of runs, folders that hold such folders at whatever depth, or JSON files with results.

    Returns:
        The runs in the order of their names. Those that are given twice are in it twice.

    Raises:
        RunError: if a path does not exist, is part of a run, holds no run, or a file in it cannot be read.
    """
    found: list[Record] = []
    for path in paths:
        records = list(_in_file(path) if path.is_file() else _in_folder(path))
        if not records:
            raise RunError(
                f"{path}: found no run there, expected a folder that --out named in `sst train`, a folder of such "
                "folders, or a JSON file with results. Name one of them."
            )
        found.extend(records)
    return found


def without_repetition(records: Sequence[Record]) -> list[Record]:
    """Each run once; of a run that is there finished and unfinished, the finished one.

    Args:
        records: perhaps with some that are the same run.

    Returns:
        The first of each.
    """
    seen: set[str] = set()
    kept: list[tuple[int, Record]] = []
    for place, record in sorted(enumerate(records), key=lambda item: not item[1].finished):
        if not record.identities & seen:
            kept.append((place, record))
        seen |= record.identities
    return [record for _, record in sorted(kept, key=lambda item: item[0])]


def _in_folder(path: Path) -> Iterator[Record]:
    if not path.is_dir():
        raise RunError(f"{path}: found nothing there, expected a folder or a JSON file. Check the path.")
    inside = next(filter(_is_run, path.resolve().parents), None)
    if inside is not None:
        raise RunError(f"{path}: it is a part of the run {inside}, such as one of its trials. Name that run instead.")
    yield from _walk(path, set())


def _walk(path: Path, seen: set[Path]) -> Iterator[Record]:
    if path.resolve() in seen:  # by way of a link
        return
    seen.add(path.resolve())
    if _is_run(path):
        yield _run(path)
        return
    if (path / "sweep.json").is_file():
        yield from _not_begun(path)
    for inside in sorted(path.iterdir()):
        if inside.is_dir() and not inside.name.startswith("."):
            yield from _walk(inside, seen)


def _is_run(folder: Path) -> bool:
    # A file of this name that is no object or has no experiment is another program's; a damaged one may be a run's.
    file = folder / "config.json"
    if not file.is_file():
        return False
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return (folder / "checkpoints").is_dir()
    return isinstance(content, dict) and "experiment" in content


def _run(folder: Path) -> Record:
    config = _object(folder / "config.json", _load(folder / "config.json"))
    result = folder / "result.json"
    if result.is_file():
        return Record.of(_object(result, _load(result)), config, folder)
    return Record.of(config, config, folder, diverged=(folder / "diverged.json").is_file())


def _not_begun(sweep: Path) -> Iterator[Record]:
    # What is known of the trials of a sweep that have no folder yet.
    content = _load(sweep / "sweep.json")
    if not isinstance(content, dict) or "configuration" not in content or "trials" not in content:
        return
    if not (isinstance(content["trials"], list) and all(isinstance(values, dict) for values in content["trials"])):
        raise RunError(f"{sweep / 'sweep.json'}: found no list of trials. Restore the file, or leave it out.")
    for index, values in enumerate(content["trials"]):
        if not (sweep / f"trial-{index:03d}" / "config.json").is_file():
            config = {**_object(sweep / "sweep.json", content["configuration"]), **values}
            yield Record.of(config, config)


def _in_file(path: Path) -> Iterator[Record]:
    content = _load(path)
    if isinstance(content, dict) and "experiment" in content:
        content = [content]
    for entry in content.values() if isinstance(content, dict) else content:
        yield Record.of(_object(path, entry))


def _load(path: Path) -> Any:
    content = read_json(path, "Restore the file, or leave it out.")
    if not isinstance(content, (dict, list)):
        raise RunError(f"{path}: found {type(content).__name__}, expected results by name or in a list.")
    return content


def _object(path: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or "experiment" not in content:
        raise RunError(
            f"{path}: found something without the field 'experiment', expected what `sst train` writes to "
            "config.json or result.json. Name other files or folders."
        )
    for name, value in content.items():
        if "/" in name and not has_type(value, float | None):
            raise RunError(
                f"{path}: found {value!r} as the metric {name}, expected a number or null. Restore the file, or leave "
                "it out."
            )
    return content
