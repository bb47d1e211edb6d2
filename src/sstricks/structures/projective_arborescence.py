from functools import cache
from math import comb

import torch
from torch import Tensor

from sstricks import functional as F
from sstricks.functional.checks import check_nodes
from sstricks.regularizers import Euclidean, ExponentialFamilyEntropy, Regularizer, SeparableRegularizer
from sstricks.solvers.frank_wolfe import FrankWolfe
from sstricks.solvers.registry import declare_iterative, register_solver
from sstricks.solvers.separable import projective_optimum
from sstricks.structures.graph import RootedTrees, reachable


class ProjectiveArborescence(RootedTrees):
    r"""The projective dependency trees over nodes 0, …, n − 1 in order, as vectors of their edges (Sec. 6, App. B.8).

    .. math:: \mathcal{X} = \{ 1_T \in \{0, 1\}^{(n-1)^2} : T \text{ spans from } 0,
              \text{ every node's descendants are consecutive} \}

    Edges are the pairs i → j with i ≠ j and j ≠ 0 in lexicographic order. Node 0 is the root and may have several
    children, or one with `single_root`: then it heads no node beside that child in Eisner's program. A node none of
    whose edges is present (masked or −∞) is absent: it is skipped wherever it stands, and consecutive means among the
    others; where no edge is present, node 0 is alone and x = 0. Of trees that are worth the same the argmax is the
    lexicographically largest.

    Sentences of different lengths share a batch by `trees.of_nodes(lengths)`, where node 0 counts.

    Args:
        n: The number of nodes.
        mask: False where an edge is absent, shape (*batch, (n−1)²).
        single_root: Whether node 0 has one child, where it has any.

    Raises:
        ValueError: n is no integer ≥ 1, or the mask leaves no projective tree.

    Example:
        >>> sst.ProjectiveArborescence(4).log_partition(torch.zeros(9)).exp()
        tensor(12.)
        >>> sst.ProjectiveArborescence(4, single_root=True).log_partition(torch.zeros(9)).exp()
        tensor(7.)
    """

    def __init__(self, n: int, mask: Tensor | None = None, *, single_root: bool = False) -> None:
        n = check_nodes(n, "n")
        super().__init__(F.projective_edges(n), n, mask, single_root=single_root)

    def _arguments(self) -> str:
        return f"{self.num_nodes}{', single root' if self.single_root else ''}"

    def _empty(self) -> tuple[str, str, str]:
        return (
            "no projective tree from node 0 among the present edges",
            "at least one tree for each example",
            "Unmask edges, or with single_root=True allow several children. (A node without a present edge is absent.)",
        )

    def _argmax(self, u: Tensor) -> Tensor:
        return F.maximum_projective_arborescence(u, self.num_nodes, single_root=self.single_root)

    def _contains(self, x: Tensor) -> Tensor:
        adjacency, present = self._from_to(x), self._present(x.device)
        one_head = (adjacency[..., 1:].sum(-2) == present[..., 1:]).all(-1)
        below = reachable(adjacency)
        place = present.cumsum(-1).unsqueeze(-2)
        last = torch.where(below, place, 0).amax(-1)
        first = torch.where(below, place, self.num_nodes + 1).amin(-1)
        consecutive = (last - first + 1 == below.sum(-1)) | ~present
        is_tree = one_head & (below[..., 0, :] | ~present).all(-1) & consecutive.all(-1)
        return is_tree & self._has_few_children(adjacency)

    def _nodes(self) -> list[int]:
        """The root and the other nodes that are present."""
        return sorted({0, *self._present(self.edges.device).nonzero().flatten().tolist()})

    def _candidates(self) -> int:
        dependents = len(self._nodes()) - 1
        return comb(3 * dependents, dependents) // (2 * dependents + 1)

    def _support(self) -> Tensor:
        nodes = self._nodes()
        number = {(i, j): e for e, (i, j) in enumerate(self.edges.T.tolist())}

        @cache
        def right(i: int, j: int) -> list[list[int]]:
            """All trees in which the i-th node heads those after it up to the j-th: by its farthest dependent."""
            if i == j:
                return [[]]
            return [one + two for k in range(i + 1, j + 1) for one in joined(i, k, i, k) for two in right(k, j)]

        @cache
        def left(i: int, j: int) -> list[list[int]]:
            if i == j:
                return [[]]
            return [one + two for k in range(i, j) for one in left(i, k) for two in joined(k, j, j, k)]

        @cache
        def joined(i: int, j: int, head: int, dependent: int) -> list[list[int]]:
            edge = [number[nodes[head], nodes[dependent]]] if dependent else []
            return [edge + one + two for k in range(i, j) for one in right(i, k) for two in left(k + 1, j) if edge]

        chosen = torch.tensor(right(0, len(nodes) - 1), dtype=torch.int64)
        trees = torch.zeros(len(chosen), self.event_shape[0]).scatter(-1, chosen, 1.0)
        return trees[self._has_few_children(self._from_to(trees))]

    def _log_partition(self, u: Tensor) -> Tensor:
        return F.projective_arborescence_log_partition(u, self.num_nodes, single_root=self.single_root)

    def _sample(self, u: Tensor, generator: torch.Generator | None) -> Tensor:
        single = self.single_root
        return F.projective_arborescence_sample(u, self.num_nodes, single_root=single, generator=generator)


@register_solver(ProjectiveArborescence, ExponentialFamilyEntropy)
def _(trees: ProjectiveArborescence, f: Regularizer, u: Tensor) -> Tensor:
    return F.projective_arborescence_marginals(u, trees.num_nodes, single_root=trees.single_root)


@register_solver(ProjectiveArborescence, SeparableRegularizer)
def _(trees: ProjectiveArborescence, f: SeparableRegularizer, u: Tensor) -> Tensor:
    return projective_optimum(f, u, trees.num_nodes, trees.single_root)


# By Wolfe's method, which ends after finitely many steps.
register_solver(ProjectiveArborescence, Euclidean)(FrankWolfe())
declare_iterative(ProjectiveArborescence, SeparableRegularizer, "interior point")
declare_iterative(ProjectiveArborescence, Euclidean, "active set")
