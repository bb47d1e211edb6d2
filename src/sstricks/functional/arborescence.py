import torch
from torch import Tensor

from sstricks.functional.checks import graph, graph_root
from sstricks.functional.utility import from_working, to_working
from sstricks.ops import arborescence
from sstricks.ops.maximum_arborescence import maximum_arborescence as _maximum_arborescence


def maximum_arborescence(u: Tensor, edges: Tensor, num_nodes: int, root: int = 0) -> Tensor:
    """The indicator vector of the maximum arborescence, argmax Σ_{e∈T} u_e (App. B.8, Alg. 1).

    Of several, the one whose indicator vector prefers lower coordinates. O(n² + E), by contraction of cycles.

    Args:
        u: Utilities, shape (*batch, E).
        edges: Where every edge leads from and to, shape (2, E).
        num_nodes: The number of nodes n. One that has no edge above −∞ is padding.
        root: The node that all paths begin at. Edges into it count as absent.

    Returns:
        The tree, shape (*batch, E), without gradient.

    Raises:
        ValueError: The root does not reach all nodes of some graph.

    Example:
        >>> edges = torch.tensor([[0, 0, 1, 2], [1, 2, 2, 1]])
        >>> F.maximum_arborescence(torch.tensor([1.0, 2.0, 9.0, 9.0]), edges, 3)
        tensor([0., 1., 0., 1.])
    """
    edges, num_nodes = _rooted_graph(u, edges, num_nodes, root)
    tree = _maximum_arborescence(to_working(u.detach()), edges, num_nodes)
    return from_working(tree, u.dtype)


def arborescence_marginals(u: Tensor, edges: Tensor, num_nodes: int, root: int = 0) -> Tensor:
    """The marginals P(e ∈ T) under p(T) ∝ exp(Σ_{e∈T} u_e), by the directed matrix-tree theorem (App. B.8).

    Exact at any range: nodes are eliminated one by one, so no matrix is inverted and nothing is clipped. O(n³).

    Args:
        u: Natural parameters, shape (*batch, E).
        edges: Where every edge leads from and to, shape (2, E).
        num_nodes: The number of nodes n. One that has no edge above −∞ is padding.
        root: The node that all paths begin at. Edges into it count as absent.

    Returns:
        The marginals, shape (*batch, E); those of the edges into a node other than the root sum to 1.

    Raises:
        ValueError: The root does not reach all nodes of some graph.

    Example:
        >>> F.arborescence_marginals(torch.zeros(4), torch.tensor([[0, 0, 1, 2], [1, 2, 2, 1]]), 3)
        tensor([0.6667, 0.6667, 0.3333, 0.3333])
    """
    edges, num_nodes = _rooted_graph(u, edges, num_nodes, root)
    return from_working(arborescence.marginals(to_working(u), edges, num_nodes), u.dtype)


def arborescence_log_partition(u: Tensor, edges: Tensor, num_nodes: int, root: int = 0) -> Tensor:
    """The log-partition function log Σ_T exp(Σ_{e∈T} u_e) (App. B.8), shape (*batch).

    Arguments and errors are those of `arborescence_marginals`, which is its gradient.

    Example:
        >>> F.arborescence_log_partition(torch.zeros(4), torch.tensor([[0, 0, 1, 2], [1, 2, 2, 1]]), 3).exp()
        tensor(3.)
    """
    edges, num_nodes = _rooted_graph(u, edges, num_nodes, root)
    return from_working(arborescence.log_partition(to_working(u), edges, num_nodes), u.dtype)


def arborescence_sample(
    u: Tensor, edges: Tensor, num_nodes: int, root: int = 0, *, generator: torch.Generator | None = None
) -> Tensor:
    """An exact sample of p(T) ∝ exp(Σ_{e∈T} u_e) for each row of u, at any range, in O(n³).

    Args:
        u: Natural parameters, shape (*batch, E).
        edges: Where every edge leads from and to, shape (2, E).
        num_nodes: The number of nodes n. One that has no edge above −∞ is padding.
        root: The node that all paths begin at. Edges into it count as absent.
        generator: What to draw from instead of torch's default generator.

    Returns:
        Trees, shape (*batch, E), without gradient.

    Raises:
        ValueError: The root does not reach all nodes of some graph.

    Example:
        >>> F.arborescence_sample(torch.zeros(5, 4), torch.tensor([[0, 0, 1, 2], [1, 2, 2, 1]]), 3).sum(-1)
        tensor([2., 2., 2., 2., 2.])
    """
    edges, num_nodes = _rooted_graph(u, edges, num_nodes, root)
    return drawn(u, edges, num_nodes, generator)


def drawn(u: Tensor, edges: Tensor, num_nodes: int, generator: torch.Generator | None) -> Tensor:
    """The samples of `arborescence_sample` from node 0, of edges that have been checked."""
    work = to_working(u.detach())
    shape = (*u.shape[:-1], arborescence.uniforms_needed(num_nodes))
    uniforms = torch.rand(shape, dtype=work.dtype, device=u.device, generator=generator)
    return from_working(arborescence.sample(work, uniforms, edges, num_nodes), u.dtype)


def _rooted_graph(u: Tensor, edges: Tensor, num_nodes: int, root: int) -> tuple[Tensor, int]:
    edges, num_nodes = graph(u, edges, num_nodes)
    return rooted(edges, graph_root(root, num_nodes)), num_nodes


def rooted(edges: Tensor, root: int) -> Tensor:
    """The same edges with node 0 and the root renamed to each other."""
    if root == 0:
        return edges
    return torch.where(edges == root, 0, torch.where(edges == 0, root, edges))
