"""Rewrite the tables of docs/speed.md from the raw JSON, without measuring anything: `python -m benchmarks.page`.

What stands between `<!-- subject -->` (or `<!-- summary -->`) and `<!-- end -->` is replaced; everything else is prose
and is left alone.
"""

import argparse
import re
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contest import OURS
from benchmarks.figure import by_contest, load
from benchmarks.report import heading, is_peer, is_right, mebibytes, readable

COLUMNS = ["work", "contender", "median", "target", "times ours", "largest error"]
SUMMARY = ["subject", "contests", "no peer is right", "ours is fastest", "fastest peer, times ours", "lowest in"]
_PART = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Result = dict[str, Any]


def largest_error(errors: dict[str, float | None]) -> str:
    """Return the worst of the errors, as text."""
    if not errors:
        return "–"
    values = list(errors.values())
    return "NaN" if None in values else f"{max(v for v in values if v is not None):.0e}"


def cells(row: Result) -> list[str]:
    """Return what stands in the columns after the first."""
    timing = row["timing"]
    return [
        f"**{row['contender']}**" if row["contender"].startswith(OURS) else row["contender"],
        readable(timing["median"]) if timing else row["note"].split(":")[0],
        readable(row["target"]) + (", missed" if not row["passed"] else "") if row["target"] else "",
        f"{row['ratio']:.1f}" if row["ratio"] else "",
        largest_error(row["errors"]) if timing else "",
    ]


def table(result: Result) -> str:
    """Return one subject's table, under a line that says when and on what it was measured."""
    env = result["environment"]
    where = f"*{env['cpu']}, {env['cores']} cores, torch {env['versions']['torch']}, {env['torch_threads']} threads*"
    memory = any(row.get("memory") is not None for row in result["rows"])
    lines = [
        ["" if n else _name(row), *cells(row), *[mebibytes(row.get("memory"))] * memory]
        for rows in by_contest(result["rows"]).values()
        for n, row in enumerate(rows)
    ]
    return f"{where}\n\n{_grid(COLUMNS + ['peak memory'] * memory, lines)}"


def summary(results: dict[str, Result]) -> str:
    """Return how the fastest peer that is right compares with ours, by subject."""
    return _grid(SUMMARY, [line for subject, result in results.items() if (line := _compared(subject, result))])


def _compared(subject: str, result: Result) -> list[str] | None:
    """One line of the summary; None where nobody else did the work."""
    peers = [
        [row for row in rows if is_peer(row) and (row["timing"] or row["note"].startswith("fails"))]
        for rows in by_contest(result["rows"]).values()
        if any(row["contender"] == OURS for row in rows)
    ]
    right = [[row for row in rows if is_right(row)] for rows in peers if rows]
    fastest = sorted((min(rows, key=_ratio) for rows in right if rows), key=_ratio)
    if not fastest:
        return None
    ratios = [_ratio(row) for row in fastest]
    return [
        subject,
        str(len(right)),
        str(len(right) - len(fastest)),
        str(sum(ratio >= 1 for ratio in ratios) + len(right) - len(fastest)),
        f"{ratios[0]:.1f} to {ratios[-1]:.1f}, median {median(ratios):.1f}",
        f"{_name(fastest[0])}: {fastest[0]['contender']}",
    ]


def _ratio(row: Result) -> float:
    return row["ratio"]


def _name(row: Result) -> str:
    return heading(row["work"], row["parameters"])


def _grid(columns: list[str], lines: list[list[str]]) -> str:
    head, *body = (f"| {' | '.join(line)} |\n" for line in [columns, *lines])
    return f"{head}|{'---|' * len(columns)}\n{''.join(body)}"


def main() -> None:
    """Rewrite the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--page", type=Path, default=Path("docs/speed.md"))
    options = parser.parse_args()
    text = options.page.read_text(encoding="utf-8")
    results = load(options.results, [match[1] for match in _PART.findall(text) if match[1] != "summary"])
    parts = {"summary": summary(results)} | {subject: table(result) for subject, result in results.items()}
    text = _PART.sub(lambda m: m[1] + parts.get(m[2], "") + m[3], text)
    options.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
