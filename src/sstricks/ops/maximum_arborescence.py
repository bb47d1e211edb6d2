import torch
from torch import Tensor

from sstricks.ops.arborescence import check_reached, restored
from sstricks.ops.gradients import attach_no_gradient
from sstricks.ops.operator import operator
from sstricks.ops.threads import over_rows


def _contracted(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """The kernel, on the CPU whatever the device."""
    from sstricks.ops.kernels.maximum_arborescence import maximum_arborescence as kernel

    device, u = u.device, u.cpu().contiguous()
    out = torch.empty_like(u)
    unreached = torch.empty(len(u), dtype=torch.int64)
    # About 1 ns per edge, and as much per pair of nodes for each of some five passes.
    work = 1.0 * edges.shape[1] + 5.0 * nodes**2
    over_rows(kernel, len(u), work, nodes, u.numpy(), edges.cpu().numpy(), out.numpy(), unreached.numpy())
    check_reached(unreached)
    return out.to(device)


# The twin is the elimination of `sstricks.ops.arborescence` at temperature zero. Its formulas add, multiply and divide
# positive weights and never subtract, so in the limit they hold for the logarithms with max in the place of the sum:
#
#     d_v = max_i u_iv,    u'_ij = max(u_ij, u_iv − d_v + u_vj),    max_T Σ_{e∈T} u_e = Σ_v d_v,
#
# and p and ρ, the derivatives of these maxima, are zeros and ones. The marginals they give are the indicator vector of
# the best tree, if that is unique; ρ and p would have to break ties by sets of edges, so rows in which a maximum is
# attained twice are left to the contraction of cycles.
@operator("sstricks::maximum_arborescence", core=(1, None))
def maximum_arborescence(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """The indicator vector of the maximum arborescence rooted at node 0 (App. B.8), shape (*batch, E).

    Of several, the one whose indicator vector comes first in the order that prefers lower coordinates.

    Args:
        u: Utilities, shape (*batch, E); −∞ is an absent edge.
        edges: Where every edge leads from and to, shape (2, E).
        nodes: The number of nodes; one without any edge is padding.

    Raises:
        ValueError: The root does not reach all present nodes of some graph.
    """
    batch = len(u)
    u = torch.where(edges[1] > 0, u, -torch.inf)
    flat = (edges[0] * nodes + edges[1]).expand(batch, -1)
    w = u.new_full((batch, nodes * nodes), -torch.inf).scatter_reduce(-1, flat, u, "amax")
    best = (u == w.gather(-1, flat)) & (u > -torch.inf)
    several = torch.zeros_like(w).scatter_add(-1, flat, best.to(u.dtype))
    tied = (several > 1).any(-1)
    w = w.unflatten(-1, (nodes, nodes))
    present = (w > -torch.inf).any(-1) | (w > -torch.inf).any(-2)
    unreached = torch.zeros(batch, dtype=torch.int64, device=u.device)
    stages = []
    for v in range(nodes - 1, 0, -1):
        into, out_of = w[:, :v, v], w[:, v, :v]
        d = into.amax(-1, keepdim=True)
        some = d > -torch.inf
        unreached = unreached + (present[:, v] & ~some.squeeze(-1))
        p = (into == d) & some
        through = torch.where(some, into - torch.where(some, d, 0.0), -torch.inf).unsqueeze(-1) + out_of.unsqueeze(-2)
        through = through.masked_fill(torch.eye(v, dtype=torch.bool, device=u.device), -torch.inf)
        old = w[:, :v, :v]
        tied = tied | (p.sum(-1) > 1) | ((through == old) & (old > -torch.inf)).flatten(1).any(-1)
        stages.append((p.to(u.dtype), (through > old).to(u.dtype)))
        w = torch.maximum(old, through)
    check_reached(unreached)
    x = u.new_zeros(batch, 1, 1)
    for p, ratio in reversed(stages):
        x = restored(x, p, ratio)
    tree = x.flatten(1).gather(-1, flat) * best
    return torch.where(tied.unsqueeze(-1), _contracted(u, edges, nodes), tree) if tied.any() else tree


@maximum_arborescence.cpu
def _(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    return _contracted(u, edges, nodes)


attach_no_gradient(maximum_arborescence)
