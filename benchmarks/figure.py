"""Redraw the pictures of docs/figures from the raw JSON, without measuring anything: `python -m benchmarks.figure`."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.contest import OURS
from benchmarks.log_partition import WORK as LOG_PARTITION
from benchmarks.report import RIGHT, YARDSTICK, describe, is_peer, is_right
from benchmarks.sparse import WORK as GRID

OUR_COLOUR, THEIR_COLOUR, TARGET_COLOUR = "tab:blue", "0.65", "tab:red"
SUBJECTS = (
    "spanning_tree",
    "log_partition",
    "sparse",
    "arborescence",
    "sentences",
    "projective",
    "k_subset",
    "chain",
    "one_hot",
    "matching",
)
GROWING = ("log_partition", "sparse")
MARGINALS = "E.F. spanning tree fwd+bwd"
# what stands for an error that is zero, or not a number, on a logarithmic axis
SMALLEST, BROKEN = 1e-18, 30.0

Rows = list[dict[str, Any]]


def load(folder: Path, subjects: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the recorded results of the subjects that have any."""
    paths = {subject: folder / f"{subject}.json" for subject in subjects}
    return {s: json.loads(path.read_text(encoding="utf-8")) for s, path in paths.items() if path.exists()}


def by_contest(rows: Rows) -> dict[str, Rows]:
    """Group rows by the work and its parameters, in order."""
    groups: dict[str, Rows] = {}
    for row in rows:
        groups.setdefault(f"{row['work']}\n{describe(row['parameters'])}", []).append(row)
    return groups


def draw_speed(results: dict[str, dict[str, Any]], path: Path) -> None:
    """One line per contest: our median, the peers' medians (the fastest one named) and our target, in milliseconds."""
    contests = [contest for result in results.values() for contest in by_contest(result["rows"]).items()]
    figure, axes = plt.subplots(figsize=(8, 0.36 * len(contests) + 1.2), layout="constrained")
    for line, (_, rows) in enumerate(contests):
        times = {row["contender"]: 1e3 * row["timing"]["median"] for row in rows if row["timing"]}
        others = [row for row in rows if is_peer(row) and row["timing"]]
        peers = {row["contender"]: times[row["contender"]] for row in others if is_right(row)}
        wrong = [times[row["contender"]] for row in others if not is_right(row)]
        axes.plot(list(peers.values()), [line] * len(peers), "D", color=THEIR_COLOUR, markersize=4)
        axes.plot(wrong, [line] * len(wrong), "x", color=THEIR_COLOUR, markersize=5)
        if peers:
            fastest = min(peers, key=lambda name: peers[name])
            ratio = f"{peers[fastest] / times[OURS]:.2g} × ours: " if OURS in times else ""
            axes.annotate(ratio + fastest, (1.01, line), xycoords=("axes fraction", "data"), fontsize=5, va="center")
        if OURS in times:
            axes.plot(times[OURS], line, "o", color=OUR_COLOUR)
        for row in rows:
            if row["target"]:
                axes.plot(1e3 * row["target"], line, "|", color=TARGET_COLOUR, markersize=12)
    axes.set(xscale="log", xlabel="median milliseconds per call", ylim=(len(contests) - 0.4, -0.6))
    axes.set_yticks(range(len(contests)), [label for label, _ in contests], fontsize=5.5)
    axes.grid(axis="x", alpha=0.3)
    marks = (
        ("o", OUR_COLOUR, OURS),
        ("D", THEIR_COLOUR, "peers (the fastest is named on the right)"),
        ("x", THEIR_COLOUR, f"returns NaN, or is off by more than {RIGHT:g}"),
        ("|", TARGET_COLOUR, "target"),
    )
    for marker, colour, label in marks:
        axes.plot([], [], marker, color=colour, label=label)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize=6, frameon=False)
    axes.set_title(_circumstances(results), fontsize=6, pad=18)
    figure.savefig(path, dpi=160)
    plt.close(figure)


