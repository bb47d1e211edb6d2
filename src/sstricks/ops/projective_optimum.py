r"""Separable regularizers on projective trees: flows through Eisner's chart, by an interior-point method.

The facets of the hull are not known, but it is the shadow of a polytope with few (Martin, Rardin, Campbell 1990). The
items of the chart are the stretches of `sstricks.ops.projective_arborescence` and the edges between their ends; a
hyperedge leads from an item to the two parts that it can be made up of, or from an edge i → j to the stretch between i
and j. A tree with all its divisions is a flow z ≥ 0 of one unit from the whole sentence down, where every item hands on
what it receives,

.. math:: A z = b, \qquad z \ge 0, \qquad (A z)_a = \sum_{e \text{ from } a} z_e - \sum_{e \text{ into } a} z_e,

and every such flow is a mixture of those of trees: divide each item in the shares that it hands on, at random. What
flows out of i → j is :math:`x_{ij}`. So one of n³/2 hyperedges is to be found in place of a point of the hull.

**Newton's method.** With potentials y and reduced costs s ≥ 0 the optimum of :math:`u^\top x - \sum_e h(x_e)` has

.. math:: c'(z) - A^\top y - s = 0, \qquad A z = b, \qquad z s = \mu \to 0, \qquad c'(z) = h'(x) - u
          \text{ at edges, else } 0.

A step solves the linear equations for dz, dy and ds; without dz and ds they are :math:`A D A^\top dy = \dots` with
:math:`D = 1 / (c''(z) + s/z)`. First μ is asked to be zero, and from how near that comes the μ of the step itself
(Mehrotra 1992). After each step z becomes a flow to the last digit: its shares are kept. It takes 10 to 50 steps.

Where s vanishes, D would be so large that in :math:`A D A^\top` nothing is left of the rest; s is taken to be at least
δ there. That is a proximal term: steps still end at the optimum, by a factor of about δ nearer each. Where z, too,
vanishes, as at a kink, δ falls with the root of the gap, as both do.

**Elimination.** An edge, and a stretch between two nodes, is linked to the others only by O(n) of those that end at one
of the two. So edges and these stretches are eliminated first, which takes O(n⁴), and a dense matrix of (n−1)² is left.

**Far behind.** A hyperedge whose best tree is too far behind the best one to have any weight (see
`sstricks.ops.active_set`) is left out, so that utilities of any size become such of some hundreds.

**Backward.** While u moves a little, hyperedges with s > 0 stay at zero. With g in place of u − h'(x), the derivative
:math:`J g` is the x of the flow of no sum, among those, that maximises :math:`g^\top x - \sum_e h''(x_e) x_e^2 / 2`:
by the same equations, in a few proximal steps with :math:`D^{-1} = h'' + \max(s, \delta)/z`. J is symmetric; and as a
function of σ = 1/h'' it has :math:`\partial (J g) = J (\partial \sigma \cdot \sigma^{-2} J g)`.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from sstricks.errors import ConvergenceWarning, warn
from sstricks.ops.costs import Cost, cost_of
from sstricks.ops.density import differentiable
from sstricks.ops.operator import Sizes, operator
from sstricks.ops.projective_arborescence import check_feasible, edge_cells, edge_ends, offset, size
from sstricks.ops.threads import over_rows

_STEPS = 100
# δ for steps at first, and for derivatives.
_PROXIMAL, _WEAKLY = 1e-4, 1e-5
# What is so small a part of others is lost beside them: of the diagonal of A D Aᵀ, and of weights.
_RIDGE, _LOST = 4e-16, 1e-14
# Which part of the way to the boundary a step may go, until the gap is smaller than the rest.
_BACK = 0.01
# What may be missing from the optimum: before the last step, what it may be once it no longer falls, and at all.
_ENOUGH, _NEARLY, _SHORT = 1e-20, 1e-8, 1e-6
# To fall is to become so small a part, within as many steps.
_FALLS = 0.7
# What the first-order conditions may lack, as a part of the gap, for each node.
_ROUNDING = 1.5e-14
_PATIENCE = 2
# Proximal steps of a derivative.
_AGAIN = 4
# How many numbers of matrices to keep at once.
_PORTION = 1 << 25
_TINY = 1e-300


class Chart(NamedTuple):
    """Eisner's chart as a hypergraph."""

    items: int
    """Edges, stretches between two nodes, and stretches that one of their ends heads."""
    simple: int
    """How many of them are of the first two kinds, which come first."""
    links: Tensor
    """Each hyperedge's origin and the two items to which it leads, or `items` for none, from below; shape (3, m)."""
    cells: Tensor
    """The hyperedge from every edge, by its cell as `edge_cells` has it."""
    roots: Tensor
    """The item of the whole sentence, by its number of nodes."""
    several: Tensor
    """The hyperedges between the root and a child of it behind another child."""


