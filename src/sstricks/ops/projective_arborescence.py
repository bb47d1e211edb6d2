r"""The exponential family of projective trees, p(T) ∝ exp(Σ_{e∈T} u_e): log Z, marginals, and their derivative (B.8).

A tree is projective if the descendants of every node are a stretch of nodes. Eisner's grammar builds each such tree
from stretches i…j in exactly one way. With w = exp u, write R(i, j) for the total weight of the ways in which i heads
all of i+1…j, L(i, j) for those in which j heads all of i…j−1, and →, ← for the same with i and j joined by an edge:

.. math:: B(i, j) = \sum_{k=i}^{j-1} R(i, k) L(k+1, j), \quad
          {\to}(i, j) = w_{ij} B(i, j), \quad {\leftarrow}(i, j) = w_{ji} B(i, j), \\
          R(i, j) = \sum_{k=i+1}^{j} {\to}(i, k) R(k, j), \quad
          L(i, j) = \sum_{k=i}^{j-1} L(i, k) {\leftarrow}(k, j), \quad R(i, i) = L(i, i) = 1

where k is the last descendant of i before those of j; the farthest dependent of i; that of j. Z = R(0, n−1). Absent
edges have w = 0. Nodes without any edge are left out beforehand, and the others numbered anew.

**Marginals.** Keep the shares p of the terms in each sum, the probabilities of the divisions of a span given that the
tree has that span. From the whole sentence down, the probability of a span goes to the two parts of its divisions in
these shares; what arrives at →(i, j) is P(i → j ∈ T). Sums and products of numbers in [0, 1] only: the error is a few n
multiples of the machine's epsilon. For the shares to be that exact at utilities of any size, weights are mantissas
with exponents of their own: products multiply the one and add the other, and sums scale by powers of two.

**Derivative** in the direction g. Let a be d log of a span's weight: then for every sum, and every share,

.. math:: a = \sum_k p_k (a_{k1} + a_{k2}), \quad dp_k = p_k (a_{k1} + a_{k2} - a), \quad
          a_{\to}(i, j) = g_{ij} + a_B(i, j)

and the way down is differentiated by the product rule. The a are means of g over trees, so nothing grows with u. The
Jacobian is a Hessian, that of log Z, hence symmetric: the backward pass is this derivative in the direction of the
incoming gradient.

**A single child of the root** leaves the root nothing but itself to head between it and that child: R(0, j) = 0 for
0 < j < n − 1. Nothing else uses these.

The twins keep a logarithm as a whole number, which adds exactly and has no derivative, and a part in [0, 1).

**Samples.** Given that a tree has a span, how it divides it is independent of all else, with the shares as
probabilities. Choose one division for every span, also for those that no tree will turn out to have, and let the whole
sentence decide.

**Charts.** A span of width w is a stretch of nodes i…i + w. Charts are flat: spans by width, those of one width by i.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from sstricks.errors import invalid_rows
from sstricks.ops.gradients import attach_gradients, attach_no_gradient
from sstricks.ops.operator import is_checked, operator
from sstricks.ops.threads import over_rows

_Numbers = TypeVar("_Numbers", int, Tensor)

# How the spans of one width hand down: which shares, of what, to which two parts, and their `divisions`' a and b.
# Charts are R, L, →, ←, or the last two together, which divide alike, once they have received all they will.
_BOTH = 4
_DOWN = ((1, 0, (2, 0), 1, 1), (2, 1, (1, 3), 0, 0), (0, _BOTH, (0, 1), 0, 1))
_BITS = 62  # edges to a word of a key, so that no key is negative


def offset(nodes: int, width: _Numbers) -> _Numbers:
    """Where the spans of a width begin."""
    return width * nodes - width * (width - 1) // 2


def size(nodes: int) -> int:
    """How many spans there are."""
    return nodes * (nodes + 1) // 2


def divisions(nodes: int, width: int, a: int, b: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the two parts of every division s < width of every span stand, each of shape (width, spans).

    The first part has width s + a; the second, width − s − b, begins s + b nodes later.
    """
    s = torch.arange(width, device=device).unsqueeze(-1)
    i = torch.arange(nodes - width, device=device)
    first, second = offset(nodes, s + a), offset(nodes, width - s - b)
    return first + i, second + s + b + i


