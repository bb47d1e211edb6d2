"""`python -m benchmarks [subject …] --out benchmarks/results`: measure, print the tables and write the raw JSON."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.contest import Row
from benchmarks.report import save, show

# each is a module of this package with run(seconds) -> list[Row]
SUBJECTS = (
    "spanning_tree",
    "log_partition",
    "sparse",
    "arborescence",
    "sentences",
    "projective",
    "k_subset",
    "chain",
    "path",
    "permutahedron",
    "one_hot",
    "matching",
    "active_set",
    "import_time",
    "first_call",
    "nri_step",
    "listops_step",
)


def main() -> int:
    """Run the named subjects; the exit code says whether every target was met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="subject", help=f"among {', '.join(SUBJECTS)}; default: all")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder of the raw JSON files")
    parser.add_argument("--seconds", type=float, default=0.5, help="budget of each contender in each contest")
    parser.add_argument("--threads", type=int, default=2, help="torch.set_num_threads")
    options = parser.parse_args()
    unknown = sorted(set(options.subjects) - set(SUBJECTS))
    if unknown:
        parser.error(f"unknown subjects {', '.join(unknown)}: choose among {', '.join(SUBJECTS)}")
    torch.set_num_threads(options.threads)
    console = Console(width=None if sys.stdout.isatty() else 180)
    rows: list[Row] = []
    for subject in options.subjects or SUBJECTS:
        measured = import_module(f"benchmarks.{subject}").run(options.seconds)
        show(subject, measured, console)
        console.print(f"raw results: {save(subject, measured, options.out)}")
        rows += measured
    verdicts = [row.passed for row in rows if row.passed is not None]
    console.print(f"targets met: {sum(verdicts)} of {len(verdicts)}")
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
