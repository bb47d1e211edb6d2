r"""Separable regularizers on spanning trees: one multiplier for each block of edges, found by minimum cuts.

Spanning trees are the bases of the graphic matroid; their hull is :math:`x(E) = n - 1`, :math:`x(E(S)) \le |S| - 1`
for every set S of nodes, and x ≥ 0 (Edmonds). Decomposition (Fujishige 1980; Groenevelt 1991): let x̂ be the optimum of
:math:`u^\top x - \sum_e h(x_e)` under :math:`x(E) = n - 1`, 0 ≤ x ≤ 1 alone, as for subsets of n − 1 edges. If no set
is violated, that is the optimum. Else take the partition of the nodes into sets :math:`S_i` whose violation

.. math:: \sum_i \left( \hat{x}(E(S_i)) - |S_i| + 1 \right)

is largest: these sets are tight at the optimum, which consists of the optima of the graphs :math:`(S_i, E(S_i))` and of
that in which every :math:`S_i` is contracted to one node. These are solved likewise. In the end every edge belongs to a
block B of its own rank, and :math:`x_e = (h')^{-1}(u_e + \nu_B)` with the ν that makes x(B) the rank.

**The partition** (Dilworth truncation; Barahona 1992). Let the nodes come one by one, and let every edge divide its x_e
between its two ends. A new node v first gets all of its edges' x_e, and moves as much of that load as it can to earlier
nodes: these take 1 + z_w each, and may hand on what other edges gave them. That is a maximum flow. The load that v
cannot get rid of is z_v, and :math:`\sum_v z_v` is the largest violation; the sets are those that nodes with z_v > 0
reach, joined where they meet.

**Blocks are connected**: a graph with a node in common to two otherwise separate parts has a block for each of them.
Otherwise the point would be right where x̂ happens to share the rank rightly, but not its derivative.

**Backward.** While u moves a little the blocks stay as they are, except at kinks, and in each of them dx is as for
subsets: with s = 1/h''(x), :math:`dx_e = s_e (du_e - \bar{du}_B)`, where :math:`\bar{du}_B` is the mean weighted by s.
"""

import torch
from torch import Tensor

from sstricks.ops.costs import COSTS
from sstricks.ops.density import density_of, differentiable, in_batch
from sstricks.ops.operator import Sizes, operator
from sstricks.ops.separable import meet_sum
from sstricks.ops.separable_optimum import bounds, link, response
from sstricks.ops.spanning_tree import check_connected
from sstricks.ops.threads import over_rows


@operator("sstricks::tree_optimum", core=(2, None), output_core=2, waits=True)
@differentiable()
def tree_optimum(pair: Tensor, edges: Tensor, nodes: int, forest: bool, code: int, batch: Sizes) -> Tensor:
    """The maximiser of uᵀx − Σh(xₑ) on the hull of spanning trees, and each edge's block; shape (*batch, 2, E).

    Edges of two components of a graph are in different blocks, so that forests take nothing else.

    Args:
        pair: Scaled utilities u, twice, shape (*batch, 2, E): the shape of the result; −∞ is an absent edge.
        edges: The two ends of every edge, shape (2, E).
        nodes: The number of nodes; one without any edge is absent.
        forest: Whether the graph may be disconnected; x is then in the hull of its spanning forests.
        code: Which of `COSTS` h is, or the handle of a regularizer.
        batch: The batch shape, which the parameters of h may depend on.

    Raises:
        ValueError: The present nodes of some graph are not connected, or h is not strictly convex.
    """
    from sstricks.ops.kernels import tree_optimum as kernels

    u = pair[:, 0].contiguous().cpu()
    rows, count = u.shape
    state = torch.empty(rows, 5, count, dtype=torch.int64)
    components = torch.empty(rows, dtype=torch.int64)
    ends_of = edges.cpu().numpy()
    over_rows(kernels.begin_division, rows, 100.0 * count, nodes, u.numpy(), ends_of, state.numpy(), components.numpy())
    if not forest:
        check_connected(components)
    x = torch.zeros_like(u)
    while state[:, kernels.OPEN].any():
        x = on_open_blocks(u, x, state, code, batch)
        over_rows(kernels.divide, rows, 10.0 * nodes * count, nodes, x.numpy(), state.numpy())
    return torch.stack([x, state[:, kernels.BLOCK].clamp(min=0).to(x.dtype)], -2).to(pair)


