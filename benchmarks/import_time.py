"""Start-up costs in fresh interpreters: `import sstricks` over `import torch`, and the first call of each kernel."""

import os
import subprocess
import sys
import tempfile
import time

from benchmarks.contest import OURS, Row
from benchmarks.measure import Timing

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

FIRST_CALLS = """
import time
import torch
import sstricks as sst
tree, family = sst.SpanningTree.complete(10), sst.ExponentialFamilyEntropy()
subset = sst.KSubset(350, 10)
u, v = torch.randn(128, 45), torch.randn(100, 350)
leaf_u, leaf_v = u.clone().requires_grad_(), v.clone().requires_grad_()
for call in (
    lambda: tree.argmax(u),
    lambda: tree.softmax(leaf_u, 1.0, family).sum().backward(),
    lambda: subset.softmax(leaf_v, 1.0, family).sum().backward(),
):
    start, cpu = time.perf_counter(), time.process_time()
    call()
    print(time.perf_counter() - start, time.process_time() - cpu)
"""
KERNELS = ("spanning tree argmax", "E.F. spanning tree fwd+bwd", "E.F. k-subset fwd+bwd")


def run(seconds: float) -> list[Row]:
    """Time fresh processes; `seconds` is not used, their number is fixed."""
    return _imports() + _first_calls()


def _python(code: str, **environment: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return [float(line) for line in done.stdout.split()]


def _wall(code: str) -> float:
    start = time.perf_counter()
    _python(code)
    return time.perf_counter() - start


def _imports() -> list[Row]:
    _python(IN_PROCESS)  # writes the bytecode caches
    bare, full, inside = [], [], []
    for _ in range(PROCESSES):
        bare.append(_wall("import torch"))
        full.append(_wall("import torch, sstricks"))
        inside += _python(IN_PROCESS)
    base, ours, after = Timing.of(bare), Timing.of(full), Timing.of(inside)
    difference = Timing.of([b - a for a, b in zip(bare, full, strict=True)])
    return [
        Row(WORK, {}, "python -c 'import torch'", base),
        Row(WORK, {}, "python -c 'import torch, sstricks'", ours),
        Row(WORK, {}, f"{OURS}: what it adds to the process", difference, target=TARGET),
        Row(WORK, {}, f"{OURS}: its own import statement", after, target=TARGET),
    ]


def _first_calls() -> list[Row]:
    """First calls with an empty kernel cache (compilation) and with the cache that this left (loading)."""
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        for state in ("compiles", "loads the cache"):
            times = _python(FIRST_CALLS, NUMBA_CACHE_DIR=cache)
            rows += [
                Row("first call, fresh process", {}, f"{kernel}, {state}", Timing(seconds, seconds, 0.0, 1, cpu))
                for kernel, seconds, cpu in zip(KERNELS, times[::2], times[1::2], strict=True)
            ]
    return rows
