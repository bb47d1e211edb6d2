r"""The exponential family of spanning trees, p(T) ∝ exp(Σ_{e∈T} u_e): log Z, marginals, and their derivative (B.7).

The matrix-tree theorem gives log Z as a log-determinant. Inverting that matrix loses all digits once the utilities
range over more than 37 or so; eliminating its nodes one by one loses none, because nothing is ever subtracted.

**Elimination (star-mesh).** With pair weights w, take node v out of the graph:

.. math:: d_v = \sum_i w_{iv}, \quad p_i = w_{iv} / d_v, \quad w'_{ij} = w_{ij} + q_{ij}, \quad q_{ij} = w_{iv} p_j

and :math:`\log Z = \sum_v \log d_v`. Let :math:`\rho_{ij} = q_{ij} / w'_{ij}`: of the weight between i and j in the
smaller graph, the part that leads through v.

**Marginals.** log Z of the smaller graph is a function of w', so with its marginals x' (x = w ∂log Z/∂w),

.. math:: x_{ij} = (1 - \rho_{ij}) x'_{ij}, \quad c_{ij} = \rho_{ij} x'_{ij}, \quad
          x_{iv} = p_i (1 - S) + \sum_j c_{ij}, \quad S = \tfrac12 \sum_{kl} c_{kl}.

Only p and ρ enter, both in [0, 1], and the one subtraction is 1 − S, where S (the expected number of edges that lead
through v) is below n: the error is absolute, some n multiples of the machine's epsilon, whatever the range of the
utilities.

**Derivative** in the direction g = d log w, node by node along with the above. Write a for d log w of the current
graph and :math:`\delta = \sum_i p_i a_{iv}`, :math:`t_i = a_{iv} - \delta`; then

.. math:: dp_i = p_i t_i, \quad d\rho_{ij} = \rho_{ij} (1 - \rho_{ij}) h_{ij}, \quad
          a'_{ij} = a_{ij} + \rho_{ij} h_{ij}, \quad h_{ij} = a_{iv} + t_j - a_{ij}

and the equations for x are differentiated by the product rule. The Jacobian is a Hessian, that of log Z, hence
symmetric: the vector-Jacobian product of the backward pass *is* this derivative in the direction of the incoming
gradient.

**Far apart.** Where all trees need edges far below others, sums of exponents are rounded, and what decides between
those edges is lost. Let E_k be the k edges of largest utility, and s_k the step from the k-th utility to the next. Then

.. math:: \sum_{e \in T} u_e = \sum_{e \in T^*} u_e + \sum_k s_k (|T \cap E_k| - |T^* \cap E_k|)

where no term of the last sum is positive: the best tree T*, which is a greedy one, has as many edges of every E_k as a
tree can have. A tree that lacks one at a step above c is e^−c times as likely as the best, at the most. So with c well
beyond the logarithm of the number of trees, the law does not change when all steps are cut down to c. That brings any
utilities near each other, and log Z changes by what they then differ by on the best tree.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from sstricks.errors import invalid_rows
from sstricks.ops import arborescence
from sstricks.ops.elimination import eliminate
from sstricks.ops.gradients import attach_gradients, attach_no_gradient
from sstricks.ops.operator import is_checked, operator
from sstricks.ops.precision import MANY, NEAR, SURE
from sstricks.ops.threads import over_rows


class _Stage(NamedTuple):
    """What eliminating one node leaves behind."""

    p: Tensor  # (*batch, v)
    ratio: Tensor  # (*batch, v, v)


class _Elimination(NamedTuple):
    share: Tensor  # (*batch, E): an edge's part of the weight between its two nodes
    stages: list[_Stage]  # of nodes n−1, …, 1
    log_z: Tensor  # (*batch)
    components: Tensor  # (*batch)


def _pair_index(edges: Tensor, nodes: int) -> Tensor:
    """Where each edge stands in the upper triangle of a flattened nodes × nodes matrix."""
    return edges.amin(0) * nodes + edges.amax(0)


def _pair_weights(u: Tensor, edges: Tensor, nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Log-weights of all pairs of nodes (0 where there is none), where there is one, and the edges' shares."""
    here = u > -torch.inf
    flat = _pair_index(edges, nodes).expand(u.shape)
    blank = u.new_zeros(*u.shape[:-1], nodes * nodes)
    value = torch.where(here, u, 0.0)
    top = blank.scatter_reduce(-1, flat, u.detach(), "amax", include_self=False)
    top = torch.where(top.isfinite(), top, 0.0)
    weight = torch.where(here, (value - top.gather(-1, flat)).clamp(max=0.0).exp(), 0.0)
    total = blank.scatter_add(-1, flat, weight)
    share = weight / torch.where(here, total.gather(-1, flat), 1.0)
    alive = total > 0
    log_weight = torch.where(alive, top + torch.where(alive, total, 1.0).log(), 0.0)

    def square(x: Tensor) -> Tensor:
        x = x.unflatten(-1, (nodes, nodes))
        return x + x.mT

    return square(log_weight), square(alive.to(u.dtype)) > 0, share


