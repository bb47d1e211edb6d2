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

import torch
from torch import Tensor

from sstricks.errors import invalid
from sstricks.ops.active_start import Start, single, spanning
from sstricks.ops.active_step import FAINT, NOTHING, Pull, newton
from sstricks.ops.costs import EUCLIDEAN, Cost, cost_of
from sstricks.ops.density import differentiable
from sstricks.ops.mixture import Mixture
from sstricks.ops.nearest_point import nearest_point
from sstricks.ops.operator import Sizes
from sstricks.ops.oracles import best_vertices, check_best, is_binary

# Steps without half the gap before a row is taken to have come as far as rounding lets it.
PATIENCE = 40


@differentiable()
def mix(number: int, u: Tensor, code: int, batch: Sizes, max_steps: int, tol: float) -> Mixture:
    """The mixture of vertices with the largest uᵀx − f(x), to a duality gap of `tol`, or as near as rounding allows.

    Args:
        number: The oracle's.
        u: Scaled utilities, shape (rows, n), −∞ where a coordinate is absent.
        code: Which of `COSTS` f is, or the number of a regularizer.
        batch: The batch shape of the rows.
        max_steps: After how many steps to give up.
        tol: The duality gap to reach.

    Raises:
        ValueError: A vertex lies outside of where h is convex, or h is nowhere so.
    """
    if code == EUCLIDEAN:
        return nearest_point(number, u, max_steps, tol)
    here = torch.arange(len(u), device=u.device)
    cost_at = cost_of(code, u, batch, is_binary(number))
    cost = cost_at(here, torch.zeros_like(u[:, 0]))
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
    best = u.new_full((rows,), torch.inf)
    since = torch.zeros_like(here)
    blocked = close = torch.zeros_like(here, dtype=torch.bool)
    for step in range(max_steps + 1):
        if not len(here):
            break
        now = _pull(start, cost)
        pull = _for_oracle(start, now)
        v = best_vertices(number, pull)
        check_best(number, pull, v, torch.where(start.active.unsqueeze(-1), start.vertices, v.unsqueeze(-2)))
        if not is_binary(number):
            _check_domain(cost, torch.where(start.active.unsqueeze(-1), start.vertices, v.unsqueeze(-2)))
        lead, floor = _lead(start, now, v)
        leads = _leads(start, now)
        heavy = torch.where(start.weights > FAINT, leads.abs(), 0.0).amax(-1)
        gap = torch.maximum(lead, leads.amax(-1)).clamp(min=0.0)
        better = gap < best / 2
        best, since = torch.where(better, gap, best), torch.where(better, 0, since + 1)
        # x is off by about the root of the gap, and by the gap after one more of Newton's steps.
        was_close, close = close, gap <= tol + floor
        over = close & (was_close | cost.quadratic)
        over = over | ((since > PATIENCE) & (gap < 1e-6)) | (step == max_steps)
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
            here, best, since, close, gap, v, lead, heavy, blocked, leads = (
                t[kept] for t in (here, best, since, close, gap, v, lead, heavy, blocked, leads)
            )
            start, now = Start._make(t[kept] for t in start), Pull._make(t[kept] for t in now)
        cost = cost_at(here, gap)
        joins = (lead > 2 * heavy) & ~blocked
        start = _joined(start, v, joins)
        now = now._replace(sizes=start.vertices.sum(-1))
        leads = _leads(start, now)
        start, blocked = newton(start, now, leads, cost)
    taken = found.weights > 0
    slots = max(1, int(taken.sum(-1).max())) if rows else 1
    first = taken.sort(dim=-1, descending=True, stable=True).indices[:, :slots]
    return found._replace(
        vertices=found.vertices.gather(-2, first.unsqueeze(-1).expand(-1, -1, n)),
        weights=found.weights.gather(-1, first),
    )


def _check_domain(cost: Cost, vertices: Tensor) -> None:
    low, high = cost.domain
    if (outside := (vertices < low) | (vertices > high)).any():
        raise invalid(
            "regularizer",
            f"a density on [{low}, {high}], and a vertex with {float(vertices[outside][0])}",
            "a density on an interval that holds all coordinates of all vertices",
            "Euclidean() has no bounds; that of a SeparableRegularizer is its `domain`.",
        )


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


def _pull(start: Start, cost: Cost) -> Pull:
    x, rest = _mixture(start)
    g = torch.where(start.free, start.u - cost.slope(x, rest), 0.0)
    sizes = start.vertices.sum(-1)
    # Of vertices of one size the mixture has exactly that size, however large the common part of u.
    first = torch.where(start.active, sizes, -torch.inf).amax(-1, keepdim=True)
    return Pull(x, rest, g, sizes, first + (start.weights * (sizes - first)).sum(-1, keepdim=True))


def _for_oracle(start: Start, now: Pull) -> Tensor:
    whole = now.g + start.centre
    highest = whole.amax(-1, keepdim=True)
    lowest = torch.where(now.x > 0, whole, torch.inf).amin(-1, keepdim=True)
    above = whole.shape[-1] * (highest - lowest).clamp(min=0.0) + highest.abs() + 1
    return torch.where(start.absent, -torch.inf, torch.where(start.sure, above, whole))


def _lead(start: Start, now: Pull, v: Tensor) -> tuple[Tensor, Tensor]:
    """gᵀ(v − x) for the oracle's vertex, and its rounding error."""
    ahead, sizes = v - now.x, v.sum(-1, keepdim=True) - now.size
    lead = (ahead * now.g).sum(-1) + (start.centre * sizes).squeeze(-1)
    reach = torch.maximum(v.abs(), now.x.abs())
    noise = torch.where(reach > 0, now.g.abs() * reach.clamp(min=1), 0.0).sum(-1) + (
        start.centre * sizes
    ).abs().squeeze(-1)
    return lead, 4 * torch.finfo(v.dtype).eps * noise


def _leads(start: Start, now: Pull) -> Tensor:
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