def edge_ends(nodes: int, device: torch.device | None = None, root: int = 0) -> Tensor:
    """All pairs i → j with i ≠ j and j ≠ root in lexicographic order, shape (2, (n−1)²)."""
    there = ~np.eye(nodes, dtype=np.bool_)
    there[:, root] = False
    return torch.from_numpy(np.stack(there.nonzero())).to(device)


def edge_cells(u: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """Where every edge stands once the nodes without edges are left out, and how many nodes remain.

    Of a graph without any edge the root remains; without an edge at the root, but others, there is no tree: 0 nodes.
    Edges to the right have the spans of one chart, edges to the left those of a second one behind it.
    """
    i, j = edge_ends(nodes, u.device)
    here = (u > -torch.inf).to(u.dtype)
    touching = (torch.nn.functional.one_hot(i, nodes) + torch.nn.functional.one_hot(j, nodes)).to(u.dtype)
    present = here @ touching > 0
    rank = present.cumsum(-1) - 1  # those left out follow behind, in any places of their own
    rank = torch.where(present, rank, present.sum(-1, keepdim=True) + (~present).cumsum(-1) - 1)
    a, b = rank[..., i], rank[..., j]
    cell = offset(nodes, (a - b).abs()) + torch.minimum(a, b) + torch.where(a > b, size(nodes), 0)
    return cell, torch.where(present[..., 0], present.sum(-1), (~present.any(-1)).long())


def check_feasible(feasible: Tensor) -> None:
    """Raise unless every row has a projective tree."""
    if not bool(feasible.all()):
        row = int((~feasible).nonzero()[0])
        raise invalid_rows(
            ~feasible,
            "u",
            f"no projective tree from node 0 in row {row} (without its masked and -inf edges)",
            "edges that hold at least one tree",
            "Unmask edges, or with single_root=True allow several children. A node without any edge is absent.",
        )


def _with_trees(x: Tensor, feasible: Tensor) -> Tensor:
    """What was computed, or NaN for rows without a tree, where nobody looks (see `is_checked`)."""
    if is_checked(x):
        check_feasible(feasible.flatten())
        return x
    return torch.where(feasible.reshape(feasible.shape + (1,) * (x.dim() - feasible.dim())), x, torch.nan)


def _looked_at(x: Tensor, u: Tensor, nodes: int, single: bool) -> Tensor:
    """What a device computed, which complains of nothing itself."""
    if is_checked(u):
        check_feasible(inside(u, nodes, single).feasible)
    return x


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


def inside(u: Tensor, nodes: int, single: bool = False) -> Inside:
    """The way up: all sums and their shares, width by width; with `single`, of trees with one child of the root."""
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
        if single:
            none = _is_part_of_root(width, count, wider.whole)
            wider = _Log(torch.where(none, _nothing(u), wider.whole), torch.where(none, 0.0, wider.part))
        right = right.grown(wider)
        to_left, wider = _divided(left, leftward, divisions(nodes, width, 0, 0, u.device))
        left = left.grown(wider)
        shares.append(Shares(between, to_right, to_left))
    root = offset(nodes, (count - 1).clamp(min=0)).unsqueeze(-1)
    top, rest = (x.gather(-1, root).squeeze(-1) for x in right)
    return Inside(cells, count, shares, top + rest, (count > 0) & (top > _nothing(u) / 2))


def _is_part_of_root(width: int, count: Tensor, spans: Tensor) -> Tensor:
    """Of the spans of a width, whether each is that of the root with some of the others, not with all."""
    first = torch.arange(spans.shape[-1], device=spans.device) == 0
    return first & (width < count - 1).unsqueeze(-1)


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


def tangent(work: Inside, g: Tensor, nodes: int) -> Tensor:
    """The derivative of what `outside` finds, in the direction g of the utilities."""
    return _outside_tangent(work, _inside_tangent(work, g, nodes), nodes)


def _launch(kernel: Callable[..., None], out: Tensor, nodes: int, single: bool, charts: int, *rows: Tensor) -> Tensor:
    """Call a kernel that keeps charts of as many kinds of numbers."""
    from sstricks.ops.kernels.floats import LANES
    from sstricks.ops.kernels.projective_arborescence import chart_size

    feasible = torch.empty(len(out), dtype=torch.bool)
    work = 0.25 * charts * nodes**3 + 40.0 * nodes**2
    args = (nodes, single, *(row.numpy() for row in rows), out.numpy(), feasible.numpy())
    over_rows(kernel, len(out), work, *args, step=LANES, scratch=charts * chart_size(nodes))
    check_feasible(feasible)
    return out


@operator("sstricks::projective_arborescence_marginals", core=(1,))
def marginals(u: Tensor, nodes: int, single: bool = False) -> Tensor:
    """The marginals P(e ∈ T), shape (*batch, (n−1)²), of the exponential family with parameters u (B.8, eq. 8).

    Args:
        u: Natural parameters, shape (*batch, (n−1)²); −∞ is an absent edge.
        nodes: The number of nodes n; one without any edge is absent and is skipped.
        single: Whether the root has a single child.

    Raises:
        ValueError: Some row has no projective tree.
    """
    work = inside(u, nodes, single)
    x = outside(work, work.shares, nodes)
    # Rounding errors must not leave anything to doubt where a node can have one head only.
    to = edge_ends(nodes, u.device)[1]
    total = x.new_zeros(len(x), nodes).index_add(-1, to, x)[..., to]
    return _with_trees(x / torch.where(total > 0, total, 1.0), work.feasible)


@operator("sstricks::projective_arborescence_marginals_jvp", core=(1, 1))
def marginals_jvp(u: Tensor, g: Tensor, nodes: int, single: bool = False) -> Tensor:
    """The derivative of `marginals` in the direction g, shape (*batch, (n−1)²)."""
    work = inside(u, nodes, single)
    return _with_trees(tangent(work, g, nodes), work.feasible)


@operator("sstricks::projective_arborescence_log_partition", core=(1,), output_core=0)
def log_partition(u: Tensor, nodes: int, single: bool = False) -> Tensor:
    """The log-partition function log Σ_T exp(Σ_{e∈T} u_e) over the projective trees, shape (*batch)."""
    work = inside(u, nodes, single)
    return _with_trees(work.log_z, work.feasible)


@marginals.cpu
def _(u: Tensor, nodes: int, single: bool = False) -> Tensor:
    from sstricks.ops.kernels.projective_arborescence import marginals as kernel

    return _launch(kernel, torch.empty_like(u), nodes, single, 3, u)


@marginals_jvp.cpu
def _(u: Tensor, g: Tensor, nodes: int, single: bool = False) -> Tensor:
    from sstricks.ops.kernels.projective_arborescence import marginals_jvp as kernel

    return _launch(kernel, torch.empty_like(u), nodes, single, 5, u, g)


@log_partition.cpu
def _(u: Tensor, nodes: int, single: bool = False) -> Tensor:
    from sstricks.ops.kernels.projective_arborescence import log_partition as kernel

    return _launch(kernel, u.new_empty(len(u)), nodes, single, 2, u)


@marginals.cuda
def _(u: Tensor, nodes: int, single: bool = False) -> Tensor:
    from sstricks.ops.cuda.projective_arborescence import marginals as launch

    return _looked_at(launch(u, nodes, single), u, nodes, single)


@marginals_jvp.cuda
def _(u: Tensor, g: Tensor, nodes: int, single: bool = False) -> Tensor:
    from sstricks.ops.cuda.projective_arborescence import marginals_jvp as launch

    return _looked_at(launch(u, g, nodes, single), u, nodes, single)


@log_partition.cuda
def _(u: Tensor, nodes: int, single: bool = False) -> Tensor:
    from sstricks.ops.cuda.projective_arborescence import log_partition as launch

    return _looked_at(launch(u, nodes, single), u, nodes, single)


attach_gradients(
    marginals,
    marginals_jvp,
    log_partition,
    lambda u, g, nodes, single=False: tangent(inside(u, nodes, single), g, nodes),
)


def _best(one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor], at: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The best sum of two parts, and the largest key among those that reach it."""
    value = one[0][..., at[0]] + two[0][..., at[1]]
    top = value.amax(-2, keepdim=True)
    best = value == top
    words = []
    for before, after in zip(one[1].unbind(-2), two[1].unbind(-2), strict=True):
        word = torch.where(best, before[..., at[0]] + after[..., at[1]], -1)
        words.append(word.amax(-2, keepdim=True))
        best = best & (word == words[-1])
    return top.squeeze(-2), torch.cat(words, -2)


def _grown(chart: tuple[Tensor, Tensor], wider: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.cat([chart[0], wider[0]], -1), torch.cat([chart[1], wider[1]], -1)


@operator("sstricks::maximum_projective_arborescence", core=(1,))
def maximum_projective_arborescence(u: Tensor, nodes: int, single: bool = False) -> Tensor:
    """The indicator vector of the best projective tree from node 0 (App. B.8), shape (*batch, (n−1)²), in O(n³).

    Eisner's dynamic program: that of `projective_arborescence` with max in place of the sums. Of trees that are worth
    the same, as their utilities add up in floating point, the one whose indicator vector is lexicographically largest
    wins: that which has the lowest edge that the other lacks. The twin adds up these vectors themselves, as the bits of
    integers, the lowest edge first.

    Args:
        u: Utilities, shape (*batch, (n−1)²); −∞ is an absent edge.
        nodes: The number of nodes n; one without any edge is absent and is skipped.
        single: Whether the root has a single child.

    Raises:
        ValueError: Some row has no projective tree.
    """
    cells, count = edge_cells(u, nodes)
    number = torch.arange(u.shape[-1], device=u.device)
    bit = 1 << (_BITS - 1 - number % _BITS)
    spans, words = size(nodes), -(-u.shape[-1] // _BITS)
    weight = u.new_full((len(u), 2 * spans), -torch.inf).scatter(-1, cells, u)
    mark = torch.where(number // _BITS == torch.arange(words, device=u.device).unsqueeze(-1), bit, 0)
    blank = torch.zeros(len(u), words, 2 * spans, dtype=torch.int64, device=u.device)
    mark = blank.scatter(-1, cells.unsqueeze(-2).expand(-1, words, -1), mark.expand(len(u), -1, -1))
    right = left = u.new_zeros(len(u), nodes), blank[..., :nodes]
    rightward = leftward = right
    for width in range(1, nodes):
        between = _best(right, left, divisions(nodes, width, 0, 1, u.device))
        start = offset(nodes, width)
        here, there = (slice(s, s + nodes - width) for s in (start, start + spans))
        rightward = _grown(rightward, (between[0] + weight[..., here], between[1] + mark[..., here]))
        leftward = _grown(leftward, (between[0] + weight[..., there], between[1] + mark[..., there]))
        value, key = _best(rightward, right, divisions(nodes, width, 1, 1, u.device))
        if single:
            value = value.masked_fill(_is_part_of_root(width, count, value), -torch.inf)
        right = _grown(right, (value, key))
        left = _grown(left, _best(left, leftward, divisions(nodes, width, 0, 0, u.device)))
    root = offset(nodes, (count - 1).clamp(min=0)).unsqueeze(-1)
    feasible = (count > 0) & (right[0].gather(-1, root).squeeze(-1) > -torch.inf)
    key = right[1].gather(-1, root.unsqueeze(-2).expand(-1, words, -1)).squeeze(-1)
    return _with_trees(((key[..., number // _BITS] & bit) > 0).to(u.dtype), feasible)


@maximum_projective_arborescence.cpu
def _(u: Tensor, nodes: int, single: bool = False) -> Tensor:
    from sstricks.ops.kernels import maximum_projective_arborescence as kernels

    out = torch.empty_like(u)
    feasible = torch.empty(len(u), dtype=torch.bool)
    work = 2.0 * nodes**3 + 10.0 * nodes**2
    kernel = kernels.maximum_projective_arborescence
    over_rows(kernel, len(u), work, nodes, single, u.numpy(), out.numpy(), feasible.numpy())
    check_feasible(feasible)
    return out


@maximum_projective_arborescence.cuda
def _(u: Tensor, nodes: int, single: bool = False) -> Tensor:
    from sstricks.ops.cuda.projective_arborescence import maximum_projective_arborescence as launch

    return _looked_at(launch(u, nodes, single), u, nodes, single)


attach_no_gradient(maximum_projective_arborescence)


@operator("sstricks::projective_arborescence_sample", core=(1, 1))
def drawn(u: Tensor, uniforms: Tensor, nodes: int, single: bool = False) -> Tensor:
    """A random tree as an indicator vector, shape (*batch, (n−1)²), of the law p(T) ∝ exp(Σ_{e∈T} u_e).

    Args:
        u: Natural parameters, shape (*batch, (n−1)²); −∞ is an absent edge.
        uniforms: Independent numbers, uniform on [0, 1), one for each kind of division and span: shape
            (*batch, 3 n(n+1)/2).
        nodes: The number of nodes n; one without any edge is absent and is skipped.
        single: Whether the root has a single child.

    Raises:
        ValueError: Some row has no projective tree.
    """
    work = inside(u, nodes, single)
    points = uniforms.unflatten(-1, (3, size(nodes)))
    chosen = []
    for width, shares in enumerate(work.shares, 1):
        start = offset(nodes, width)
        each = points[..., start : start + nodes - width].unbind(-2)
        chosen.append(Shares(*(_chosen(p, point) for p, point in zip(shares, each, strict=True))))
    return _with_trees(outside(work, chosen, nodes), work.feasible)


@drawn.cpu
def _(u: Tensor, uniforms: Tensor, nodes: int, single: bool = False) -> Tensor:
    from sstricks.ops.kernels.projective_arborescence import sample as kernel

    return _launch(kernel, torch.empty_like(u), nodes, single, 2, u, uniforms)


@drawn.cuda
def _(u: Tensor, uniforms: Tensor, nodes: int, single: bool = False) -> Tensor:
    from sstricks.ops.cuda.projective_arborescence import sample as launch

    return _looked_at(launch(u, uniforms, nodes, single), u, nodes, single)


attach_no_gradient(drawn)


def sample(u: Tensor, nodes: int, single: bool, generator: torch.Generator | None) -> Tensor:
    """One tree for each row of u, shape (*batch, (n−1)²); `drawn` says more.

    Raises:
        ValueError: Some row has no projective tree.
    """
    if u.numel() == 0:
        return torch.zeros_like(u)
    # Dimensions that `expand` made come last: rows alike that follow one another share a chart.
    order = sorted(range(u.dim() - 1), key=lambda d: u.stride(d) == 0)
    rows = u.permute(*order, -1)
    uniforms = torch.rand((*rows.shape[:-1], 3 * size(nodes)), dtype=u.dtype, device=u.device, generator=generator)
    return drawn(rows, uniforms, nodes, single).permute(*map(order.index, range(len(order))), -1)


def _chosen(share: Tensor, uniform: Tensor) -> Tensor:
    """One division of every span, as an indicator vector over divisions; none where a span has no weight."""
    sums = share.cumsum(-2)
    number = (sums <= uniform.unsqueeze(-2) * sums[..., -1:, :]).sum(-2, keepdim=True)
    return (number == torch.arange(share.shape[-2], device=share.device).unsqueeze(-1)).to(share.dtype)
