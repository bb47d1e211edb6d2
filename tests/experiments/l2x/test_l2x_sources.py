import gzip
import json

import numpy as np
import pytest
import torch
from sources import write_beer, write_hotels

from sstricks import cli
from sstricks.experiments.l2x.beer import beer_corpus
from sstricks.experiments.l2x.corpus import read_splits, read_vocabulary, write_corpus
from sstricks.experiments.l2x.hotels import hotel_corpus, least_explained
from sstricks.experiments.l2x.synthetic import ASPECTS, synthetic_corpus
from sstricks.experiments.runs.errors import RunError


def words(corpus, reviews, number):
    return [corpus.vocabulary[word] for word in reviews.take(torch.tensor([number])).words.tolist()]


def test_the_least_explained_are_those_off_the_line():
    generator = np.random.default_rng(0)
    x = generator.random((200, 2))
    y = x @ [0.5, 0.2] + 0.1
    y[::10] += 0.3
    chosen = least_explained(np.column_stack([x[:, 0], y, x[:, 1]]), 1, 20, generator)
    assert sorted(chosen.tolist()) == list(range(0, 200, 10))


def test_hotels_are_the_reviews_that_the_others_do_not_explain(tmp_path):
    rows = [row["ratings"] for row in write_hotels(tmp_path, count=400) if row["ratings"]["rooms"] > 0]
    others, service = (np.array([row[name] / 5 for row in rows]) for name in ("location", "service"))
    slope, start = np.polyfit(others, service, 1)
    largest = np.sort(np.abs(service - slope * others - start))[-100:]
    corpus = hotel_corpus(tmp_path, 70, 20, 10, seed=0)
    splits = corpus.aspects["service"]
    errors = splits.test.take((~splits.test.annotated).nonzero().flatten())
    assert (len(splits.train), len(splits.valid), len(errors)) == (70, 20, 10)
    found = []
    for reviews in (splits.train, splits.valid, errors):
        assert not reviews.annotated.any()
        for number, rating in enumerate(reviews.ratings.tolist()):
            text = words(corpus, reviews, number)
            staff, rest = (int(text[text.index(word) + offset]) / 5 for word, offset in (("staff", 2), ("rest", 1)))
            assert staff == pytest.approx(rating)
            found.append(abs(staff - slope * rest - start))
    assert sorted(found) == pytest.approx(largest.tolist())


def test_annotated_hotels_have_a_rating_and_a_relevant_sentence(tmp_path):
    write_hotels(tmp_path)
    corpus = hotel_corpus(tmp_path, 30, 4, 5, seed=0)
    tests = {aspect: splits.test.take(torch.arange(5, len(splits.test))) for aspect, splits in corpus.aspects.items()}
    assert all(test.annotated.all() for test in tests.values())
    assert {aspect: len(test) for aspect, test in tests.items()} == {
        "service": 1,
        "location": 0,  # which nobody rated
        "rooms": 1,
        "cleanliness": 1,
    }
    assert tests["service"].ratings.isnan().all()  # so that they count for the precision only
    assert tests["service"].relevant.tolist() == [True] * 6 + [False] * 9
    assert tests["rooms"].relevant.tolist() == tests["cleanliness"].relevant.tolist() == [False] * 10 + [True] * 5


def test_hotels_are_the_same_for_the_same_seed(tmp_path):
    write_hotels(tmp_path)
    once, again, other = (hotel_corpus(tmp_path, 8, 4, 2, seed).aspects["service"].train for seed in (0, 0, 1))
    assert torch.equal(once.words, again.words)
    assert not torch.equal(once.words, other.words)


def test_missing_or_few_hotels_are_told(tmp_path):
    with pytest.raises(RunError, match="cannot read"):
        hotel_corpus(tmp_path, 1, 1, 1, 0)
    write_hotels(tmp_path)
    with pytest.raises(RunError, match=r"has 54 reviews with all ratings\. Ask for fewer"):
        hotel_corpus(tmp_path, 52, 1, 2, 0)


@pytest.mark.parametrize("first", [0, 1])
def test_beer_is_read_as_published(tmp_path, first):
    write_beer(tmp_path, first=first)
    corpus = beer_corpus(tmp_path, seed=0)
    assert list(corpus.aspects) == ["appearance", "aroma"]
    appearance, aroma = corpus.aspects.values()
    assert [len(part) for part in (aroma.train, aroma.valid, aroma.test)] == [40, 5, 6 + 2]
    assert appearance.train.ratings[:3].tolist() == pytest.approx([0.0, 0.1, 0.2])
    assert aroma.train.ratings.unique().tolist() == [0.5]
    assert words(corpus, appearance.train, 0)[:4] == ["pours", "a", "dark", "brown"]


