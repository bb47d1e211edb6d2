"""Explanations in a terminal, as a page and as a picture; what `sst` refuses to do with reviews and runs."""

from pathlib import Path

import pytest
from rich.console import Console

import sstricks_cli as cli
from sstricks.recipes.l2x import Explain

TEXT = "The Staff wasn't friendly <really>, sad."
SMALL = ("--batch-size", "20", "--steps", "4", "--valid-every", "2", "--aspect", "rooms", "--embeddings", "random")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("cli") / "data")
    sizes = ("--train-reviews", "60", "--valid-reviews", "20", "--test-reviews", "20")
    assert cli.main(["prepare", "synthetic", *sizes, "--out", folder]) == 0
    return folder


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    folders = {}
    for relaxation in ("corr-top-k", "ef-top-k"):
        folders[relaxation] = str(tmp_path_factory.mktemp("cli") / relaxation)
        options = ("--relaxation", relaxation, "--k", "5", "--out", folders[relaxation])
        assert cli.main(["train", "l2x", "--data", data, *options, *SMALL]) == 0
    return folders


@pytest.fixture
def explained(capsys):
    def explain(*arguments):
        assert cli.main(["explain", *arguments]) == 0
        return capsys.readouterr().out

    return explain


def test_help_names_the_choices(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "l2x", "--help"])
    printed = capsys.readouterr().out
    options = ("--data PATH", "--aspect", "soft-sub", "corr-top-k", "finite-difference", "--embeddings", "--lr FLOAT")
    assert all(text in printed for text in options)


def test_a_text_is_explained_in_brackets_on_a_page_and_in_a_picture(runs, tmp_path, explained):
    page, picture = tmp_path / "page.html", tmp_path / "picture.png"
    files = ("--html", str(page), "--picture", str(picture), "--beside", runs["ef-top-k"])
    printed = " ".join(explained(runs["corr-top-k"], TEXT, *files).split())
    assert "corr-top-k, k = 5: rooms rated" in printed
    assert printed.replace("[", "").replace("]", "").count(TEXT) == 2
    assert 2 <= printed.count("[") <= 10
    content = page.read_text()
    assert content.count("text-decoration: underline") == printed.count("[")
    assert content.index("#d55e00") < content.index("#0072b2")
    assert "&lt;" in content
    assert "<really" not in content
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert "from 5 words" in explained(runs["ef-top-k"], "--review", "3")


def test_runs_of_words_are_coloured_with_what_is_between_them(runs):
    console = Console(force_terminal=True, width=100, color_system="truecolor")
    with console.capture() as capture:
        Explain(Path(runs["corr-top-k"]), text="wasn't sad").run(console)  # of which all three words are selected
    assert "\x1b[1;4;38;2;213;94;0mwasn't sad\x1b[0m" in capture.get()
    assert "from 3 words" in capture.get()


def test_models_that_differ_in_their_encoder_or_gradient_are_told_apart(runs, data, tmp_path, explained):
    options = ("--encoder", "complex", "--gradient", "finite-difference", "--k", "5", "--out", str(tmp_path))
    assert cli.main(["train", "l2x", "--data", data, *options, *SMALL]) == 0
    printed = explained(runs["corr-top-k"], "staff", "--beside", str(tmp_path))
    assert "corr-top-k, k = 5: rooms rated" in printed
    assert "corr-top-k, k = 5, complex encoder, finite differences: rooms rated" in printed
    assert "from 1 word\n" in printed
    same = " ".join(explained(runs["corr-top-k"], "staff", "--beside", runs["corr-top-k"]).split())
    assert f"k = 5 ({runs['corr-top-k']}): rooms rated" in same


def test_words_that_are_not_read_or_not_known_are_told(runs, explained):
    printed = explained(runs["corr-top-k"], "the room was qzxwv and vwxzq qzxwv")
    assert "3 of 7 words are unknown and all the same to the model: qzxwv vwxzq\n" in printed
    printed = " ".join(explained(runs["ef-top-k"], "room " * 351).split())
    assert "Only the first 350 of 351 words are read" in printed
    assert "unknown" not in printed
    printed = explained(runs["ef-top-k"], " ".join("q" + chr(97 + n) for n in range(11)))
    assert printed.rstrip().endswith("qj …")


def test_a_long_review_is_drawn_in_lines_and_dollars_as_they_are(runs, tmp_path, explained):
    picture, heights = tmp_path / "picture.png", []
    for text in ("Paid $40_^ for a $room_", "a long review " * 40):
        explained(runs["ef-top-k"], text, "--picture", str(picture), "--force")
        heights.append(int.from_bytes(picture.read_bytes()[20:24], "big"))
    assert heights[1] > 2 * heights[0]
    explained(runs["ef-top-k"], "--picture", str(picture.with_suffix(".svg")), "--beside", runs["corr-top-k"])
    assert picture.with_suffix(".svg").stat().st_size > 0


TRAIN = ["train", "l2x", "--data", "{data}", "--aspect", "rooms", "--out", "{out}"]
PREPARE = ["prepare", "synthetic", "--out", "{out}"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([*TRAIN, "--aspect", "taste"], "has the aspects location"),
        ([*TRAIN, "--clip", "inf"], "clip is inf"),
        (["train", "l2x", "--data", "{out}", "--out", "{out}"], "holds no manifest.json"),
        (["explain", "{out}", "text"], "no run was ever started"),
        (["explain", "{run}", " "], "has no words"),
        (["explain", "{run}", "room", "--html", "{out}/page.html"], "the folder {out} does not exist"),
        (["explain", "{run}", "room", "--picture", "{out}"], "--picture {out}: found the suffix ''"),
        (["explain", "{run}", "room", "--picture", "{run}/curves.png"], "curves.png: it exists and was not touched"),
        (["explain", "{other}", "room"], "config.json: the run is of experiment 'nri', expected 'l2x'"),
        (["explain", "{run}", "--review", "20"], "there are 20 test reviews"),
        (["reference", "--data", "{data}", "--aspect", "rooms", "--k", "0"], "expected at least 1"),
        ([*PREPARE, "--train-reviews", "0"], "--train-reviews is 0, expected at least 1"),
        ([*PREPARE, "--seed", "-1"], "--seed is -1, expected at least 0"),
        ([*PREPARE, "--valid-reviews", "1"], "--valid-reviews is 1, expected at least 2"),
    ],
)
def test_what_cannot_be_done_is_told(data, runs, tmp_path, capsys, command, message):
    places = {"data": data, "out": str(tmp_path / "out"), "run": runs["ef-top-k"], "other": str(tmp_path / "other")}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"experiment": "nri"}')
    assert cli.main([word.format(**places) for word in command]) == 2
    assert message.format(**places) in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
