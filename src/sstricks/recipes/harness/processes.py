"""Tasks in several processes that share the cores."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar
from unittest.mock import patch

import torch

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


def run_tasks(function: Callable[[Task], Outcome], tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, Outcome]]:
    """Call a function of a module's top level on each task, in up to `jobs` processes, and yield outcomes as they come.

    With one job all happens in this process. Others end with their parent, even if that is killed, so that no orphan
    keeps a run's folder. They are forked from a server that has computed nothing: torch's threads survive no fork.
    """
    jobs = min(jobs, len(tasks))
    if jobs <= 1:
        yield from ((task, function(task)) for task in tasks)
        return
    threads = max(1, torch.get_num_threads() // jobs)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    with (
        patch.dict(os.environ, OMP_NUM_THREADS=str(threads)),  # read when a process loads torch, before any of our code
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(threads,)) as pool,
    ):
        futures = {pool.submit(function, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.kill()  # checkpoints are atomic: there is nothing to clean up
            raise


def _begin(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the parent decides
    keep_freed_memory()
    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def keep_freed_memory() -> None:
    """Ask glibc to keep what is freed instead of handing it back to the kernel.

    Activations are allocated and freed at every step; the kernel clears and maps their pages anew each time, which can
    take longer than the arithmetic.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None:
        mallopt(-3, 32 * 2**20)  # M_MMAP_THRESHOLD, the most that glibc takes
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
