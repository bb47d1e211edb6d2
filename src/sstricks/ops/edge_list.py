"""Edge lists whose node numbers kernels may use as they are: kernels do not look where they read and write."""

import numpy as np
from torch import Tensor

from sstricks.errors import invalid
from sstricks.ops.operator import is_readable, operator


def checked_edges(edges: Tensor, nodes: int) -> Tensor:
    """The edges, looked at by `edge_list`, or faster where there is nothing to complain of."""
    return edges if is_readable(edges) and _good(edges.numpy(), nodes) else edge_list(edges, nodes)


# An operator, so that the values are looked at when a compiled program runs, and in one graph with what uses them.
@operator("sstricks::edge_list", core=(2,), output_core=2, waits=True)
def edge_list(edges: Tensor, nodes: int) -> Tensor:
    """The same edges, shape (2, E), if they are those of a graph without self-loops.

    Args:
        edges: The two ends of every edge, int64, shape (2, E).
        nodes: The number of nodes.

    Raises:
        ValueError: A node number is not from 0 to nodes − 1, or the two ends of an edge are the same.
    """
    if edges.numel() == 0:
        return edges.clone()
    low, high = map(int, edges.aminmax())
    if low < 0 or high >= nodes:
        raise invalid(
            "edges",
            f"node numbers from {low} to {high}",
            f"0 to num_nodes - 1 = {nodes - 1}",
            "Number the nodes from 0, or raise num_nodes.",
        )
    loops = edges[..., 0, :] == edges[..., 1, :]
    if loops.any():
        at = int(loops.nonzero()[0, -1])
        raise invalid(
            "edges", f"a self-loop at index {at}", "two ends that differ", "No tree has a self-loop: leave it out."
        )
    return edges.clone()


def _good(ends: np.ndarray, nodes: int) -> bool:
    # One pass for both bounds: without its sign, a negative number is a large one.
    return bool(ends.view(np.uint64).max(initial=0) < nodes and not (ends[..., 0, :] == ends[..., 1, :]).any())
