"""Which kernel eliminates the nodes of which graph, on the CPU."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sstricks.ops.threads import over_rows

# As many as in `sstricks.ops.kernels.floats`, which takes long to import.
LANES = 8

# Kernels with exponents treat eight graphs at a time, at the cost of eight. From so many nodes on, the products of
# matrices of kernels without exponents make up for that, and so does what a sparse graph spares (measured).
DENSE = 48
# Graphs with more edges than n²/8 count as dense, and so do those that eliminations fill so far.
FILLED = 8
# A product of numbers with exponents takes as long as so many without, in products of matrices (measured).
PRODUCTS = 128

# It returns which rows it was made for.
Attempt = Callable[..., Tensor]


class Order(NamedTuple):
    """What `sstricks.ops.kernels.minimum_degree` makes of an edge list."""

    number: np.ndarray
    slot: np.ndarray
    down: np.ndarray
    lists: tuple[np.ndarray, ...]
    pairs: int
    products: float


def order_of(edges: Tensor, nodes: int) -> Order:
    """The order of elimination for an edge list, looked for once."""
    return _order_of(edges.numpy().tobytes(), nodes)


def sparse_order(edges: Tensor, nodes: int) -> Order | None:
    """The same for graphs that it leaves sparse."""
    if edges.shape[1] * FILLED < nodes**2:
        order = order_of(edges, nodes)
        if order.products * FILLED < nodes**3:
            return order
    return None


@lru_cache(maxsize=8)
def _order_of(ends: bytes, nodes: int) -> Order:
    from sstricks.ops.kernels.minimum_degree import analyse

    pairs = np.frombuffer(ends, np.int64).reshape(2, -1)
    number, pointer, index, begin, earlier, place, slot, down = analyse(nodes, 0, pairs)
    later = np.diff(pointer).astype(np.float64)
    return Order(number, slot, down, (pointer, index, begin, earlier, place), index.size, float(later @ later))


def _dense(name: str, nodes: int, edges: Tensor, directed: bool, out: Tensor, fault: Tensor, *rows: Tensor) -> Tensor:
    from sstricks.ops.kernels import dense

    # About 0.1 ns for every product, and some nanoseconds for each edge.
    work = 0.2 * nodes**3 + 10.0 * edges.shape[1]
    memory = dense.workspace_size(nodes, edges.shape[1], name == "marginals_jvp")
    return _run(getattr(dense, name), work, memory, (nodes, directed), rows, edges, out, fault)


def _sparse(
    name: str, order: Order, nodes: int, edges: Tensor, directed: bool, out: Tensor, fault: Tensor, *rows: Tensor
) -> Tensor:
    from sstricks.ops.kernels import sparse

    memory = sparse.workspace_size(nodes, edges.shape[1], order.pairs, name == "marginals_jvp")
    slot = np.where(order.down & directed, order.pairs, 0) + order.slot
    work = 5.0 * order.products + 50.0 * (edges.shape[1] + nodes)
    graph = (nodes, directed, order.number, slot, order.lists)
    return _run(getattr(sparse, name), work, memory, graph, rows, edges, out, fault)


def _run(
    kernel: Callable[..., None],
    work: float,
    memory: int,
    graph: tuple[Any, ...],
    rows: tuple[Tensor, ...],
    edges: Tensor,
    out: Tensor,
    fault: Tensor,
) -> Tensor:
    served = torch.zeros(len(out), dtype=torch.bool)
    arrays = (x.numpy() for x in (*rows, edges, out, fault, served))
    over_rows(kernel, len(out), work, *graph, *arrays, scratch=memory)
    return served


def uniforms_size(order: Order) -> int:
    """How many random numbers `sample` takes for each graph."""
    from sstricks.ops.kernels.sparse_samples import uniforms_size

    return uniforms_size(len(order.number), order.pairs)


def sample(order: Order, edges: Tensor, out: Tensor, fault: Tensor, u: Tensor, uniforms: Tensor) -> Tensor:
    """Draw an arborescence of every directed graph; `eliminate` explains the rest.

    Args:
        order: The order of elimination.
        edges: Where every edge leads from and to.
        out: What is written, one row for each graph.
        fault: How many nodes the root does not reach, of each graph.
        u: Natural parameters, one row for each graph.
        uniforms: Independent numbers, uniform on [0, 1), one row for each graph.

    Returns:
        For which graphs that was possible.
    """
    from sstricks.ops.kernels import sparse_samples

    nodes, count = len(order.number), edges.shape[1]
    memory = sparse_samples.workspace_size(nodes, count, order.pairs)
    graph = (nodes, True, order.number, np.where(order.down, order.pairs, 0) + order.slot, order.lists)
    work = 5.0 * order.products + 200.0 * (count + nodes)
    return _run(sparse_samples.sample, work, memory, graph, (u, uniforms), edges, out, fault)


def _run_in_turn(attempts: list[Attempt], out: Tensor, fault: Tensor, *rows: Tensor) -> None:
    """Leave to each kernel the rows that those before it were not made for; the last one is made for all."""
    served = attempts[0](out, fault, *rows)
    if len(attempts) > 1 and not served.all():
        left = ~served
        rest, wrong = out[left], fault[left]
        _run_in_turn(attempts[1:], rest, wrong, *(row[left] for row in rows))
        out[left], fault[left] = rest, wrong


def eliminate(
    name: str, exact: Callable[..., Any], out: Tensor, nodes: int, edges: Tensor, *rows: Tensor, directed: bool
) -> Tensor:
    """Run a kernel on every graph, and return what is wrong with each.

    Args:
        name: The kernel.
        exact: `exact(out, fault, *rows)` does the same for any graph, at any range of the utilities.
        out: What it writes, one row for each graph.
        nodes: The number of nodes.
        edges: The two ends of every edge.
        *rows: What it reads, one row for each graph.
        directed: Whether edges have a direction, and node 0 is the root.

    Returns:
        How many nodes the root does not reach, or how many components there are.
    """
    attempts: list[Attempt] = [exact]
    if nodes >= DENSE or len(out) < LANES:
        attempts.insert(0, partial(_dense, name, nodes, edges, directed))
    if nodes >= DENSE and (order := sparse_order(edges, nodes)):
        # Of a graph that is not that sparse, only rows of a wide range are left to the sparse kernel.
        first = order.products * PRODUCTS < nodes**3
        attempts.insert(0 if first else 1, partial(_sparse, name, order, nodes, edges, directed))
    fault = torch.zeros(len(out), dtype=torch.int64)
    _run_in_turn(attempts, out, fault, *rows)
    return fault
