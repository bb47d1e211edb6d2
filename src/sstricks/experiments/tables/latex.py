from collections.abc import Sequence

from sstricks.experiments.tables.grid import Grid, Line

_ESCAPES = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "–": "--",
    "“": "``",
    "”": "''",
    "…": r"\dots{}",
}
_FORMULAS = {"|V| − 1": "$|V|-1$", "Top k": "Top $k$"}


def latex(grids: Sequence[Grid]) -> str:
    """Tables for LaTeX with the package booktabs.

    Args:
        grids: the tables.

    Returns:
        The text, with a line break at its end.
    """
    return "\n".join(["% needs \\usepackage{booktabs}", *(_one(grid) for grid in grids)])


def escape(text: str) -> str:
    r"""Text as LaTeX prints it.

    Args:
        text: without LaTeX in it.

    Returns:
        The source.

    Example:
        >>> print(escape("100 % of −3 ± 1, E.F. Ent. Top |V| − 1"))
        100 \% of $-$3 $\pm$ 1, E.F. Ent. Top $|V|-1$
    """
    for formula, source in _FORMULAS.items():
        before, found, after = text.partition(formula)
        if found:
            return escape(before) + source + escape(after)
    return "".join(_ESCAPES.get(character, character) for character in text)


def _one(grid: Grid) -> str:
    labels, width = len(grid.row_headings), len(grid.columns)
    lines = [
        "\\begin{table}",
        "  \\centering",
        f"  \\caption{{{escape(grid.title)}. {escape(' '.join(grid.notes))}}}",
        f"  \\begin{{tabular}}{{{'l' * labels}{'r' * width * len(grid.blocks)}}}",
        "    \\toprule",
    ]
    if any(grid.blocks):
        heads = [f"\\multicolumn{{{width}}}{{c}}{{{escape(block)}}}" for block in grid.blocks]
        lines.append(f"    {' & '.join([*[''] * labels, *heads])} \\\\")
        rules = [f"\\cmidrule(lr){{{labels + width * i + 1}-{labels + width * (i + 1)}}}" for i in range(len(heads))]
        lines.append(f"    {' '.join(rules)}")
    lines += [_row([*grid.row_headings, *list(grid.columns) * len(grid.blocks)]), "    \\midrule"]
    for number, line in enumerate(grid.lines):
        if number and line.begins and labels > 1:
            lines.append("    \\addlinespace")
        lines.append(_row([*line.labels, *line.values], line))
    return "\n".join([*lines, "    \\bottomrule", "  \\end{tabular}", "\\end{table}", ""])


def _row(cells: Sequence[str], line: Line | None = None) -> str:
    texts = [escape(cell) for cell in cells]
    if line is not None and not line.ours:
        texts = [f"\\textit{{{text}}}" if text else "" for text in texts]
    return f"    {' & '.join(texts)} \\\\"
