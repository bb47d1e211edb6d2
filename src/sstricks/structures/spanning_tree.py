from itertools import combinations
from math import comb

import torch
from torch import Tensor

from sstricks import functional as F
from sstricks.errors import invalid
from sstricks.regularizers import ExponentialFamilyEntropy, Regularizer
from sstricks.solvers.frank_wolfe import register_frank_wolfe
from sstricks.solvers.registry import register_solver
from sstricks.structures.structure import Structure


class SpanningTree(Structure):
    r"""The spanning trees of an undirected graph, as indicator vectors of their edges (App. B.7).

    .. math:: \mathcal{X} = \{ 1_T \in \{0, 1\}^E : T \text{ spans } G \}

    Graphs of different sizes share a batch by masking: a node none of whose edges is present is itself absent. The
    present nodes must be connected. Parallel edges are welcome; they are different edges of different trees.

    Args:
        edges: The two ends of every edge, in either order, LongTensor (2, E).
        num_nodes: The number of nodes, n ≥ 2.
        mask: False where an edge is absent, shape (*batch, E).

    Raises:
        ValueError: The edges do not fit the nodes, have self-loops, or leave the graph in several components.

    Example:
        >>> sst.SpanningTree.complete(4).log_partition(torch.zeros(6)).exp()
        tensor(16.)
    """

    def __init__(self, edges: Tensor, num_nodes: int, mask: Tensor | None = None) -> None:
        check_edges(edges, num_nodes)
        super().__init__((edges.shape[1],), mask, at_least=1)
        self.edges = edges
        self.num_nodes = num_nodes
        if len(edges.unique()) < num_nodes:
            raise invalid(
                "edges",
                f"ends in {len(edges.unique())} nodes",
                f"an edge at each of the num_nodes = {num_nodes}",
                "Number the nodes without gaps; to leave one out of some examples, mask its edges.",
            )
        everything = torch.zeros(edges.shape[1], device=edges.device)
        try:
            self._argmax(everything if mask is None else everything.masked_fill(~mask.to(edges.device), -torch.inf))
        except ValueError as error:
            raise invalid(
                "edges" if mask is None else "mask",
                "a graph in several components",
                "connected graphs, which have spanning trees",
                "Add edges between the components, or unmask them. (A node none of whose edges is present is padding.)",
            ) from error

    @classmethod
    def complete(cls, n: int, mask: Tensor | None = None) -> "SpanningTree":
        """The spanning trees of the complete graph on n nodes; edges are the pairs i < j in lexicographic order.

        Args:
            n: The number of nodes, n ≥ 2.
            mask: False where an edge is absent, shape (*batch, n(n−1)/2).

        Example:
            >>> sst.SpanningTree.complete(3).edges
            tensor([[0, 0, 1],
                    [1, 2, 2]])
        """
        if not isinstance(n, int) or n < 2:
            raise invalid("n", repr(n), "an integer >= 2", "A tree needs an edge.")
        return cls(torch.triu_indices(n, n, 1), n, mask)

    def __repr__(self) -> str:
        return f"SpanningTree({self.edges.shape[1]} edges, {self.num_nodes} nodes)"

    def to_adjacency(self, x: Tensor) -> Tensor:
        """The symmetric (weighted) adjacency matrix of x, shape (*batch, n, n); parallel edges add up.

        Example:
            >>> sst.SpanningTree.complete(3).to_adjacency(torch.tensor([1.0, 0.0, 1.0]))
            tensor([[0., 1., 0.],
                    [1., 0., 1.],
                    [0., 1., 0.]])
        """
        self._check_shape("x", x)
        i, j = self.edges.to(x.device)
        flat = x.new_zeros(*x.shape[:-1], self.num_nodes**2)
        half = flat.scatter_add(-1, (i * self.num_nodes + j).expand(x.shape), x)
        half = half.unflatten(-1, (self.num_nodes, self.num_nodes))
        return half + half.mT

    def _argmax(self, u: Tensor) -> Tensor:
        return F.maximum_spanning_tree(u, self.edges, self.num_nodes)

    def _contains(self, x: Tensor) -> Tensor:
        adjacency = self.to_adjacency(x)
        mask = torch.ones_like(x) if self.mask is None else self.mask.to(x)
        present = self.to_adjacency(mask.expand(x.shape)).sum(-1) > 0
        # With as many edges as a tree has, being connected is being a tree: reach by repeated squaring.
        reach = (adjacency + torch.eye(self.num_nodes, dtype=x.dtype, device=x.device)).clamp(max=1)
        for _ in range((self.num_nodes - 1).bit_length()):
            reach = (reach @ reach).clamp(max=1)
        together = (reach > 0) | ~(present.unsqueeze(-1) & present.unsqueeze(-2))
        return together.all((-1, -2)) & (x.sum(-1) == present.sum(-1) - 1)

    def _size(self) -> int:
        """How many edges a tree has."""
        if self.mask is None:
            return self.num_nodes - 1
        return int((self.to_adjacency(self.mask.float()).sum(-1) > 0).sum()) - 1

    def _candidates(self) -> int:
        return comb(self.edges.shape[1], self._size())

    def _support(self) -> Tensor:
        chosen = torch.tensor(list(combinations(range(self.edges.shape[1]), self._size())))
        candidates = torch.zeros(len(chosen), self.edges.shape[1]).scatter(-1, chosen, 1.0)
        return candidates[self.contains(candidates)]

    def _log_partition(self, u: Tensor) -> Tensor:
        return F.spanning_tree_log_partition(u, self.edges, self.num_nodes)


def check_edges(edges: Tensor, num_nodes: int) -> None:
    """Raise unless `edges` is the edge list of a graph on `num_nodes` nodes without self-loops."""
    if not isinstance(num_nodes, int) or num_nodes < 2:
        raise invalid("num_nodes", repr(num_nodes), "an integer >= 2", "A tree needs an edge.")
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


@register_solver(SpanningTree, ExponentialFamilyEntropy)
def _(trees: SpanningTree, f: Regularizer, u: Tensor) -> Tensor:
    return F.spanning_tree_marginals(u, trees.edges, trees.num_nodes)


register_frank_wolfe(SpanningTree)
