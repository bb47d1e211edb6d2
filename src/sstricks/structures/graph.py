from abc import abstractmethod

import torch
from torch import Tensor

from sstricks.errors import invalid, whole
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
        everything = torch.zeros(edges.shape[1], device=edges.device)
        try:
            self.argmax(everything)
        except ValueError as error:
            raise invalid("edges" if mask is None else "mask", trouble, expected, remedy) from error

    @abstractmethod
    def to_adjacency(self, x: Tensor) -> Tensor:
        """The (weighted) adjacency matrix of x, shape (*batch, n, n); parallel edges add up."""

    def _from_to(self, x: Tensor) -> Tensor:
        """The matrix with x of edge (i, j) at [i, j]."""
        self._check_shape("x", x)
        i, j = self.edges.to(x.device)
        flat = x.new_zeros(*x.shape[:-1], self.num_nodes**2)
        flat = flat.scatter_add(-1, (i * self.num_nodes + j).expand(x.shape), x)
        return flat.unflatten(-1, (self.num_nodes, self.num_nodes))

    def _present(self, x: Tensor) -> Tensor:
        """Which nodes have an edge that is not masked, shape (*batch, n)."""
        mask = torch.ones_like(x) if self.mask is None else self.mask.to(x)
        matrix = self._from_to(mask.expand(x.shape))
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
    num_nodes = whole("num_nodes", num_nodes, "A tree needs an edge.", low=2)
    if not isinstance(edges, Tensor):
        raise invalid(
            "edges", f"a {type(edges).__name__}", "an int64 tensor", "Write torch.tensor([sources, targets])."
        )
    if edges.dtype != torch.int64 or edges.dim() != 2 or edges.shape[0] != 2 or edges.shape[1] == 0:
        raise invalid(
            "edges",
            f"shape {tuple(edges.shape)} of {edges.dtype}",
            "an int64 tensor of shape (2, E), E >= 1",
            "edges[:, e] holds the two ends of edge e; for all pairs of nodes use .complete(n).",
        )
    if edges.min() < 0 or edges.max() >= num_nodes:
        raise invalid(
            "edges",
            f"node numbers from {int(edges.min())} to {int(edges.max())}",
            f"0 to num_nodes - 1 = {num_nodes - 1}",
            "Number the nodes from 0, or raise num_nodes.",
        )
    if (edges[0] == edges[1]).any():
        at = int((edges[0] == edges[1]).nonzero()[0])
        raise invalid(
            "edges", f"a self-loop at index {at}", "two ends that differ", "No tree has a self-loop: leave it out."
        )
    return num_nodes
