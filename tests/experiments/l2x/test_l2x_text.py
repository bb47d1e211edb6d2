import pytest

from sstricks.experiments.l2x.text import PAD, UNKNOWN, Vocabulary, tokenize, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("   ", []),
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
    for token in tokenize(text):
        assert token.text == text[token.start : token.end].replace("’", "'").lower()


def test_text_that_was_cut_up_and_joined_is_cut_up_alike():
    text = "We didn't like the hotel's pool: 40$ (too much)."
    assert words_of(" ".join(words_of(text))) == words_of(text)


def test_the_vocabulary_has_the_common_words_in_order():
    vocabulary = Vocabulary.of([["b", "a", "a"], ["a", "b", "c"], ["b", "d", "a"]], least=2)
    assert vocabulary.words == ("a", "b")
    assert len(vocabulary) == 4
    assert vocabulary.encode(["b", "a", "c", "nothing"]) == [3, 2, UNKNOWN, UNKNOWN]
    assert [vocabulary[number] for number in (PAD, UNKNOWN, 2, 3)] == ["<pad>", "<unknown>", "a", "b"]
