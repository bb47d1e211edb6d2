from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from sstricks.errors import invalid
from sstricks.functional.checks import check_mask, graph_nodes
from sstricks.ops.edge_list import checked_edges
from sstricks.structures.structure import Structure


class GraphStructure(Structure):
    """A set of subgraphs of one graph, as indicator vectors of its edges.

    Graphs of different sizes share a batch by masking: a node none of whose edges is present is absent. Where no edge
    is present there is one node, and one subgraph, x = 0, without any edge.

    Args:
        edges: The two ends of every edge, LongTensor (2, E).
        num_nodes: The number of nodes.
        mask: False where an edge is absent, shape (*batch, E).
        directed: Whether edges lead away from the root, so that none into it is in a subgraph.
        root: A node whose edges to all other present nodes are such a subgraph, a star.

    Raises:
        ValueError: A node has no usable edge, or 𝒳 is empty.
    """

    def __init__(
        self, edges: Tensor, num_nodes: int, mask: Tensor | None, *, directed: bool = False, root: int = 0
    ) -> None:
        ends = edges.cpu().numpy()  # NumPy takes a tenth of torch's time for so few numbers
        usable = ends[1] != root if directed else np.True_
        at = ends if usable.all() else ends[:, usable]
        reached = np.count_nonzero(np.bincount(at.ravel()))
        if reached < num_nodes > 1:
            raise invalid(
                "edges",
                f"edges at {reached} nodes",
                f"an edge at each of the num_nodes = {num_nodes} nodes",
                "Number the nodes without gaps; to leave one out of some examples, mask its edges.",
            )
        super().__init__((edges.shape[1],), mask, at_least=0)
        self.edges = edges.clone()  # the caller's may change
        self.num_nodes = num_nodes
        self._root = root
        if at is not ends:
            there = torch.from_numpy(usable)
            self._take_mask(there if mask is None else mask & there.to(mask.device))
        if self.mask is not None or len(np.unique(at[1, at[0] == root])) < num_nodes - 1:
            self._check_not_empty("edges" if mask is None else "mask")

    def edge_mask(self, nodes: Tensor) -> Tensor:
        """Which edges are between nodes that are present, shape (*batch, E): the mask of graphs of different sizes.

        For complete graphs of given sizes, `nodes = torch.arange(n) < sizes[:, None]`.

        Args:
            nodes: True where a node is present, shape (*batch, n).

        Raises:
            ValueError: `nodes` has the wrong shape or dtype.

        Example:
            >>> trees = sst.SpanningTree.complete(3)
            >>> mask = trees.edge_mask(torch.arange(3) < torch.tensor([[1], [2], [3]]))
            >>> trees.masked(mask).argmax(torch.zeros(3))
            tensor([[0., 0., 0.],
                    [1., 0., 0.],
                    [1., 1., 0.]])
        """
        check_mask(nodes, torch.Size([self.num_nodes]), "nodes")
        i, j = (end.expand(*nodes.shape[:-1], -1) for end in self.placed("edges", nodes.device))
        return nodes.gather(-1, i) & nodes.gather(-1, j)

    @abstractmethod
    def to_adjacency(self, x: Tensor) -> Tensor:
        """The (weighted) adjacency matrix of x, shape (*batch, n, n); parallel edges add up."""

    def _from_to(self, x: Tensor) -> Tensor:
        """The matrix with x of edge (i, j) at [i, j]."""
        self.check_shape("x", x)
        i, j = self.placed("edges", x.device)
        flat = x.new_zeros(*x.shape[:-1], self.num_nodes**2)
        flat = flat.scatter_add(-1, (i * self.num_nodes + j).expand(x.shape), x)
        return flat.unflatten(-1, (self.num_nodes, self.num_nodes))

    def _present(self, device: torch.device) -> Tensor:
        """Which nodes have an edge that is not masked, shape (*batch_shape, n)."""
        return self._at_ends(self._there(device), *self.placed("edges", device)) > 0

    def _there(self, device: torch.device) -> Tensor:
        if self.mask is None:
            return torch.ones(self.event_shape, device=device)
        return self.placed("mask", device).float()

    def _at_ends(self, x: Tensor, *ends: Tensor) -> Tensor:
        """What the edges have, added up at their ends, shape (*batch_shape, n)."""
        total = x.new_zeros(*x.shape[:-1], self.num_nodes)
        for end in ends:
            total = total.index_add(-1, end, x)
        return total

    def _check_not_empty(self, argument: str) -> None:
        mask = torch.ones(self.event_shape, dtype=torch.bool) if self.mask is None else self.mask
        edges = self.placed("edges", mask.device)
        star = edges[:, edges[0] == self._root]
        nodes = self._at_ends(mask[..., edges[0] == self._root].float(), *star) > 0
        if (mask & ~self.edge_mask(nodes)).any():
            super()._check_not_empty(argument)


def reachable(adjacency: Tensor) -> Tensor:
    """From which nodes edges lead to which, by repeated squaring, shape (*batch, n, n)."""
    nodes = adjacency.shape[-1]
    reach = (adjacency + torch.eye(nodes, dtype=adjacency.dtype, device=adjacency.device)).clamp(max=1)
    for _ in range((nodes - 1).bit_length()):
        reach = (reach @ reach).clamp(max=1)
    return reach > 0


def check_edges(edges: Tensor, num_nodes: int) -> int:
    """The number of nodes, for the edge list of a graph on so many nodes without self-loops."""
    num_nodes = graph_nodes(edges, num_nodes)
    checked_edges(edges, num_nodes)
    return num_nodes
