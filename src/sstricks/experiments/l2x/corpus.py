"""The one format of prepared reviews, whatever their source: a folder that `sst prepare` writes and training reads."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sstricks.experiments.l2x.reviews import Reviews
from sstricks.experiments.l2x.text import Vocabulary
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.files import read_object, write_atomically, write_json

SOURCES: Mapping[str, str] = {"hotels": "hotel reviews", "beer": "BeerAdvocate", "synthetic": "made-up reviews"}
"""Where reviews come from, in words."""

_FORMAT = 1
_MANIFEST, _VOCABULARY = "manifest.json", "vocabulary.json"
_FIELDS = {"format": int, "source": str, "aspects": dict, "sha256": dict}
_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Splits:
    """The reviews of one aspect.

    Attributes:
        train: to learn from.
        valid: to choose checkpoints and hyperparameters by.
        test: to measure on. Errors are of those with a rating, precision is of those that are annotated.
    """

    train: Reviews
    valid: Reviews
    test: Reviews


@dataclass(frozen=True)
class Corpus:
    """Reviews of several aspects over one vocabulary.

    Attributes:
        source: where they come from, one of `SOURCES`.
        vocabulary: of the training reviews.
        aspects: by name.
    """

    source: str
    vocabulary: Vocabulary
    aspects: Mapping[str, Splits]


def write_corpus(corpus: Corpus, folder: Path) -> None:
    """Write prepared reviews to a folder: a vocabulary, one compressed file for each aspect, a manifest with checksums.

    Args:
        corpus: what to write.
        folder: new or empty.

    Raises:
        RunError: if there is something in the folder, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise RunError(f"--out {folder}: cannot write there ({error.strerror or error}).") from None
    if present:
        raise RunError(f"--out {folder}: the folder is not empty ({present[0]}, …). Choose a new or an empty one.")
    contents = {_VOCABULARY: json.dumps(corpus.vocabulary.words).encode()}
    contents |= {f"{aspect}.npz": _encode(splits) for aspect, splits in corpus.aspects.items()}
    for name, content in contents.items():
        write_atomically(folder / name, lambda file, content=content: file.write(content))
    sizes = {
        aspect: {name: len(getattr(splits, name)) for name in _SPLITS} for aspect, splits in corpus.aspects.items()
    }
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = {"format": _FORMAT, "source": corpus.source, "aspects": sizes, "sha256": checksums}
    write_json(folder / _MANIFEST, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a prepared folder holds.

    Args:
        folder: that `write_corpus` wrote.

    Returns:
        The source, the sizes of each aspect's splits and the checksums.

    Raises:
        RunError: if the folder is no such folder, or the manifest is damaged.
    """
    try:
        manifest = read_object(folder / _MANIFEST, "Prepare the data again.", _FIELDS)
    except FileNotFoundError:
        raise RunError(f"--data {folder}: it holds no {_MANIFEST}. Make such a folder with `sst prepare`.") from None
    if manifest.get("format") != _FORMAT:
        raise RunError(
            f"--data {folder}: its format is {manifest.get('format')}, expected {_FORMAT}. Prepare the data again."
        )
    for aspect in manifest["aspects"]:
        if f"{aspect}.npz" not in manifest["sha256"]:
            raise RunError(f"{folder / _MANIFEST}: found no checksum of {aspect}.npz. Prepare the data again.")
    return manifest


def read_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary of a prepared folder.

    Args:
        folder: that `write_corpus` wrote.

    Returns:
        The vocabulary.

    Raises:
        RunError: if the folder is no such folder, or the file was changed.
    """
    return Vocabulary(tuple(json.loads(_checked(folder, _VOCABULARY))))


def read_splits(folder: Path, aspect: str) -> Splits:
    """The reviews of an aspect.

    Args:
        folder: that `write_corpus` wrote.
        aspect: one of those in it.

    Returns:
        Its splits.

    Raises:
        RunError: if the folder is no such folder, has no such aspect, or the file was changed.
    """
    check_aspect(folder, aspect)
    with np.load(io.BytesIO(_checked(folder, f"{aspect}.npz"))) as arrays:
        return Splits(*(Reviews(*(torch.from_numpy(arrays[name]) for name in _names(split))) for split in _SPLITS))


def digest_of(folder: Path, aspect: str) -> str:
    """What tells the reviews of an aspect from any others.

    Args:
        folder: that `write_corpus` wrote.
        aspect: one of those in it.

    Returns:
        The checksum of their file.

    Raises:
        RunError: if the folder is no such folder, or has no such aspect.
    """
    check_aspect(folder, aspect)
    return read_manifest(folder)["sha256"][f"{aspect}.npz"]


def check_aspect(folder: Path, aspect: str) -> None:
    """Refuse an aspect that a prepared folder does not have.

    Args:
        folder: that `write_corpus` wrote.
        aspect: the name to look for.

    Raises:
        RunError: if it is not there, or the folder is no such folder.
    """
    aspects = sorted(read_manifest(folder)["aspects"])
    if aspect not in aspects:
        raise RunError(f"--aspect {aspect}: {folder} has the aspects {', '.join(aspects)}. Name one of them.")


def _names(split: str) -> list[str]:
    return [f"{split}_{name}" for name in Reviews.__dataclass_fields__]


def _encode(splits: Splits) -> bytes:
    arrays = {
        f"{split}_{name}": getattr(getattr(splits, split), name).numpy()
        for split in _SPLITS
        for name in Reviews.__dataclass_fields__
    }
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]  numpy's stub takes a bool there too
    return file.getvalue()


def _checked(folder: Path, name: str) -> bytes:
    expected = read_manifest(folder)["sha256"].get(name)
    try:
        content = (folder / name).read_bytes()
    except FileNotFoundError:
        content = b""
    if hashlib.sha256(content).hexdigest() != expected:
        raise RunError(f"--data {folder}: {name} is missing or was changed since. Prepare the data again.")
    return content
