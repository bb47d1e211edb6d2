from abc import abstractmethod
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sstricks.errors import check_tensor, invalid, joint_shape
from sstricks.functional.checks import check_mask, graph_nodes
from sstricks.ops.edge_list import checked_edges
from sstricks.ops.operator import is_readable
from sstricks.structures.structure import Structure


class GraphStructure(Structure):
    """A set of subgraphs of one graph, as indicator vectors of its edges.

    Graphs of different sizes share a batch by `of_nodes`: a node none of whose edges is present is absent. Where no
    edge is present there is one node, and one subgraph, x = 0, without any edge.

    Args:
        edges: The two ends of every edge, LongTensor (2, E).
        num_nodes: The number of nodes.
        mask: False where an edge is absent, shape (*batch, E).
        directed: Whether edges lead away from the root, so that none into it is in a subgraph.
        root: A node whose edges to all other present nodes are such a subgraph, a star.
        single_root: Whether such a subgraph has one edge from the root, and the star is that of the node it leads to.
        isolated: Whether a node may be without a usable edge.

    Raises:
        ValueError: A node has no usable edge, or 𝒳 is empty.
    """

    def __init__(
        self,
        edges: Tensor,
        num_nodes: int,
        mask: Tensor | None,
        *,
        directed: bool = False,
        root: int = 0,
        single_root: bool = False,
        isolated: bool = False,
    ) -> None:
        ends = edges.cpu().numpy()  # NumPy takes a tenth of torch's time for so few numbers
        usable = ends[1] != root if directed else np.True_
        at = ends if usable.all() else ends[:, usable]
        reached = np.count_nonzero(np.bincount(at.ravel()))
        if reached < num_nodes > 1 and not isolated:
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
        self.single_root = single_root
        if at is not ends:
            there = torch.from_numpy(usable)
            self._take_mask(there if mask is None else mask & there.to(mask.device))
        if self.mask is not None or single_root or len(np.unique(at[1, at[0] == root])) < num_nodes - 1:
            self._check_not_empty("edges" if mask is None else "mask")

    def edge_mask(self, nodes: Tensor) -> Tensor:
        """Which edges are between nodes that are present, shape (*batch, E): the mask of graphs of different sizes.

        Args:
            nodes: True where a node is present, shape (*batch, n); or integers (*batch), how many are, the first ones.

        Raises:
            ValueError: `nodes` has the wrong shape or dtype, or is out of range.

        Example:
            >>> trees = sst.SpanningTree.complete(3)
            >>> trees.edge_mask(torch.tensor([1, 2, 3]))
            tensor([[False, False, False],
                    [ True, False, False],
                    [ True,  True,  True]])
        """
        if isinstance(nodes, Tensor) and not nodes.dtype.is_floating_point and nodes.dtype != torch.bool:
            if is_readable(nodes) and ((nodes < 0) | (nodes > self.num_nodes)).any():
                remedy = "Count the nodes of each example."
                raise invalid("nodes", nodes.tolist(), f"integers from 0 to num_nodes = {self.num_nodes}", remedy)
            nodes = torch.arange(self.num_nodes, device=nodes.device) < nodes.unsqueeze(-1)
        check_mask(nodes, torch.Size([self.num_nodes]), "nodes")
        i, j = (end.expand(*nodes.shape[:-1], -1) for end in self.placed("edges", nodes.device))
        return nodes.gather(-1, i) & nodes.gather(-1, j)

    def of_nodes(self, nodes: Tensor) -> Self:
        """The same structure on some of the nodes of each example; the others are absent.

        It is `masked(edge_mask(nodes))`, and so it looks at the mask and waits for its device.

        Args:
            nodes: True where a node is present, shape (*batch, n); or integers (*batch), how many are, the first ones.

        Raises:
            ValueError: `nodes` has the wrong shape or dtype, or is out of range, or the nodes of some example have no
                such subgraph.

        Example:
            >>> sst.SpanningTree.complete(3).of_nodes(torch.tensor([1, 2, 3])).argmax(torch.zeros(3))
            tensor([[0., 0., 0.],
                    [1., 0., 0.],
                    [1., 1., 0.]])
        """
        return self.masked(self.edge_mask(nodes))

    def from_adjacency(self, matrix: Tensor) -> Tensor:
        """The entries of a matrix at the edges, shape (*batch, E): utilities from scores of pairs, or a mask of edges.

        Edge (i, j) takes the entry [i, j]. An undirected edge is read in the direction in which it is written, i < j in
        `SpanningTree.complete`: where both directions have a score, add the transpose first.

        Args:
            matrix: Shape (*batch, n, n), of any dtype.

        Raises:
            ValueError: The matrix has another shape, or is no tensor.

        Example:
            >>> sst.Arborescence.complete(3).from_adjacency(torch.arange(9.0).view(3, 3))
            tensor([1., 2., 5., 7.])
        """
        n = self.num_nodes
        if check_tensor("matrix", matrix).shape[-2:] != (n, n):
            raise invalid(
                "matrix",
                f"shape {tuple(matrix.shape)}",
                f"(*batch, {n}, {n})",
                "Give one entry for each pair of nodes.",
            )
        i, j = self.placed("edges", matrix.device)
        return matrix[..., i, j]

    @abstractmethod
    def to_adjacency(self, x: Tensor) -> Tensor:
        """The (weighted) adjacency matrix of x, shape (*batch, n, n); parallel edges add up."""

    def _from_to(self, x: Tensor) -> Tensor:
        """The matrix with x of edge (i, j) at [i, j]."""
        self.check_shape("x", x)
        return adjacency(x, self.placed("edges", x.device), self.num_nodes)

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
        star = mask & (edges[0] == self._root)
        if self.single_root and len(edges[0]):
            # The first edge from the root, and those from the node that it leads to.
            first = star & (star.cumsum(-1) == 1)
            child = edges[1][first.int().argmax(-1, keepdim=True)]
            star = first | (mask & (edges[0] == child) & star.any(-1, keepdim=True))
        nodes = self._at_ends(star.float(), *edges) > 0
        if (mask & ~self.edge_mask(nodes)).any():
            super()._check_not_empty(argument)


