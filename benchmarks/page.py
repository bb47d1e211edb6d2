"""Rewrite the tables of docs/speed.md from the raw JSON, without measuring anything: `python -m benchmarks.page`.

What stands between `<!-- subject -->` and `<!-- end -->` is replaced; everything else is prose and is left alone.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from benchmarks.contest import OURS
from benchmarks.figure import load
from benchmarks.report import describe, readable

HEAD = "| work | contender | median | target | times ours | largest error |\n|---|---|---|---|---|---|"
_TABLE = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def largest_error(errors: dict[str, float | None]) -> str:
    """Return the worst of the errors, as text."""
    if not errors:
        return "–"
    values = list(errors.values())
    return "NaN" if None in values else f"{max(v for v in values if v is not None):.0e}"


def line(row: dict[str, Any]) -> str:
    """Return one row of the table; a contest is named where ours stands."""
    ours = row["contender"].startswith(OURS)
    work = f"{row['work']} ({describe(row['parameters'])})" if row["parameters"] else row["work"]
    timing = row["timing"]
    cells = [
        work if row["contender"] == OURS or not row["ratio"] else "",
        f"**{row['contender']}**" if ours else row["contender"],
        readable(timing["median"]) if timing else row["note"].split(":")[0],
        readable(row["target"]) + (", missed" if not row["passed"] else "") if row["target"] else "",
        f"{row['ratio']:.1f}" if row["ratio"] else "",
        largest_error(row["errors"]) if timing else "",
    ]
    return f"| {' | '.join(cells)} |"


def table(result: dict[str, Any]) -> str:
    """Return one subject's table, under a line that says when and on what it was measured."""
    env = result["environment"]
    where = f"*{env['cpu']}, {env['cores']} cores, torch {env['versions']['torch']}, {env['torch_threads']} threads*"
    return "\n".join([where, "", HEAD, *map(line, result["rows"])]) + "\n"


def main() -> None:
    """Rewrite the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--page", type=Path, default=Path("docs/speed.md"))
    options = parser.parse_args()
    text = options.page.read_text(encoding="utf-8")
    results = load(options.results, [match[1] for match in _TABLE.findall(text)])
    text = _TABLE.sub(lambda m: m[1] + (table(results[m[2]]) if m[2] in results else "") + m[3], text)
    options.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
