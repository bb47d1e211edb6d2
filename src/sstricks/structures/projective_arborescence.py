from functools import cache
from itertools import product
from math import comb

import torch
from torch import Tensor

from sstricks.errors import check_integer
from sstricks.functional.checks import check_nodes
from sstricks.ops import projective_arborescence as operators
from sstricks.regularizers import Euclidean, ExponentialFamilyEntropy, Regularizer, SeparableRegularizer
from sstricks.solvers.frank_wolfe import FrankWolfe
from sstricks.solvers.registry import declare_iterative, register_solver
from sstricks.solvers.separable import projective_optimum
from sstricks.structures.graph import RootedTrees, reachable

_ACTIVE_SET = FrankWolfe()


class ProjectiveArborescence(RootedTrees):
    r"""The projective dependency trees over nodes 0, …, n − 1 in order, as vectors of their edges (Sec. 6, App. B.8).

    .. math:: \mathcal{X} = \{ 1_T \in \{0, 1\}^{(n-1)^2} : T \text{ spans from } 0,
              \text{ every node's descendants are consecutive} \}

    Edges are the pairs i → j with i ≠ j and j ≠ 0 in lexicographic order. Node 0 is the root and may have several
    children, or one with `single_root`: then it heads no node beside that child in Eisner's program. A node none of
    whose edges is present (masked or −∞) is absent: it is skipped wherever it stands, and consecutive means among the
    others; where no edge is present, node 0 is alone and x = 0. Of trees that are worth the same the argmax is the
    lexicographically largest.

    With labels, every pair has as many parallel edges: coordinate :math:`eL + l` is edge e with label l, and
    `x.unflatten(-1, (-1, L))` has labels last. Given the tree, each edge takes its label for itself: so its utility is
    that of its best label, or the log-sum-exp of all, in O(n³ + n²L). With a separable regularizer the cost of an edge
    is no longer the same h for each, so these take the active-set method. (In `Arborescence`, parallel edges are listed
    as such.)

    Sentences of different lengths share a batch by `trees.of_nodes(lengths)`, where node 0 counts.

    Args:
        n: The number of nodes.
        mask: False where an edge is absent, shape (*batch, (n−1)² L).
        single_root: Whether node 0 has one child, where it has any.
        num_labels: L, how many labels each edge has to choose from.

    Raises:
        ValueError: n or num_labels is no integer ≥ 1, or the mask leaves no projective tree.

    Example:
        >>> sst.ProjectiveArborescence(4).log_partition(torch.zeros(9)).exp()
        tensor(12.)
        >>> sst.ProjectiveArborescence(4, single_root=True).log_partition(torch.zeros(9)).exp().round()
        tensor(7.)
    """

    def __init__(self, n: int, mask: Tensor | None = None, *, single_root: bool = False, num_labels: int = 1) -> None:
        n = check_nodes(n, "n")
        self.num_labels = check_integer("num_labels", num_labels, "1 is a tree without labels.", low=1)
        edges = operators.edge_ends(n).repeat_interleave(num_labels, -1)
        super().__init__(edges, n, mask, single_root=single_root)

    def _arguments(self) -> str:
        labels = f", {self.num_labels} labels" if self.num_labels > 1 else ""
        return f"{self.num_nodes}{labels}{', single root' if self.single_root else ''}"

    def _empty(self) -> tuple[str, str, str]:
        return (
            "no projective tree from node 0 among the present edges",
            "at least one tree for each example",
            "Unmask edges, or with single_root=True allow several children. (A node without a present edge is absent.)",
        )

    def _by_label(self, u: Tensor) -> Tensor:
        return u.unflatten(-1, (-1, self.num_labels))

    def _unlabelled(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The log-sum-exp of each edge's labels, shape (*batch, (n−1)²), and their shares, with one more dimension."""
        if self.num_labels == 1:
            return u, u.new_ones(1)
        u = self._by_label(u)
        top = u.detach().amax(-1, keepdim=True).clamp(min=-torch.finfo(u.dtype).max)  # finite
        weight = (u - top).exp()
        total = weight.sum(-1, keepdim=True)
        there = total > 0
        total = torch.where(there, total, 1.0)
        return torch.where(there, top + total.log(), -torch.inf).squeeze(-1), weight / total

    def _argmax(self, u: Tensor) -> Tensor:
        if self.num_labels == 1:
            return operators.maximum_projective_arborescence(u, self.num_nodes, self.single_root)
        best = self._by_label(u).amax(-1)
        tree = operators.maximum_projective_arborescence(best, self.num_nodes, self.single_root)
        is_best = self._by_label(u) == best.unsqueeze(-1)
        first = is_best & (is_best.cumsum(-1) == 1)
        return (tree.unsqueeze(-1) * first).flatten(-2)

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
        return comb(3 * dependents, dependents) // (2 * dependents + 1) * self.num_labels**dependents

    def _support(self) -> Tensor:
        nodes = self._nodes()
        number = {(i, j): e for e, (i, j) in enumerate(operators.edge_ends(self.num_nodes).T.tolist())}

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
        labels = torch.tensor(list(product(range(self.num_labels), repeat=len(nodes) - 1)), dtype=torch.int64)
        chosen = (chosen.unsqueeze(1) * self.num_labels + labels).flatten(0, 1)
        trees = torch.zeros(len(chosen), self.event_shape[0]).scatter(-1, chosen, 1.0)
        return trees[self._has_few_children(self._from_to(trees))]

    def _log_partition(self, u: Tensor) -> Tensor:
        v, _ = self._unlabelled(u)
        return operators.log_partition(v, self.num_nodes, self.single_root)

    def _sample(self, u: Tensor, generator: torch.Generator | None) -> Tensor:
        v, share = self._unlabelled(u)
        tree = operators.sample(v, self.num_nodes, self.single_root, generator)
        return tree if self.num_labels == 1 else (tree.unsqueeze(-1) * _one_of(share, generator)).flatten(-2)


def _one_of(share: Tensor, generator: torch.Generator | None) -> Tensor:
    """One label for each edge, drawn by their shares, as an indicator vector."""
    sums = share.cumsum(-1)
    uniform = torch.rand(sums[..., :1].shape, dtype=sums.dtype, device=sums.device, generator=generator)
    passed = (sums > uniform * sums[..., -1:]) & (share > 0)
    return passed & (passed.cumsum(-1) == 1)


@register_solver(ProjectiveArborescence, ExponentialFamilyEntropy)
def _(trees: ProjectiveArborescence, f: Regularizer, u: Tensor) -> Tensor:
    v, share = trees._unlabelled(u)
    x = operators.marginals(v, trees.num_nodes, trees.single_root)
    return x if trees.num_labels == 1 else (x.unsqueeze(-1) * share).flatten(-2)


@register_solver(ProjectiveArborescence, SeparableRegularizer)
def _(trees: ProjectiveArborescence, f: SeparableRegularizer, u: Tensor) -> Tensor:
    if trees.num_labels > 1:
        return _ACTIVE_SET(trees, f, u)
    return projective_optimum(f, u, trees.num_nodes, trees.single_root)


# By Wolfe's method, which ends after finitely many steps.
register_solver(ProjectiveArborescence, Euclidean)(_ACTIVE_SET)
declare_iterative(ProjectiveArborescence, SeparableRegularizer, "interior point")
declare_iterative(ProjectiveArborescence, Euclidean, "active set")
