from itertools import combinations
from math import comb

import torch
from torch import Tensor

from sstricks.errors import check_integer
from sstricks.functional.spanning_tree import drawn
from sstricks.ops import spanning_tree
from sstricks.regularizers import ExponentialFamilyEntropy, Regularizer
from sstricks.solvers.frank_wolfe import register_frank_wolfe
from sstricks.solvers.registry import register_solver
from sstricks.structures.graph import GraphStructure, check_edges, reachable


class SpanningTree(GraphStructure):
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

    _may_idle = False

    def __init__(self, edges: Tensor, num_nodes: int, mask: Tensor | None = None) -> None:
        num_nodes = check_edges(edges, num_nodes)
        super().__init__(
            edges,
            num_nodes,
            mask,
            torch.ones_like(edges[0], dtype=torch.bool),
            "a graph in several components",
            "connected graphs, which have spanning trees",
            "Add edges between the components, or unmask them. (A node none of whose edges is present is padding.)",
        )

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
        n = check_integer("n", n, "A tree needs an edge.", low=2)
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
        half = self._from_to(x)
        return half + half.mT

    def _argmax(self, u: Tensor) -> Tensor:
        return spanning_tree.maximum_spanning_tree(u.detach(), self.edges.to(u.device), self.num_nodes)

    def _contains(self, x: Tensor) -> Tensor:
        present = self._present(x.device)
        # With as many edges as a tree has, being connected is being a tree.
        together = reachable(self.to_adjacency(x)) | ~(present.unsqueeze(-1) & present.unsqueeze(-2))
        return together.all((-1, -2)) & (x.sum(-1) == present.sum(-1) - 1)

    def _size(self) -> int:
        """How many edges a tree has."""
        return int(self._present(self.edges.device).sum()) - 1

    def _candidates(self) -> int:
        return comb(self.edges.shape[1], self._size())

    def _support(self) -> Tensor:
        chosen = torch.tensor(list(combinations(range(self.edges.shape[1]), self._size())))
        candidates = torch.zeros(len(chosen), self.edges.shape[1]).scatter(-1, chosen, 1.0)
        return candidates[self.contains(candidates)]

    def _log_partition(self, u: Tensor) -> Tensor:
        return spanning_tree.log_partition(u, self.edges.to(u.device), self.num_nodes)

    def _sample(self, u: Tensor, generator: torch.Generator | None) -> Tensor:
        return drawn(u, self.edges.to(u.device), self.num_nodes, generator)


@register_solver(SpanningTree, ExponentialFamilyEntropy)
def _(trees: SpanningTree, f: Regularizer, u: Tensor) -> Tensor:
    return spanning_tree.marginals(u, trees.edges.to(u.device), trees.num_nodes)


register_frank_wolfe(SpanningTree)
