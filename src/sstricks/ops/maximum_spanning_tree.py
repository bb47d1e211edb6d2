import torch
from torch import Tensor

from sstricks.ops.gradients import attach_no_gradient
from sstricks.ops.operator import operator
from sstricks.ops.spanning_tree import check_connected
from sstricks.ops.threads import over_rows


@operator("sstricks::maximum_spanning_tree", core=(1, None))
def maximum_spanning_tree(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """The indicator vector of the maximum spanning tree (App. B.7), shape (*batch, E).

    Ties go to the edge with the lower index. The twin is Borůvka's algorithm on ranks: in each of ⌈log₂ n⌉ rounds
    every component takes the best edge that leaves it, for the whole batch at once.

    Args:
        u: Utilities, shape (*batch, E); −∞ is an absent edge.
        edges: The two ends of every edge, shape (2, E).
        nodes: The number of nodes; one without any edge is padding.

    Raises:
        ValueError: The present nodes of some graph are not connected.
    """
    batch, count = u.shape
    order = u.sort(dim=-1, descending=True, stable=True).indices
    here = u > -torch.inf
    rank = torch.empty_like(order).scatter_(-1, order, torch.arange(count, device=u.device).expand(batch, -1))
    label = torch.arange(nodes, device=u.device).expand(batch, -1).contiguous()
    chosen = torch.zeros_like(here)
    for _ in range(max(1, (nodes - 1).bit_length())):
        a, b = label[:, edges[0]], label[:, edges[1]]
        leaves = here & (a != b)
        key = torch.where(leaves, rank, count)
        best = torch.full_like(label, count).scatter_reduce(-1, a, key, "amin").scatter_reduce(-1, b, key, "amin")
        chosen = chosen | (leaves & ((best.gather(-1, a) == rank) | (best.gather(-1, b) == rank)))
        # Hook every component to the one across its best edge; of two that chose each other, the lower stays root.
        edge = order.gather(-1, best.clamp(max=count - 1))
        across = a.gather(-1, edge) + b.gather(-1, edge) - torch.arange(nodes, device=u.device)
        self = torch.arange(nodes, device=u.device).expand(batch, -1)
        parent = torch.where(best < count, across, self)
        mutual = parent.gather(-1, parent) == self
        parent = torch.where(mutual & (self < parent), self, parent)
        for _ in range(max(1, nodes.bit_length())):
            parent = parent.gather(-1, parent)
        label = parent.gather(-1, label)
    touched = torch.zeros(batch, nodes, dtype=torch.int64, device=u.device)
    for end in edges:
        touched = touched.scatter_reduce(-1, end.expand(batch, -1), here.long(), "amax")
    check_connected(touched.sum(-1) - chosen.sum(-1))
    return chosen.to(u.dtype)


@maximum_spanning_tree.cpu
def _(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    from sstricks.ops.kernels import maximum_spanning_tree as kernels

    out = torch.empty_like(u)
    components = torch.empty(len(u), dtype=torch.int64)
    # Prim looks at every pair of nodes twice, Kruskal sorts: measured, they break even near 16 pairs an edge.
    sparse = nodes * nodes > 16 * edges.shape[1]
    kernel, work = (kernels.kruskal, 60.0 * edges.shape[1]) if sparse else (kernels.prim, 2.0 * nodes * nodes)
    over_rows(kernel, len(u), work, nodes, u.numpy(), edges.numpy(), out.numpy(), components.numpy())
    check_connected(components)
    return out


attach_no_gradient(maximum_spanning_tree)
