import pytest
from rich.console import Console

from sstricks import cli
from sstricks.experiments.l2x.corpus import write_corpus
from sstricks.experiments.l2x.explanation import Explanation, Review
from sstricks.experiments.l2x.highlight import draw_explanations, heading, plain_text, spans, terminal_text, write_html
from sstricks.experiments.l2x.synthetic import synthetic_corpus

TEXT = "The Staff wasn't friendly <really>, sad."
SMALL = ("--batch-size", "20", "--steps", "4", "--valid-every", "2", "--aspect", "rooms", "--embeddings", "random")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "data"
    write_corpus(synthetic_corpus(60, 20, 20, seed=0), folder)
    return str(folder)


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    folders = {}
    for relaxation in ("corr-top-k", "ef-top-k"):
        folders[relaxation] = str(tmp_path_factory.mktemp("cli") / relaxation)
        options = ("--relaxation", relaxation, "--k", "5", "--out", folders[relaxation])
        assert cli.main(["train", "l2x", "--data", data, *options, *SMALL]) == 0
    return folders


def explanation(review, words, relaxation="corr-top-k"):
    selected = [token.text in words for token in review.tokens]
    return Explanation(relaxation, 3, "service", selected, 0.25, len(selected), ())


def test_help_names_the_choices(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "l2x", "--help"])
    printed = capsys.readouterr().out
    for text in ("--aspect", "soft-sub", "corr-top-k", "--encoder", "finite-difference", "--embeddings", "--lr FLOAT"):
        assert text in printed
    for command in ("explain", "prepare", "reference"):
        with pytest.raises(SystemExit) as stop:
            cli.main([command, "--help"])
        assert stop.value.code == 0


def test_evaluation_prints_the_result_again(runs, capsys):
    assert cli.main(["evaluate", runs["corr-top-k"]]) == 0
    printed = capsys.readouterr().out
    assert "corr-top-k" in printed
    assert "words at random" in printed
    assert "random vectors" in " ".join(printed.split())


def test_a_finished_run_is_not_trained_again(runs, data, capsys):
    options = ("--relaxation", "ef-top-k", "--k", "5", "--out", runs["ef-top-k"], *SMALL)
    assert cli.main(["train", "l2x", "--data", data, *options]) == 2
    assert cli.main(["train", "l2x", "--data", data, *options, "--resume"]) == 0
    assert "nothing was trained" in capsys.readouterr().out


