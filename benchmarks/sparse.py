"""Sparse graphs: log Z of the spanning trees of grids, with its peak memory, and a maximum tree of a large graph."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.sparse.linalg import splu
from torch import Tensor

import sstricks as sst
from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.process import python
from benchmarks.score import forward_backward, partition_judge
from sstricks import functional as F

WORK = "log Z of a grid fwd+bwd"
SIDES = (31, 100)
# nodes on a side; beyond that the truth takes minutes
JUDGED = 31
# nodes on a side, enough for the kernels of sparse graphs
LOADED = 20
LU = "yardstick: sparse LU of the Laplacian, forward"
NODES, EDGES = 10**5, 10**6


def run(seconds: float) -> list[Row]:
    """Hold every contest of this subject."""
    rows = [row for side in SIDES for row in grid(side).hold(seconds)]
    rows = [replace(row, memory=_memory(row.contender, int(row.parameters["side"]))) for row in rows]
    return rows + maximum_tree().hold(seconds)


def grid(side: int) -> Contest:
    """Log Z of standard normal utilities and its gradient; the factorisation of SciPy has none."""
    edges, num_nodes, u = _grid(side)
    g = torch.randn(u.shape, generator=torch.Generator().manual_seed(1))
    score = partition_judge(u, g, edges, num_nodes) if side <= JUDGED else None
    judge = score and (lambda output: score(output) if isinstance(output, tuple) else {})
    contenders = [Contender(name, make(side)) for name, make in WAYS.items()]
    return Contest(WORK, {"side": side, "edges": edges.shape[1]}, contenders, judge=judge)


def maximum_tree() -> Contest:
    """The maximum spanning tree of a random graph, by SciPy from a matrix whose pattern is given."""
    rng = np.random.default_rng(0)
    ends = rng.integers(NODES, size=(2, EDGES))
    i, j = np.unique(np.sort(ends[:, ends[0] != ends[1]], axis=0), axis=1)
    edges, starts = torch.from_numpy(np.stack([i, j])), np.searchsorted(i, np.arange(NODES + 1))
    u = torch.rand(len(i), generator=torch.Generator().manual_seed(0))

    def scipy() -> Tensor:
        # scipy minimises and reads 0 as "no edge"
        return torch.from_numpy(minimum_spanning_tree(csr_array((1 - u.double().numpy(), j, starts))).data)

    best = NODES - 1 - scipy().sum()

    def judge(x: Tensor) -> dict[str, float | None]:
        found = (u.double() * x).sum() if len(x) == len(u) else NODES - 1 - x.sum()
        return {"utility lost": float((best - found).abs())}

    contenders = [
        Contender(OURS, lambda: F.maximum_spanning_tree(u, edges, NODES)),
        Contender("scipy.sparse.csgraph", scipy),
    ]
    return Contest("spanning tree argmax, random graph", {"nodes": NODES, "edges": len(i)}, contenders, judge=judge)


def peak(contender: str, side: int) -> int:
    """The bytes by which the work raises the peak memory of this process, after the same on a smaller grid.

    Linux counts the peak of the resident pages, `VmHWM`, and forgets an earlier one for a 5 in `clear_refs`; getrusage
    has the peak of the parent process in it.
    """
    WAYS[contender](LOADED)()  # loads the code
    call = WAYS[contender](side)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _peak_so_far()
    call()
    return _peak_so_far() - before


def _peak_so_far() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _memory(contender: str, side: int) -> float | None:
    if sys.platform != "linux":
        return None
    return python(f"from benchmarks.sparse import peak; print(peak({contender!r}, {side}))")[0]


def _grid(side: int) -> tuple[Tensor, int, Tensor]:
    number = torch.arange(side * side).unflatten(0, (side, side))
    right = torch.stack([number[:, :-1].flatten(), number[:, 1:].flatten()])
    down = torch.stack([number[:-1].flatten(), number[1:].flatten()])
    edges = torch.cat([right, down], 1)
    return edges, side * side, torch.randn(1, edges.shape[1], generator=torch.Generator().manual_seed(0))


def _ours(side: int) -> Callable[[], Any]:
    edges, num_nodes, u = _grid(side)
    trees = sst.SpanningTree(edges, num_nodes)
    return forward_backward(trees.log_partition, u, torch.ones(1))


def _lu(side: int) -> Callable[[], Any]:
    edges, num_nodes, u = _grid(side)
    i, j = edges.numpy()

    def call() -> float:
        w = u[0].double().exp().numpy()
        rows, columns = np.concatenate([i, j, i, j]), np.concatenate([j, i, i, j])
        laplacian = coo_array((np.concatenate([-w, -w, w, w]), (rows, columns)), shape=(num_nodes, num_nodes))
        reduced = laplacian.tocsc()[1:, 1:]
        factors = splu(reduced, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        return float(np.log(np.abs(factors.U.diagonal())).sum())

    return call


WAYS: dict[str, Callable[[int], Callable[[], Any]]] = {OURS: _ours, LU: _lu}
