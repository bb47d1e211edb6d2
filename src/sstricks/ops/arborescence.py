r"""The exponential family of arborescences, p(T) ∝ exp(Σ_{e∈T} u_e): log Z, marginals, derivative, samples (B.8).

The root is node 0. Every other node has one edge into it, so that adding a constant to all edges into a node changes
log Z by that constant and nothing else. The matrix-tree theorem for directed graphs gives log Z as a log-determinant of
the Laplacian of in-degrees; it is computed as in `sstricks.ops.spanning_tree`, by eliminating one node after the other,
the root last, without a subtraction of weights and hence at any range of the utilities.

**Elimination.** With weights w_ij of the edges i → j, the Schur complement that takes v out of the Laplacian is again
the Laplacian of a graph, whose edges i → j (i ≠ j) may also lead through v:

.. math:: d_v = \sum_i w_{iv}, \quad p_i = w_{iv} / d_v, \quad w'_{ij} = w_{ij} + q_{ij}, \quad q_{ij} = p_i w_{vj}

and :math:`\log Z = \sum_v \log d_v`. Let :math:`\rho_{ij} = q_{ij} / w'_{ij}`. (The diagonal is right because
:math:`d'_j = d_j - w_{vj} + w_{vj} \sum_{i \neq j} p_i = d_j - w_{jv} w_{vj} / d_v`.) A node with d_v = 0 is one that
the root does not reach: of a path to it, the last node that is not yet eliminated would have an edge to v.

**Marginals.** log Z of the smaller graph is a function of w', so with its marginals x' (x = w ∂log Z/∂w),

.. math:: x_{ij} = (1 - \rho_{ij}) x'_{ij}, \quad c_{ij} = \rho_{ij} x'_{ij}, \quad x_{vj} = \sum_i c_{ij}, \quad
          x_{iv} = p_i (1 - S) + \sum_j c_{ij}, \quad S = \sum_{kl} c_{kl}.

S is the expected number of children of v: the error of 1 − S is absolute, some n multiples of the machine's epsilon.
The CPU kernels keep y = ∂log Z/∂w = x / w in the place of x. Its entries outlive the stage that finds them, since w'
grows with w at rate 1, so that each stage only adds up :math:`c_{ij} = q_{ij} y_{ij}`, and nobody stores or divides by
w'.

**Derivative** in the direction g = d log w, node by node along with the above. Write a for d log w of the current
graph, :math:`\delta = \sum_i p_i a_{iv}` and :math:`t_i = a_{iv} - \delta`; then

.. math:: dp_i = p_i t_i, \quad d\rho_{ij} = \rho_{ij} (1 - \rho_{ij}) h_{ij}, \quad
          a'_{ij} = a_{ij} + \rho_{ij} h_{ij}, \quad h_{ij} = t_i + a_{vj} - a_{ij}

and the equations for x are differentiated by the product rule. The Jacobian is a Hessian, that of log Z, hence
symmetric: the vector-Jacobian product of the backward pass *is* this derivative in the direction of the incoming
gradient.

**Samples.** From a random tree T' of the graph without v, make one of the graph with v: call every edge i → j of T' an
edge through v with probability ρ_ij, and take those out; what is left is a forest, a component C with the root in it,
and components with roots j₁, …, j_k of their own. Hang these below v, and v below a node i of C, chosen with
probability proportional to p_i within C. This is a sample of the larger graph's law. For let A be a forest as above,
and P_0, …, P_k the sums of p over its components, which add up to 1. The weight of all trees T' with all their choices
that leave A is

.. math:: w(A) \prod_m w_{v j_m} \sum_B \prod_b P_{\mathrm{parent}_B(b)}
          = w(A) \prod_m w_{v j_m} \; P_0 (P_0 + \dots + P_k)^{k-1} = w(A) \prod_m w_{v j_m} \; P_0,

with B running over the arborescences of the k + 1 components rooted at C (Cayley's formula, with a variable for each
node to the power of the number of its children; for k = 0 both sides are w(A), since then P_0 = 1). The trees T of the
larger graph that leave A when v is taken out are those with the edges v → j_m and i → v for an i in C, as v is not its
own ancestor; they weigh :math:`w(A) \prod_m w_{v j_m} \sum_{i \in C} w_{iv}`, which is d_v times the above, and so A is
left with the right probability. Given A, T is chosen by its weight. Of parallel edges, one is chosen by its share.

**A single child of the root.** Trees in which the root has one child are those that remain when all edges from the root
become ever lower by the same number. So the above serves them, with other utilities (`single_root`): an edge from the
root is lowered by as much as makes trees with two of them negligible, or, where that would cost digits,
`sstricks.ops.kernels.contraction` finds near utilities with the same law.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from sstricks.errors import invalid_rows
from sstricks.ops import elimination
from sstricks.ops.gradients import attach_gradients, attach_no_gradient
from sstricks.ops.operator import is_checked, is_readable, operator
from sstricks.ops.precision import FAR, NEAR
from sstricks.ops.threads import over_rows


class _Stage(NamedTuple):
    """What eliminating one node leaves behind."""

    p: Tensor  # (*batch, v)
    log_p: Tensor  # (*batch, v)
    ratio: Tensor  # (*batch, v, v)


class _Elimination(NamedTuple):
    share: Tensor  # (*batch, E): an edge's part of the weight between its two nodes
    stages: list[_Stage]  # of nodes n−1, …, 1
    log_z: Tensor  # (*batch)
    unreached: Tensor  # (*batch)


def _pair_index(edges: Tensor, nodes: int) -> Tensor:
    """Where each edge stands in a flattened nodes × nodes matrix."""
    return edges[0] * nodes + edges[1]


def _weights(u: Tensor, edges: Tensor, nodes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-weights of all pairs (0 where there is none), less the maximum into each node; where; shares; maxima."""
    here = (u > -torch.inf) & (edges[1] > 0)
    flat, head = _pair_index(edges, nodes).expand(u.shape), edges[1].expand(u.shape)
    value = torch.where(here, u, 0.0)
    known = u.detach().masked_fill(~here, -torch.inf)
    top = u.new_full((*u.shape[:-1], nodes), -torch.inf).scatter_reduce(-1, head, known, "amax")
    top = torch.where(top > -torch.inf, top, 0.0)
    near = torch.where(here, value - top.gather(-1, head), 0.0)
    blank = u.new_zeros(*u.shape[:-1], nodes * nodes)
    peak = torch.full_like(blank, -torch.inf).scatter_reduce(
        -1, flat, near.detach().masked_fill(~here, -torch.inf), "amax"
    )
    peak = torch.where(peak > -torch.inf, peak, 0.0)
    weight = torch.where(here, (near - peak.gather(-1, flat)).exp(), 0.0)
    total = blank.scatter_add(-1, flat, weight)
    share = weight / torch.where(here, total.gather(-1, flat), 1.0)
    alive = total > 0
    log_weight = torch.where(alive, peak + torch.where(alive, total, 1.0).log(), 0.0)
    square = (nodes, nodes)
    return log_weight.unflatten(-1, square), alive.unflatten(-1, square), share, top.sum(-1)


