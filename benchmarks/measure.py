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
    """Seconds per call over `repeats` timed calls: median, minimum and median absolute deviation."""

    median: float
    minimum: float
    mad: float
    repeats: int

    @classmethod
    def of(cls, seconds: list[float]) -> "Timing":
        """Summarise the seconds of single calls."""
        median = statistics.median(seconds)
        mad = statistics.median(abs(s - median) for s in seconds)
        return cls(median, min(seconds), mad, len(seconds))


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


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
    samples: dict[str, list[float]] = {name: [] for name in calls}
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
            waiting = [name for name in waiting if turn < MIN_ROUNDS or sum(samples[name]) < seconds]
    finally:
        if was_enabled:
            gc.enable()
    return {name: Timing.of(seen) for name, seen in samples.items()}


def _burst(call: Callable[[], object], seconds: float, warmup: int) -> int:
    last = timed(call)
    for _ in range(warmup - 1):
        if last > seconds / 5:
            break
        last = timed(call)
    return max(1, min(MAX_BURST, int(BURST_SECONDS / max(last, 1e-9))))
