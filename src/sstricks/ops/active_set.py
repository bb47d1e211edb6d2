r"""Separable regularizers on any conv 𝒳 from argmax alone: a fully corrective Frank–Wolfe method (App. B).

The point is a mixture of active vertices, :math:`x = \sum_j \lambda_j v_j`. With g = u − ∇f(x), every step asks for the
vertex that g likes best; its lead, :math:`\max_{v \in \mathcal{X}} g^\top (v - x)`, is the duality gap, a bound on what
is missing from the optimum. If it leads the active ones clearly, it joins them. Then comes a Newton step of all weights
at once, on the affine hull of the active vertices: with :math:`W = (v_j - x)_j` and H = ∇²f(x),

.. math:: (W H W^\top + 1 1^\top)\, d\lambda = W g - \mu 1, \qquad 1^\top d\lambda = 0,

as far as the weights stay positive; the vertex that stops it leaves. For f = ½‖x‖² this is Wolfe's method for the
nearest point, and SparseMAP's. A vertex that leads by r moves x by O(r), not O(√r): what Newton's method leaves over is
rounding.

**Entropies** are infinitely steep at 0, so that all coordinates that any vertex has must begin positive. The best
vertex with, and the best without, each coordinate are found at the beginning, and of these an affine basis weighted by
exp(uᵀv). A mixture at the optimum gives a vertex that lies d behind, and differs in m coordinates from the best, a
weight of at most exp(−d/m): coordinates that need one that lies too far behind are left out of 𝒳. Weights that tend to
zero may not stop the others: they are cut by a factor of their own.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sstricks.ops.active_start import Start, single, spanning
from sstricks.ops.costs import COSTS, Cost
from sstricks.ops.oracles import best_vertices

# Below this a weight cannot be seen beside the others, and may be cut without asking them.
FAINT = 1e-8
# What a step may leave of a weight, or of a distance to an end of infinite slope.
KEPT = 0.01
# A weight that is smaller than this and should be smaller still stays where it is.
NOTHING = 1e-14
# Steps without half the gap before a row is taken to have come as far as rounding lets it.
PATIENCE = 40


class Mixture(NamedTuple):
    """Where the method has stopped, row by row."""

    point: Tensor
    """x, shape (rows, n)."""
    pull: Tensor
    """u − ∇f(x), as the oracle wants it: −∞ on absent coordinates, and above all others on those that are 1."""
    gap: Tensor
    """The duality gap, shape (rows,)."""
    floor: Tensor
    """The rounding error of the gap."""
    steps: Tensor
    """How many steps it took."""
    vertices: Tensor
    """The active vertices, shape (rows, slots, n); empty slots are zero."""
    weights: Tensor
    """Their weights, shape (rows, slots)."""

    def short(self, tol: float) -> Tensor:
        """Which rows stopped short of a tolerance, for other reasons than rounding."""
        return self.gap > tol + 64 * self.floor


class _Pull(NamedTuple):
    x: Tensor
    rest: Tensor
    g: Tensor
    sizes: Tensor
    size: Tensor


def mix(number: int, u: Tensor, code: int, max_steps: int, tol: float) -> Mixture:
    """The mixture of vertices with the largest uᵀx − f(x), to a duality gap of `tol`, or as near as rounding allows.

    Args:
        number: The oracle's.
        u: Scaled utilities, shape (rows, n), −∞ where a coordinate is absent.
        code: Which of `COSTS` f is.
        max_steps: After how many steps to give up.
        tol: The duality gap to reach.
    """
    cost = COSTS[code]
    start = spanning(number, u, cost) if cost.steep_below else single(number, u)
    rows, slots, n = start.vertices.shape
    found = Mixture(
        point=torch.zeros_like(u),
        pull=torch.zeros_like(u),
        gap=u.new_zeros(rows),
        floor=u.new_zeros(rows),
        steps=torch.zeros(rows, dtype=torch.int64, device=u.device),
        vertices=u.new_zeros(rows, slots, n),
        weights=u.new_zeros(rows, slots),
    )
    here = torch.arange(rows, device=u.device)
    best = u.new_full((rows,), torch.inf)
    since = torch.zeros_like(here)
    blocked = torch.zeros_like(here, dtype=torch.bool)
    for step in range(max_steps + 1):
        if not len(here):
            break
        now = _pull(start, cost)
        pull = _for_oracle(start, now)
        v = best_vertices(number, pull)
        lead, floor = _lead(start, now, v)
        leads = _leads(start, now)
        heavy = torch.where(start.weights > FAINT, leads.abs(), 0.0).amax(-1)
        gap = torch.maximum(lead, leads.amax(-1)).clamp(min=0.0)
        better = gap < best / 2
        best, since = torch.where(better, gap, best), torch.where(better, 0, since + 1)
        over = (gap <= tol + floor) | ((since > PATIENCE) & (gap < 1e-6)) | (step == max_steps)
        if over.any():
            at = here[over]
            final = _without_nothing(start, leads) if cost.steep_below else start
            steps = torch.full_like(here, step)
            values = (_mixture(final)[0], pull, gap, floor, steps, final.vertices, final.weights)
            for whole, part in zip(found, values, strict=True):
                whole[at] = part[over]
            kept = ~over
            if not kept.any():
                break
            here, best, since, v, lead, heavy, blocked, leads = (
                t[kept] for t in (here, best, since, v, lead, heavy, blocked, leads)
            )
            start, now = Start._make(t[kept] for t in start), _Pull._make(t[kept] for t in now)
        joins = (lead > 2 * heavy) & ~blocked
        start = _joined(start, v, joins)
        now = now._replace(sizes=start.vertices.sum(-1))
        leads = _leads(start, now)
        start, blocked = _newton(start, now, leads, cost)
    return found


def _mixture(start: Start) -> tuple[Tensor, Tensor]:
    """The point x and 1 − x, to the last digit where either is small: what all active vertices have is exactly 1."""
    weights = start.weights.unsqueeze(-2)
    x = (weights @ start.vertices).squeeze(-2)
    rest = (weights @ (1 - start.vertices)).squeeze(-2)
    return torch.where(rest < 0.5, 1 - rest, x), rest


def _without_nothing(start: Start, leads: Tensor) -> Start:
    """The mixture without the weights that are positive only for their logarithms to be finite."""
    weights = torch.where((start.weights <= 2 * NOTHING) & (leads <= 0), 0.0, start.weights)
    vertices = torch.where((weights > 0).unsqueeze(-1), start.vertices, 0.0)
    return start._replace(vertices=vertices, weights=weights / weights.sum(-1, keepdim=True))


def _pull(start: Start, cost: Cost) -> _Pull:
    x, rest = _mixture(start)
    g = torch.where(start.free, start.u - cost.slope(x, rest), 0.0)
    sizes = start.vertices.sum(-1)
    # Of vertices of one size the mixture has exactly that size, however large the common part of u.
    first = torch.where(start.active, sizes, -1.0).amax(-1, keepdim=True)
    return _Pull(x, rest, g, sizes, first + (start.weights * (sizes - first)).sum(-1, keepdim=True))


def _for_oracle(start: Start, now: _Pull) -> Tensor:
    whole = now.g + start.centre
    highest = whole.amax(-1, keepdim=True)
    lowest = torch.where(now.x > 0, whole, torch.inf).amin(-1, keepdim=True)
    above = whole.shape[-1] * (highest - lowest).clamp(min=0.0) + highest.abs() + 1
    return torch.where(start.absent, -torch.inf, torch.where(start.sure, above, whole))


def _lead(start: Start, now: _Pull, v: Tensor) -> tuple[Tensor, Tensor]:
    """gᵀ(v − x) for the oracle's vertex, and its rounding error."""
    ahead, sizes = v - now.x, v.sum(-1, keepdim=True) - now.size
    lead = (ahead * now.g).sum(-1) + (start.centre * sizes).squeeze(-1)
    noise = torch.where(v + now.x > 0, now.g.abs(), 0.0).sum(-1) + (start.centre * sizes).abs().squeeze(-1)
    return lead, 4 * torch.finfo(v.dtype).eps * noise


