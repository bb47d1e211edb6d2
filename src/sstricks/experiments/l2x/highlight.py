"""A review with the selected words marked: in a terminal, as HTML, as a picture like the paper's Fig. 4."""

import html
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.text import Text

from sstricks.experiments.l2x.explanation import Explanation, Review
from sstricks.experiments.runs.files import write_atomically
from sstricks.experiments.runs.pictures import CORRECT, FALSE, INK, save_figure

_CORRELATED = "corr-top-k"
_LIGHT = {CORRECT: "#CFE6F5", FALSE: "#FBDFCC"}
_COLUMNS, _WIDTH, _LINE = 92, 0.077, 0.27  # characters of a line, inches of one, inches between lines
_NAMED = 10  # of the unknown words


def color_of(explanation: Explanation) -> str:
    """The colour of a model's words: red where words are correlated, blue where not, as in Fig. 4.

    Args:
        explanation: by the model.

    Returns:
        A colour that the colour-blind can tell from the other.
    """
    return FALSE if explanation.relaxation == _CORRELATED else CORRECT


def heading(explanation: Explanation) -> str:
    """What a model is and what it predicts, in a line.

    Args:
        explanation: by the model.

    Returns:
        A line of text.
    """
    e = explanation
    count = sum(e.selected)
    model = ", ".join((e.relaxation, f"k = {e.k}", *e.variant))
    return f"{model}: {e.aspect} rated {e.rating:.2f} of 1 from {count} {'word' if count == 1 else 'words'}"


def reservations(review: Review, explanation: Explanation) -> list[str]:
    """What one should know of a model's reading of a review before believing it.

    Args:
        review: what was explained.
        explanation: the selection.

    Returns:
        A sentence each for words that it does not read and for those that it cannot tell apart.
    """
    e, said = explanation, []
    if e.read < len(review.tokens):
        said.append(f"Only the first {e.read} of {len(review.tokens)} words are read (--max-words in training).")
    if e.unknown:
        different = list(dict.fromkeys(e.unknown))
        some = " ".join([*different[:_NAMED], *["…"] * (len(different) > _NAMED)])
        said.append(f"{len(e.unknown)} of {e.read} words are unknown and all the same to the model: {some}")
    return said


def terminal_text(review: Review, explanation: Explanation) -> Text:
    """The review for a terminal: runs of selected words are coloured, bold and underlined, with what is between them.

    Args:
        review: what was explained.
        explanation: the selection.

    Returns:
        What a console prints.
    """
    text = Text(review.text)
    for start, end in spans(review, explanation):
        text.stylize(f"bold underline {color_of(explanation)}", start, end)
    return text


def plain_text(review: Review, explanation: Explanation) -> str:
    """The review for a file or a pipe: runs of selected words are in brackets.

    Args:
        review: what was explained.
        explanation: the selection.

    Returns:
        The text.
    """
    marked, place = "", 0
    for start, end in spans(review, explanation):
        marked += f"{review.text[place:start]}[{review.text[start:end]}]"
        place = end
    return marked + review.text[place:]


def write_html(review: Review, explanations: Sequence[Explanation], path: Path) -> None:
    """Write a page that has the review once for each model, with its words marked.

    Args:
        review: what was explained.
        explanations: the selections.
        path: the file to create or replace.
    """
    parts = []
    for explanation in explanations:
        color, place, body = color_of(explanation), 0, ""
        for start, end in spans(review, explanation):
            body += html.escape(review.text[place:start])
            body += f'<mark style="background: {_LIGHT[color]}; color: {color}; font-weight: bold">'
            body += f"{html.escape(review.text[start:end])}</mark>"
            place = end
        parts.append(f"<h2>{html.escape(heading(explanation))}</h2>\n<p>{body}{html.escape(review.text[place:])}</p>")
    page = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>The words that explain a rating</title>\n'
        "<style>body { max-width: 42em; margin: 2em auto; font: 1rem/1.6 sans-serif } h2 { font-size: 1rem }</style>\n"
        + "\n".join(parts)
        + "\n</html>\n"
    )
    write_atomically(path, lambda file: file.write(page.encode()))


def draw_explanations(review: Review, explanations: Sequence[Explanation], path: Path) -> Path:
    """Draw the review once for each model, with its words in colour and underlined (Fig. 4).

    Args:
        review: what was explained.
        explanations: the selections.
        path: the PNG to write.

    Returns:
        The path.
    """
    from matplotlib.figure import Figure  # takes a second to load

    lines = list(_lines(review))
    height = _LINE * (len(lines) + 2) * len(explanations) + 0.2
    figure = Figure(figsize=(_WIDTH * _COLUMNS + 0.4, height))
    top = height - 0.2
    for explanation in explanations:
        color = color_of(explanation)
        figure.text(0.02, top / height, heading(explanation), fontsize=9, color=color, weight="bold", va="top")
        top -= _LINE
        inside = [False] * len(review.text)
        for start, end in spans(review, explanation):
            inside[start:end] = [True] * (end - start)
        for first, last in lines:
            line = review.text[first:last]
            for selected, ink, weight in ((False, INK, "normal"), (True, color, "bold")):
                shown = "".join(
                    c if inside[first + place] == selected else " " for place, c in enumerate(line)
                ).rstrip()
                if shown:
                    style = {"family": "monospace", "fontsize": 9, "va": "top", "color": ink, "weight": weight}
                    figure.text(0.02, top / height, shown, **style)
            top -= _LINE
        top -= _LINE
    return save_figure(figure, path)


def spans(review: Review, explanation: Explanation) -> Iterator[tuple[int, int]]:
    """Where the runs of selected words begin and end in the text.

    Args:
        review: what was explained.
        explanation: the selection.

    Yields:
        Start and end of each run.
    """
    run: tuple[int, int] | None = None
    for token, selected in zip(review.tokens, explanation.selected, strict=True):
        if selected:
            run = (token.start if run is None else run[0], token.end)
        elif run is not None:
            yield run
            run = None
    if run is not None:
        yield run


def _lines(review: Review) -> Iterator[tuple[int, int]]:
    # Breaks between tokens, so that a line has at most so many characters.
    first = last = 0
    for token in review.tokens:
        if token.end - first > _COLUMNS and last > first:
            yield first, last
            first = token.start
        last = token.end
    yield first, last
