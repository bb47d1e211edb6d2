import contextlib
import enum
import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import IO, Self

from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.files import read_object, remove_partial_files, write_json
from sstricks.experiments.runs.typed import has_type


class FolderInUseError(RunError):
    """Another process works in the folder."""


class RunState(enum.Enum):
    """How far the run of a folder had come when the folder was opened."""

    NEW = "new"
    STARTED = "started"
    FINISHED = "finished"


class HeldFolder:
    """A folder that one process has for itself, from when a subclass holds it until `close`.

    Args:
        path: the directory; nothing is created here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    def close(self) -> None:
        """Let other processes open the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hold(self) -> None:
        self._lock = take_lock(self.path)


class RunFolder(HeldFolder):
    """A run on disk: `config.json`, `checkpoints/`, metrics, pictures and, at the end, `result.json`.

    `result.json` is written last, so that its existence means that the run is finished. It is written also if a picture
    cannot be drawn, which must not cost what was measured.

    Args:
        path: the directory; nothing is created before `open`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.config_file = path / "config.json"
        self.result_file = path / "result.json"
        self.trials_file = path / "trials.json"
        self.best = path / "checkpoints" / "best.ckpt"
        self.last = path / "checkpoints" / "last.ckpt"

    def open(self, config: Mapping[str, object], *, resume: bool) -> RunState:
        """Take possession of the folder for a run with this configuration, until `close`.

        Args:
            config: what makes the run what it is, in JSON's types; written to `config.json`.
            resume: whether a run that is already there may be continued.

        Returns:
            `NEW` if there was no run, otherwise how far it had come.

        Raises:
            RunError: if the folder cannot be written, holds something else, is in use by another process, holds a run
                and `resume` is false, or holds a run whose configuration differs.
        """
        with writing_to(self.path):
            self.best.parent.mkdir(parents=True, exist_ok=True)
        self._hold()
        try:
            return self._enter(json.loads(json.dumps(config)), resume=resume)
        except BaseException:
            self.close()
            raise

    def read_config(self) -> dict[str, object]:
        """The configuration of the run that is in the folder.

        Returns:
            The content of `config.json`.

        Raises:
            RunError: if there is no run in the folder, or the file is damaged.
        """
        remedy = "Restore the file, or start a new run in another folder."
        return self._read(self.config_file, "it holds no config.json, so no run was ever started in it", remedy, {})

    def read_result(self) -> dict[str, object]:
        """The result of the finished run that is in the folder.

        Returns:
            The content of `result.json`; who asks it for a field that it lacks gets a RunError.

        Raises:
            RunError: if the run is not finished, or the file is damaged.
        """
        remedy = f"`sst evaluate {self.path}` writes it anew."
        fields = {"steps": int, "seconds": int | float}
        why_not = "it holds no result.json, so its run is not finished"
        content = self._read(self.result_file, why_not, remedy, fields)
        for name, value in content.items():
            if "/" in name and not has_type(value, float | None):
                raise RunError(f"{self.result_file}: found {value!r} as {name}, expected a number or null. {remedy}")
        return _Fields(self.result_file, remedy, content)

    def trial(self, index: int) -> "RunFolder":
        """The folder of one of this run's trials.

        Args:
            index: the trial, from 0.

        Returns:
            A folder inside this one.
        """
        return RunFolder(self.path / "trials" / f"{index:02d}")

    def _read(self, file: Path, why_not: str, remedy: str, fields: Mapping[str, type | UnionType]) -> dict[str, object]:
        try:
            return read_object(file, remedy, fields)
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(f"{self.path}: {why_not}. Name the folder that --out named in `sst train`.") from None

    def _enter(self, config: dict[str, object], *, resume: bool) -> RunState:
        for folder in (self.path, self.best.parent):
            remove_partial_files(folder)
        if not self.config_file.exists():
            refuse_foreign_files(self.path, {".lock", "checkpoints"}, "run")
            write_json(self.config_file, config)
            return RunState.NEW
        if not resume:
            raise RunError(
                f"--out {self.path}: the folder already holds a run and nothing in it was touched. "
                "Add --resume to continue that run, or choose another --out to start a new one."
            )
        self._refuse_other_config(config)
        return RunState.FINISHED if self.result_file.exists() else RunState.STARTED

    def _refuse_other_config(self, config: dict[str, object]) -> None:
        different = differences(self.read_config(), config)
        if different:
            raise RunError(
                f"--out {self.path}: the run in the folder has another configuration: {'; '.join(different)}. "
                "Repeat the command that started it, or choose another --out."
            )


def refuse_foreign_files(path: Path, ours: Collection[str], kind: str) -> None:
    """Refuse to begin in a folder in which somebody keeps something else.

    Args:
        path: the folder.
        ours: names of what may be there already.
        kind: of what is to begin, in a word.

    Raises:
        RunError: if there is anything else.
    """
    foreign = sorted(name for name in os.listdir(path) if name not in ours)
    if foreign:
        listed = ", ".join([*foreign[:3], *(["…"] if foreign[3:] else [])])
        raise RunError(
            f"--out {path}: the folder is not empty ({listed}) and holds no {kind}. Choose a new or an empty folder."
        )


class _Fields(dict[str, object]):
    # A result that another version wrote, or somebody changed, may lack what a report shows.

    def __init__(self, file: Path, remedy: str, content: Mapping[str, object]) -> None:
        super().__init__(content)
        self._file, self._remedy = file, remedy

    def __missing__(self, name: str) -> object:
        raise RunError(f"{self._file}: found nothing in the field {name!r}. {self._remedy}")


def take_lock(path: Path) -> IO[str]:
    """Keep other processes out of a folder until the file that is returned is closed, or this process ends.

    Args:
        path: the folder.

    Returns:
        The open file `.lock`.

    Raises:
        FolderInUseError: if another process has it.
        RunError: if the folder cannot be written.
    """
    with writing_to(path):
        lock = (path / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise FolderInUseError(
            f"--out {path}: another process is training in it. Wait for it, end it, or choose another folder."
        ) from None
    return lock


@contextlib.contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Explain to whoever named a folder why it cannot be written.

    Args:
        path: the folder.

    Yields:
        Once, to create or write what is in it.

    Raises:
        RunError: if the system refuses.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"--out {path}: cannot write there ({error.strerror or error}). "
            "Choose a folder that you may create and write."
        ) from None


def differences(there: Mapping[str, object], here: Mapping[str, object]) -> list[str]:
    """What differs between a configuration on disk and the one that was asked for.

    Args:
        there: that on disk.
        here: the other.

    Returns:
        A clause for each name that does not have the same value in both.

    Example:
        >>> differences({"lr": 0.1, "seed": 0}, {"lr": 0.2, "seed": 0})
        ['lr is 0.1 there and 0.2 here']
    """
    absent = "(absent)"
    return [
        f"{name} is {there.get(name, absent)!r} there and {here.get(name, absent)!r} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name, absent) != here.get(name, absent)
    ]
