"""A part of a Markdown page that a command writes, between two comments."""

import re
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
            Whole lines, which end as Python's do.

        Raises:
            RunError: if there is no such page, it is not UTF-8, or there are no such markers in it, or more than once.
        """
        return self._split()[1].replace("\r\n", "\n")

    def write(self, content: str) -> None:
        """Replace what is there, and not a byte else on the page.

        Args:
            content: whole lines; they end as the marker's line does.

        Raises:
            RunError: if there is no such page, it is not UTF-8, or there are no such markers in it, or more than once.
        """
        before, _, after = self._split()
        shown = content.replace("\n", "\r\n") if before.endswith("\r\n") else content
        text = f"{before}{shown}{after}"
        write_atomically(self.page, lambda file: file.write(text.encode()))

    def _split(self) -> tuple[str, str, str]:
        if not self.page.is_file():
            raise RunError(f"{self.option}: found no file {self.page}, expected a Markdown page.")
        try:
            text = self.page.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise RunError(
                f"{self.option}: {self.page} is not UTF-8 ({error}). Save it in that encoding, or name another page."
            ) from None
        before, *others = re.split(rf"(?<=<!-- {re.escape(self.name)} -->)(\r?\n)", text)
        content, closed, after = "".join(others[1:]).partition(_END)
        count = len(others) // 2
        if count != 1 or not closed or "<!-- " in content:
            seen = "no markers" if count == 0 else f"{count} of them" if count > 1 else "no end"
            raise RunError(
                f"{self.option}: found {seen} in {self.page}, expected one line <!-- {self.name} --> and, below it, "
                f"{_END}. Put these two lines where the table belongs."
            )
        return before + others[0], content, _END + after
