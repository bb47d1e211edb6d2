r"""The exponential family of projective trees, p(T) ∝ exp(Σ_{e∈T} u_e): log Z, marginals, and their derivative (B.8).

A tree is projective if the descendants of every node are a stretch of nodes. Eisner's grammar builds each such tree
from stretches i…j in exactly one way. With w = exp u, write R(i, j) for the total weight of the ways in which i heads
all of i+1…j, L(i, j) for those in which j heads all of i…j−1, and →, ← for the same with i and j joined by an edge:

.. math:: B(i, j) = \sum_{k=i}^{j-1} R(i, k) L(k+1, j), \quad
          {\to}(i, j) = w_{ij} B(i, j), \quad {\leftarrow}(i, j) = w_{ji} B(i, j), \\
          R(i, j) = \sum_{k=i+1}^{j} {\to}(i, k) R(k, j), \quad
          L(i, j) = \sum_{k=i}^{j-1} L(i, k) {\leftarrow}(k, j), \quad R(i, i) = L(i, i) = 1

where k is the last node that i heads between them; the farthest dependent of i; that of j. Z = R(0, n−1). Absent edges
have w = 0. Nodes without any edge are left out beforehand, and the others numbered anew.

**Marginals.** Keep the shares p of the terms in each sum, the probabilities of the divisions of a span given that the
tree has that span. From the whole sentence down, the probability of a span goes to the two parts of its divisions in
these shares; what arrives at →(i, j) is P(i → j ∈ T). Sums and products of numbers in [0, 1] only: the error is a few n
multiples of the machine's epsilon. For the shares to be that exact at utilities of any size, weights are mantissas
with exponents of their own: products multiply the one and add the other, and sums scale by powers of two. (Here in the
twin a logarithm is a whole number, which adds exactly and has no derivative, and a part in [0, 1).)

**Derivative** in the direction g. Let a be d log of a span's weight: then for every sum, and every share,

.. math:: a = \sum_k p_k (a_{k1} + a_{k2}), \quad dp_k = p_k (a_{k1} + a_{k2} - a), \quad
          a_{\to}(i, j) = g_{ij} + a_B(i, j)

and the way down is differentiated by the product rule. The a are means of g over trees, so nothing grows with u. The
Jacobian is a Hessian, that of log Z, hence symmetric: the backward pass is this derivative in the direction of the
incoming gradient.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sstricks.ops.operator import operator
from sstricks.ops.projective_chart import check_feasible, divisions, edge_cells, edge_ends, offset, size
from sstricks.ops.threads import over_rows

# How the spans of one width hand down: which shares, of what, to which two parts, and their `divisions`' a and b.
# Charts are R, L, →, ←, or the last two together, which divide alike, once they have received all they will.
_BOTH = 4
_DOWN = ((1, 0, (2, 0), 1, 1), (2, 1, (1, 3), 0, 0), (0, _BOTH, (0, 1), 0, 1))


class Shares(NamedTuple):
    """The shares of the divisions of all spans of one width, each (*batch, width, spans)."""

    between: Tensor
    right: Tensor
    left: Tensor


class Inside(NamedTuple):
    """What the way up leaves behind."""

    cells: Tensor  # (*batch, E): where the edges stand in the charts
    present: Tensor  # (*batch): how many nodes take part
    shares: list[Shares]  # of the widths 1, …, n−1
    log_z: Tensor  # (*batch)
    feasible: Tensor  # (*batch)


class _Log(NamedTuple):
    """Logarithms: whole numbers, which carry no gradient, and what is left of them."""

    whole: Tensor
    part: Tensor

    def grown(self, wider: "_Log") -> "_Log":
        return _Log(torch.cat([self.whole, wider.whole], -1), torch.cat([self.part, wider.part], -1))


def _nothing(u: Tensor) -> float:
    """The logarithm of zero: finite, so that no difference is undefined, and below every sum of others."""
    return -torch.finfo(u.dtype).max / 8


def _divided(one: _Log, two: _Log, at: tuple[Tensor, Tensor]) -> tuple[Tensor, _Log]:
    """The terms' shares of a sum of products, and the sum."""
    whole = one.whole[..., at[0]] + two.whole[..., at[1]]
    part = one.part[..., at[0]] + two.part[..., at[1]]
    top = whole.amax(-2, keepdim=True)
    none = top < _nothing(part) / 2
    weight = torch.where(none, 0.0, (whole - top + part).exp())
    total = torch.where(none, 1.0, weight.sum(-2, keepdim=True))
    log = total.log()
    up = log.detach().floor()
    return weight / total, _Log(
        torch.where(none, _nothing(part), top + up).squeeze(-2), torch.where(none, 0.0, log - up).squeeze(-2)
    )


