import torch
from torch import Tensor

from sstricks.functional.checks import chart_nodes, check_nodes
from sstricks.functional.utility import from_working, to_working, working_dtype
from sstricks.ops import projective_arborescence


def projective_edges(num_nodes: int) -> Tensor:
    """The pairs i → j with i ≠ j and j ≠ 0 in lexicographic order, LongTensor (2, (n−1)²).

    Example:
        >>> F.projective_edges(3)
        tensor([[0, 0, 1, 2],
                [1, 2, 2, 1]])
    """
    return projective_arborescence.edge_ends(check_nodes(num_nodes))


def maximum_projective_arborescence(u: Tensor, num_nodes: int, *, single_root: bool = False) -> Tensor:
    """The indicator vector of the best projective tree from node 0, argmax Σ_{e∈T} u_e (App. B.8), by Eisner's program.

    Of trees that are worth the same, as their utilities add up in floating point, the one whose indicator vector is
    lexicographically largest wins.

    Args:
        u: Utilities, shape (*batch, (n−1)²), in the order of `projective_edges`.
        num_nodes: The number of nodes n. One that has no edge above −∞ is absent and is skipped.
        single_root: Whether node 0 has one child.

    Returns:
        The tree, shape (*batch, (n−1)²), without gradient.

    Raises:
        ValueError: Some row has no projective tree.

    Example:
        >>> F.maximum_projective_arborescence(torch.tensor([1.0, 2.0, 0.0, 3.0]), 3)
        tensor([0., 1., 0., 1.])
    """
    num_nodes = chart_nodes(u, num_nodes)
    return from_working(
        projective_arborescence.maximum_projective_arborescence(to_working(u.detach()), num_nodes, single_root), u.dtype
    )


def projective_arborescence_marginals(u: Tensor, num_nodes: int, *, single_root: bool = False) -> Tensor:
    """The marginals P(e ∈ T) under p(T) ∝ exp(Σ_{e∈T} u_e), by inside–outside (App. B.8, eq. 8), in O(n³).

    Exact at any range: weights have exponents of their own, and marginals are sums of products of probabilities.

    Args:
        u: Natural parameters, shape (*batch, (n−1)²), in the order of `projective_edges`.
        num_nodes: The number of nodes n. One that has no edge above −∞ is absent and is skipped.
        single_root: Whether node 0 has one child.

    Returns:
        The marginals, shape (*batch, (n−1)²); those of the edges into one node sum to 1.

    Raises:
        ValueError: Some row has no projective tree.

    Example:
        >>> F.projective_arborescence_marginals(torch.zeros(4), 3)
        tensor([0.6667, 0.6667, 0.3333, 0.3333])
    """
    num_nodes = chart_nodes(u, num_nodes)
    return from_working(projective_arborescence.marginals(to_working(u), num_nodes, single_root), u.dtype)


def projective_arborescence_log_partition(u: Tensor, num_nodes: int, *, single_root: bool = False) -> Tensor:
    """The log-partition function log Σ_T exp(Σ_{e∈T} u_e) over the projective trees (App. B.8), shape (*batch).

    Arguments and errors are those of `projective_arborescence_marginals`, which is its gradient.

    Example:
        >>> F.projective_arborescence_log_partition(torch.zeros(9), 4).exp()
        tensor(12.)
    """
    num_nodes = chart_nodes(u, num_nodes)
    return from_working(projective_arborescence.log_partition(to_working(u), num_nodes, single_root), u.dtype)


def projective_arborescence_sample(
    u: Tensor, num_nodes: int, *, single_root: bool = False, generator: torch.Generator | None = None
) -> Tensor:
    """One exact sample of p(T) ∝ exp(Σ_{e∈T} u_e) for each row of u, shape (*batch, (n−1)²), without gradient.

    Arguments and errors are those of `projective_arborescence_marginals`, which is its mean.

    Args:
        u: Natural parameters; for many samples of one, `expand` them.
        num_nodes: The number of nodes n.
        single_root: Whether node 0 has one child.
        generator: What to draw from instead of torch's default generator.

    Example:
        >>> F.projective_arborescence_sample(torch.tensor([0.0, -torch.inf, 0.0, 0.0]), 3)
        tensor([1., 0., 1., 0.])
    """
    num_nodes = chart_nodes(u, num_nodes)
    tree = projective_arborescence.sample(u.detach().to(working_dtype(u)), num_nodes, single_root, generator)
    return from_working(tree, u.dtype)
