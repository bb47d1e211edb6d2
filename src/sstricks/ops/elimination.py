"""Which kernel eliminates the nodes of which graph, on the CPU."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sstricks.ops.threads import over_rows

# Kernels with exponents treat eight graphs at a time, at the cost of eight. From so many nodes on, the products of
# matrices of kernels without exponents make up for that (measured).
DENSE = 48

Exact = Callable[..., None]


def eliminate(name: str, exact: Exact, out: Tensor, nodes: int, edges: Tensor, *rows: Tensor, directed: bool) -> Tensor:
    """Run a kernel on every graph, and return what is wrong with each.

    Args:
        name: The kernel.
        exact: `exact(out, fault, *rows)` does the same at any range of the utilities.
        out: What it writes, one row for each graph.
        nodes: The number of nodes.
        edges: The two ends of every edge.
        *rows: What it reads, one row for each graph.
        directed: Whether edges have a direction, and node 0 is the root.

    Returns:
        How many nodes the root does not reach, or how many components there are.
    """
    from sstricks.ops.kernels import dense
    from sstricks.ops.kernels.floats import LANES

    fault = torch.zeros(len(out), dtype=torch.int64)
    if nodes < DENSE and len(out) >= LANES:
        exact(out, fault, *rows)
        return fault
    served = np.zeros(len(out), np.bool_)
    # About 0.1 ns for every product, and some nanoseconds for each edge.
    work = 0.2 * nodes**3 + 10.0 * edges.shape[1]
    arrays = (row.numpy() for row in rows)
    args = (nodes, directed, *arrays, edges.numpy(), out.numpy(), fault.numpy(), served)
    memory = dense.workspace_size(nodes, edges.shape[1], name == "marginals_jvp")
    over_rows(getattr(dense, name), len(out), work, *args, scratch=memory)
    if not served.all():
        left = torch.from_numpy(~served)
        rest, wrong = out[left], fault[left]
        exact(rest, wrong, *(row[left] for row in rows))
        out[left], fault[left] = rest, wrong
    return fault
