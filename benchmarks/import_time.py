"""Start-up costs in fresh interpreters: `import sstricks` over `import torch`."""

import time

from benchmarks.contest import OURS, Row
from benchmarks.measure import Timing
from benchmarks.process import python

TARGET = 0.3
PROCESSES = 7
WORK = "import, fresh process"

IN_PROCESS = """
import time
import torch
start = time.perf_counter()
import sstricks
print(time.perf_counter() - start)
"""


def run(seconds: float) -> list[Row]:
    """Time fresh processes; `seconds` is not used, their number is fixed."""
    python(IN_PROCESS)  # writes the bytecode caches
    bare, full, inside = [], [], []
    for _ in range(PROCESSES):
        bare.append(_wall("import torch"))
        full.append(_wall("import torch, sstricks"))
        inside += python(IN_PROCESS)
    base, ours, after = Timing.of(bare), Timing.of(full), Timing.of(inside)
    difference = Timing.of([b - a for a, b in zip(bare, full, strict=True)])
    return [
        Row(WORK, {}, "python -c 'import torch'", base),
        Row(WORK, {}, "python -c 'import torch, sstricks'", ours),
        Row(WORK, {}, f"{OURS}: what it adds to the process", difference, target=TARGET),
        Row(WORK, {}, f"{OURS}: its own import statement", after, target=TARGET),
    ]


def _wall(code: str) -> float:
    start = time.perf_counter()
    python(code)
    return time.perf_counter() - start