def _leads(start: Start, now: _Pull) -> Tensor:
    """gᵀ(v − x) for the active vertices, and 0 in empty slots."""
    ahead = start.vertices - now.x.unsqueeze(-2)
    leads = (ahead @ now.g.unsqueeze(-1)).squeeze(-1) + start.centre * (now.sizes - now.size)
    return torch.where(start.active, leads, 0.0)


def _joined(start: Start, v: Tensor, joins: Tensor) -> Start:
    """The mixture with one more vertex, which takes the place of another if it lies in their affine hull."""
    if not joins.any():
        return start
    active = start.active
    ones = active.to(v.dtype)
    gram = start.vertices @ start.vertices.mT + ones.unsqueeze(-1) * ones.unsqueeze(-2)
    factor = torch.linalg.cholesky_ex(gram + torch.diag_embed(1 - ones)).L
    beside = (start.vertices @ v.unsqueeze(-1)).squeeze(-1) * ones + ones
    shares = torch.cholesky_solve(beside.unsqueeze(-1), factor).squeeze(-1) * ones
    outside = v.square().sum(-1) + 1 - (shares * beside).sum(-1)
    # v = Σ shares v_j, so that weight may be moved from them to v, until one has none left.
    inside = (joins & (outside < 1e-6)).unsqueeze(-1)
    given = torch.where(inside & (shares.abs() > 1e-9), shares, 0.0)
    least, leaving = torch.where(given > 0, start.weights / given, torch.inf).min(-1, keepdim=True)
    taken = torch.where(inside, least, 0.0)
    leaves = torch.zeros_like(active).scatter(-1, leaving, inside)
    weights = torch.where(leaves, 0.0, (start.weights - taken * given).clamp(min=0.0))
    active = active & ~leaves
    slot = active.to(torch.int8).argmin(-1, keepdim=True)
    takes = torch.zeros_like(active).scatter(-1, slot, joins.unsqueeze(-1))
    kept = torch.where(active.unsqueeze(-1), start.vertices, 0.0)
    vertices = torch.where(takes.unsqueeze(-1), v.unsqueeze(-2), kept)
    return start._replace(vertices=vertices, weights=torch.where(takes, taken, weights), active=active | takes)


