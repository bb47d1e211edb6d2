import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import torch

# Below this many nanoseconds of work per thread, handing a chunk to another thread costs more than it saves.
WORTH = 100_000
_pools: dict[int, ThreadPoolExecutor] = {}


def _pool(size: int) -> ThreadPoolExecutor:
    return _pools.setdefault(size, ThreadPoolExecutor(size, thread_name_prefix="sstricks"))


if hasattr(os, "register_at_fork"):
    # A forked child inherits the executor but none of its threads, and would wait for them for ever.
    os.register_at_fork(after_in_child=_pools.clear)


def over_rows(kernel: Callable[..., Any], rows: int, nanoseconds: float, *args: Any, step: int = 1) -> None:
    """Call `kernel(begin, end, *args)` over all rows, cut into chunks for as many threads as torch may use.

    Kernels are compiled serial and without the GIL. Numba's own threading layers are unfit here: its OpenMP layer
    resets torch's thread count, and its workqueue layer aborts when two threads enter it.

    Args:
        kernel: A compiled function that writes its results into `args`.
        rows: How many problems there are.
        nanoseconds: A rough estimate of the work in one row.
        *args: Handed on.
        step: Chunks begin at multiples of this (the number of problems that a kernel treats in lockstep).
    """
    blocks = -(-rows // step)
    chunks = min(torch.get_num_threads(), blocks, 1 + int(rows * nanoseconds / WORTH / 2))
    if chunks <= 1:
        kernel(0, rows, *args)
        return
    cuts = [min(rows, step * (blocks * c // chunks)) for c in range(chunks + 1)]
    pool = _pool(torch.get_num_threads() - 1)
    futures = [pool.submit(kernel, cuts[c], cuts[c + 1], *args) for c in range(1, chunks)]
    try:
        kernel(cuts[0], cuts[1], *args)
    finally:
        wait(futures)
    for future in futures:
        future.result()