class RootedTrees(GraphStructure):
    """Trees whose edges lead away from a root, so that every other present node has one head."""

    def _has_few_children(self, adjacency: Tensor) -> Tensor:
        """Whether the root has one child at the most, if that is asked for, shape (*batch)."""
        return (adjacency[..., self._root, :].sum(-1) <= 1) | (not self.single_root)

    def to_adjacency(self, x: Tensor) -> Tensor:
        """The (weighted) adjacency matrix, shape (*batch, n, n), edge i → j at [i, j]; parallel edges add up.

        Example:
            >>> sst.Arborescence.complete(3).to_adjacency(torch.tensor([1.0, 0.0, 1.0, 0.0]))
            tensor([[0., 1., 0.],
                    [0., 0., 1.],
                    [0., 0., 0.]])
        """
        return self._from_to(x)

    def from_heads(self, heads: Tensor) -> Tensor:
        """The tree in which every node has a given head, as a vector of edges, shape (*batch, E), of the default dtype.

        Of parallel edges it takes the first that is present. A head without an edge to its node gives no edge, and
        heads may form a cycle: `contains` says whether the result is a tree.

        Args:
            heads: The head of each node, int64, shape (*batch, n). What stands at the root, and at nodes without a
                present edge (padding), is not read.

        Raises:
            ValueError: `heads` has another shape or dtype.

        Example:
            >>> sst.Arborescence.complete(3).from_heads(torch.tensor([-1, 2, 0]))
            tensor([0., 1., 0., 1.])
        """
        n = self.num_nodes
        if check_tensor("heads", heads).dtype != torch.int64 or heads.shape[-1:] != (n,):
            found = f"shape {tuple(heads.shape)} of {heads.dtype}"
            raise invalid("heads", found, f"an int64 tensor of shape (*batch, {n})", "Write -1 where there is no head.")
        batch = joint_shape("heads", heads.shape, self.batch_shape, "mask", heads.shape[:-1])
        i, j = self.placed("edges", heads.device)
        number = torch.arange(len(j), device=j.device)
        fits = heads[..., j] == i
        if self.mask is not None:
            fits = fits & self.placed("mask", j.device)
        into = j.expand(*batch, -1)
        first = number.new_full((*batch, n), len(j))
        first = first.scatter_reduce(-1, into, torch.where(fits, number, len(j)), "amin")
        return (first.gather(-1, into) == number).to(torch.get_default_dtype())

    def to_heads(self, x: Tensor) -> Tensor:
        """The head of each node in a tree, int64, shape (*batch, n); −1 at the root and at absent nodes (padding).

        Args:
            x: Trees, shape (*batch, E): vertices, not relaxed ones.

        Raises:
            ValueError: x has another shape.

        Example:
            >>> sst.Arborescence.complete(3).to_heads(torch.tensor([0.0, 1.0, 0.0, 1.0]))
            tensor([-1,  2,  0])
        """
        self.check_shape("x", x)
        i, j = self.placed("edges", x.device)
        none = i.new_full((*x.shape[:-1], self.num_nodes), -1)
        return none.scatter_reduce(-1, j.expand(x.shape), torch.where(x > 0, i, -1), "amax")


def adjacency(x: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """The matrix with x of edge (i, j) at [i, j], shape (*batch, n, n); parallel edges add up."""
    flat = x.new_zeros(*x.shape[:-1], nodes**2)
    return flat.scatter_add(-1, (edges[0] * nodes + edges[1]).expand(x.shape), x).unflatten(-1, (nodes, nodes))


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