def hyperedges(nodes: int) -> int:
    """How many hyperedges the chart of so many nodes has: m."""
    return (nodes - 1) ** 2 + nodes * (nodes**2 - 1) // 3 + nodes * (nodes - 1) * (nodes - 2) // 6


@cache
def chart(nodes: int) -> Chart:
    """The chart of so many nodes."""
    number = {(i, j): e for e, (i, j) in enumerate(edge_ends(nodes).T.tolist())}
    between = {(i, j): len(number) + k for k, (i, j) in enumerate(torch.combinations(torch.arange(nodes)).tolist())}
    simple = len(number) + len(between)
    items = simple + len(number)
    headed = {(i, i): items for i in range(nodes)} | {ends: simple + e for ends, e in number.items()}
    links: list[tuple[int, int, int]] = []
    cells = torch.zeros(2 * size(nodes), dtype=torch.int64)
    for width in range(1, nodes):
        for i in range(nodes - width):
            j = i + width
            links += [(between[i, j], headed[i, k], headed[j, k + 1]) for k in range(i, j)]
            for h, d in ((i, j), (j, i)) if i else ((i, j),):
                cells[offset(nodes, width) + i + (size(nodes) if h > d else 0)] = len(links)
                links.append((number[h, d], between[i, j], items))
                step = 1 if h < d else -1
                links += [(headed[h, d], number[h, k], headed[k, d]) for k in range(h + step, d + step, step)]
    roots = torch.tensor([items, items, *(headed[0, d] for d in range(1, nodes))])
    parts = {(between[0, j], headed[0, k]) for j in range(1, nodes) for k in range(1, j)}
    several = torch.tensor([e for e, link in enumerate(links) if link[:2] in parts], dtype=torch.int64)
    return Chart(items, simple, torch.tensor(links).T.contiguous(), cells, roots, several)


@operator("sstricks::projective_optimum", core=(1, 1), waits=True)
@differentiable()
def projective_optimum(frame: Tensor, u: Tensor, nodes: int, single: bool, f: int, code: int, batch: Sizes) -> Tensor:
    """The maximiser x of uᵀx − Σh(xₑ) on the hull of projective trees, and what its derivative needs.

    Args:
        frame: Any vector of the shape of the result.
        u: Scaled utilities, shape (*batch, (n−1)²); −∞ is an absent edge.
        nodes: The number of nodes n; one without any edge is absent and is skipped.
        single: Whether the root has a single child.
        f: The handle of the regularizer.
        code: Which of `COSTS` h is, or the handle again.
        batch: The batch shape, which the parameters of h may depend on.

    Returns:
        x; then, if the frame is longer, z/max(s, δ) of all hyperedges: shape (*batch, (n−1)²), or (*batch, (n−1)² + m).

    Raises:
        ValueError: Some row has no projective tree, or h is not strictly convex.

    Warns:
        ConvergenceWarning: Some row stopped short of the optimum.
    """
    u = u.cpu()
    cost_at = cost_of(code, u, batch)
    if not len(u):
        return torch.zeros_like(frame)
    found = [_solve(u, here, nodes, single, cost_at) for here in torch.arange(len(u)).split(_portion(nodes))]
    x, weights, gap = (torch.cat(parts) for parts in zip(*found, strict=True))
    short = ~(gap <= _SHORT)
    if short.any():
        numbers = {"problems": int(short.sum()), "gap": float(gap[short].max()), "tolerance": _SHORT, "steps": _STEPS}
        warn(ConvergenceWarning("Interior-point method", **numbers))
    return torch.cat([x, weights], -1)[:, : frame.shape[-1]].to(frame.device)


# Its gradient is that of `on_flow`.
@projective_optimum.backward
def _(
    needs: tuple[bool, ...], grad: Tensor, found: Tensor, frame: Tensor, u: Tensor, *numbers: object
) -> tuple[None, None]:
    return None, None


