from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sstricks.experiments.field_guide.page import write_part
from sstricks.experiments.field_guide.table import table_of_pairs


@dataclass(frozen=True)
class FieldGuide:
    """Draw one realization of every structure at three temperatures, and print the table of what has a solver.

    In every picture it is the same utility that is relaxed more and more tightly, as in Fig. 2 of the paper.
    """

    out: Path = Path("field-guide")
    """Folder of the pictures; those of the same names are replaced."""
    seed: int = 0
    """Of the utilities."""
    page: Path | None = None
    """A Markdown page whose table, between the markers that docs/field-guide.md has, is brought up to date."""

    def run(self, console: Console) -> None:
        """Draw, and print the table.

        Args:
            console: where to print.

        Raises:
            RunError: if the page cannot take the table.
        """
        from sstricks.experiments.field_guide.comparison import draw_regularizers  # matplotlib takes a second to load
        from sstricks.experiments.field_guide.exhibits import all_exhibits

        table = table_of_pairs()
        if self.page is not None:
            write_part(self.page, table)
        self.out.mkdir(parents=True, exist_ok=True)
        pictures = [exhibit.draw(self.out, self.seed) for exhibit in all_exhibits()]
        pictures.append(draw_regularizers(self.out))
        console.print(table, markup=False, soft_wrap=True, highlight=False)
        console.print("Pictures:", *map(str, pictures), sep="\n  ", soft_wrap=True, highlight=False)
