from itertools import combinations
from math import comb
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sstricks.errors import invalid
from sstricks.functional.checks import check_nodes
from sstricks.ops import spanning_tree
from sstricks.regularizers import ExponentialFamilyEntropy, Regularizer, SeparableRegularizer
from sstricks.solvers.registry import register_solver
from sstricks.solvers.separable import tree_optimum
from sstricks.structures.graph import GraphStructure, check_edges, reachable


class SpanningTree(GraphStructure):
    r"""The spanning trees of an undirected graph, as indicator vectors of their edges (App. B.7).

    .. math:: \mathcal{X} = \{ 1_T \in \{0, 1\}^E : T \text{ spans } G \}

    Graphs of different sizes share a batch by `of_nodes`: a node none of whose edges is present is
    absent, and where no edge is present there is one node and x = 0. The present nodes must be connected.

    With `forest` they need not be: every component has a spanning tree of its own, also where a mask or utilities of
    −∞ divide the graph, and 𝒳 is never empty. The operators get a graph with one more node, joined to one node of each
    component: these edges are in all of its trees and change nothing.

    Parallel edges are welcome; they are different edges of different trees. All are written in the same direction: a
    list with both (i, j) and (j, i), as PyTorch Geometric has them, would count every edge twice and is refused:
    see `from_edge_index`.

    Args:
        edges: The two ends of every edge, each edge once, in either direction, LongTensor (2, E).
        num_nodes: The number of nodes.
        mask: False where an edge is absent, shape (*batch, E).
        forest: Whether the graph may have several components, and nodes without an edge.

    Raises:
        ValueError: `edges` contains a node outside range(num_nodes), a self-loop, or an edge in both directions, or
            misses a node; or the graph is not connected.

    Example:
        >>> sst.SpanningTree.complete(4).log_partition(torch.zeros(6)).exp()
        tensor(16.)
        >>> two = torch.tensor([[0, 0, 1, 3], [1, 2, 2, 4]])  # a triangle, and an edge beside it
        >>> sst.SpanningTree(two, 5, forest=True).log_partition(torch.zeros(4)).exp()
        tensor(3.)
    """

    _may_have_unused_coordinates = False

    def __init__(self, edges: Tensor, num_nodes: int, mask: Tensor | None = None, *, forest: bool = False) -> None:
        num_nodes = check_edges(edges, num_nodes)
        _check_one_direction(edges, num_nodes)
        self.forest = forest
        if forest:
            each = torch.arange(num_nodes, device=edges.device)
            self._joined = torch.cat([edges, torch.stack([each, torch.full_like(each, num_nodes)])], 1)
        super().__init__(edges, num_nodes, mask, isolated=forest)

    @classmethod
    def complete(cls, n: int, mask: Tensor | None = None, *, forest: bool = False) -> "SpanningTree":
        """The spanning trees of the complete graph on n nodes; edges are the pairs i < j in lexicographic order.

        Args:
            n: The number of nodes.
            mask: False where an edge is absent, shape (*batch, n(n−1)/2).
            forest: Whether the mask may leave several components.

        Example:
            >>> sst.SpanningTree.complete(3).edges
            tensor([[0, 0, 1],
                    [1, 2, 2]])
        """
        n = check_nodes(n, "n")
        return cls(torch.triu_indices(n, n, 1), n, mask, forest=forest)

    @classmethod
    def from_edge_index(cls, edge_index: Tensor, num_nodes: int, *, forest: bool = False) -> tuple[Self, Tensor]:
        """The spanning trees of a graph whose edges are listed in both directions, as in PyTorch Geometric.

        Columns with the same two ends become one edge. It is written (i, j) with i < j; edges are in lexicographic
        order. Graphs that were joined to one batch are not connected: they have a spanning forest, or see
        docs/in-a-model.md.

        Args:
            edge_index: The two ends of every column, LongTensor (2, C).
            num_nodes: The number of nodes.
            forest: Whether the graph may have several components.

        Returns:
            The structure, and the edge of each column, shape (C,). With it, scores of columns add up to utilities,
            ``scores.new_zeros(*batch, E).index_add(-1, edge_of, scores)``, and ``x[..., edge_of]`` is x for columns.

        Raises:
            ValueError: As for `SpanningTree`.

        Example:
            >>> trees, edge_of = sst.SpanningTree.from_edge_index(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 3)
            >>> trees.edges, edge_of
            (tensor([[0, 1],
                    [1, 2]]), tensor([0, 0, 1, 1]))
        """
        num_nodes = check_edges(edge_index, num_nodes)
        pairs, edge_of = (edge_index.amin(0) * num_nodes + edge_index.amax(0)).unique(return_inverse=True)
        return cls(torch.stack([pairs // num_nodes, pairs % num_nodes]), num_nodes, forest=forest), edge_of

    def _arguments(self) -> str:
        return f"{self.edges.shape[1]} edges, {self.num_nodes} nodes{', forest' if self.forest else ''}"

    def to_adjacency(self, x: Tensor) -> Tensor:
        """The symmetric (weighted) adjacency matrix of x, shape (*batch, n, n); parallel edges add up.

        Example:
            >>> sst.SpanningTree.complete(3).to_adjacency(torch.tensor([1.0, 0.0, 1.0]))
            tensor([[0., 1., 0.],
                    [1., 0., 1.],
                    [0., 1., 0.]])
        """
        half = self._from_to(x)
        return half + half.mT

    def _empty(self) -> tuple[str, str, str] | None:
        if self.forest:
            return None
        return (
            "a graph in several components",
            "a connected graph, which has spanning trees",
            "Add or unmask edges between components, or say forest=True. (A node without a present edge is absent.)",
        )

    def _connected(self, u: Tensor) -> tuple[Tensor, Tensor, int]:
        """Utilities, edges and the number of nodes of a connected graph; edges of its own come last in its trees."""
        if not self.forest:
            return u, self.placed("edges", u.device), self.num_nodes
        joined, nodes = self.placed("_joined", u.device), self.num_nodes + 1
        # If all edges at the new node are worse than others, the best tree has that of the first node of a component.
        order = torch.arange(-1.0, -nodes, -1.0, dtype=u.dtype, device=u.device).expand(*u.shape[:-1], -1)
        known = torch.where(u.detach() > -torch.inf, 0.0, -torch.inf)
        first = spanning_tree.maximum_spanning_tree(torch.cat([known, order], -1), joined, nodes)
        links = torch.where(first[..., u.shape[-1] :] > 0, 0.0, -torch.inf)
        return torch.cat([u, links], -1), joined, nodes

    def _argmax(self, u: Tensor) -> Tensor:
        return spanning_tree.maximum_spanning_tree(*self._connected(u.detach()))[..., : u.shape[-1]]

    def _contains(self, x: Tensor) -> Tensor:
        # With as many edges as a tree has, being connected is being a tree.
        reach = self._reach(x.device)
        return (reachable(self.to_adjacency(x)) == reach).all((-1, -2)) & (x.sum(-1) == _size(reach))

    def _reach(self, device: torch.device) -> Tensor:
        """Which nodes are connected, shape (*batch_shape, n, n)."""
        return reachable(self.to_adjacency(self._there(device).expand(*self.batch_shape, *self.event_shape)))

    def _candidates(self) -> int:
        return comb(self.edges.shape[1], int(_size(self._reach(self.edges.device))))

    def _support(self) -> Tensor:
        size = int(_size(self._reach(self.edges.device)))
        chosen = torch.tensor(list(combinations(range(self.edges.shape[1]), size)), dtype=torch.int64)
        candidates = torch.zeros(len(chosen), self.edges.shape[1]).scatter(-1, chosen, 1.0)
        return candidates[self.contains(candidates)]

    def _log_partition(self, u: Tensor) -> Tensor:
        return spanning_tree.log_partition(*self._connected(u))

    def _sample(self, u: Tensor, generator: torch.Generator | None) -> Tensor:
        return spanning_tree.draw(*self._connected(u), generator)[..., : u.shape[-1]]


def _check_one_direction(edges: Tensor, num_nodes: int) -> None:
    """Raise if an edge of an undirected graph is listed in both directions."""
    i, j = edges.cpu().numpy()
    if (i < j).all():
        return
    there, back = i * num_nodes + j, j * num_nodes + i
    both = np.isin(there, back)
    if both.any():
        e = int(both.argmax())
        f = int((back == there[e]).argmax())
        i, j = i[e], j[e]
        raise invalid(
            "edges",
            f"edge ({i}, {j}) at index {e} and edge ({j}, {i}) at index {f}",
            "every edge of the undirected graph once",
            "Build it by SpanningTree.from_edge_index, or keep edges[:, edges[0] < edges[1]]; write parallel edges in "
            "the same direction.",
        )


def _size(reach: Tensor) -> Tensor:
    """How many edges a tree has, shape (*batch_shape): one for each node but the first of its component."""
    return reach.tril(-1).any(-1).sum(-1)


@register_solver(SpanningTree, ExponentialFamilyEntropy)
def _(trees: SpanningTree, f: Regularizer, u: Tensor) -> Tensor:
    return spanning_tree.marginals(*trees._connected(u))[..., : u.shape[-1]]


@register_solver(SpanningTree, SeparableRegularizer)
def _(trees: SpanningTree, f: SeparableRegularizer, u: Tensor) -> Tensor:
    return tree_optimum(f, u, trees.edges.to(u.device), trees.num_nodes, trees.forest)
