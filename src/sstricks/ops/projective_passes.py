"""The ways up and down the chart of projective trees; the mathematics stands in `projective_arborescence`.

Here a logarithm is a whole number, which adds exactly and has no derivative, and a part in [0, 1).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sstricks.ops.projective_chart import divisions, edge_cells, offset, size

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


def tangent(work: Inside, g: Tensor, nodes: int) -> Tensor:
    """The derivative of what `outside` finds, in the direction g of the utilities."""
    return _outside_tangent(work, _inside_tangent(work, g, nodes), nodes)