def _near(u: Tensor, nodes: int) -> Tensor:
    """Utilities near each other with the law of u, and none above 0."""
    most = SURE + MANY * nodes
    here, known = u > -torch.inf, u.detach()
    value, order = known.sort(-1, descending=True)
    steps = (value[..., :-1] - value[..., 1:]).clamp(max=most)  # NaN between absent edges
    heights = pad(torch.where(value[..., 1:] > -torch.inf, steps, 0.0), (1, 0)).cumsum(-1).neg()
    far = torch.zeros_like(known).scatter(-1, order, heights)
    best = torch.where(here.any(-1, keepdim=True), value[..., :1], 0.0)
    beyond = ((best - known > NEAR) & here).any(-1, keepdim=True)
    near = torch.where(here, torch.where(beyond, far, known - best), -torch.inf)
    finite = torch.where(here, u, 0.0)
    return near + (finite - finite.detach())


def _eliminate(u: Tensor, edges: Tensor, nodes: int) -> _Elimination:
    """Of near utilities, also log Z."""
    u = _near(u, nodes)
    log_w, alive, share = _pair_weights(u, edges, nodes)
    present = alive.any(-1)
    stages = []
    log_z = torch.zeros_like(u[..., 0])
    components = present[..., 0].to(torch.int64)
    for v in range(nodes - 1, 0, -1):
        on, row = alive[..., v, :v], log_w[..., v, :v]
        any_on = on.any(-1, keepdim=True)
        top = torch.where(any_on, row.masked_fill(~on, -torch.inf).amax(-1, keepdim=True), 0.0).detach()
        weight = torch.where(on, (torch.where(on, row, top) - top).exp(), 0.0)
        d = torch.where(any_on, weight.sum(-1, keepdim=True), 1.0)
        log_d = top + d.log()
        off_diagonal = ~torch.eye(v, dtype=torch.bool, device=u.device)
        joined = on.unsqueeze(-1) & on.unsqueeze(-2) & off_diagonal
        old = alive[..., :v, :v]
        log_q = torch.where(joined, row.unsqueeze(-1) + (row - log_d).unsqueeze(-2), 0.0)
        gap = torch.where(joined & old, log_q - log_w[..., :v, :v], 0.0)
        ratio = torch.where(joined, torch.where(old, gap.sigmoid(), 1.0), 0.0)
        log_old = log_w[..., :v, :v]
        log_w = torch.where(joined, torch.where(old, torch.logaddexp(log_old, log_q), log_q), log_old)
        alive = old | joined
        stages.append(_Stage(weight / d, ratio))
        log_z = log_z + log_d.squeeze(-1)
        components = components + (present[..., v] & ~any_on.squeeze(-1))
    return _Elimination(share, stages, log_z, components)


def _bordered(x: Tensor, row: Tensor) -> Tensor:
    """The symmetric matrix x with one more row and column."""
    top = torch.cat([x, row.unsqueeze(-1)], -1)
    bottom = pad(row, (0, 1)).unsqueeze(-2)
    return torch.cat([top, bottom], -2)


def _marginals(u: Tensor, edges: Tensor, nodes: int, work: _Elimination) -> Tensor:
    x = u.new_zeros(*u.shape[:-1], 1, 1)
    for p, ratio in reversed(work.stages):
        moved = x * ratio
        received = moved.sum(-1)
        rest = 1 - received.sum(-1, keepdim=True) / 2
        x = _bordered(x - moved, p * rest + received)
    return work.share * x[..., edges[0], edges[1]]


