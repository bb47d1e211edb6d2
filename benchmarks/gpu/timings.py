"""`python -m benchmarks.gpu.timings SUBJECT FILE DEVICE SECONDS`: the works of a structure beside those of peers."""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sstricks as sst
from benchmarks.gpu import peers
from benchmarks.gpu.record import Recorder
from benchmarks.gpu.subjects import ARGMAX, NAMES, SUBJECTS

LARGE = 10_000


def wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def median(call: Callable[[], object], device: str, seconds: float) -> dict[str, Any]:
    """Milliseconds of a whole call, from Python to the end of its work on the device."""
    for _ in range(3):
        call()
    wait(device)
    taken, end = [], time.perf_counter() + seconds
    while len(taken) < 5 or (time.perf_counter() < end and len(taken) < 300):
        start = time.perf_counter()
        call()
        wait(device)
        taken.append(1e3 * (time.perf_counter() - start))
    return {"ms": statistics.median(taken), "least_ms": min(taken), "calls": len(taken)}


def back_to_back(call: Callable[[], object], device: str, calls: int = 20) -> float:
    """Milliseconds of a call among many of which none is waited for."""
    wait(device)
    start = time.perf_counter()
    for _ in range(calls):
        call()
    wait(device)
    return 1e3 * (time.perf_counter() - start) / calls


def on_device(call: Callable[[], object], calls: int = 20) -> float:
    """Milliseconds of the kernels of a call alone: of its graph, replayed."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = call()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")
    graph.replay()
    begin.record()
    for _ in range(calls):
        graph.replay()
    end.record()
    torch.cuda.synchronize()
    del kept
    return begin.elapsed_time(end) / calls


def kernels(call: Callable[[], object]) -> list[tuple[str, int, float]]:
    """The kernels of a call, with how often each runs and its microseconds."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        call()
        torch.cuda.synchronize()
    found = [
        (e.key[:60], e.count, round(e.device_time_total, 1)) for e in profile.key_averages() if e.device_time_total
    ]
    return sorted(found, key=lambda row: -row[2])[:14]


def work(structure: sst.Structure, name: str, u: Tensor) -> Callable[[], object]:
    """A public call, with its gradient where it has one."""
    if name == ARGMAX:
        return lambda: structure.argmax(u)
    if name == "sample":
        return lambda: structure.sample(u)
    f, leaf, weights = NAMES[name], u.detach().clone().requires_grad_(), torch.randn_like(u)

    def differentiated() -> Tensor:
        x = structure.softmax(leaf, 1.0, f)
        return torch.autograd.grad(x, leaf, weights)[0]

    return differentiated


def main(name: str, path: str, device: str, seconds: str) -> None:
    subject, note, budget = SUBJECTS[name], Recorder(name, Path(path)), float(seconds)
    structure = subject.full().to(device)
    for what, target in subject.cells.items():
        rows = 128 if what == ARGMAX and name != "k_subset" else subject.rows
        u = torch.randn(rows, *structure.event_shape, device=device)
        call = work(structure, what, u)

        def measured(call: Callable[[], object] = call, target: float | None = target) -> dict[str, Any]:
            return {**median(call, device, budget), "stream_ms": back_to_back(call, device), "target_ms": target}

        if not note.attempt("time", what, measured):
            continue
        if device != "cpu":
            note.attempt("device", what, lambda call=call: {"device_ms": on_device(call)})
            note.attempt("kernels", what, lambda call=call: {"kernels": kernels(call)})
        if what not in subject.slow:
            large = torch.randn(LARGE, *structure.event_shape, device=device)
            big = work(structure, what, large)
            note.attempt("large", what, lambda big=big: {**median(big, device, budget), "rows": LARGE})
            del large, big
    for what, peer, call in peers.of(name, structure, subject.rows, device):
        note.attempt("peer", f"{what} by {peer}", lambda call=call: median(call, device, budget))


if __name__ == "__main__":
    main(*sys.argv[1:])