def _eliminate(u: Tensor, edges: Tensor, nodes: int) -> _Elimination:
    there = nearby(pad(u.detach(), (0, 1)), edges, nodes)
    value = torch.where(u > -torch.inf, u, 0.0)
    log_w, alive, share, log_z = _weights(there[..., :-1] + (value - value.detach()), edges, nodes)
    log_z = log_z + there[..., -1]
    present = alive.any(-1) | alive.any(-2)
    unreached = torch.zeros_like(log_z, dtype=torch.int64)
    stages = []
    for v in range(nodes - 1, 0, -1):
        into, row = alive[..., :v, v], log_w[..., :v, v]
        some = into.any(-1, keepdim=True)
        top = torch.where(some, row.masked_fill(~into, -torch.inf).amax(-1, keepdim=True), 0.0).detach()
        near = torch.where(into, row - top, 0.0)
        weight = torch.where(into, near.exp(), 0.0)
        d = torch.where(some, weight.sum(-1, keepdim=True), 1.0)
        log_p = near - d.log()
        joined = into.unsqueeze(-1) & alive[..., v, :v].unsqueeze(-2)
        joined = joined & ~torch.eye(v, dtype=torch.bool, device=u.device)
        old, log_old = alive[..., :v, :v], log_w[..., :v, :v]
        log_q = torch.where(joined, log_p.unsqueeze(-1) + log_w[..., v, :v].unsqueeze(-2), 0.0)
        gap = torch.where(joined & old, log_q - log_old, 0.0)
        ratio = torch.where(joined, torch.where(old, gap.sigmoid(), 1.0), 0.0)
        log_w = torch.where(joined, torch.where(old, torch.logaddexp(log_old, log_q), log_q), log_old)
        alive = old | joined
        stages.append(_Stage(weight / d, log_p.masked_fill(~into, -torch.inf), ratio))
        log_z = log_z + (top + d.log()).squeeze(-1)
        unreached = unreached + (present[..., v] & ~some.squeeze(-1))
    return _Elimination(share, stages, log_z, unreached)