def _marginals_jvp(u: Tensor, g: Tensor, edges: Tensor, nodes: int, work: _Elimination) -> Tensor:
    flat = _pair_index(edges, nodes).expand(u.shape)
    a = u.new_zeros(*u.shape[:-1], nodes * nodes).scatter_add(-1, flat, work.share * g)
    a = a.unflatten(-1, (nodes, nodes))
    first = a = a + a.mT
    dstages = []
    for v, (p, ratio) in zip(range(nodes - 1, 0, -1), work.stages, strict=True):
        a_v = a[..., v, :v]
        t = a_v - (p * a_v).sum(-1, keepdim=True)
        step = ratio * (a_v.unsqueeze(-1) + t.unsqueeze(-2) - a[..., :v, :v])
        dstages.append((p * t, step * (1 - ratio)))
        a = a[..., :v, :v] + step
    x = dx = u.new_zeros(*u.shape[:-1], 1, 1)
    for (p, ratio), (dp, dratio) in zip(reversed(work.stages), reversed(dstages), strict=True):
        moved, dmoved = x * ratio, dx * ratio + x * dratio
        received, dreceived = moved.sum(-1), dmoved.sum(-1)
        rest, drest = 1 - received.sum(-1, keepdim=True) / 2, -dreceived.sum(-1, keepdim=True) / 2
        x, dx = (
            _bordered(x - moved, p * rest + received),
            _bordered(dx - dmoved, dp * rest + p * drest + dreceived),
        )
    i, j = edges[0], edges[1]
    return work.share * (dx[..., i, j] + x[..., i, j] * (g - first[..., i, j]))


def check_connected(components: Tensor) -> None:
    """Raise unless the present nodes of every graph hang together."""
    if bool((apart := components > 1).any()):
        row = int(apart.nonzero()[0])
        raise invalid_rows(
            apart,
            "u",
            f"a graph of {int(components[row])} components in row {row} (without its masked and -inf edges)",
            "connected graphs",
            "Unmask edges between the components. A node without any edge is absent and does not count.",
        )


def _connected(x: Tensor, components: Tensor) -> Tensor:
    """What was computed, or NaN for graphs that do not hang together, where nobody looks (see `is_checked`)."""
    if is_checked(x):
        check_connected(components)
        return x
    return torch.where((components > 1).reshape(components.shape + (1,) * (x.dim() - components.dim())), torch.nan, x)