def inside(u: Tensor, nodes: int) -> Inside:
    """The way up: all sums and their shares, width by width."""
    cells, count = edge_cells(u.detach(), nodes)
    here = u > -torch.inf
    value = torch.where(here, u, 0.0)
    whole = value.detach().floor()
    spans = size(nodes)
    blank = u.new_zeros(*u.shape[:-1], 2 * spans)
    edges = _Log(
        (blank + _nothing(u)).scatter(-1, cells, torch.where(here, whole, _nothing(u))),
        blank.scatter(-1, cells, value - whole),
    )
    right = left = rightward = leftward = _Log(blank[..., :nodes], blank[..., :nodes])
    shares = []
    for width in range(1, nodes):
        between, space = _divided(right, left, divisions(nodes, width, 0, 1, u.device))
        start = offset(nodes, width)
        here, there = (slice(s, s + nodes - width) for s in (start, start + spans))
        rightward = rightward.grown(_attached(space, edges, here))
        leftward = leftward.grown(_attached(space, edges, there))
        to_right, wider = _divided(rightward, right, divisions(nodes, width, 1, 1, u.device))
        right = right.grown(wider)
        to_left, wider = _divided(left, leftward, divisions(nodes, width, 0, 0, u.device))
        left = left.grown(wider)
        shares.append(Shares(between, to_right, to_left))
    root = offset(nodes, (count - 1).clamp(min=0)).unsqueeze(-1)
    top, rest = (x.gather(-1, root).squeeze(-1) for x in right)
    return Inside(cells, count, shares, top + rest, (count > 0) & (top > _nothing(u) / 2))


def _attached(between: _Log, edges: _Log, at: slice) -> _Log:
    whole = between.whole + edges.whole[..., at]
    none = whole < _nothing(whole) / 2
    return _Log(torch.where(none, _nothing(whole), whole), torch.where(none, 0.0, between.part + edges.part[..., at]))


def _handed(flow: Tensor, to: list[Tensor], parts: tuple[int, int], at: tuple[Tensor, Tensor]) -> None:
    """Add what flows through the divisions to both parts of each."""
    for part, where in zip(parts, at, strict=True):
        to[part] = to[part].index_add(-1, where.flatten(), flow.flatten(-2))


def _spans(nodes: int, width: int) -> slice:
    start = offset(nodes, width)
    return slice(start, start + nodes - width)


def _whole(work: Inside, like: Tensor, nodes: int) -> list[Tensor]:
    """R, L, →, ← of which the whole sentence alone is certain."""
    root = offset(nodes, (work.present - 1).clamp(min=0)).unsqueeze(-1)
    blank = like.new_zeros(*like.shape[:-2], size(nodes))
    return [blank.scatter(-1, root.expand(*blank.shape[:-1], 1), 1.0), blank, blank, blank]


def _edges(x: list[Tensor], work: Inside) -> Tensor:
    joined = torch.cat(x[2:], -1)
    return joined.gather(-1, work.cells.expand(*joined.shape[:-1], -1))


def outside(work: Inside, shares: list[Shares], nodes: int) -> Tensor:
    """The way down: the probability of every edge; with shares of 0 and 1, whether it is in the tree they choose."""
    x = _whole(work, shares[0].right, nodes)
    for width in range(nodes - 1, 0, -1):
        here, share = _spans(nodes, width), shares[width - 1]
        for table, kind, parts, a, b in _DOWN:
            above = x[kind] if kind < _BOTH else x[2] + x[3]
            flow = above[..., here].unsqueeze(-2) * share[table]
            _handed(flow, x, parts, divisions(nodes, width, a, b, flow.device))
    return _edges(x, work)


def _outside_tangent(work: Inside, dshares: list[Shares], nodes: int) -> Tensor:
    x = _whole(work, work.shares[0].right, nodes)
    dx = [torch.zeros_like(x[0])] * 4
    for width in range(nodes - 1, 0, -1):
        here, share, dshare = _spans(nodes, width), work.shares[width - 1], dshares[width - 1]
        for table, kind, parts, a, b in _DOWN:
            above, dabove = ((y[kind] if kind < _BOTH else y[2] + y[3])[..., here].unsqueeze(-2) for y in (x, dx))
            at = divisions(nodes, width, a, b, above.device)
            _handed(dabove * share[table] + above * dshare[table], dx, parts, at)
            _handed(above * share[table], x, parts, at)
    return _edges(dx, work)


