"""Law 14: the same answers from many threads at once, after a fork, and in the workers of a DataLoader."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from arborescence_problem import ArborescenceProblem, arborescence_problem, complete_directed
from cases import PAIR_CASES, Case
from chain_problem import ChainProblem
from graphs import complete
from matching_problem import MatchingProblem, matching_problem
from problems import KSubsetProblem, TreeProblem, tree_problem
from projective_arborescence_problem import ProjectiveArborescenceProblem

LARGER = {
    ChainProblem: ChainProblem(40, 8),
    ArborescenceProblem: arborescence_problem(complete_directed(16)),
    KSubsetProblem: KSubsetProblem(50, 8),
    MatchingProblem: matching_problem(12, 12),
    ProjectiveArborescenceProblem: ProjectiveArborescenceProblem(12),
    TreeProblem: tree_problem(complete(12)),
}
# What has kernels of its own, with enough work for a batch to be cut into chunks, in tensors too small for torch itself
# to start its threads. Those are OpenMP's, for which a forked child waits for ever: subsets and one-hot vectors are
# torch's exp and softmax, and hang in a forked child as these do, unless it calls torch.set_num_threads(1) first.
WORK = list(
    dict.fromkeys(
        (case, 5) if case.iterative else (Case(LARGER[type(case.problem)], case.regularizer), 150)
        for case in PAIR_CASES
        if type(case.problem) in LARGER
    )
)
# Only what hangs takes so long: to compile all kernels, 100 seconds of a core, which others may want too.
DEADLINE = 900.0  # seconds


def answers() -> list[torch.Tensor]:
    """Values, vertices and gradients of all pairs that have kernels."""
    found = []
    for case, batch in WORK:
        u = case.utilities(batch, dtype=torch.float32).requires_grad_()
        x = case.softmax(u, 0.5)
        (du,) = torch.autograd.grad((x * case.utilities(batch, dtype=torch.float32, seed=1)).sum(), u)
        found += [x.detach(), du, case.structure.argmax(u)]
        if case.has_family:
            found.append(case.structure.log_partition(u).detach())
    return found


def digest(results: list[torch.Tensor]) -> bytes:
    return b"".join(r.numpy().tobytes() for r in results)


@pytest.fixture(scope="module")
def expected() -> bytes:
    return digest(answers())


def test_many_threads_at_once(expected: bytes):
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(lambda: digest(answers())) for _ in range(8)]
        assert all(future.result(DEADLINE) == expected for future in futures)


def test_threads_whose_first_call_is_simultaneous():
    """In a fresh interpreter, where the kernels are compiled or loaded by all threads together."""
    program = """
from concurrent.futures import ThreadPoolExecutor
import threading
from test_threads import answers, digest
barrier = threading.Barrier(6)
def run(_):
    barrier.wait()
    return digest(answers())
with ThreadPoolExecutor(6) as pool:
    assert len(set(pool.map(run, range(6)))) == 1
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=DEADLINE)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_number_of_torch_threads_changes_nothing_and_is_not_changed(expected: bytes, threads: int):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert digest(answers()) == expected
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_kernels_do_not_start_torchs_threads_behind_its_back():
    """OMP_NUM_THREADS=1 stays in force whatever runs."""
    program = """
import torch
from test_threads import answers
assert torch.get_num_threads() == 1
answers()
assert torch.get_num_threads() == 1
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=DEADLINE)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_after_fork(expected: bytes):
    """The child of a process whose threads were used finds its own, rather than waiting for those it does not have."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: answers(), range(4)))
        for _ in range(3):
            child = os.fork()
            if child == 0:
                os._exit(_child_status(expected))
            assert _wait(child) == 0
    assert digest(answers()) == expected


def _child_status(expected: bytes) -> int:
    try:
        if digest(answers()) != expected:
            return 1
        # torch replaces the thread pool that a fork broke when a new thread first asks for it, and for a moment there
        # is none: a second new thread then fails ("Invalid thread pool!"). This replaces it now, as DataLoader does.
        torch.set_num_threads(torch.get_num_threads())
        with ThreadPoolExecutor(2) as pool:
            return 0 if all(digest(a) == expected for a in pool.map(lambda _: answers(), range(2))) else 2
    except BaseException:
        traceback.print_exc()
        return 3


def _wait(child: int) -> int:
    """The child's exit status; a child that hangs is killed, and fails."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_fork_while_other_threads_are_inside(expected: bytes):
    """A fork in the middle of someone's computation leaves no lock behind in the child."""
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(lambda: digest(answers())) for _ in range(9)]
        children = []
        for _ in range(3):
            child = os.fork()
            if child == 0:
                os._exit(0 if digest(answers()) == expected else 1)
            children.append(child)
        assert [_wait(child) for child in children] == [0, 0, 0]
        assert all(future.result(DEADLINE) == expected for future in running)


class Relaxations(Dataset):
    """Computes in the worker, as a user's augmentation might."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.cat([result.flatten() for result in answers()])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_in_dataloader_workers(expected: bytes, method: str):
    context = multiprocessing.get_context(method)
    loader = DataLoader(
        Relaxations(), batch_size=None, num_workers=2, multiprocessing_context=context, timeout=DEADLINE
    )
    for item in loader:
        assert item.numpy().tobytes() == expected