def _looked_at(x: Tensor, u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """What a device computed, which complains of nothing itself."""
    if is_checked(u):
        check_connected(_eliminate(u, edges, nodes).components)
    return x


def _launch(kernel_name: str, out: Tensor, nodes: int, edges: Tensor, *rows: Tensor) -> Tensor:
    def exact(out: Tensor, components: Tensor, *rows: Tensor) -> None:
        from sstricks.ops.kernels import spanning_tree as kernels
        from sstricks.ops.kernels.floats import LANES

        # About 2 ns per entry of every stage's matrix, and an exponential per edge.
        work = 2.0 * nodes**3 / 6 + 20.0 * edges.shape[1]
        arrays = (row.numpy() for row in rows)
        kernel = getattr(kernels, kernel_name)
        args = (nodes, *arrays, edges.numpy(), out.numpy(), components.numpy())
        over_rows(kernel, len(out), work, *args, step=LANES, scratch=kernels.workspace_size(nodes, edges.shape[1]))

    check_connected(eliminate(kernel_name, exact, out, nodes, edges, *rows, directed=False))
    return out


@operator("sstricks::spanning_tree_marginals", core=(1, None))
def marginals(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """The marginals P(e ∈ T), shape (*batch, E), of the exponential family with parameters u (B.7, eq. 50).

    Args:
        u: Natural parameters, shape (*batch, E); −∞ is an absent edge.
        edges: The two ends of every edge, shape (2, E).
        nodes: The number of nodes; one without any edge is absent.

    Raises:
        ValueError: The present nodes of some graph are not connected.
    """
    work = _eliminate(u, edges, nodes)
    x = _marginals(u, edges, nodes, work).clamp(0.0, 1.0)  # the error is absolute: it may leave [0, 1]
    return _connected(x, work.components)


@operator("sstricks::spanning_tree_marginals_jvp", core=(1, 1, None))
def marginals_jvp(u: Tensor, g: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """The derivative of `marginals` in the direction g, shape (*batch, E)."""
    work = _eliminate(u, edges, nodes)
    return _connected(_marginals_jvp(u, g, edges, nodes, work), work.components)


@operator("sstricks::spanning_tree_log_partition", core=(1, None), output_core=0)
def log_partition(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """The log-partition function log Σ_T exp(Σ_{e∈T} u_e), shape (*batch) (B.7, eq. 49)."""
    work = _eliminate(u, edges, nodes)
    tree = maximum_spanning_tree(u, edges, nodes)
    shift = torch.where(tree > 0, u - _near(u, nodes), 0.0).sum(-1)
    return _connected(work.log_z + shift, work.components)


@marginals.cpu
def _(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    return _launch("marginals", torch.empty_like(u), nodes, edges, u)


@marginals_jvp.cpu
def _(u: Tensor, g: Tensor, edges: Tensor, nodes: int) -> Tensor:
    return _launch("marginals_jvp", torch.empty_like(u), nodes, edges, u, g)


@log_partition.cpu
def _(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    return _launch("log_partition", u.new_empty(len(u)), nodes, edges, u)


@marginals.cuda
def _(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    from sstricks.ops.cuda.spanning_tree import marginals as launch

    return _looked_at(launch(u, edges, nodes), u, edges, nodes)


@marginals_jvp.cuda
def _(u: Tensor, g: Tensor, edges: Tensor, nodes: int) -> Tensor:
    from sstricks.ops.cuda.spanning_tree import marginals_jvp as launch

    return _looked_at(launch(u, g, edges, nodes), u, edges, nodes)


@log_partition.cuda
def _(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    from sstricks.ops.cuda.spanning_tree import log_partition as launch

    return _looked_at(launch(u, edges, nodes), u, edges, nodes)


attach_gradients(
    marginals,
    marginals_jvp,
    log_partition,
    lambda u, g, edges, nodes: _marginals_jvp(u, g, edges, nodes, _eliminate(u, edges, nodes)),
)


@operator("sstricks::maximum_spanning_tree", core=(1, None))
def maximum_spanning_tree(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """The indicator vector of the maximum spanning tree (App. B.7), shape (*batch, E).

    Ties go to the edge with the lower index. The twin is Borůvka's algorithm on ranks: in each of ⌈log₂ n⌉ rounds
    every component takes the best edge that leaves it, for the whole batch at once.

    Args:
        u: Utilities, shape (*batch, E); −∞ is an absent edge.
        edges: The two ends of every edge, shape (2, E).
        nodes: The number of nodes; one without any edge is absent.

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
    return _connected(chosen.to(u.dtype), touched.sum(-1) - chosen.sum(-1))


@maximum_spanning_tree.cpu
def _(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    from sstricks.ops.kernels import spanning_tree as kernels

    out = torch.empty_like(u)
    components = torch.empty(len(u), dtype=torch.int64)
    # Prim looks at every pair of nodes twice, Borůvka at every edge more often: measured, they break even near 4 pairs
    # an edge.
    sparse = nodes * nodes > 4 * edges.shape[1]
    kernel, work = (kernels.boruvka, 40.0 * edges.shape[1]) if sparse else (kernels.prim, 2.0 * nodes * nodes)
    over_rows(kernel, len(u), work, nodes, u.numpy(), edges.numpy(), out.numpy(), components.numpy())
    check_connected(components)
    return out


@maximum_spanning_tree.cuda
def _(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    from sstricks.ops.cuda.spanning_tree import maximum_spanning_tree as launch

    if nodes > 1024:  # the kernel is Prim's algorithm on matrices, the twin Borůvka's on lists of edges
        return maximum_spanning_tree.twin(u, edges, nodes)
    return _looked_at(launch(u, edges, nodes), u, edges, nodes)


attach_no_gradient(maximum_spanning_tree)


def draw(u: Tensor, edges: Tensor, nodes: int, generator: torch.Generator | None) -> Tensor:
    """One random tree for each row of u, shape (*batch, E), of the law p(T) ∝ exp(Σ_{e∈T} u_e).

    With an edge in either direction for each edge of the graph, every spanning tree is one arborescence of each root.
    The root here is one more node, with an edge to the first node that is present.

    Args:
        u: Natural parameters, shape (*batch, E); −∞ is an absent edge.
        edges: The two ends of every edge, shape (2, E).
        nodes: The number of nodes; one without any edge is padding.
        generator: What to draw from instead of torch's default generator.

    Raises:
        ValueError: The present nodes of some graph are not connected.
    """
    if nodes == 1:
        return torch.zeros_like(u)
    node = torch.arange(nodes, device=u.device)
    first = torch.where(u > -torch.inf, edges.amin(0), nodes).amin(-1, keepdim=True)
    entry = torch.where(node == first, 0.0, -torch.inf).to(u.dtype)
    ways = torch.cat([edges, edges.flip(0), torch.stack([torch.full_like(node, nodes), node])], -1)
    tree = arborescence.draw(torch.cat([u, u, entry], -1), arborescence.rooted(ways, nodes), nodes + 1, generator)
    there, back, _ = tree.split([u.shape[-1], u.shape[-1], nodes], -1)
    return there + back
