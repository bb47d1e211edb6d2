import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

import torch

from sstricks.experiments.runs.memory import keep_freed_memory

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


def run_tasks(function: Callable[[Task], Outcome], tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, Outcome]]:
    """Call a function on each task, in up to `jobs` processes that share the cores evenly.

    Processes are forked from a server that has imported everything and computed nothing, since torch's threads do not
    survive a fork; and they end with their parent, even if that is killed, so that no orphan keeps a run's folder.

    Args:
        function: a function of a module's top level.
        tasks: its arguments, picklable and hashable.
        jobs: processes at a time; with 1 everything happens in this one.

    Yields:
        Each task with its outcome, in the order in which they end.
    """
    if min(jobs, len(tasks)) <= 1:
        for task in tasks:
            yield task, function(task)
        return
    threads = max(1, torch.get_num_threads() // jobs)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    with (
        # Read when a process loads OpenMP and torch, which is before any code of ours runs there. Torch's C++ warns of
        # what is as it should be, and knows no filters.
        _environment(OMP_NUM_THREADS=str(threads), TORCH_CPP_LOG_LEVEL="ERROR"),
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin_worker, initargs=(threads,)) as pool,
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


@contextlib.contextmanager
def polling(poll: Callable[[], object], seconds: float) -> Iterator[None]:
    """Call a function again and again in the background.

    Args:
        poll: what to call.
        seconds: the time between two calls.

    Yields:
        Once, for the time during which to poll.
    """
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(seconds):
            poll()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        poll()


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin_worker(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the parent decides
    keep_freed_memory()
    torch.set_num_threads(threads)

    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
