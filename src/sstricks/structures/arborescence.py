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
# By how many e-folds trees with several children of the root must weigh less, in sums and in samples.
_NEGLIGIBLE, _NEVER = 45.0, 1e3


class Arborescence(RootedTrees):
    r"""The spanning trees of a directed graph whose edges lead away from a root, as edge indicators (App. B.8).

    .. math:: \mathcal{X} = \{ 1_T \in \{0, 1\}^E : T \text{ has one path from } r \text{ to every node} \}

    Graphs of different sizes share a batch by `of_nodes`: a node none of whose edges is present is
    absent, and where no edge is present the root is alone and x = 0. The root must reach all nodes that are present.
    Parallel edges are welcome; they are different edges of different trees (of labelled dependencies, say). Edges into
    the root count as absent.

    With `single_root` the root has one child (Koo et al. 2007). 𝒳 is then a face of the other one's hull, that of the
    trees with the fewest edges from the root: Chu–Liu–Edmonds takes such an edge only where there is no other, which
    is the order of Gabow and Tarjan (1984) and Stanojević and Cohen (2021); sums are those of the matrix-tree theorem
    as these edges' utilities fall.

    Args:
        edges: Where every edge leads from and to, LongTensor (2, E).
        num_nodes: The number of nodes.
        root: The node r that all paths begin at.
        mask: False where an edge is absent, shape (*batch, E).
        single_root: Whether the root has one child, where it has any.

    Raises:
        ValueError: `edges` contains a node outside range(num_nodes) or a self-loop, or misses a node; or the root does
            not reach every node, or not through one child.

    Example:
        >>> sst.Arborescence.complete(4).log_partition(torch.zeros(9)).exp()
        tensor(16.)
        >>> sst.Arborescence.complete(4, single_root=True).log_partition(torch.zeros(9)).exp()
        tensor(9.)
    """

    def __init__(
        self, edges: Tensor, num_nodes: int, root: int = 0, mask: Tensor | None = None, *, single_root: bool = False
    ) -> None:
        num_nodes = check_edges(edges, num_nodes)
        self.root = root = graph_root(root, num_nodes)
        self._rooted = arborescence.rooted(edges.clone(), root)
        super().__init__(edges, num_nodes, mask, directed=True, root=root, single_root=single_root)

    @classmethod
    def complete(
        cls, n: int, root: int = 0, mask: Tensor | None = None, *, single_root: bool = False
    ) -> "Arborescence":
        """The arborescences of the complete graph on n nodes; edges are the pairs i ≠ j ≠ root in lexicographic order.

        Args:
            n: The number of nodes.
            root: The node that all paths begin at.
            mask: False where an edge is absent, shape (*batch, (n−1)²).
            single_root: Whether the root has one child.

        Raises:
            ValueError: n is below 1, or the root is not one of the nodes.

        Example:
            >>> sst.Arborescence.complete(3).edges
            tensor([[0, 0, 1, 2],
                    [1, 2, 2, 1]])
        """
        n = check_nodes(n, "n")
        root = graph_root(root, n)
        return cls(edge_ends(n, root=root), n, root, mask, single_root=single_root)

    def _arguments(self) -> str:
        single = ", single root" if self.single_root else ""
        return f"{self.edges.shape[1]} edges, {self.num_nodes} nodes, root {self.root}{single}"

    def _empty(self) -> tuple[str, str, str]:
        if self.single_root:
            return (
                f"a graph with nodes that the root {self.root} does not reach through one child",
                "a child of the root with paths to every other node",
                "Add or unmask edges, or allow several children: single_root=False.",
            )
        return (
            f"a graph with nodes that the root {self.root} does not reach",
            "paths from the root to every node",
            "Add or unmask edges into these nodes. (A node without a present edge is absent and needs none.)",
        )

    def _argmax(self, u: Tensor) -> Tensor:
        return arborescence.maximum_arborescence(u.detach(), *self._graph(u), self.single_root)

    def _near(self, u: Tensor, apart: float = _NEGLIGIBLE) -> Tensor:
        """Utilities of which all arborescences have the law of 𝒳."""
        return arborescence.single_root(u, *self._graph(u), apart) if self.single_root else u

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
        return ((adjacency.sum(-2) == parents) & reached).all(-1) & self._has_few_children(adjacency)

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
        log_z = arborescence.log_partition(self._near(u), *self._graph(u))
        if not self.single_root:
            return log_z
        return log_z + arborescence.single_root_shift(u.detach(), *self._graph(u), _NEGLIGIBLE)

    def _sample(self, u: Tensor, generator: torch.Generator | None) -> Tensor:
        return arborescence.draw(self._near(u, _NEVER), *self._graph(u), generator)


@register_solver(Arborescence, ExponentialFamilyEntropy)
def _(trees: Arborescence, f: Regularizer, u: Tensor) -> Tensor:
    edges, nodes = trees._graph(u)
    x = arborescence.marginals(trees._near(u), edges, nodes)
    if not trees.single_root:
        return x
    # Rounding errors must not leave anything to doubt where the root can have one child only.
    from_root = edges[0] == 0
    total = torch.where(from_root, x, 0.0).sum(-1, keepdim=True)
    return torch.where(from_root, x / torch.where(total > 0, total, 1.0), x)


@register_solver(Arborescence, SeparableRegularizer)
def _(trees: Arborescence, f: SeparableRegularizer, u: Tensor) -> Tensor:
    settings = trees.single_root, trees, _ACTIVE_SET.max_steps, _ACTIVE_SET.tol
    return arborescence_optimum(f, u, *trees._graph(u), *settings)


register_solver(Arborescence, Euclidean)(_ACTIVE_SET)  # by Wolfe's method, which ends after finitely many steps
declare_iterative(Arborescence, SeparableRegularizer, "cutting planes")
declare_iterative(Arborescence, Euclidean, "active set")
