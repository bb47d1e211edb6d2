"""Interleaved timing: every contender runs in the same process, turn by turn, so that noise strikes all alike."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

BURST_SECONDS = 2e-3
MAX_BURST = 20
MIN_ROUNDS = 3


@dataclass(frozen=True)
class Timing:
    """Seconds per call over `repeats` timed calls: median, minimum and median absolute deviation of the wall clock.

    `cpu` is the median over the calls of the processor time of all threads: where it is much less than the wall
    clock shows, other processes had the cores. None where it was not measured.
    """

    median: float
    minimum: float
    mad: float
    repeats: int
    cpu: float | None = None

    @classmethod
    def of(cls, seconds: list[float], cpu: list[float] | None = None) -> "Timing":
        """Summarise the wall-clock and processor seconds of single calls."""
        median = statistics.median(seconds)
        mad = statistics.median(abs(s - median) for s in seconds)
        return cls(median, min(seconds), mad, len(seconds), statistics.median(cpu) if cpu else None)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return the wall-clock and the processor seconds that one call takes."""
    cpu, start = time.process_time(), time.perf_counter()
    call()
    return time.perf_counter() - start, time.process_time() - cpu


def interleave(calls: Mapping[str, Callable[[], object]], *, seconds: float, warmup: int = 3) -> dict[str, Timing]:
    """Time the calls in turn and return the `Timing` of each.

    A round gives each call one burst, of as many single timings as fit into two milliseconds, so that short calls
    are timed warm although a long one ran before. The starting position rotates from round to round.

    Args:
        calls: What to time, by name.
        seconds: The budget of each call; a call that has spent it sits out, after three rounds at the earliest.
        warmup: Untimed calls of each (one only for calls slower than a fifth of the budget).

    Returns:
        The summary of each call under its name.
    """
    bursts = {name: _burst(call, seconds, warmup) for name, call in calls.items()}
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        waiting, turn = list(calls), 0
        while waiting:
            turn += 1
            first = turn % len(waiting)
            for name in waiting[first:] + waiting[:first]:
                calls[name]()  # brings this contender's data back into the cache after the others' turn
                samples[name] += [timed(calls[name]) for _ in range(bursts[name])]
            waiting = [
                name for name in waiting if turn < MIN_ROUNDS or sum(wall for wall, _ in samples[name]) < seconds
            ]
    finally:
        if was_enabled:
            gc.enable()
    return {name: Timing.of(*map(list, zip(*seen, strict=True))) for name, seen in samples.items()}


def _burst(call: Callable[[], object], seconds: float, warmup: int) -> int:
    last, _ = timed(call)
    for _ in range(warmup - 1):
        if last > seconds / 5:
            break
        last, _ = timed(call)
    return max(1, min(MAX_BURST, int(BURST_SECONDS / max(last, 1e-9))))