def bordered(x: Tensor, into: Tensor, out_of: Tensor) -> Tensor:
    """The matrix x with one more column and one more row."""
    top = torch.cat([x, into.unsqueeze(-1)], -1)
    return torch.cat([top, pad(out_of, (0, 1)).unsqueeze(-2)], -2)


def restored(x: Tensor, p: Tensor, ratio: Tensor) -> Tensor:
    """The marginals with one more node, from those of the graph without it, its p and the ratios ρ."""
    moved = x * ratio
    parents = moved.sum(-1)
    rest = 1 - parents.sum(-1, keepdim=True)
    return bordered(x - moved, p * rest + parents, moved.sum(-2))


def _marginals(u: Tensor, edges: Tensor, nodes: int, work: _Elimination) -> Tensor:
    x = u.new_zeros(*u.shape[:-1], 1, 1)
    for stage in reversed(work.stages):
        x = restored(x, stage.p, stage.ratio)
    return work.share * x[..., edges[0], edges[1]]


def _marginals_jvp(u: Tensor, g: Tensor, edges: Tensor, nodes: int, work: _Elimination) -> Tensor:
    flat = _pair_index(edges, nodes).expand(u.shape)
    a = u.new_zeros(*u.shape[:-1], nodes * nodes).scatter_add(-1, flat, work.share * g)
    first = a = a.unflatten(-1, (nodes, nodes))
    dstages = []
    for v, (p, _, ratio) in zip(range(nodes - 1, 0, -1), work.stages, strict=True):
        into = a[..., :v, v]
        t = into - (p * into).sum(-1, keepdim=True)
        step = ratio * (t.unsqueeze(-1) + a[..., v, :v].unsqueeze(-2) - a[..., :v, :v])
        dstages.append((p * t, step * (1 - ratio)))
        a = a[..., :v, :v] + step
    x = dx = u.new_zeros(*u.shape[:-1], 1, 1)
    for (p, _, ratio), (dp, dratio) in zip(reversed(work.stages), reversed(dstages), strict=True):
        moved, dmoved = x * ratio, dx * ratio + x * dratio
        parents, dparents = moved.sum(-1), dmoved.sum(-1)
        rest, drest = 1 - parents.sum(-1, keepdim=True), -dparents.sum(-1, keepdim=True)
        x, dx = (
            bordered(x - moved, p * rest + parents, moved.sum(-2)),
            bordered(dx - dmoved, dp * rest + p * drest + dparents, dmoved.sum(-2)),
        )
    i, j = edges[0], edges[1]
    return work.share * (dx[..., i, j] + x[..., i, j] * (g - first[..., i, j]))


