from itertools import product
from math import prod

import torch
from torch import Tensor

from sstricks.functional.checks import check_nodes, graph_root
from sstricks.ops import arborescence
from sstricks.ops.projective_arborescence import edge_ends
from sstricks.regularizers import Euclidean, ExponentialFamilyEntropy, Regularizer, SeparableRegularizer
from sstricks.solvers.frank_wolfe import FrankWolfe
from sstricks.solvers.registry import declare_iterative, register_solver
from sstricks.solvers.separable import arborescence_optimum
from sstricks.structures.graph import RootedTrees, check_edges, reachable

_ACTIVE_SET = FrankWolfe()


class Arborescence(RootedTrees):
    r"""The spanning trees of a directed graph whose edges lead away from a root, as edge indicators (App. B.8).

    .. math:: \mathcal{X} = \{ 1_T \in \{0, 1\}^E : T \text{ has one path from } r \text{ to every node} \}

    Graphs of different sizes share a batch by `of_nodes`: a node none of whose edges is present is
    absent, and where no edge is present the root is alone and x = 0. The root must reach all nodes that are present.
    Parallel edges are welcome; they are different edges of different trees. Edges into the root count as absent.

    Args:
        edges: Where every edge leads from and to, LongTensor (2, E).
        num_nodes: The number of nodes.
        root: The node r that all paths begin at.
        mask: False where an edge is absent, shape (*batch, E).

    Raises:
        ValueError: `edges` contains a node outside range(num_nodes) or a self-loop, or misses a node; or the root does
            not reach every node.

    Example:
        >>> sst.Arborescence.complete(4).log_partition(torch.zeros(9)).exp()
        tensor(16.)
    """

    def __init__(self, edges: Tensor, num_nodes: int, root: int = 0, mask: Tensor | None = None) -> None:
        num_nodes = check_edges(edges, num_nodes)
        self.root = root = graph_root(root, num_nodes)
        self._rooted = arborescence.rooted(edges.clone(), root)
        super().__init__(edges, num_nodes, mask, directed=True, root=root)

    @classmethod
    def complete(cls, n: int, root: int = 0, mask: Tensor | None = None) -> "Arborescence":
        """The arborescences of the complete graph on n nodes; edges are the pairs i ≠ j ≠ root in lexicographic order.

        Args:
            n: The number of nodes.
            root: The node that all paths begin at.
            mask: False where an edge is absent, shape (*batch, (n−1)²).

        Raises:
            ValueError: n is below 1, or the root is not one of the nodes.

        Example:
            >>> sst.Arborescence.complete(3).edges
            tensor([[0, 0, 1, 2],
                    [1, 2, 2, 1]])
        """
        n = check_nodes(n, "n")
        root = graph_root(root, n)
        return cls(edge_ends(n, root=root), n, root, mask)

    def _arguments(self) -> str:
        return f"{self.edges.shape[1]} edges, {self.num_nodes} nodes, root {self.root}"

    def _empty(self) -> tuple[str, str, str]:
        return (
            f"a graph with nodes that the root {self.root} does not reach",
            "paths from the root to every node",
            "Add or unmask edges into these nodes. (A node without a present edge is absent and needs none.)",
        )

    def _argmax(self, u: Tensor) -> Tensor:
        return arborescence.maximum_arborescence(u.detach(), *self._graph(u))

    def _graph(self, u: Tensor) -> tuple[Tensor, int]:
        """What the operators take: the edges with the root as node 0, on the device of u, and the number of nodes."""
        return self.placed("_rooted", u.device), self.num_nodes

    def _contains(self, x: Tensor) -> Tensor:
        adjacency = self._from_to(x)
        present = self._present(x.device)
        # With one edge into every node but the root, to be reached from the root is to be in its tree.
        parents = present.clone()
        parents[..., self.root] = False
        reached = reachable(adjacency)[..., self.root, :] | ~present
        return ((adjacency.sum(-2) == parents) & reached).all(-1)

    def _choices(self) -> list[list[int]]:
        """The edges into each node but the root, where there are any."""
        mask = torch.ones_like(self.edges[0], dtype=torch.bool) if self.mask is None else self.mask
        heads = self.edges[1].tolist()
        into: dict[int, list[int]] = {}
        for e in mask.nonzero().flatten().tolist():
            into.setdefault(heads[e], []).append(e)
        return list(into.values())

    def _candidates(self) -> int:
        return prod(len(edges) for edges in self._choices())

    def _support(self) -> Tensor:
        chosen = torch.tensor(list(product(*self._choices())), dtype=torch.int64)
        candidates = torch.zeros(len(chosen), self.edges.shape[1]).scatter(-1, chosen, 1.0)
        return candidates[self.contains(candidates)]

    def _log_partition(self, u: Tensor) -> Tensor:
        return arborescence.log_partition(u, *self._graph(u))

    def _sample(self, u: Tensor, generator: torch.Generator | None) -> Tensor:
        return arborescence.draw(u, *self._graph(u), generator)


@register_solver(Arborescence, ExponentialFamilyEntropy)
def _(trees: Arborescence, f: Regularizer, u: Tensor) -> Tensor:
    return arborescence.marginals(u, *trees._graph(u))


@register_solver(Arborescence, SeparableRegularizer)
def _(trees: Arborescence, f: SeparableRegularizer, u: Tensor) -> Tensor:
    return arborescence_optimum(f, u, *trees._graph(u), trees, _ACTIVE_SET.max_steps, _ACTIVE_SET.tol)


register_solver(Arborescence, Euclidean)(_ACTIVE_SET)  # by Wolfe's method, which ends after finitely many steps
declare_iterative(Arborescence, SeparableRegularizer, "cutting planes")
declare_iterative(Arborescence, Euclidean, "active set")
