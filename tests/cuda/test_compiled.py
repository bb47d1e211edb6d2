"""Every kernel compiles without a device, and keeps what it works on in registers."""

from collections.abc import Callable

import pytest
import torch

pytest.importorskip("triton")
from launches import compiles, recorded

ROWS = 2


def scaled(dtype: torch.dtype, n: int, masked: bool) -> None:
    from sstricks.ops.cuda.scaled import scaled, scaled_backward

    u, t = torch.empty(ROWS, n, dtype=dtype), torch.empty(ROWS, dtype=torch.float64)
    mask = torch.empty(ROWS, n if masked else 0, dtype=torch.bool)
    scaled_backward(scaled(u, t, mask, 1), u, t, mask)


def graph(module: str, nodes: int) -> None:
    from importlib import import_module

    from sstricks.ops.cuda import arborescence, spanning_tree

    directed = module == "arborescence"
    found = import_module(f"sstricks.ops.cuda.{module}")
    edges = torch.ones(nodes, nodes).triu(1).nonzero().T
    edges = torch.cat([edges, edges.flip(0)], -1) if directed else edges
    u = torch.empty(ROWS, edges.shape[1], dtype=torch.float64)
    found.marginals_jvp(u, found.marginals(u, edges, nodes), edges, nodes)
    found.log_partition(u, edges, nodes)
    if directed:
        uniforms = torch.empty(ROWS, (nodes - 1) * (nodes + 2) // 2, dtype=torch.float64)
        arborescence.sample(u, uniforms, edges, nodes)
    (arborescence.maximum_arborescence if directed else spanning_tree.maximum_spanning_tree)(u, edges, nodes)


def projective(nodes: int) -> None:
    from sstricks.ops.cuda import projective_arborescence as launchers

    u = torch.empty(ROWS, (nodes - 1) ** 2, dtype=torch.float64)
    launchers.marginals_jvp(u, launchers.marginals(u, nodes), nodes)
    launchers.log_partition(u, nodes)
    launchers.maximum_projective_arborescence(u, nodes)
    launchers.sample(u, torch.empty(ROWS, 3 * nodes * (nodes + 1) // 2, dtype=torch.float64), nodes)


def matching(n: int, m: int, partial: bool, dustbins: bool = False) -> None:
    from sstricks.ops.cuda import assignment
    from sstricks.ops.cuda import matching as launchers

    u = torch.empty(ROWS, n, m, dtype=torch.float64)
    rows, columns = torch.empty(ROWS, n, dtype=torch.bool), torch.empty(ROWS, m, dtype=torch.bool)
    assignment.assignment(u, partial, dustbins)
    launchers.fit(u, u, rows, columns)
    for response in range(3):
        launchers.matching_softmax(u, response, partial, dustbins, 1e-13, 1e-10, 300)


def separable(n: int, k: int) -> None:
    from sstricks.ops.cuda import separable as launchers

    u = torch.empty(ROWS, n, dtype=torch.float64)
    for link in range(3):
        launchers.projection(launchers.solve(link, u, k), u, link)
    launchers.top_k(u, k)


def k_subset(n: int, k: int) -> None:
    from sstricks.ops.cuda import k_subset as launchers

    u, bounds = torch.empty(ROWS, n, dtype=torch.float64), torch.empty(ROWS, 2, dtype=torch.int64)
    launchers.marginals(u, bounds, k)
    launchers.marginals_jvp(u, u, bounds, k)
    launchers.log_partition(u, bounds, k)
    launchers.sample(u, u, bounds, k)


def chain(n: int, k: int) -> None:
    from sstricks.ops.cuda import chain_k_subset as launchers

    u, uniform = torch.empty(ROWS, 2 * n - 1, dtype=torch.float64), torch.empty(ROWS, n, dtype=torch.float64)
    launchers.marginals(u, k)
    launchers.marginals_jvp(u, u, k)
    launchers.log_partition(u, k)
    launchers.argmax(u, k)
    launchers.sample(u, uniform, k)


CALLS: dict[str, Callable[[], None]] = {
    "scaled": lambda: scaled(torch.float32, 350, False),
    "scaled-bfloat16-masked": lambda: scaled(torch.bfloat16, 5000, True),
    "spanning_tree-10": lambda: graph("spanning_tree", 10),
    "spanning_tree-50": lambda: graph("spanning_tree", 50),
    "arborescence-10": lambda: graph("arborescence", 10),
    "arborescence-50": lambda: graph("arborescence", 50),
    "projective-20": lambda: projective(20),
    "matching-20": lambda: matching(20, 20, False),
    "matching-partial": lambda: matching(20, 30, True),
    "matching-dustbins": lambda: matching(20, 30, False, True),
    "separable": lambda: separable(350, 10),
    "separable-of-one": lambda: separable(1, 1),
    "k-subset": lambda: k_subset(350, 10),
    "k-subset-large": lambda: k_subset(2000, 100),
    "chain": lambda: chain(350, 10),
    "chain-large": lambda: chain(2000, 100),
}


# What the passes over a graph keep from one node to the next may be put aside while they work on a tile.
SPILLED = {"arborescence": 512, "projective": 512, "matching": 512}


@pytest.mark.parametrize("name", CALLS)
def test_kernels_compile_and_stay_in_registers(name: str):
    with recorded() as launches:
        CALLS[name]()
    assert launches
    for launch in launches:
        compiles(launch, SPILLED.get(name.split("-")[0], 64))
