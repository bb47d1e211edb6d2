from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.text import Text

from sstricks.experiments.l2x.config import L2XConfig
from sstricks.experiments.l2x.explanation import Review, explain, test_review
from sstricks.experiments.l2x.highlight import (
    color_of,
    draw_explanations,
    heading,
    plain_text,
    reservations,
    terminal_text,
    write_html,
)
from sstricks.experiments.l2x.run import L2XRun
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.folder import RunFolder
from sstricks.experiments.targets import PICTURES, check_targets

_PAGES = (".html", ".htm")


@dataclass(frozen=True)
class Explain:
    """Show the words of a review that a trained model (`sst train l2x`) explains its rating by."""

    folder: tyro.conf.Positional[Path]
    """The folder that --out named."""
    text: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="TEXT")] = None
    """The review; without one, a test review."""
    review: int = 0
    """Which test review, if no text is given."""
    beside: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    """Folder of another run, to be shown below."""
    html: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    """Write a page as well."""
    picture: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    """Draw a picture as well, .png, .pdf or .svg, like the paper's Fig. 4."""
    force: Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")] = False
    """Replace files that exist."""

    def run(self, console: Console) -> None:
        """Explain, and print the review with the selected words marked.

        Args:
            console: where to print.

        Raises:
            RunError: if a folder is no run's, or a file could not or must not be written.
        """
        for option, path, suffixes in (("--html", self.html, _PAGES), ("--picture", self.picture, PICTURES)):
            check_targets([] if path is None else [path], suffixes, force=self.force, option=option)
        folders = [self.folder, *([] if self.beside is None else [self.beside])]
        runs = [_restore(folder) for folder in folders]
        review = test_review(runs[0], self.review) if self.text is None else Review.of(self.text)
        found = [explain(run, folder, review) for run, folder in zip(runs, folders, strict=True)]
        for explanation in found:
            console.print(Text(heading(explanation), style=f"bold {color_of(explanation)}"))
            marked = terminal_text if console.is_terminal else plain_text
            console.print(marked(review, explanation), highlight=False, markup=False)
            for sentence in reservations(review, explanation):
                console.print(sentence, style="dim", highlight=False, markup=False)
            console.print()
        if self.html is not None:
            write_html(review, found, self.html)
        if self.picture is not None:
            draw_explanations(review, found, self.picture)


def _restore(path: Path) -> L2XRun:
    folder = RunFolder(path)
    config = folder.read_config()
    try:
        return L2XRun(L2XConfig.from_json(config))
    except ValueError as error:
        raise RunError(f"{folder.config_file}: {error}") from None