def test_the_spans_of_beer_are_the_relevant_words(tmp_path):
    write_beer(tmp_path)
    corpus = beer_corpus(tmp_path, seed=0)
    appearance, aroma = (splits.test for splits in corpus.aspects.values())
    assert appearance.annotated.tolist() == aroma.annotated.tolist() == [False] * 6 + [True] * 2
    assert appearance.ratings.isnan().tolist() == [False] * 6 + [True] * 2
    spans = appearance.take(torch.tensor([6, 7]))
    assert spans.relevant.tolist() == [True] * 4 + [False] * 4 + [True] * 2
    assert aroma.take(torch.tensor([6, 7])).relevant.tolist() == [False] * 5 + [True] * 3 + [False] * 2


def test_beer_without_held_out_reviews_is_split(tmp_path):
    write_beer(tmp_path, heldout=False)
    aroma = beer_corpus(tmp_path, seed=0).aspects["aroma"]
    assert [len(part) for part in (aroma.train, aroma.valid, aroma.test)] == [32, 4, 4 + 2]


def test_beer_in_another_format_is_told(tmp_path):
    with pytest.raises(RunError, match=r"holds no reviews\.aspectN"):
        beer_corpus(tmp_path, 0)
    write_beer(tmp_path)
    (tmp_path / "annotations.json").write_text("{")
    with pytest.raises(RunError, match=r"annotations\.json"):
        beer_corpus(tmp_path, 0)


RATINGS = b"0.1 0.5 0.6 0.7 0.8"
BEER = "reviews.aspect1.train.txt.gz"
HOTELS, TESTS = "train_filtered.jsonl.gz", "annotated_test.jsonl.gz"


def row(**fields):
    return json.dumps(fields).encode()


def prepare(name, source, out, *more):
    few = ("hotels", "--train-reviews", "20", "--valid-reviews", "4", "--test-reviews", "3")
    return cli.main(
        ["prepare", *(few if name in (HOTELS, TESTS) else ("beer",)), "--source", str(source), "--out", str(out)]
    )


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        (BEER, b"4 3 2 1 5\ttoo much", "the rating of appearance is 4.0, expected a number in [0, 1]"),
        (BEER, b"nan 1 1 1 1\tnone", "the rating of appearance is nan, expected a number in [0, 1]"),
        (BEER, b"0.1 0.5\tshort", "found 2 ratings, expected 5, a tab and tokens"),
        (BEER, RATINGS + b" no tab", "could not convert string to float: 'no'"),
        (BEER, b"a b c d e\twords", "could not convert string to float: 'a'"),
        ("annotations.json", b"5", "the line is 5, expected an object"),
        ("annotations.json", row(y=[1]), "the line has no 'x'"),
        ("annotations.json", row(x="pours"), "'x' of the line is 'pours', expected list"),
        ("annotations.json", row(x=[1]), "a token of 'x' is 1, expected str"),
        ("annotations.json", row(x=["a"], **{"1": 5}), "'1' is 5, expected list"),
        ("annotations.json", row(x=["a"], **{"1": [[0]]}), "a span of '1' is [0], expected two integers"),
        ("annotations.json", row(x=["a"], **{"4": [["a", "b"]]}), "a span of '4' is ['a', 'b'], expected two integers"),
        (HOTELS, b"[]", "the line is [], expected an object"),
        (HOTELS, row(text="clean"), "the line has no 'ratings'"),
        (HOTELS, row(text=None, ratings={}), "'text' of the line is None, expected str"),
        (HOTELS, row(text="clean", ratings={"rooms": None}), "the rating of rooms is None, expected int | float"),
        (TESTS, row(), "the line has no 'stars'"),
        (TESTS, row(stars={}, sentences=[5]), "a sentence is 5, expected an object"),
        (TESTS, row(stars={}, sentences=[{"tokens": ["a"]}]), "a sentence has no 'opinions'"),
        (TESTS, row(stars={}, sentences=[{"tokens": [1], "opinions": []}]), "a token is 1, expected str"),
        (TESTS, row(stars={}, sentences=[{"tokens": [], "opinions": [{}]}]), "an opinion has no 'category'"),
    ],
)
def test_a_line_that_is_something_else_is_named(tmp_path, capsys, name, line, message):
    write_beer(tmp_path)
    write_hotels(tmp_path)
    file = tmp_path / name
    content = file.read_bytes() if file.suffix == ".json" else gzip.decompress(file.read_bytes())
    number = content.count(b"\n") + 1
    content += line + b"\n"
    file.write_bytes(content if file.suffix == ".json" else gzip.compress(content))
    out = tmp_path / "out"
    assert prepare(name, tmp_path, out) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{file}: line {number}: {message}" in said
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
def test_a_damaged_source_is_named(tmp_path, capsys, name, damage):
    write_beer(tmp_path)
    write_hotels(tmp_path, count=400)
    file = tmp_path / name
    file.write_bytes(damage(file.read_bytes()))
    out = tmp_path / "out"
    assert prepare(name, tmp_path, out) == 2
    assert f"--source: cannot read {file}" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