def draw_growth(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Time of log Z and its gradient against the nodes of one graph: complete graphs, and grids."""
    rows = [row for result in results.values() for row in result["rows"]]
    single = [row for row in rows if row["work"] == LOG_PARTITION and row["parameters"]["batch"] == 1]
    grids = [row for row in rows if row["work"] == GRID]
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    _grow(panels[0], single, [row["parameters"]["nodes"] for row in single], "complete graphs")
    _grow(panels[1], grids, [row["parameters"]["side"] ** 2 for row in grids], "grids")
    panels[0].set_ylabel("median milliseconds per call")
    figure.suptitle(_circumstances(results), fontsize=6)
    figure.savefig(path, dpi=160)
    plt.close(figure)


def _grow(panel: Axes, rows: Rows, sizes: list[float], title: str) -> None:
    for name in dict.fromkeys(row["contender"] for row in rows if row["timing"]):
        line = [
            (size, 1e3 * row["timing"]["median"])
            for size, row in zip(sizes, rows, strict=True)
            if row["contender"] == name and row["timing"]
        ]
        style = "o:" if name.startswith(YARDSTICK) else "o-"
        panel.plot(*zip(*line, strict=True), style, label=name, markersize=4, linewidth=2 if name == OURS else 1)
    panel.set(xscale="log", yscale="log", xlabel="nodes", title=title)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=6)


def draw_accuracy(rows: Rows, path: Path) -> None:
    """Largest error of spanning-tree marginals against the range of the utilities, a panel for each size."""
    rows = [row for row in rows if row["work"] == MARGINALS]
    sizes = sorted({row["parameters"]["nodes"] for row in rows})
    figure, panels = plt.subplots(1, len(sizes), figsize=(4.5 * len(sizes), 3.5), sharey=True, squeeze=False)
    for panel, size in zip(panels[0], sizes, strict=True):
        for name in dict.fromkeys(row["contender"] for row in rows):
            line = [row for row in rows if row["contender"] == name and row["parameters"]["nodes"] == size]
            widths = [row["parameters"]["range"] for row in line]
            panel.plot(widths, [_height(row) for row in line], "o-", label=name, linewidth=2 if name == OURS else 1)
        panel.axhspan(2, 2 * BROKEN, color=TARGET_COLOUR, alpha=0.15)
        panel.text(1, 6, "not a number, or an error", fontsize=7)
        panel.set(xscale="log", yscale="log", xlabel="range of u / t", title=f"{size:g} nodes")
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("largest error of a marginal")
    panels[0][-1].legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(path, dpi=160)
    plt.close(figure)


def _height(row: dict[str, Any]) -> float:
    if row["timing"] is None or row["errors"]["value"] is None:
        return BROKEN
    return max(row["errors"]["value"], SMALLEST)


def _circumstances(results: dict[str, dict[str, Any]]) -> str:
    environments = [result["environment"] for result in results.values()]
    facts = {
        f"{e['cpu']}, {e['torch_threads']} threads, torch {e['versions']['torch']}, {e['commit']}" for e in environments
    }
    return "\n".join(sorted(facts))


def main() -> None:
    """Draw speed.png, and growth.png and accuracy.png if what they show was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figure", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    options = parser.parse_args()
    mpl.use("Agg")
    options.out.mkdir(parents=True, exist_ok=True)
    results = load(options.results, SUBJECTS)
    if not results:
        parser.error(f"no results in {options.results}: run python -m benchmarks first")
    draw_speed(results, options.out / "speed.png")
    growing = {subject: results[subject] for subject in GROWING if subject in results}
    if len(growing) == len(GROWING):
        draw_growth(growing, options.out / "growth.png")
    if "spanning_tree" in results:
        draw_accuracy(results["spanning_tree"]["rows"], options.out / "accuracy.png")


if __name__ == "__main__":
    main()
