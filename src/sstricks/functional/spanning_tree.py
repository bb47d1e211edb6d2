import torch
from torch import Tensor

from sstricks.functional.checks import graph
from sstricks.functional.utility import from_working, to_working
from sstricks.ops import spanning_tree


def maximum_spanning_tree(u: Tensor, edges: Tensor, num_nodes: int) -> Tensor:
    """The indicator vector of the maximum spanning tree, argmax Σ_{e∈T} u_e (App. B.7); ties go to the lower index.

    Args:
        u: Utilities, shape (*batch, E).
        edges: The two ends of every edge, each edge once, shape (2, E).
        num_nodes: The number of nodes n. One that has no edge above −∞ is absent.

    Returns:
        The tree, shape (*batch, E), without gradient.

    Raises:
        ValueError: Some graph is not connected.

    Example:
        >>> F.maximum_spanning_tree(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([[0, 0, 1], [1, 2, 2]]), 3)
        tensor([1., 0., 1.])
    """
    edges, num_nodes = graph(u, edges, num_nodes)
    tree = spanning_tree.maximum_spanning_tree(to_working(u.detach()), edges, num_nodes)
    return from_working(tree, u.dtype)


def spanning_tree_marginals(u: Tensor, edges: Tensor, num_nodes: int) -> Tensor:
    """The marginals P(e ∈ T) under p(T) ∝ exp(Σ_{e∈T} u_e), by the matrix-tree theorem (App. B.7, eq. 50).

    Exact at any range: nodes are eliminated one by one, so no matrix is inverted and nothing is clipped. O(n³),
    less on sparse graphs.

    Args:
        u: Natural parameters, shape (*batch, E).
        edges: The two ends of every edge, each edge once, shape (2, E).
        num_nodes: The number of nodes n. One that has no edge above −∞ is absent.

    Returns:
        The marginals, shape (*batch, E); they sum to n − 1.

    Raises:
        ValueError: Some graph is not connected.

    Example:
        >>> F.spanning_tree_marginals(torch.zeros(3), torch.tensor([[0, 0, 1], [1, 2, 2]]), 3)
        tensor([0.6667, 0.6667, 0.6667])
    """
    edges, num_nodes = graph(u, edges, num_nodes)
    return from_working(spanning_tree.marginals(to_working(u), edges, num_nodes), u.dtype)


def spanning_tree_log_partition(u: Tensor, edges: Tensor, num_nodes: int) -> Tensor:
    """The log-partition function log Σ_T exp(Σ_{e∈T} u_e) (App. B.7, eq. 49), shape (*batch).

    Arguments and errors are those of `spanning_tree_marginals`, which is its gradient.

    Example:
        >>> F.spanning_tree_log_partition(torch.zeros(3), torch.tensor([[0, 0, 1], [1, 2, 2]]), 3).exp()
        tensor(3.)
    """
    edges, num_nodes = graph(u, edges, num_nodes)
    return from_working(spanning_tree.log_partition(to_working(u), edges, num_nodes), u.dtype)


def spanning_tree_sample(
    u: Tensor, edges: Tensor, num_nodes: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """An exact sample of p(T) ∝ exp(Σ_{e∈T} u_e) for each row of u, at any range. O(n³), less on sparse graphs.

    Args:
        u: Natural parameters, shape (*batch, E).
        edges: The two ends of every edge, each edge once, shape (2, E).
        num_nodes: The number of nodes n. One that has no edge above −∞ is absent.
        generator: What to draw from instead of torch's default generator.

    Returns:
        Trees, shape (*batch, E), without gradient.

    Raises:
        ValueError: Some graph is not connected.

    Example:
        >>> F.spanning_tree_sample(torch.zeros(5, 3), torch.tensor([[0, 0, 1], [1, 2, 2]]), 3).sum(-1)
        tensor([2., 2., 2., 2., 2.])
    """
    edges, num_nodes = graph(u, edges, num_nodes)
    return from_working(spanning_tree.draw(to_working(u.detach()), edges, num_nodes, generator), u.dtype)