def _draw(log_p: Tensor, among: Tensor, uniform: Tensor) -> Tensor:
    """An index drawn with probability ∝ exp(log_p) `among` those allowed, 0 where there is none."""
    logits = log_p.masked_fill(~among, -torch.inf)
    top = logits.amax(-1, keepdim=True)
    weight = (logits - torch.where(top > -torch.inf, top, 0.0)).exp()
    sums = weight.cumsum(-1)
    return (sums <= uniform.unsqueeze(-1) * sums[..., -1:]).sum(-1).clamp(max=log_p.shape[-1] - 1)


def _draw_tree(uniforms: Tensor, nodes: int, work: _Elimination) -> Tensor:
    """Every node's parent, shape (*batch, n); an absent node's is itself."""
    parent = uniforms.new_zeros(*uniforms.shape[:-1], 1, dtype=torch.int64)
    for v, stage in zip(range(1, nodes), reversed(work.stages), strict=True):
        used = v * (v - 1) // 2
        through = stage.ratio.gather(-2, parent.unsqueeze(-2)).squeeze(-2)[..., 1:]
        moves = uniforms[..., used : used + v - 1] < through
        parent = torch.cat([parent[..., :1], torch.where(moves, v, parent[..., 1:])], -1)
        ancestor = pad(parent, (0, 1), value=v)
        for _ in range(v.bit_length()):
            ancestor = ancestor.gather(-1, ancestor)
        among = (ancestor[..., :v] == 0) & (stage.log_p > -torch.inf)
        chosen = torch.where(among.any(-1), _draw(stage.log_p, among, uniforms[..., used + v - 1]), v)
        parent = torch.cat([parent, chosen.unsqueeze(-1)], -1)
    return parent


def check_reached(unreached: Tensor, single: bool = False) -> None:
    """Raise unless the root of every graph reaches all present nodes, if need be with a single child."""
    if bool(unreached.any()):
        row = int(unreached.nonzero()[0])
        if single:
            raise invalid_rows(
                unreached > 0,
                "u",
                f"a graph in row {row} whose root does not reach all nodes through one child (without masked and -inf "
                "edges)",
                "graphs in which paths lead from a child of the root to every other node",
                "Unmask edges, or allow several children: single_root=False. A node without any edge is absent.",
            )
        raise invalid_rows(
            unreached > 0,
            "u",
            f"a graph in row {row} whose root misses {int(unreached[row])} nodes (without masked and -inf edges)",
            "graphs in which paths lead from the root to every node",
            "Unmask edges towards these nodes. A node without any edge is absent and does not count.",
        )


def _reached(x: Tensor, unreached: Tensor) -> Tensor:
    """What was computed, or NaN for graphs without an arborescence, where nobody looks (see `is_checked`)."""
    if is_checked(x):
        check_reached(unreached)
        return x
    return torch.where((unreached > 0).reshape(unreached.shape + (1,) * (x.dim() - unreached.dim())), torch.nan, x)


