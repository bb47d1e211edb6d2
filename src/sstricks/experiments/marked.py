"""A part of a Markdown page that a command writes, between two comments."""

from dataclasses import dataclass
from pathlib import Path

from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.files import write_atomically

_END = "<!-- end -->"


@dataclass(frozen=True)
class MarkedPart:
    """What stands on a page between a line `<!-- name -->` and, below it, a line `<!-- end -->`.

    Attributes:
        page: the file.
        name: what the first line says.
        option: the option of the command line that named the page, for errors.
    """

    page: Path
    name: str
    option: str

    def read(self) -> str:
        """What is there.

        Returns:
            Whole lines.

        Raises:
            RunError: if there is no such page, or no such markers in it, or more than once.
        """
        return self._split()[1]

    def write(self, content: str) -> None:
        """Replace what is there, and nothing else on the page.

        Args:
            content: whole lines.

        Raises:
            RunError: if there is no such page, or no such markers in it, or more than once.
        """
        before, _, after = self._split()
        text = f"{before}{content}{after}"
        write_atomically(self.page, lambda file: file.write(text.encode()))

    def _split(self) -> tuple[str, str, str]:
        if not self.page.is_file():
            raise RunError(f"{self.option}: found no file {self.page}, expected a Markdown page.")
        text, begin = self.page.read_text(encoding="utf-8"), f"<!-- {self.name} -->\n"
        before, found, rest = text.partition(begin)
        content, closed, after = rest.partition(_END)
        count = text.count(begin)
        if not found or not closed or count > 1 or "<!-- " in content:
            seen = "no markers" if not found else f"{count} of them" if count > 1 else "no end"
            raise RunError(
                f"{self.option}: found {seen} in {self.page}, expected one line <!-- {self.name} --> and, below it, "
                f"{_END}. Put these two lines where the table belongs."
            )
        return before + begin, content, _END + after