def _share_tangent(one: Tensor, two: Tensor, share: Tensor, at: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The derivative of the shares, and that of the logarithm of their sum."""
    a = one[..., at[0]] + two[..., at[1]]
    mean = (share * a).sum(-2, keepdim=True)
    return share * (a - mean), mean.squeeze(-2)


def _inside_tangent(work: Inside, g: Tensor, nodes: int) -> list[Shares]:
    spans = size(nodes)
    edges = g.new_zeros(*g.shape[:-1], 2 * spans).scatter(-1, work.cells, g)
    right = left = rightward = leftward = edges.new_zeros(*g.shape[:-1], nodes)
    found = []
    for width, share in enumerate(work.shares, 1):
        between, space = _share_tangent(right, left, share.between, divisions(nodes, width, 0, 1, g.device))
        here = _spans(nodes, width)
        rightward = torch.cat([rightward, space + edges[..., :spans][..., here]], -1)
        leftward = torch.cat([leftward, space + edges[..., spans:][..., here]], -1)
        to_right, wider = _share_tangent(rightward, right, share.right, divisions(nodes, width, 1, 1, g.device))
        right = torch.cat([right, wider], -1)
        to_left, wider = _share_tangent(left, leftward, share.left, divisions(nodes, width, 0, 0, g.device))
        left = torch.cat([left, wider], -1)
        found.append(Shares(between, to_right, to_left))
    return found


def _marginals_jvp(work: Inside, g: Tensor, nodes: int) -> Tensor:
    return _outside_tangent(work, _inside_tangent(work, g, nodes), nodes)


def _launch(kernel_name: str, out: Tensor, nodes: int, tables: int, *rows: Tensor) -> Tensor:
    from sstricks.ops.kernels import projective_arborescence as kernels
    from sstricks.ops.kernels.floats import LANES

    feasible = torch.empty(len(out), dtype=torch.bool)
    splits = (nodes**3 - nodes) // 6  # and as many of R and L each
    work = 5.0 * tables * splits + 40.0 * nodes**2
    args = (nodes, *(row.numpy() for row in rows), out.numpy(), feasible.numpy())
    over_rows(getattr(kernels, kernel_name), len(out), work, *args, step=LANES, scratch=tables * splits * LANES)
    check_feasible(feasible)
    return out


@operator("sstricks::projective_arborescence_marginals", core=(1,))
def marginals(u: Tensor, nodes: int) -> Tensor:
    """The marginals P(e ∈ T), shape (*batch, (n−1)²), of the exponential family with parameters u (B.8, eq. 8).

    Args:
        u: Natural parameters, shape (*batch, (n−1)²); −∞ is an absent edge.
        nodes: The number of nodes n; one without any edge is padding and is skipped.

    Raises:
        ValueError: Some row has no projective tree.
    """
    work = inside(u, nodes)
    check_feasible(work.feasible)
    x = outside(work, work.shares, nodes)
    # Rounding errors must not leave anything to doubt where a node can have one head only.
    to = edge_ends(nodes, u.device)[1]
    total = x.new_zeros(len(x), nodes).index_add(-1, to, x)[..., to]
    return x / torch.where(total > 0, total, 1.0)


@operator("sstricks::projective_arborescence_marginals_jvp", core=(1, 1))
def marginals_jvp(u: Tensor, g: Tensor, nodes: int) -> Tensor:
    """The derivative of `marginals` in the direction g, shape (*batch, (n−1)²)."""
    work = inside(u, nodes)
    check_feasible(work.feasible)
    return _marginals_jvp(work, g, nodes)


@operator("sstricks::projective_arborescence_log_partition", core=(1,), output_core=0)
def log_partition(u: Tensor, nodes: int) -> Tensor:
    """The log-partition function log Σ_T exp(Σ_{e∈T} u_e) over the projective trees, shape (*batch)."""
    work = inside(u, nodes)
    check_feasible(work.feasible)
    return work.log_z


@marginals.cpu
def _(u: Tensor, nodes: int) -> Tensor:
    return _launch("marginals", torch.empty_like(u), nodes, 3, u)


@marginals_jvp.cpu
def _(u: Tensor, g: Tensor, nodes: int) -> Tensor:
    return _launch("marginals_jvp", torch.empty_like(u), nodes, 6, u, g)


@log_partition.cpu
def _(u: Tensor, nodes: int) -> Tensor:
    return _launch("log_partition", u.new_empty(len(u)), nodes, 3, u)


@marginals.backward
def _(needs: tuple[bool, ...], grad: Tensor, x: Tensor, u: Tensor, nodes: int) -> tuple[Tensor]:
    return (marginals_jvp(u, grad, nodes),)


# As for spanning trees: symmetric in g, and a third derivative of log Z, left to the differentiable twin, in u.
@marginals_jvp.backward
def _(needs: tuple[bool, ...], grad: Tensor, y: Tensor, u: Tensor, g: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    pull_back = torch.func.vjp(lambda u: _marginals_jvp(inside(u, nodes), g, nodes), u)[1]
    return pull_back(grad)[0], marginals_jvp(u, grad, nodes)


@log_partition.backward
def _(needs: tuple[bool, ...], grad: Tensor, log_z: Tensor, u: Tensor, nodes: int) -> tuple[Tensor]:
    return (grad.unsqueeze(-1) * marginals(u, nodes),)