def _looked_at(x: Tensor, u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """What a device computed, which complains of nothing itself."""
    if is_checked(u):
        check_reached(_eliminate(u, edges, nodes).unreached)
    return x


def _in_lanes(
    kernel: Callable[..., None], out: Tensor, unreached: Tensor, nodes: int, edges: Tensor, *rows: Tensor, more: int = 0
) -> None:
    from sstricks.ops.kernels.arborescence import workspace_size
    from sstricks.ops.kernels.floats import LANES

    # About 2 ns per entry of every stage's matrix, and an exponential per edge.
    work = 2.0 * nodes**3 / 3 + 20.0 * edges.shape[1]
    arrays = (row.numpy() for row in rows)
    args = (nodes, *arrays, edges.numpy(), out.numpy(), unreached.numpy())
    memory = workspace_size(nodes, edges.shape[1]) + more * LANES
    over_rows(kernel, len(out), work, *args, step=LANES, scratch=memory)


def _launch(kernel_name: str, out: Tensor, nodes: int, edges: Tensor, *rows: Tensor) -> Tensor:
    def exact(out: Tensor, unreached: Tensor, *rows: Tensor) -> None:
        from sstricks.ops.kernels import arborescence as kernels

        _in_lanes(getattr(kernels, kernel_name), out, unreached, nodes, edges, *rows)

    check_reached(elimination.eliminate(kernel_name, exact, out, nodes, edges, *rows, directed=True))
    return out


def _brought_near(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """The kernel, on the CPU whatever the device."""
    from sstricks.ops.kernels.arborescence import nearby as kernel

    there = u.to("cpu", torch.float64)
    out, unreached = torch.empty_like(there), torch.empty(len(u), dtype=torch.int64)
    _in_lanes(kernel, out, unreached, nodes, edges.cpu(), there)
    check_reached(unreached)
    return out.to(u)


def _once_rooted(u: Tensor, edges: Tensor, nodes: int, apart: float, *, near: bool) -> Tensor:
    """What `single_root` or else `single_root_shift` returns, found on the CPU whatever the device."""
    from sstricks.ops.kernels.arborescence import single_root as kernel
    from sstricks.ops.kernels.floats import LANES

    there = u.to("cpu", torch.float64).contiguous()
    out, shift = torch.empty_like(there if near else there[:0]), there.new_empty(len(u))
    unreached = torch.empty(len(u), dtype=torch.int64)
    arrays = (x.numpy() for x in (there, edges.cpu(), out, shift, unreached))
    memory = LANES * (6 * nodes + edges.shape[1])
    over_rows(kernel, len(u), 2.0 * edges.shape[1], nodes, apart, *arrays, step=LANES, scratch=memory)
    check_reached(unreached, single=True)
    return (out if near else shift).to(u)


def _once_rooted_on_gpu(u: Tensor, edges: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    from sstricks.ops.cuda.arborescence import nearby as launch

    out, shift = launch(u, edges, nodes, single=True)
    if is_checked(u):
        check_reached(shift.isnan().long(), single=True)
    return out, shift


@operator("sstricks::arborescence_single_root", core=(1, None))
def single_root(u: Tensor, edges: Tensor, nodes: int, apart: float) -> Tensor:
    """Utilities of which all arborescences have the law of those arborescences of u in which the root has one child.

    Trees with several children have exp(−apart) of the weight, or less.

    Args:
        u: Natural parameters, shape (*batch, E).
        edges: Where every edge leads from and to, shape (2, E).
        nodes: The number of nodes.
        apart: The logarithm of what is negligible, without its sign.

    Raises:
        ValueError: In some graph, no tree has one child of the root.
    """
    return _once_rooted(u, edges, nodes, apart, near=True)


@operator("sstricks::arborescence_single_root_shift", core=(1, None), output_core=0)
def single_root_shift(u: Tensor, edges: Tensor, nodes: int, apart: float) -> Tensor:
    """What log Z of those trees is more than that of the utilities which `single_root` returns, shape (*batch)."""
    return _once_rooted(u, edges, nodes, apart, near=False)


@single_root.cuda
def _(u: Tensor, edges: Tensor, nodes: int, apart: float) -> Tensor:
    return _once_rooted_on_gpu(u, edges, nodes)[0]


@single_root_shift.cuda
def _(u: Tensor, edges: Tensor, nodes: int, apart: float) -> Tensor:
    return _once_rooted_on_gpu(u, edges, nodes)[1]


# What is added to utilities does not depend on them, as far as the law does not.
@single_root.symmetric
def _(
    needs: tuple[bool, ...], grad: Tensor, near: Tensor, u: Tensor, edges: Tensor, *numbers: object
) -> tuple[Tensor, None]:
    return grad, None


attach_no_gradient(single_root_shift)


# The elimination is exact as long as no sum of logarithms is rounded, and inconsistent where one is: then marginals do
# not add up, by as much as the rounding is large. `sstricks.ops.kernels.contraction` says how utilities come near.
@operator("sstricks::arborescence_nearby", core=(1, None))
def nearby(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """Utilities with the same law, of which some tree has none far below the best edge into the same node.

    Args:
        u: Natural parameters and one more number, which is not looked at, shape (*batch, E + 1).
        edges: Where every edge leads from and to, shape (2, E).
        nodes: The number of nodes.

    Returns:
        The utilities, and last what log Z of u is more than theirs, shape (*batch, E + 1).
    """
    known, head = torch.where(edges[1] > 0, u[..., :-1], -torch.inf), edges[1].expand(u[..., :-1].shape)
    top = u.new_full((*u.shape[:-1], nodes), -torch.inf).scatter_reduce(-1, head, known, "amax")
    gap = top.gather(-1, head) - known
    if ((gap > NEAR) & (known > -torch.inf)).any():
        return _brought_near(u, edges, nodes)
    return torch.cat([known, torch.zeros_like(u[..., :1])], -1)


nearby.cpu(_brought_near)


@nearby.cuda
def _(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    from sstricks.ops.cuda.arborescence import nearby as launch

    there, more = launch(u[:, :-1].contiguous(), edges, nodes)
    return torch.cat([there, more.unsqueeze(-1)], -1)


@operator("sstricks::arborescence_marginals", core=(1, None))
def marginals(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """The marginals P(e ∈ T), shape (*batch, E), of the exponential family with parameters u (B.8).

    Args:
        u: Natural parameters, shape (*batch, E); −∞ is an absent edge.
        edges: Where every edge leads from and to, shape (2, E). Those into node 0, the root, count as absent.
        nodes: The number of nodes; one without any edge is absent.

    Raises:
        ValueError: The root does not reach all present nodes of some graph.
    """
    work = _eliminate(u, edges, nodes)
    x = _marginals(u, edges, nodes, work).clamp(0.0, 1.0)  # the error is absolute: it may leave [0, 1]
    return _reached(x, work.unreached)


@operator("sstricks::arborescence_marginals_jvp", core=(1, 1, None))
def marginals_jvp(u: Tensor, g: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """The derivative of `marginals` in the direction g, shape (*batch, E)."""
    work = _eliminate(u, edges, nodes)
    return _reached(_marginals_jvp(u, g, edges, nodes, work), work.unreached)


@operator("sstricks::arborescence_log_partition", core=(1, None), output_core=0)
def log_partition(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """The log-partition function log Σ_T exp(Σ_{e∈T} u_e), shape (*batch) (B.8)."""
    work = _eliminate(u, edges, nodes)
    return _reached(work.log_z, work.unreached)


@operator("sstricks::arborescence_sample", core=(1, 1, None))
def sample(u: Tensor, uniforms: Tensor, edges: Tensor, nodes: int) -> Tensor:
    """A random tree as an indicator vector, shape (*batch, E), of the law p(T) ∝ exp(Σ_{e∈T} u_e).

    Args:
        u: Natural parameters, shape (*batch, E); −∞ is an absent edge.
        uniforms: Independent numbers, uniform on [0, 1), shape (*batch, (n − 1)(n + 2)/2).
        edges: Where every edge leads from and to, shape (2, E).
        nodes: The number of nodes; one without any edge is absent.

    Raises:
        ValueError: The root does not reach all present nodes of some graph.
    """
    work = _eliminate(u, edges, nodes)
    parent = _draw_tree(uniforms, nodes, work)
    tail, head = edges
    # Of parallel edges, the last of those before which the shares add up to no more than the head's number.
    number = torch.arange(len(head), device=u.device)
    flat = _pair_index(edges, nodes)
    earlier = (flat.unsqueeze(-1) == flat) & (number.unsqueeze(-1) < number)
    before = work.share @ earlier.to(u.dtype)
    own = uniforms[..., nodes * (nodes - 1) // 2 + (head - 1).clamp(min=0)]
    begun = ((parent[..., head] == tail) & (work.share > 0) & (before <= own)).to(u.dtype)
    return _reached(begun * (begun @ earlier.mT.to(u.dtype) == 0), work.unreached)


def draw(u: Tensor, edges: Tensor, nodes: int, generator: torch.Generator | None) -> Tensor:
    """One random tree for each row of u, shape (*batch, E); `sample` says more."""
    rows = u.shape[:-1].numel()
    many = nodes >= elimination.DENSE and is_readable(u) and is_readable(edges)
    # With few rows, lanes are empty.
    if many and (rows < elimination.LANES or elimination.sparse_order(edges, nodes)):
        return _draw_in_order(u.detach().reshape(rows, -1), edges, nodes, generator).reshape(u.shape)
    # One number for each pair of nodes, and one for each edge of a tree.
    shape = (*u.shape[:-1], (nodes - 1) * (nodes + 2) // 2)
    return sample(u, torch.rand(shape, dtype=u.dtype, device=u.device, generator=generator), edges, nodes)


def _draw_in_order(u: Tensor, edges: Tensor, nodes: int, generator: torch.Generator | None) -> Tensor:
    """`draw` on the CPU, in an order of elimination that suits the graph: with less work, memory and random numbers."""
    order = elimination.order_of(edges, nodes)
    out, unreached = torch.empty_like(u), torch.zeros(len(u), dtype=torch.int64)
    shape = (len(u), elimination.uniforms_size(order))
    uniforms = torch.rand(shape, dtype=u.dtype, generator=generator)
    elimination.sample(order, edges, out, unreached, u.contiguous(), uniforms)
    return _reached(out, unreached)


def rooted(edges: Tensor, root: int) -> Tensor:
    """The same edges with node 0 and the root renamed to each other."""
    if root == 0:
        return edges
    return torch.where(edges == root, 0, torch.where(edges == 0, root, edges))


@marginals.cpu
def _(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    return _launch("marginals", torch.empty_like(u), nodes, edges, u)


@marginals_jvp.cpu
def _(u: Tensor, g: Tensor, edges: Tensor, nodes: int) -> Tensor:
    return _launch("marginals_jvp", torch.empty_like(u), nodes, edges, u, g)


@log_partition.cpu
def _(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    return _launch("log_partition", u.new_empty(len(u)), nodes, edges, u)


@sample.cpu
def _(u: Tensor, uniforms: Tensor, edges: Tensor, nodes: int) -> Tensor:
    from sstricks.ops.kernels.arborescence_samples import sample as kernel

    out, unreached = torch.empty_like(u), torch.empty(len(u), dtype=torch.int64)
    ratios = nodes * (nodes - 1) * (nodes - 2) // 3
    _in_lanes(kernel, out, unreached, nodes, edges, u, uniforms, more=ratios)
    check_reached(unreached)
    return out


@marginals.cuda
def _(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    from sstricks.ops.cuda.arborescence import marginals as launch

    return _looked_at(launch(u, edges, nodes), u, edges, nodes)


@marginals_jvp.cuda
def _(u: Tensor, g: Tensor, edges: Tensor, nodes: int) -> Tensor:
    from sstricks.ops.cuda.arborescence import marginals_jvp as launch

    return _looked_at(launch(u, g, edges, nodes), u, edges, nodes)


@log_partition.cuda
def _(u: Tensor, edges: Tensor, nodes: int) -> Tensor:
    from sstricks.ops.cuda.arborescence import log_partition as launch

    return _looked_at(launch(u, edges, nodes), u, edges, nodes)


@sample.cuda
def _(u: Tensor, uniforms: Tensor, edges: Tensor, nodes: int) -> Tensor:
    from sstricks.ops.cuda.arborescence import sample as launch

    return _looked_at(launch(u, uniforms, edges, nodes), u, edges, nodes)


attach_gradients(
    marginals,
    marginals_jvp,
    log_partition,
    lambda u, g, edges, nodes: _marginals_jvp(u, g, edges, nodes, _eliminate(u, edges, nodes)),
)
attach_no_gradient(nearby)
attach_no_gradient(sample)


def _contracted(u: Tensor, edges: Tensor, nodes: int, single: bool = False) -> Tensor:
    """The kernel, on the CPU whatever the device."""
    from sstricks.ops.kernels.contraction import maximum_arborescence as kernel

    device, u = u.device, u.cpu().contiguous()
    out = torch.empty_like(u)
    unreached = torch.empty(len(u), dtype=torch.int64)
    # About 1 ns per edge, and as much per pair of nodes for each of some five passes.
    work = 1.0 * edges.shape[1] + 5.0 * nodes**2
    over_rows(kernel, len(u), work, nodes, single, u.numpy(), edges.cpu().numpy(), out.numpy(), unreached.numpy())
    check_reached(unreached, single)
    return out.to(device)


# The twin is the elimination above at temperature zero. Its formulas add, multiply and divide
# positive weights and never subtract, so in the limit they hold for the logarithms with max in the place of the sum:
#
#     d_v = max_i u_iv,    u'_ij = max(u_ij, u_iv − d_v + u_vj),    max_T Σ_{e∈T} u_e = Σ_v d_v,
#
# and p and ρ, the derivatives of these maxima, are zeros and ones. The marginals they give are the indicator vector of
# the best tree, if that is unique; ρ and p would have to break ties by sets of edges, so rows in which a maximum is
# attained twice are left to the contraction of cycles, and so are those whose differences would be rounded, or in which
# the root has a single child.
@operator("sstricks::maximum_arborescence", core=(1, None))
def maximum_arborescence(u: Tensor, edges: Tensor, nodes: int, single: bool = False) -> Tensor:
    """The indicator vector of the maximum arborescence rooted at node 0 (App. B.8), shape (*batch, E).

    Of several, the one whose indicator vector comes first in the order that prefers lower coordinates.

    Args:
        u: Utilities, shape (*batch, E); −∞ is an absent edge.
        edges: Where every edge leads from and to, shape (2, E).
        nodes: The number of nodes; one without any edge is absent.
        single: Whether the root has a single child.

    Raises:
        ValueError: The root does not reach all present nodes of some graph, or not through a single child.
    """
    if single:
        return _contracted(u, edges, nodes, single)
    batch = len(u)
    u = torch.where(edges[1] > 0, u, -torch.inf)
    flat = (edges[0] * nodes + edges[1]).expand(batch, -1)
    w = u.new_full((batch, nodes * nodes), -torch.inf).scatter_reduce(-1, flat, u, "amax")
    best = (u == w.gather(-1, flat)) & (u > -torch.inf)
    several = torch.zeros_like(w).scatter_add(-1, flat, best.to(u.dtype))
    tied = (several > 1).any(-1) | ((u.abs() > FAR / 2) & best).any(-1)
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


maximum_arborescence.cpu(_contracted)


@maximum_arborescence.cuda
def _(u: Tensor, edges: Tensor, nodes: int, single: bool = False) -> Tensor:
    from sstricks.ops.cuda.arborescence import maximum_arborescence as launch

    out = launch(u, edges, nodes, single)
    if single and is_checked(u):
        check_reached(out.isnan().any(-1).long(), single)
    return _looked_at(out, u, edges, nodes)


attach_no_gradient(maximum_arborescence)
