"""The data on disk: `listops.npz`, without the padding, and `metadata.json`, which is written last."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sstricks.experiments.listops.data import Specification, Splits, checksum, make_splits
from sstricks.experiments.listops.expressions import Expressions, read
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.files import PARTIAL, write_atomically, write_json

_DATA, _METADATA = "listops.npz", "metadata.json"
_SPLITS = ("train", "valid", "test")


def load_or_make(specification: Specification, folder: Path) -> Splits:
    """The data of a specification, from a folder, which is filled if it is new or empty.

    Nothing is ever overwritten: a folder that holds other data, or anything else, is refused.

    Args:
        specification: sizes, bounds and seed.
        folder: where the data is or shall be.

    Returns:
        The splits.

    Raises:
        RunError: if the folder cannot be used, holds something else, or data that is of another specification or
            damaged.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = {name for name in os.listdir(folder) if not name.startswith(PARTIAL)}
        if _METADATA in present:
            return _load(specification, folder)
        if present - {_DATA}:
            raise RunError(
                f"{folder}: the folder is not empty ({', '.join(sorted(present)[:3])}) and holds no ListOps data. "
                "Choose a new or an empty folder."
            )
        splits = make_splits(specification)
        save(splits, folder)
    except OSError as error:
        raise RunError(
            f"{folder}: cannot read or write there ({error.strerror or error}). Choose a folder that you may write."
        ) from None
    return splits


def save(splits: Splits, folder: Path) -> None:
    """Write the splits and their metadata.

    Args:
        splits: what to write.
        folder: an existing folder; files of the same names are replaced.
    """
    arrays: dict[str, Any] = {}
    for name in _SPLITS:
        part: Expressions = getattr(splits, name)
        arrays[f"{name}_tokens"] = part.tokens[part.tokens > 0].numpy()
        arrays[f"{name}_lengths"] = part.lengths.numpy().astype(np.uint8)
        arrays[f"{name}_answers"] = part.answers.numpy().astype(np.uint8)
    write_atomically(folder / _DATA, lambda file: np.savez_compressed(file, **arrays))
    write_json(folder / _METADATA, splits.metadata)


def _load(specification: Specification, folder: Path) -> Splits:
    try:
        metadata = json.loads((folder / _METADATA).read_text())
        _refuse_other_data(specification, metadata, folder)
        with (folder / _DATA).open("rb") as file, np.load(file) as arrays:
            splits = {
                name: _padded(arrays[f"{name}_tokens"], arrays[f"{name}_lengths"], specification.max_length)
                for name in _SPLITS
            }
            answers = [arrays[f"{name}_answers"] for name in _SPLITS]
        found = checksum(*splits.values())
        same = all((part.answers.numpy() == a).all() for part, a in zip(splits.values(), answers, strict=True))
        if found != metadata["checksum"] or not same:
            raise ValueError(f"its checksum is {found}")
    except RunError:
        raise
    except Exception as error:  # whatever json, zipfile and numpy say of broken files
        raise RunError(
            f"{folder}: the data is damaged ({error}). Delete {_DATA} and {_METADATA}; "
            "the same command makes them again."
        ) from None
    return Splits(**splits, metadata=metadata)


def _refuse_other_data(specification: Specification, metadata: dict[str, Any], folder: Path) -> None:
    there, here = metadata["specification"], dataclasses.asdict(specification)
    different = [
        f"{name} is {there.get(name)} there and {here[name]} here" for name in here if there.get(name) != here[name]
    ]
    if different:
        raise RunError(f"{folder}: it holds other data: {'; '.join(different)}. Choose another folder.")


def _padded(tokens: NDArray[np.uint8], lengths: NDArray[np.uint8], width: int) -> Expressions:
    padded = np.zeros((len(lengths), width), np.uint8)
    padded[np.arange(width) < lengths[:, None]] = tokens
    return read(padded, lengths.astype(np.int64))
