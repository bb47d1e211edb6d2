"""The first softmax and its backward pass in a fresh process, which compiles its kernels or loads them."""

import tempfile

from benchmarks.contest import OURS, Row
from benchmarks.measure import Timing
from benchmarks.process import python

WORK = "first softmax fwd+bwd, fresh process"
STRUCTURES = {
    "OneHot(10)": "ExponentialFamilyEntropy",
    "KSubset(350, 10)": "ExponentialFamilyEntropy",
    "SpanningTree.complete(10)": "ExponentialFamilyEntropy",
    "Matching(20)": "CategoricalEntropy",
    "ProjectiveArborescence(10)": "ExponentialFamilyEntropy",
    "ChainKSubset(350, 10)": "ExponentialFamilyEntropy",
}
CODE = """
import time
import torch
import sstricks as sst
structure, regularizer = sst.{structure}, sst.{regularizer}()
u = torch.randn(100, *structure.event_shape, requires_grad=True)
start, cpu = time.perf_counter(), time.process_time()
structure.softmax(u, 1.0, regularizer).square().sum().backward()
print(time.perf_counter() - start, time.process_time() - cpu)
"""


def run(seconds: float) -> list[Row]:
    """Time one process with an empty kernel cache, and one with the cache that it leaves; `seconds` is not used."""
    return [
        Row(f"{WORK}: {structure}", {}, f"{OURS}, {state}", timing)
        for structure, regularizer in STRUCTURES.items()
        for state, timing in _states(CODE.format(structure=structure, regularizer=regularizer)).items()
    ]


def _states(code: str) -> dict[str, Timing]:
    timings = {}
    with tempfile.TemporaryDirectory() as cache:
        for state in ("compiles", "loads the cache"):
            wall, cpu = python(code, NUMBA_CACHE_DIR=cache)
            timings[state] = Timing.of([wall], [cpu])
    return timings
