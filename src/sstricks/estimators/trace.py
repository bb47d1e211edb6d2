import torch
from torch import Tensor

from sstricks.errors import invalid
from sstricks.structures import KSubset, OneHot, SpanningTree
from sstricks.structures.structure import Structure


def has_trace(structure: Structure) -> bool:
    """Whether the law of the trace is known: of the structures in which the greedy algorithm finds the argmax."""
    return isinstance(structure, OneHot | KSubset | SpanningTree)


def trace_log_prob(structure: Structure, theta: Tensor, u: Tensor) -> Tensor:
    r"""The log-probability of the order in which the greedy algorithm takes the elements of the argmax of u.

    .. math:: \log p(e_1, \dots, e_r) = \sum_j \Big( \theta_{e_j} - \log \sum_{e \in V_j} \exp \theta_e \Big)

    The greedy algorithm, which is Kruskal's for spanning trees, takes the best of the elements :math:`V_j` that can
    still be added, again and again. Under Gumbel utilities with locations θ that is the first of them to ring, if each
    rings after an exponential time of rate :math:`e^{\theta_e}`; as these have no memory, the next choice is made anew
    among those that are left (Struminsky et al. 2021).

    Args:
        structure: A `OneHot`, `KSubset` or `SpanningTree`.
        theta: θ, shape (*batch, n).
        u: Utilities, shape (*sample, *batch, n).

    Returns:
        Shape (*sample, *batch), differentiable in θ.

    Raises:
        ValueError: The structure is another.

    Example:
        >>> from sstricks.estimators.trace import trace_log_prob
        >>> trace_log_prob(sst.KSubset(3, 2), torch.zeros(3), torch.tensor([3.0, 2.0, 1.0])).exp()
        tensor(0.1667)
    """
    if not has_trace(structure):
        raise invalid(
            "structure",
            repr(structure),
            "a OneHot, KSubset or SpanningTree",
            "Of other structures the argmax is not found greedily: take the utility as the action.",
        )
    theta, u = torch.broadcast_tensors(theta, u.detach())
    if structure.mask is not None:
        theta = theta.masked_fill(~structure.placed("mask", theta.device), -torch.inf)
    free = theta > -torch.inf
    edges = structure.placed("edges", u.device) if isinstance(structure, SpanningTree) else None
    if isinstance(structure, SpanningTree):
        steps = structure.num_nodes - 1
    else:
        steps = structure.k if isinstance(structure, KSubset) else 1
    component = torch.arange(steps + 1, device=u.device).expand(*u.shape[:-1], -1)  # of each node
    total = torch.zeros(u.shape[:-1], dtype=theta.dtype, device=u.device)
    for _ in range(steps):
        best = torch.where(free, u, -torch.inf).argmax(-1, keepdim=True)
        some = free.any(-1)  # a graph that lacks nodes has fewer edges to take
        among = torch.where(free, theta, -torch.inf)
        # Rows that are done get a sum of one term, since the derivative of an empty one is NaN.
        among = torch.where(some.unsqueeze(-1), among, 0.0)
        chosen = torch.where(some, theta.gather(-1, best).squeeze(-1), 0.0)
        total = total + torch.where(some, chosen - among.logsumexp(-1), 0.0)
        if edges is None:
            free = free.scatter(-1, best, False)
        else:
            old, new = (component.gather(-1, ends[best]) for ends in edges)
            component = torch.where((component == old) & some.unsqueeze(-1), new, component)
            free = free & (component[..., edges[0]] != component[..., edges[1]])
    return total