@pytest.mark.parametrize(("source", "name"), [("hotels", HOTELS), ("beer", BEER), ("synthetic", "")])
def test_any_seed_is_taken_but_a_negative_one(tmp_path, capsys, source, name):
    write_beer(tmp_path)
    write_hotels(tmp_path)
    given = () if source == "synthetic" else ("--source", str(tmp_path))
    if name:
        assert prepare(name, tmp_path, tmp_path / "large", "--seed", str(10**30)) == 0
    assert cli.main(["prepare", source, *given, "--out", str(tmp_path / "out"), "--seed", "-1"]) == 2
    assert "--seed is -1, expected at least 0" in capsys.readouterr().err


def test_made_up_ratings_are_what_the_sentences_say():
    corpus = synthetic_corpus(300, 10, 20, seed=0)
    good = {"friendly", "helpful", "attentive", "prompt", "courteous"}
    service = corpus.aspects["service"].train
    shares = [len(good & set(words(corpus, service, n))) > 0 for n in range(300)]
    ratings = service.ratings
    assert not any(share for share, rating in zip(shares, ratings.tolist(), strict=True) if rating == 0)
    assert all(share for share, rating in zip(shares, ratings.tolist(), strict=True) if rating == 1)
    test = corpus.aspects["service"].test
    assert test.annotated.all()
    assert 0.1 < test.relevant.float().mean() < 0.35
    assert not corpus.aspects["rooms"].train.annotated.any()


def test_a_corpus_survives_the_disk(tmp_path):
    corpus = synthetic_corpus(20, 5, 6, seed=1)
    write_corpus(corpus, tmp_path / "data")
    assert read_vocabulary(tmp_path / "data") == corpus.vocabulary
    for aspect in ASPECTS:
        splits, expected = read_splits(tmp_path / "data", aspect), corpus.aspects[aspect]
        for split in ("train", "valid", "test"):
            for name in ("words", "offsets", "ratings", "relevant", "annotated"):
                assert torch.equal(getattr(getattr(splits, split), name), getattr(getattr(expected, split), name))
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert manifest["aspects"]["rooms"] == {"train": 20, "valid": 5, "test": 6}


def test_changed_data_wrong_aspects_and_full_folders_are_refused(tmp_path):
    corpus = synthetic_corpus(20, 5, 6, seed=1)
    write_corpus(corpus, tmp_path)
    with pytest.raises(RunError, match="not empty"):
        write_corpus(corpus, tmp_path)
    with pytest.raises(RunError, match="has the aspects location, rooms, service"):
        read_splits(tmp_path, "taste")
    (tmp_path / "rooms.npz").write_bytes(b"other")
    with pytest.raises(RunError, match=r"rooms\.npz is missing or was changed"):
        read_splits(tmp_path, "rooms")
    with pytest.raises(RunError, match=r"holds no manifest\.json"):
        read_vocabulary(tmp_path / "nothing")


def test_the_command_prepares_each_source(tmp_path, capsys):
    write_hotels(tmp_path)
    hotels = ("--source", str(tmp_path), "--train-reviews", "20", "--valid-reviews", "4", "--test-reviews", "3")
    assert cli.main(["prepare", "hotels", *hotels, "--out", str(tmp_path / "h")]) == 0
    assert "service: 20 training, 4 validation, 4 test reviews (1 annotated)" in capsys.readouterr().out
    write_beer(tmp_path)
    assert cli.main(["prepare", "beer", "--source", str(tmp_path), "--out", str(tmp_path / "b")]) == 0
    assert "aroma: 40 training, 5 validation, 8 test reviews (2 annotated)" in capsys.readouterr().out
    made_up = ("--train-reviews", "30", "--valid-reviews", "5", "--test-reviews", "5")
    assert cli.main(["prepare", "synthetic", *made_up, "--out", str(tmp_path / "s")]) == 0
    assert "rooms: 30 training" in capsys.readouterr().out
    assert cli.main(["prepare", "synthetic", "--out", str(tmp_path / "s")]) == 2
