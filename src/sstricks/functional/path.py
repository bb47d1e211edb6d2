import torch
from torch import Tensor

from sstricks.errors import check_integer
from sstricks.functional.checks import check_coordinates, check_edge_list, check_size
from sstricks.functional.utility import from_working, to_working
from sstricks.ops import path


def maximum_path(u: Tensor, edges: Tensor, source: int = 0, sink: int | None = None) -> Tensor:
    """The indicator vector of the best path of an acyclic graph from source to sink, argmax Σ u_e over its edges.

    Of several, the one whose indicator vector prefers lower coordinates. O(E), by Viterbi's algorithm.

    Args:
        u: Utilities, shape (*batch, E); −∞ is an absent edge.
        edges: Where every edge leads from and to, shape (2, E).
        source: The node that paths begin at.
        sink: The node that they end at, by default that with the highest number.

    Returns:
        The path, shape (*batch, E), without gradient.

    Raises:
        ValueError: The graph has a cycle or gaps in its node numbers, or some row has no path.

    Example:
        >>> edges = torch.tensor([[0, 0, 1], [1, 2, 2]])
        >>> F.maximum_path(torch.tensor([1.0, 2.0, 3.0]), edges)
        tensor([1., 0., 1.])
    """
    plan = path_schedule(u, edges, source, sink)
    return from_working(path.maximum_path(to_working(u.detach()), *plan), u.dtype)


def path_marginals(u: Tensor, edges: Tensor, source: int = 0, sink: int | None = None) -> Tensor:
    """The marginals P(e is on the path) of p(x) ∝ exp(uᵀx) over paths (eq. 8), shape (*batch, E), by forward–backward.

    Exact at any range of u, O(E). Arguments and errors are those of `maximum_path`.

    Example:
        >>> F.path_marginals(torch.zeros(3), torch.tensor([[0, 0, 1], [1, 2, 2]]))
        tensor([0.5000, 0.5000, 0.5000])
    """
    plan = path_schedule(u, edges, source, sink)
    return from_working(path.marginals(to_working(u), *plan), u.dtype)


def path_log_partition(u: Tensor, edges: Tensor, source: int = 0, sink: int | None = None) -> Tensor:
    """The log-partition function log Σ exp(uᵀx) over the paths of an acyclic graph, shape (*batch).

    Arguments and errors are those of `path_marginals`, which is its gradient.

    Example:
        >>> F.path_log_partition(torch.zeros(3), torch.tensor([[0, 0, 1], [1, 2, 2]])).exp()
        tensor(2.)
    """
    plan = path_schedule(u, edges, source, sink)
    return from_working(path.log_partition(to_working(u), *plan), u.dtype)


def path_sample(
    u: Tensor, edges: Tensor, source: int = 0, sink: int | None = None, *, generator: torch.Generator | None = None
) -> Tensor:
    """An exact sample of p(x) ∝ exp(uᵀx) over paths for each row of u, shape (*batch, E), without gradient.

    Arguments and errors are those of `maximum_path`, but for the generator to draw from instead of torch's default one.

    Example:
        >>> F.path_sample(torch.tensor([1e4, 0.0, 0.0]), torch.tensor([[0, 0, 1], [1, 2, 2]]))
        tensor([1., 0., 1.])
    """
    plan = path_schedule(u, edges, source, sink)
    return from_working(path.draw(to_working(u.detach()), *plan, generator), u.dtype)


def path_schedule(u: Tensor, edges: Tensor, source: int, sink: int | None) -> tuple[Tensor, Tensor]:
    """The schedule of the graph on the device of u and on the CPU, if it has one edge for each coordinate.

    Args:
        u: Shape (*batch, E).
        edges: What the caller gave.
        source: What the caller gave.
        sink: What the caller gave.

    Raises:
        ValueError: It has not, or it is no acyclic graph with a path.
    """
    check_coordinates(u)
    plan = plan_of(edges, source, sink)
    check_size("u", u, edges.shape[1], "edges")
    return plan.to(u.device), plan


def plan_of(edges: Tensor, source: int, sink: int | None) -> Tensor:
    """The schedule of a graph on the CPU, if it is acyclic and has a path.

    Args:
        edges: What the caller gave.
        source: What the caller gave.
        sink: What the caller gave.

    Raises:
        ValueError: It is not.
    """
    check_edge_list(edges, least=1)
    source = check_integer("source", source, "Name a node.", low=0)
    last = -1 if sink is None else check_integer("sink", sink, "Name a node, or leave it out.", low=0)
    there = edges.cpu()
    return path.schedule(path.frame_of(there), there, source, last)
