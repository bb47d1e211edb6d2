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
# matrices of kernels without exponents make up for that, and so does what a sparse graph spares: later if edges have
# directions, and already from `FEW` nodes on with fewer rows than lanes, or with much padding: lanes leave out the
# padding of the largest of eight graphs, the others that of each (measured).
DENSE, DENSE_DIRECTED = 48, 64
FEW = 16
# Graphs with more edges than n²/8 count as dense, and so do those that eliminations fill so far.
FILLED = 8
# A product of numbers with exponents takes as long as so many without, in products of matrices (measured).
PRODUCTS = 128


class Order(NamedTuple):
    """What `sstricks.ops.kernels.minimum_degree` makes of an edge list."""

    number: np.ndarray
    slot: np.ndarray
    down: np.ndarray
    lists: tuple[np.ndarray, ...]
    pairs: int
    products: float

    def graph(self, directed: bool) -> tuple[Any, ...]:
        """What kernels know of it, with the place of every edge's weight: those into an earlier node are the last."""
        return self.number, np.where(self.down & directed, self.pairs, 0) + self.slot, self.lists

    def work(self) -> float:
        """About how many nanoseconds one graph takes."""
        return 5.0 * self.products + 50.0 * (len(self.slot) + len(self.number))


def order_of(edges: Tensor, nodes: int) -> Order:
    """The order of elimination for an edge list, looked for once."""
    order = _order_of(edges.numpy().tobytes(), nodes, np.inf)
    assert order
    return order


def sparse_order(edges: Tensor, nodes: int) -> Order | None:
    """The same for graphs that it leaves sparse."""
    if edges.shape[1] * FILLED >= nodes**2:
        return None
    return _order_of(edges.numpy().tobytes(), nodes, nodes**3 / FILLED if FILLED else np.inf)


@lru_cache(maxsize=8)
def _order_of(ends: bytes, nodes: int, most: float) -> Order | None:
    from sstricks.ops.kernels.minimum_degree import analyse

    pairs = np.frombuffer(ends, np.int64).reshape(2, -1)
    number, pointer, index, begin, earlier, place, slot, down = analyse(nodes, 0, pairs, most)
    if not len(number):
        return None
    later = np.diff(pointer).astype(np.float64)
    return Order(number, slot, down, (pointer, index, begin, earlier, place), index.size, float(later @ later))


def _dense(name: str, directed: bool, nodes: int, edges: Tensor, out: Tensor, fault: Tensor, *rows: Tensor) -> Tensor:
    """Run a kernel without exponents, and return for which graphs that was possible."""
    from sstricks.ops.kernels import dense

    served = torch.zeros(len(out), dtype=torch.bool)
    # About 0.1 ns for every product, and some nanoseconds for each edge.
    work = 0.2 * nodes**3 + 10.0 * edges.shape[1]
    memory = dense.workspace_size(nodes, edges.shape[1], name == "marginals_jvp")
    arrays = (x.numpy() for x in (*rows, edges, out, fault, served))
    over_rows(getattr(dense, name), len(out), work, nodes, directed, *arrays, scratch=memory)
    return served


def _sparse(
    name: str, directed: bool, order: Order, nodes: int, edges: Tensor, out: Tensor, fault: Tensor, *rows: Tensor
) -> None:
    """Run a kernel for sparse graphs."""
    from sstricks.ops.kernels import sparse

    memory = sparse.workspace_size(nodes, edges.shape[1], order.pairs, name == "marginals_jvp")
    graph = (nodes, directed, *order.graph(directed))
    arrays = (x.numpy() for x in (*rows, edges, out, fault))
    over_rows(getattr(sparse, name), len(out), order.work(), *graph, *arrays, scratch=memory)


def uniforms_size(order: Order) -> int:
    """How many random numbers `sample` takes for each graph."""
    from sstricks.ops.kernels.sparse_samples import uniforms_size

    return uniforms_size(len(order.number), order.pairs)


def sample(order: Order, edges: Tensor, out: Tensor, fault: Tensor, u: Tensor, uniforms: Tensor) -> None:
    """Draw an arborescence of every directed graph.

    Args:
        order: The order of elimination.
        edges: Where every edge leads from and to.
        out: What is written, one row for each graph.
        fault: How many nodes the root does not reach, of each graph.
        u: Natural parameters, one row for each graph.
        uniforms: Independent numbers, uniform on [0, 1), one row for each graph.
    """
    from sstricks.ops.kernels import sparse_samples

    nodes = len(order.number)
    memory = sparse_samples.workspace_size(nodes, edges.shape[1], order.pairs)
    arrays = (x.numpy() for x in (u, uniforms, edges, out, fault))
    graph = (nodes, *order.graph(directed=True))
    over_rows(sparse_samples.sample, len(out), order.work(), *graph, *arrays, scratch=memory)


def _is_padded(u: Tensor) -> bool:
    """Whether most edges are absent, by a sample of them."""
    sample = u[:, ::7]
    return 2 * int((sample == -torch.inf).count_nonzero()) > sample.numel()


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
    fault = torch.zeros(len(out), dtype=torch.int64)
    order = sparse_order(edges, nodes) if nodes >= DENSE else None
    dense = DENSE_DIRECTED if directed else DENSE
    if order and order.products * PRODUCTS < nodes**3:
        _sparse(name, directed, order, nodes, edges, out, fault, *rows)
    elif nodes < FEW or (nodes < dense and len(out) >= LANES and not _is_padded(rows[0])):
        exact(out, fault, *rows)
    else:
        left = ~_dense(name, directed, nodes, edges, out, fault, *rows)
        if order is None and len(out) == 1 and left.all():  # seven lanes would be idle
            order = order_of(edges, nodes)
        run = partial(_sparse, name, directed, order, nodes, edges) if order else exact
        if left.all():
            run(out, fault, *rows)
        elif left.any():
            rest, wrong = out[left], fault[left]
            run(rest, wrong, *(row[left] for row in rows))
            out[left], fault[left] = rest, wrong
    return fault