def _newton(start: Start, now: _Pull, leads: Tensor, cost: Cost) -> tuple[Start, Tensor]:
    """One step, and which rows could not move since a weight that is zero would become negative."""
    active, weights, moving = start.active, start.weights, start.active
    if cost.steep_below:
        moving = active & ~((weights > 0) & (weights <= 2 * NOTHING) & (leads < 0))
        direction = _direction(start, now, leads, moving, cost)
        cut = moving & (weights > 0) & (weights < FAINT) & (direction < (KEPT - 1) * weights)
        vital = _vital(start, now, torch.where(cut, weights, 0.0), cost)
        direction = torch.where(cut, torch.maximum((KEPT - 1) * weights, NOTHING - weights), direction)
        direction = direction - torch.where(cut, 0.0, weights) * direction.sum(-1, keepdim=True)
        # Where some can go, only they go: without them the direction is another one.
        leaves = cut & ~vital
        waits = leaves.any(-1, keepdim=True)
        direction = torch.where(waits, 0.0, direction)
    else:
        direction, leaves = _direction(start, now, leads, moving, cost), torch.zeros_like(active)
    dx = (direction.unsqueeze(-2) @ start.vertices).squeeze(-2)
    room = torch.where(active & (direction < 0), weights / -direction, torch.inf)
    nearest, leaving = room.min(-1, keepdim=True)
    length = nearest.clamp(max=1.0)
    if cost.steep_below:
        length = torch.minimum(length, _inside(now.x, dx, start.free))
    if cost.steep_above:
        length = torch.minimum(length, _inside(now.rest, -dx, start.free))
    if cost.steep_below:
        length = _shortened(start, now, dx, length, cost)
    weights = (weights + length * direction).clamp(min=0.0)
    leaves = leaves | torch.zeros_like(active).scatter(-1, leaving, length == nearest)
    active = active & ~leaves
    weights = torch.where(active, weights, 0.0)
    vertices = torch.where(active.unsqueeze(-1), start.vertices, 0.0)
    moved = start._replace(vertices=vertices, weights=weights / weights.sum(-1, keepdim=True), active=active)
    return moved, (length == 0).squeeze(-1)


