import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import count
from threading import local
from typing import Any

import numpy as np
import torch

# Below this many nanoseconds of work per thread, handing a chunk to another thread costs more than it saves.
WORTH = 100_000
# A thread keeps its working memory for the next call, unless it is larger than this many bytes: fresh memory costs a
# page fault every 4 KiB, which took as long as the arithmetic.
KEPT = 32 << 20
_pools: dict[int, ThreadPoolExecutor] = {}
_local = local()


def _pool(size: int) -> ThreadPoolExecutor:
    return _pools.setdefault(size, ThreadPoolExecutor(size, thread_name_prefix="sstricks"))


if hasattr(os, "register_at_fork"):
    # A forked child inherits the executor but none of its threads, and would wait for them for ever.
    os.register_at_fork(after_in_child=_pools.clear)


def _scratch(size: int) -> np.ndarray:
    """This thread's working memory: at least `size` float64 of anything, from a multiple of 64 bytes on.

    A vector of eight that straddles two cache lines is loaded and stored at half the speed.
    """
    kept = getattr(_local, "scratch", None)
    if kept is not None and len(kept) >= size:
        return kept
    fresh = np.empty(size + 7)
    fresh = fresh[-fresh.ctypes.data % 64 // 8 :]
    if fresh.nbytes <= KEPT:
        _local.scratch = fresh
    return fresh


def over_rows(
    kernel: Callable[..., Any], rows: int, nanoseconds: float, *args: Any, step: int = 1, scratch: int = 0
) -> None:
    """Call `kernel(begin, end, *args)` over all rows, in chunks that as many threads as torch may use take in turns.

    Kernels are compiled serial and without the GIL. Numba's own threading layers are unfit here: its OpenMP layer
    resets torch's thread count, and its workqueue layer aborts when two threads enter it. Chunks are taken in turns,
    not dealt out, since torch's own threads spin for some milliseconds after their work and slow down one of ours.

    Args:
        kernel: A compiled function that writes its results into `args`.
        rows: How many problems there are.
        nanoseconds: A rough estimate of the work in one row.
        *args: Handed on.
        step: Chunks begin at multiples of this (the number of problems that a kernel treats in lockstep).
        scratch: If positive, the kernel gets as its last argument this much working memory, in float64.
    """
    blocks = -(-rows // step)
    work = rows * nanoseconds
    threads = min(torch.get_num_threads(), blocks, 1 + int(work / WORTH / 2))
    chunks = threads if threads <= 1 else min(blocks, 8 * threads, 1 + int(work / WORTH))
    turns = count()

    def take_turns() -> None:
        memory = (_scratch(scratch),) if scratch else ()
        while (turn := next(turns)) < chunks:
            begin, end = (min(rows, step * (blocks * c // chunks)) for c in (turn, turn + 1))
            kernel(begin, end, *args, *memory)

    if threads <= 1:  # 0 without any rows
        take_turns()
        return
    pool = _pool(torch.get_num_threads() - 1)
    futures = [pool.submit(take_turns) for _ in range(threads - 1)]
    try:
        take_turns()
    finally:
        wait(futures)
    for future in futures:
        future.result()