def on_open_blocks(u: Tensor, x: Tensor, state: Tensor, code: int, batch: Sizes) -> Tensor:
    """The point x, with the optimum in open blocks if only their sums are given.

    Args:
        u: Scaled utilities, shape (rows, E).
        x: Any point, shape (rows, E).
        state: What is known of the edges, as `sstricks.ops.kernels.tree_optimum` has it, shape (rows, 5, E).
        code: Which of `COSTS` h is, or the handle of a regularizer.
        batch: The batch shape.
    """
    from sstricks.ops.kernels import tree_optimum as kernels

    if code < len(COSTS):
        over_rows(kernels.solve_blocks, len(u), 20.0 * u.shape[1], code, u.numpy(), state.numpy(), x.numpy())
        return x
    count = u.shape[1]
    present = state[:, kernels.OPEN] > 0
    block = torch.where(present, state[:, kernels.BLOCK], count)  # the others are one block, of rank zero
    rank = torch.where(present, state[:, kernels.RANK], 0)
    k = rank.reshape(in_batch(u, batch).shape)
    sizes = rank.new_zeros(len(u), count + 1).scatter_add(-1, block, torch.ones_like(block))
    at = ((sizes.cumsum(-1) - sizes).gather(-1, block) + rank - 1).clamp(min=0)

    def kth(values: Tensor) -> Tensor:
        """The rank-th largest of each edge's block."""
        flat = values.reshape(u.shape)
        order = flat.sort(dim=-1, descending=True, stable=True).indices
        order = order.gather(-1, block.gather(-1, order).sort(dim=-1, stable=True).indices)
        return torch.where(present, flat.gather(-1, order.gather(-1, at)), 0.0).reshape(values.shape)

    y = in_batch(torch.where(present, u - kth(u), -torch.inf), batch)
    f = density_of(code, y)
    number = block.reshape(y.shape)

    def total(x: Tensor) -> Tensor:
        return x.new_zeros(*x.shape[:-1], count + 1).scatter_add(-1, number, x).gather(-1, number)

    found = meet_sum(link(f), response(f), y, k, *bounds(f, y, kth), slack=8.0, total_of=total)
    return torch.where(present, found.reshape(u.shape), x)


# Its gradient is that of `on_blocks`.
@tree_optimum.backward
def _(
    needs: tuple[bool, ...], grad: Tensor, found: Tensor, pair: Tensor, edges: Tensor, *numbers: object
) -> tuple[None, None]:
    return None, None


@operator("sstricks::on_blocks", core=(1, 1, 1, 1, 1))
def on_blocks(u: Tensor, x: Tensor, slope: Tensor, spread: Tensor, blocks: Tensor) -> Tensor:
    """The point x, with the derivative of x + J(u − h'(x)), as `on_face`.

    Args:
        u: Scaled utilities, shape (*batch, n).
        x: Their optimum, shape (*batch, n).
        slope: h'(x).
        spread: 1/h''(x), and 0 where x cannot vary.
        blocks: The number of each coordinate's block, shape (*batch, n).
    """
    return x.clone()


def _along(spread: Tensor, blocks: Tensor, g: Tensor) -> Tensor:
    """J g."""
    at = blocks.nan_to_num().long()  # NaN in invalid rows, where everything is

    def total(x: Tensor) -> Tensor:
        return torch.zeros_like(x).scatter_add(-1, at, x).gather(-1, at)

    weight = total(spread)
    return spread * (g - total(spread * g) / torch.where(weight > 0, weight, 1.0))


# J 1_B = 0, so that J does not depend on its factors where u − h'(x) is constant in each block.
@on_blocks.symmetric
def _(
    needs: tuple[bool, ...],
    grad: Tensor,
    y: Tensor,
    u: Tensor,
    x: Tensor,
    slope: Tensor,
    spread: Tensor,
    blocks: Tensor,
) -> tuple[Tensor, Tensor, Tensor, None, None]:
    along = _along(spread, blocks, grad)
    return along, grad, -along, None, None
