from abc import abstractmethod

import torch
from torch import Tensor

from sstricks.errors import invalid
from sstricks.functional.checks import graph_nodes
from sstricks.ops.edge_list import checked_edges
from sstricks.structures.structure import Structure


class GraphStructure(Structure):
    """A set of subgraphs of one graph, as indicator vectors of its edges.

    Graphs of different sizes share a batch by masking: a node none of whose edges is present is itself absent.

    Args:
        edges: The two ends of every edge, LongTensor (2, E).
        num_nodes: The number of nodes, n ≥ 2.
        mask: False where an edge is absent, shape (*batch, E).
        usable: Which edges are in some subgraph, shape (E,).
        trouble: What a graph is in whose set of subgraphs is empty.
        expected: What it should be.
        remedy: How to mend it.

    Raises:
        ValueError: The edges do not fit the nodes, have self-loops, or leave 𝒳 empty.
    """

    def __init__(
        self,
        edges: Tensor,
        num_nodes: int,
        mask: Tensor | None,
        usable: Tensor,
        trouble: str,
        expected: str,
        remedy: str,
    ) -> None:
        reached = len(edges[:, usable].unique())
        if reached < num_nodes:
            raise invalid(
                "edges",
                f"ends in {reached} nodes",
                f"an edge at each of the num_nodes = {num_nodes}",
                "Number the nodes without gaps; to leave one out of some examples, mask its edges.",
            )
        super().__init__((edges.shape[1],), mask, at_least=1)
        if not usable.all():
            super().__init__((edges.shape[1],), usable if mask is None else mask & usable.to(mask.device), at_least=1)
        self.edges = edges.clone()  # the caller's may change
        self.num_nodes = num_nodes
        self._check_feasible("edges" if mask is None else "mask", trouble, expected, remedy)

    @abstractmethod
    def to_adjacency(self, x: Tensor) -> Tensor:
        """The (weighted) adjacency matrix of x, shape (*batch, n, n); parallel edges add up."""

    def _from_to(self, x: Tensor) -> Tensor:
        """The matrix with x of edge (i, j) at [i, j]."""
        self.check_shape("x", x)
        i, j = self.edges.to(x.device)
        flat = x.new_zeros(*x.shape[:-1], self.num_nodes**2)
        flat = flat.scatter_add(-1, (i * self.num_nodes + j).expand(x.shape), x)
        return flat.unflatten(-1, (self.num_nodes, self.num_nodes))

    def _present(self, device: torch.device) -> Tensor:
        """Which nodes have an edge that is not masked, shape (*batch_shape, n)."""
        mask = torch.ones(self.event_shape) if self.mask is None else self.mask.float()
        matrix = self._from_to(mask.to(device))
        return (matrix.sum(-1) + matrix.sum(-2)) > 0


def reachable(adjacency: Tensor) -> Tensor:
    """From which nodes edges lead to which, by repeated squaring, shape (*batch, n, n)."""
    nodes = adjacency.shape[-1]
    reach = (adjacency + torch.eye(nodes, dtype=adjacency.dtype, device=adjacency.device)).clamp(max=1)
    for _ in range((nodes - 1).bit_length()):
        reach = (reach @ reach).clamp(max=1)
    return reach > 0


def check_edges(edges: Tensor, num_nodes: int) -> int:
    """The number of nodes, if `edges` is the edge list of a graph on so many nodes without self-loops."""
    num_nodes = graph_nodes(edges, num_nodes)
    checked_edges(edges, num_nodes)
    return num_nodes