def test_explaining_a_text_and_a_test_review(runs, tmp_path, capsys):
    page, picture = tmp_path / "page.html", tmp_path / "picture.png"
    files = ("--html", str(page), "--picture", str(picture), "--beside", runs["ef-top-k"])
    assert cli.main(["explain", runs["corr-top-k"], TEXT, *files]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "corr-top-k, k = 5: rooms rated" in printed
    assert printed.replace("[", "").replace("]", "").count(TEXT) == 2
    assert 2 <= printed.count("[") <= 10
    assert page.read_text().count("<mark") == printed.count("[")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert cli.main(["explain", runs["ef-top-k"], "--review", "3"]) == 0
    assert "from 5 words" in capsys.readouterr().out


def test_models_that_differ_in_their_encoder_or_gradient_are_told_apart(runs, data, tmp_path, capsys):
    other = str(tmp_path / "other")
    options = ("--encoder", "complex", "--gradient", "finite-difference", "--k", "5", "--out", other)
    assert cli.main(["train", "l2x", "--data", data, *options, *SMALL]) == 0
    assert cli.main(["explain", runs["corr-top-k"], "staff", "--beside", other]) == 0
    printed = capsys.readouterr().out
    assert "corr-top-k, k = 5: rooms rated" in printed
    assert "corr-top-k, k = 5, complex encoder, finite differences: rooms rated" in printed
    assert "from 1 word\n" in printed


def test_a_short_text_is_its_own_explanation(runs, capsys):
    assert cli.main(["explain", runs["corr-top-k"], "nice room"]) == 0
    assert "from 2 words" in capsys.readouterr().out


def test_words_that_are_not_read_or_not_known_are_told(runs, capsys):
    assert cli.main(["explain", runs["corr-top-k"], "the room was qzxwv and vwxzq qzxwv"]) == 0
    assert "3 of 7 words are unknown and all the same to the model: qzxwv vwxzq\n" in capsys.readouterr().out
    assert cli.main(["explain", runs["ef-top-k"], "room " * 351]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Only the first 350 of 351 words are read" in printed
    assert "unknown" not in printed
    assert cli.main(["explain", runs["ef-top-k"], " ".join("q" + chr(97 + n) for n in range(11))]) == 0
    assert capsys.readouterr().out.rstrip().endswith("qj …")


def test_the_reference(data, capsys):
    assert cli.main(["reference", "--data", data, "--aspect", "rooms", "--k", "3"]) == 0
    assert "ridge on word indicators" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "l2x", "--data", "{data}", "--aspect", "taste", "--out", "{out}"], "has the aspects location"),
        (["train", "l2x", "--data", "{data}", "--aspect", "rooms", "--clip", "inf", "--out", "{out}"], "clip is inf"),
        (
            ["train", "l2x", "--data", "{data}", "--aspect", "rooms", "--lr-share", "inf", "--out", "{out}"],
            "lr_share is",
        ),
        (["train", "l2x", "--data", "{out}", "--out", "{out}"], "holds no manifest.json"),
        (["train", "l2x", "--data", "{data}", "--aspect", "rooms", "--k", "0", "--out", "{out}"], "k is 0"),
        (["explain", "{out}", "text"], "no run was ever started"),
        (["explain", "{run}", " "], "has no words"),
        (
            ["explain", "{run}", "room", "--html", "{out}/page.html"],
            "the folder {out} does not exist",
        ),
        (["explain", "{run}", "room", "--picture", "{out}.txt"], "found the suffix '.txt', expected one of .png"),
        (["explain", "{run}", "room", "--picture", "{out}"], "--picture {out}: found the suffix ''"),
        (["explain", "{run}", "room", "--picture", "{run}/curves.png"], "curves.png: it exists and was not touched"),
        (["explain", "{listops}", "room"], "config.json: the run is of experiment 'listops', expected 'l2x'"),
        (["explain", "{run}", "--review", "20"], "there are 20 test reviews"),
        (["reference", "--data", "{data}", "--aspect", "rooms", "--k", "0"], "expected at least 1"),
        (["prepare", "hotels", "--source", "{out}", "--out", "{out}/new"], "cannot read"),
        (
            ["prepare", "synthetic", "--out", "{out}", "--test-reviews", "-3"],
            "--test-reviews is -3, expected at least 1",
        ),
        (
            ["prepare", "synthetic", "--out", "{out}", "--train-reviews", "0"],
            "--train-reviews is 0, expected at least 1",
        ),
        (
            ["prepare", "synthetic", "--out", "{out}", "--valid-reviews", "1"],
            "--valid-reviews is 1, expected at least 2",
        ),
    ],
)
def test_what_cannot_be_done_is_told(data, runs, tmp_path, capsys, command, message):
    places = {"data": data, "out": str(tmp_path / "out"), "run": runs["ef-top-k"], "listops": str(tmp_path / "other")}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"experiment": "listops"}')
    assert cli.main([word.format(**places) for word in command]) == 2
    error = capsys.readouterr().err
    assert message.format(**places) in " ".join(error.split())
    assert not (tmp_path / "out").exists()


def test_runs_of_words_are_marked_with_what_is_between_them():
    review = Review.of(TEXT)
    marked = explanation(review, {"staff", "was", "n't", "sad"})
    assert [TEXT[start:end] for start, end in spans(review, marked)] == ["Staff wasn't", "sad"]
    assert heading(marked) == "corr-top-k, k = 3: service rated 0.25 of 1 from 4 words"
    assert plain_text(review, marked) == "The [Staff wasn't] friendly <really>, [sad]."
    console = Console(force_terminal=True, width=100, color_system="truecolor")
    with console.capture() as capture:
        console.print(terminal_text(review, marked))
    assert "\x1b[1;4;38;2;213;94;0mStaff wasn't\x1b[0m" in capture.get()


def test_html_is_escaped_and_coloured_by_model(tmp_path):
    review = Review.of(TEXT)
    pair = [explanation(review, {"really"}), explanation(review, {"staff"}, "ef-top-k")]
    write_html(review, pair, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert '">really</mark>&gt;, sad.' in page
    assert "&lt;<mark" in page
    assert page.index("#D55E00") < page.index("#0072B2")


def test_a_long_review_is_drawn_in_lines(tmp_path):
    heights = []
    for text in ("short review", "a long review " * 40):
        review = Review.of(text)
        path = draw_explanations(review, [explanation(review, {"review"})], tmp_path / "picture.png")
        heights.append(int.from_bytes(path.read_bytes()[20:24], "big"))
    assert heights[1] > 2 * heights[0]


def test_a_review_with_dollar_signs_is_drawn_as_it_is(tmp_path):
    review = Review.of("Paid $40_^ for a $room_")
    path = draw_explanations(review, [explanation(review, {"room", "$"})], tmp_path / "picture.png")
    assert path.stat().st_size > 0