def _direction(start: Start, now: _Pull, leads: Tensor, moving: Tensor, cost: Cost) -> Tensor:
    ones = moving.to(now.x.dtype)
    root = torch.where(start.free, cost.curvature(now.x, now.rest), 0.0).sqrt()
    w = (start.vertices - now.x.unsqueeze(-2)) * (root.unsqueeze(-2) * ones.unsqueeze(-1))
    matrix = w @ w.mT + ones.unsqueeze(-1) * ones.unsqueeze(-2)
    # The diagonal is graded as the weights are; scaled to one, it is well conditioned, and empty slots are apart.
    scale = torch.where(moving, matrix.diagonal(dim1=-2, dim2=-1), 1.0).rsqrt()
    matrix = matrix * scale.unsqueeze(-1) * scale.unsqueeze(-2)
    ridge = 16 * torch.finfo(w.dtype).eps
    matrix = matrix + torch.diag_embed(torch.where(moving, ridge, 1.0).to(w.dtype))
    factor = torch.linalg.cholesky_ex(matrix).L
    sides = torch.stack([leads, ones], -1) * scale.unsqueeze(-1)
    solved = torch.cholesky_solve(sides, factor) * scale.unsqueeze(-1)
    z, one = (solved * ones.unsqueeze(-1)).unbind(-1)
    return z - one * (z.sum(-1, keepdim=True) / one.sum(-1, keepdim=True))


def _vital(start: Start, now: _Pull, cut: Tensor, cost: Cost) -> Tensor:
    """Which active vertices some coordinate needs: if all that are to be cut left, it would be at a steep end."""
    lost = (cut.unsqueeze(-2) @ start.vertices).squeeze(-2) > 0.9 * now.x
    vital = (start.vertices * (lost & start.free).unsqueeze(-2)).amax(-1) > 0
    if cost.steep_above:
        lost = (cut.unsqueeze(-2) @ (1 - start.vertices)).squeeze(-2) > 0.9 * now.rest
        vital = vital | (((1 - start.vertices) * (lost & start.free).unsqueeze(-2)).amax(-1) > 0)
    return vital


def _inside(distance: Tensor, change: Tensor, free: Tensor) -> Tensor:
    """How far one can go and keep something of all distances."""
    room = torch.where(free & (change < 0), distance / -change, torch.inf)
    return (1 - KEPT / 2) * room.amin(-1, keepdim=True)


def _shortened(start: Start, now: _Pull, dx: Tensor, length: Tensor, cost: Cost) -> Tensor:
    """Half the length, and so on, until the slope along the way has not turned against it."""
    shares = length.new_tensor([1.0, 0.5, 0.25, 0.125, 0.0625]) * length
    x = now.x.unsqueeze(-2) + shares.unsqueeze(-1) * dx.unsqueeze(-2)
    rest = now.rest.unsqueeze(-2) - shares.unsqueeze(-1) * dx.unsqueeze(-2)
    free = start.free.unsqueeze(-2)
    g = torch.where(free, start.u.unsqueeze(-2) - cost.slope(x, rest), 0.0)
    across = (start.centre * dx.sum(-1, keepdim=True)).detach()
    ahead = (g * dx.unsqueeze(-2)).sum(-1) + across
    begin = (now.g * dx).sum(-1, keepdim=True) + across
    good = (ahead >= -0.5 * begin.abs()) | (begin.abs() < 1e-9)
    first = good.to(torch.int8).argmax(-1, keepdim=True)
    return torch.where(good.any(-1, keepdim=True), shares.gather(-1, first), shares[..., -1:])