def _portion(nodes: int) -> int:
    return max(1, _PORTION // chart(nodes).items ** 2)


class _Rows(NamedTuple):
    """What stays the same of some problems, and the flow."""

    here: Tensor
    """Their numbers."""
    place: Tensor
    """The hyperedges from the edges, shape (rows, E)."""
    root: Tensor
    u: Tensor
    """Utilities less the best into the same node, and 0 where an edge is not free."""
    free: Tensor
    """Edges that some flows have and some lack."""
    alive: Tensor
    """Hyperedges that some flow has."""
    z: Tensor
    s: Tensor
    y: Tensor
    """0 for no item, which is the last."""
    least: Tensor
    """The smallest gap so far."""
    since: Tensor
    """For how many steps it has not fallen."""


def _begin(u: Tensor, here: Tensor, nodes: int, single: bool, cost: Cost) -> _Rows:
    """The middle of what is not too far behind."""
    from sstricks.ops.kernels import hyperflow as kernels

    net = chart(nodes)
    cells, count = edge_cells(u, nodes)
    place, root = net.cells[cells], net.roots[count]
    head = edge_ends(nodes)[1].expand_as(u)
    best = u.new_full((len(u), nodes), -torch.inf).scatter_reduce(-1, head, u, "amax").gather(-1, head)
    behind = torch.where(u > -torch.inf, (u - best).clamp(min=-torch.finfo(u.dtype).max / (4 * nodes)), -torch.inf)
    value = u.new_zeros(len(u), net.links.shape[1])
    value[:, net.cells[net.cells > 0]] = -torch.inf
    if single:
        value[:, net.several] = -torch.inf
    value = value.scatter(-1, place, behind)
    far = 2 * cost.reach * (count - 1).clamp(min=1, max=max(1, u.shape[-1] // 2)).to(u.dtype)
    z, ways = torch.empty_like(value), u.new_empty(len(u), net.items + 1)
    arrays = (t.numpy() for t in (net.links, root, value, far, z, ways))
    over_rows(kernels.begin, len(u), 20.0 * z.shape[-1], net.items, *arrays)
    check_feasible((count > 0) & (ways.gather(-1, root.unsqueeze(-1)).squeeze(-1) > 0))
    x, alive = z.gather(-1, place), z > 0
    free = (x > 0) & (_others(x, nodes) > 0)
    behind = torch.where(free, behind, 0.0)
    scale = -behind.amin(-1, keepdim=True).clamp(max=-1.0) / nodes
    s = torch.where(alive, scale * z.sum(-1, keepdim=True) / alive.sum(-1, keepdim=True) / z, 1.0)
    least = u.new_full((len(u),), torch.inf)
    return _Rows(here, place, root, behind, free, alive, z, s, torch.zeros_like(ways), least, torch.zeros_like(count))


def _solve(
    u: Tensor, here: Tensor, nodes: int, single: bool, cost_at: Callable[[Tensor, Tensor], Cost]
) -> tuple[Tensor, ...]:
    """The optima of some rows, the weights for their derivatives, and what may be missing from each."""
    net, first = chart(nodes), int(here[0])
    cost = cost_at(here, torch.zeros_like(u[here, 0]))
    rows = _begin(u[here], here, nodes, single, cost)
    place, root, z, s, gap = rows.place, rows.root, rows.z.clone(), rows.s.clone(), rows.least.clone()
    for step in range(_STEPS + 1):
        x = rows.z.gather(-1, rows.place)
        others = _others(x, nodes)
        loose = (rows.z * rows.s).sum(-1)
        cost = cost_at(rows.here, loose)
        inside = torch.where(rows.free, x, 0.5), torch.where(rows.free, others, 0.5)
        slope = torch.where(rows.free, cost.slope(*inside) - rows.u, 0.0)
        curvature = torch.where(rows.free, cost.curvature(*inside), 0.0)
        r = torch.where(rows.alive, _at(rows, slope) - _rise(net, rows.y) - rows.s, 0.0)
        rest = (torch.minimum(x, others) * r.gather(-1, rows.place).abs()).sum(-1)
        error = loose + (rest - _ROUNDING * nodes).clamp(min=0.0)
        better, falls, was_enough = error < rows.least, error < _FALLS * rows.least, rows.least <= _ENOUGH
        at = rows.here[better] - first
        z[at], s[at], gap[at] = rows.z[better], rows.s[better], error[better]
        least, since = torch.where(better, error, rows.least), torch.where(falls, 0, rows.since + 1)
        rows = rows._replace(least=least, since=since)
        over = was_enough | ((since >= _PATIENCE) & (least <= _NEARLY)) | ~error.isfinite()
        if over.all() or step == _STEPS:
            break
        if over.any():
            rows = _Rows._make(part[~over] for part in rows)
            curvature, r, loose = curvature[~over], r[~over], loose[~over]
        rows = _stepped(net, rows, curvature, r, loose.unsqueeze(-1))
    weights = torch.where(z > 0, z / s.clamp(min=_WEAKLY), 0.0)
    x = z.gather(-1, place)
    if not cost.steep_below:  # then x may be zero, and where it is z s is only on its way there
        exact = _restored(net, root, torch.where(z > s, z, 0.0)).gather(-1, place)
        x = torch.where((exact - x).abs().amax(-1, keepdim=True) < _NEARLY, exact, x)
    others = _others(x, nodes)
    return torch.where((others < 0.5) & (x > 0), 1 - others, x), weights, gap


def _stepped(net: Chart, rows: _Rows, curvature: Tensor, r: Tensor, loose: Tensor) -> _Rows:
    """The rows after one step.

    Args:
        net: The chart.
        rows: Where they are.
        curvature: h'' at edges.
        r: c'(z) − Aᵀy − s.
        loose: The sum of z s, shape (rows, 1).
    """
    alive, s, z = rows.alive, rows.s, torch.where(rows.alive, rows.z, 1.0)
    least = torch.maximum(s, torch.maximum(loose.sqrt(), _PROXIMAL * z).clamp(max=_PROXIMAL))
    d = torch.where(alive, 1 / (_at(rows, curvature) + least / z), 0.0)
    system = _System(net, d)

    def direction(product: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """dz, ds and dy to where z s is the product, to first order."""
        lack = torch.where(alive, (product - z * s) / z, 0.0)
        dy = system.potentials(_net(net, d * (r - lack)))
        dz = d * (_rise(net, dy) + lack - r)
        return dz, lack - s * dz / z, dy

    def room(dz: Tensor, ds: Tensor) -> Tensor:
        """How far one can go."""
        return 1 / torch.maximum(-dz / z, -ds / s).amax(-1, keepdim=True).clamp(min=_TINY)

    dz, ds, _ = direction(torch.zeros_like(z))
    reach = room(dz, ds).clamp(max=1.0)
    ahead = torch.where(alive, (z + reach * dz) * (s + reach * ds), 0.0).sum(-1, keepdim=True)
    mean = loose / alive.sum(-1, keepdim=True).clamp(min=1)
    dz, ds, dy = direction((ahead / loose) ** 3 * mean - dz * ds)
    reach = ((1 - loose.clamp(max=_BACK)) * room(dz, ds)).clamp(max=1.0)
    moved = _restored(net, rows.root, torch.where(alive, z + reach * dz, 0.0))
    return rows._replace(z=moved, s=s + reach * ds, y=rows.y + reach * dy)


def _restored(net: Chart, root: Tensor, z: Tensor) -> Tensor:
    """The flow with the same shares, in place."""
    from sstricks.ops.kernels import hyperflow as kernels

    over_rows(kernels.restore, len(z), 10.0 * z.shape[-1], net.items, net.links.numpy(), root.numpy(), z.numpy())
    return z


def _others(x: Tensor, nodes: int) -> Tensor:
    """1 − x to the last digit: what all other edges into the same node have."""
    tail, head = edge_ends(nodes)
    matrix = x.new_zeros(*x.shape[:-1], nodes, nodes)
    matrix[..., tail, head] = x
    return ((1 - torch.eye(nodes, dtype=x.dtype)) @ matrix)[..., tail, head]


def _at(rows: _Rows, x: Tensor) -> Tensor:
    """What belongs to edges, at their hyperedges."""
    return torch.zeros_like(rows.z).scatter(-1, rows.place, x)


def _rise(net: Chart, y: Tensor) -> Tensor:
    """Aᵀy."""
    origin, one, two = y[..., net.links].unbind(-2)
    return origin - one - two


def _net(net: Chart, flow: Tensor) -> Tensor:
    """A z."""
    total = flow.new_zeros(len(flow), net.items + 1)
    for sign, items in zip((1, -1, -1), net.links, strict=True):
        total.index_add_(-1, items, flow, alpha=sign)
    return total


class _System:
    """The equations A diag(d) Aᵀ y = side, for rows of d."""

    def __init__(self, net: Chart, d: Tensor) -> None:
        from sstricks.ops.kernels import hyperflow as kernels

        self.net = net
        self.matrix = d.new_empty(len(d), net.items, net.items)
        arrays = net.links.numpy(), d.contiguous().numpy(), 1 + _RIDGE, self.matrix.numpy()
        over_rows(kernels.eliminate, len(d), 2.0 * (net.items - net.simple) ** 2, net.items, net.simple, *arrays)
        dense = self.matrix[:, net.simple :, net.simple :]
        self.scale = dense.diagonal(dim1=-2, dim2=-1).clamp(min=_TINY).rsqrt()
        dense = dense * self.scale.unsqueeze(-1) * self.scale.unsqueeze(-2)
        self.factor = torch.linalg.cholesky_ex(dense, upper=True).L

    def potentials(self, side: Tensor) -> Tensor:
        """y, in place of the side; 0 for no item."""
        from sstricks.ops.kernels import hyperflow as kernels

        net, rest = self.net, side[:, self.net.simple : -1]
        arrays = len(side), 1.0 * net.items**2, net.items, net.simple, self.matrix.numpy(), side.numpy()
        over_rows(kernels.descend, *arrays)
        rest[:] = torch.cholesky_solve((rest * self.scale).unsqueeze(-1), self.factor, upper=True).squeeze(-1)
        rest *= self.scale
        over_rows(kernels.ascend, *arrays)
        side[:, -1] = 0.0
        return side


@operator("sstricks::projective_response", core=(1, 1, 1, 1), waits=True)
def projective_response(g: Tensor, spread: Tensor, weights: Tensor, u: Tensor, nodes: int) -> Tensor:
    """J g, the derivative of the optimum in the direction g.

    Args:
        g: Shape (*batch, (n−1)²).
        spread: 1/h''(x), and 0 where x cannot vary.
        weights: As `projective_optimum` has them.
        u: Scaled utilities, of which only matters where they are −∞.
        nodes: The number of nodes.
    """
    parts = (t.cpu().split(_portion(nodes)) for t in (g, spread, weights, u))
    return torch.cat([_response(part, nodes) for part in zip(*parts, strict=True)]).to(g.device)


def _response(rows: tuple[Tensor, ...], nodes: int) -> Tensor:
    net, (g, spread, weights, u) = chart(nodes), rows
    place = net.cells[edge_cells(u, nodes)[0]]
    # An edge that cannot vary is in all trees of the face or in none: it needs no h.
    weight = weights.gather(-1, place)
    share = torch.where(spread > _LOST * weight, spread / (spread + weight), 1.0)
    share = torch.ones_like(weights).scatter(-1, place, share)
    d = share * weights
    pull, flow = d * torch.zeros_like(weights).scatter(-1, place, torch.where(spread > 0, g, 0.0)), torch.zeros_like(d)
    system = _System(net, d)
    for _ in range(_AGAIN):
        given = pull + share * flow
        flow = given - d * _rise(net, system.potentials(_net(net, given)))
    flow = flow - d * _rise(net, system.potentials(_net(net, flow)))  # what the ridge left over
    return torch.where(spread > 0, flow.gather(-1, place), 0.0)


# J is symmetric.
@projective_response.backward
def _(
    needs: tuple[bool, ...],
    grad: Tensor,
    out: Tensor,
    g: Tensor,
    spread: Tensor,
    weights: Tensor,
    u: Tensor,
    nodes: int,
) -> tuple[Tensor, Tensor, None, None]:
    along, varies = projective_response(grad, spread, weights, u, nodes), spread > 0
    inverse = torch.where(varies, 1 / torch.where(varies, spread, 1.0), 0.0)
    return along, (inverse * along) * (inverse * out), None, None


@operator("sstricks::on_flow", core=(1, 1, 1, 1, 1))
def on_flow(u: Tensor, x: Tensor, slope: Tensor, spread: Tensor, weights: Tensor, nodes: int) -> Tensor:
    """The point x, with the derivative of x + J(u − h'(x)), as `sstricks.ops.optimal_face.on_face`.

    Args:
        u: Scaled utilities, shape (*batch, (n−1)²).
        x: Their optimum, shape (*batch, (n−1)²).
        slope: h'(x).
        spread: 1/h''(x), and 0 where x cannot vary.
        weights: As `projective_optimum` has them.
        nodes: The number of nodes.
    """
    return x.clone()


@on_flow.symmetric
def _(
    needs: tuple[bool, ...],
    grad: Tensor,
    y: Tensor,
    u: Tensor,
    x: Tensor,
    slope: Tensor,
    spread: Tensor,
    weights: Tensor,
    nodes: int,
) -> tuple[Tensor, Tensor, Tensor, None, None]:
    along = projective_response(grad, spread, weights, u, nodes)
    return along, grad, -along, None, None
