r"""Separable regularizers on arborescences: a multiplier for each node, by Newton's method, and minimum cuts.

An arborescence is a spanning tree, directions aside, that has one edge into every node but the root. Its hull is what
both conditions leave together (Edmonds' intersection of matroids): x ≥ 0, :math:`x(\delta^-(v)) = 1` for every node v
but the root, and :math:`x(E(S)) \le |S| - 1` for every set S without the root; for other sets that follows. With a
multiplier for each node, only the bounds on sets are left,

.. math:: x(\lambda) = \operatorname{argmax}_x \sum_e (u_e - \lambda_{\mathrm{head}(e)}) x_e - h(x_e).

This is solved as in `sstricks.ops.tree_optimum`, but that no sum is given: at first every edge is free,
:math:`x_e = (h')^{-1}(u_e - \lambda_{\mathrm{head}(e)})`. Sets that hold too much become blocks with a multiplier of
their own, and what lies between them stays free. There h goes on beyond 1 as a parabola, so that on the way nothing
binds that cannot bind at the end.

**The dual** :math:`\varphi(\lambda) = \sum_v \lambda_v + \max_x \dots` is convex. With M the incidence of heads, its
gradient is :math:`g = 1 - M x(\lambda)`, and its Hessian :math:`M J M^\top`, where J is 1/h'' on free edges and as for
subsets in blocks. Steps solve :math:`(M J M^\top + \operatorname{diag}(\mu |g|))\, d = -g`: no multiplier moves by much
more than 1/μ where φ is flat, and near the optimum the damping vanishes. Since φ is convex, a step may be taken if φ
does not rise too fast at its end. It begins where every node has the best x on its own edges alone.

At low temperatures kinks of φ, where blocks come and go, may lie so close that there is no progress. What Newton's
method does not solve, the active-set method does.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sstricks.ops.active_set import mix
from sstricks.ops.costs import COSTS
from sstricks.ops.density import Density, density_of, differentiable, ends, in_batch, interior
from sstricks.ops.frank_wolfe import check_convergence
from sstricks.ops.operator import operator
from sstricks.ops.optimal_face import face_normals
from sstricks.ops.threads import over_rows
from sstricks.ops.tree_optimum import on_open_blocks

_STEPS = 40
# What may be missing from one edge into every node, or be too much; more, and the active-set method takes over.
_ENOUGH = 1e-11
# Of squared lengths of sums of unit vectors: what is smaller is rounding.
_RANK = 1e-9
_BY_ACTIVE_SET = -1.0


@operator("sstricks::arborescence_optimum", core=(2, None), output_core=2)
@differentiable()
def arborescence_optimum(
    triple: Tensor,
    edges: Tensor,
    nodes: int,
    oracle: int,
    f: int,
    code: int,
    batch: list[int],
    max_steps: int,
    tol: float,
) -> Tensor:
    """The maximiser x of uᵀx − Σh(xₑ) on the hull of arborescences from node 0, and what its face is known by.

    Args:
        triple: Scaled utilities u, three times, shape (*batch, 3, E): the shape of the result; −∞ is an absent edge.
        edges: The tail and the head of every edge, shape (2, E).
        nodes: The number of nodes; one without any edge is absent.
        oracle: The handle of the structure.
        f: The handle of the regularizer.
        code: Which of `COSTS` h is, or the handle again.
        batch: The batch shape, which the parameters of h may depend on.
        max_steps: After how many steps of the active-set method to give up.
        tol: The duality gap that it is to reach.

    Returns:
        x; the number of each edge's block, 0 if it is free, −1 where the active-set method was used; and there
        u − h'(x). Shape (*batch, 3, E).

    Raises:
        ValueError: Some node is not reached from the root, or h is not strictly convex.

    Warns:
        ConvergenceWarning: Some row stopped short of the tolerance.
    """
    u, ends_of = triple[:, 0].contiguous().cpu(), edges.cpu()
    found = torch.zeros(len(u), 3, u.shape[1], dtype=u.dtype)
    found[:, 0], found[:, 1], left = _by_newton(u, ends_of, nodes, f, code, batch)
    if left.any():
        rows = left if code < len(COSTS) else torch.ones_like(left)  # the parameters are those of the whole batch
        mixture = mix(oracle, u[rows], code, batch, max_steps, tol)
        check_convergence(mixture, tol)
        found[left, 0], found[left, 2] = mixture.point[left[rows]], mixture.pull[left[rows]]
        found[left, 1] = _BY_ACTIVE_SET
    return found.to(triple)


# Its gradient is that of `on_face`.
@arborescence_optimum.backward
def _(
    needs: tuple[bool, ...], grad: Tensor, found: Tensor, triple: Tensor, edges: Tensor, *numbers: object
) -> tuple[None, None]:
    return None, None


class _Point(NamedTuple):
    """Where the multipliers lead, row by row."""

    multipliers: Tensor
    """λ, shape (rows, nodes)."""
    x: Tensor
    """x(λ), shape (rows, E)."""
    blocks: Tensor
    """The number of each edge's block, 0 if it is free, shape (rows, E)."""
    spread: Tensor
    """1/h''(x), and 0 where x cannot vary, shape (rows, E)."""
    slope: Tensor
    """That of φ: what is missing from the edges into each node, shape (rows, nodes)."""

    def error(self) -> Tensor:
        return self.slope.abs().amax(-1)

    def rows(self, here: Tensor) -> "_Point":
        return _Point._make(part[here] for part in self)

    def or_else(self, other: "_Point", here: Tensor) -> "_Point":
        """This one in the rows `here`, else the other."""
        return _Point._make(torch.where(here.unsqueeze(-1), a, b) for a, b in zip(self, other, strict=True))


class _Dual:
    """φ of rows of utilities."""

    def __init__(self, u: Tensor, edges: Tensor, nodes: int, f: Density, code: int, batch: list[int]) -> None:
        self.u, self.edges, self.nodes, self.f, self.code, self.batch = u, edges, nodes, f, code, batch
        self.present = u > -torch.inf
        ones = self.present.to(u.dtype)
        self.target = (self._into(ones) + self._sums(ones, edges[0]) > 0).to(u.dtype)
        self.target[:, 0] = 0.0

    def rows(self, here: Tensor) -> "_Dual":
        return _Dual(self.u[here], self.edges, self.nodes, self.f, self.code, self.batch)

    def begin(self) -> _Point:
        """Where every node has the best x on its own edges alone."""
        state = self._state(self.edges[1], 1)
        x = on_open_blocks(self.u, torch.zeros_like(self.u), state, self.code, self.batch)
        pull = self.u - self._on_rows(self.f.slope, x.clamp(*ends(x)))
        head = self.edges[1].expand_as(x)
        most = x.new_full(self.target.shape, -torch.inf).scatter_reduce(-1, head, x, "amax").gather(-1, head)
        pull = torch.where(self.present & (x == most), pull, -torch.inf)
        multipliers = x.new_full(self.target.shape, -torch.inf).scatter_reduce(-1, head, pull, "amax")
        return self.at(torch.where(multipliers > -torch.inf, multipliers, 0.0))

    def at(self, multipliers: Tensor) -> _Point:
        from sstricks.ops.kernels import tree_optimum as kernels

        y = self.u - multipliers[:, self.edges[1]]
        x, spread = (torch.where(self.present, part, 0.0) for part in self._free(torch.where(self.present, y, 0.0)))
        state = self._state(torch.where(self.edges[0] > 0, 0, -1), kernels.FREE)  # bounds on sets with the root follow
        work = 10.0 * self.nodes * x.shape[1]
        over_rows(kernels.divide, len(x), work, self.nodes, x.numpy(), state.numpy())
        while state[:, kernels.OPEN].any():
            x = on_open_blocks(y, x, state, self.code, self.batch)
            over_rows(kernels.divide, len(x), work, self.nodes, x.numpy(), state.numpy())
        tight = state[:, kernels.RANK] != kernels.FREE
        blocks = torch.where(tight, state[:, kernels.BLOCK] + 1, 0)
        return _Point(multipliers, x, blocks, torch.where(tight, self._spread(x), spread), self.target - self._into(x))

    def step(self, now: _Point, damping: Tensor) -> Tensor:
        """(M J Mᵀ + diag(μ|g|))⁻¹ (−g)."""
        rows, count = len(now.x), int(now.blocks.max()) + 1
        cells = now.blocks * self.nodes + self.edges[1]
        sums = now.spread.new_zeros(rows, count * self.nodes).scatter_add(-1, cells, now.spread)
        sums = sums.unflatten(-1, (count, self.nodes))
        tight = sums[:, 1:]
        total = tight.sum(-1, keepdim=True)
        hessian = torch.diag_embed(sums.sum(1)) - tight.mT @ (tight / torch.where(total > 0, total, 1.0))
        ridge = damping.unsqueeze(-1) * now.slope.abs() + torch.finfo(now.x.dtype).eps
        return -torch.linalg.solve_ex(hessian + torch.diag_embed(ridge), now.slope.unsqueeze(-1)).result.squeeze(-1)

    def _state(self, blocks: Tensor, rank: int) -> Tensor:
        """All present edges in open blocks of one rank; −1 is no block."""
        given = self.present & (blocks >= 0)
        parts = *self.edges, blocks, torch.full_like(blocks, rank)
        state = torch.stack([part.expand_as(given) for part in (*parts, given)], -2)
        state[:, 2].masked_fill_(~given, -1)
        return state

    def _free(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(h')⁻¹ and its slope, where h goes on beyond 1 as a parabola."""
        end = torch.full_like(y, ends(y)[1])
        last, steepness = (self._on_rows(function, end) for function in (self.f.slope, self.f.curvature))
        x = self._on_rows(self.f.inverse_slope, torch.minimum(y, last)) + (y - last).clamp(min=0.0) / steepness
        return x, torch.where(y > last, 1 / steepness, self._spread(x))

    def _spread(self, x: Tensor) -> Tensor:
        inside = interior(x)
        return torch.where(inside, 1 / self._on_rows(self.f.curvature, torch.where(inside, x, 0.5)), 0.0)

    def _on_rows(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return function(x if self.code < len(COSTS) else in_batch(x, self.batch)).reshape(x.shape)

    def _into(self, x: Tensor) -> Tensor:
        return self._sums(x, self.edges[1])

    def _sums(self, x: Tensor, ends_of: Tensor) -> Tensor:
        return x.new_zeros(len(x), self.nodes).index_add(-1, ends_of, x)


def _by_newton(
    u: Tensor, edges: Tensor, nodes: int, f: int, code: int, batch: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """The optimum x, the edges' blocks, and in which rows neither has been found."""
    dual = _Dual(u, edges, nodes, density_of(f, in_batch(u, batch)), code, batch)
    now = best = dual.begin()
    damping = u.new_full((len(u),), 0.5)
    here = torch.arange(len(u))
    for _ in range(_STEPS):
        if not len(here):
            break
        d = dual.step(now, damping)
        ahead = dual.at(now.multipliers + d)
        error, new_error = now.error(), ahead.error()
        # The slope of φ along d at the end of the step, relative to that at its beginning.
        rise = (ahead.slope * d).sum(-1) / -(now.slope * d).sum(-1)
        takes = (rise <= 0.5) | (new_error <= _ENOUGH)
        damping = damping * torch.where(takes, torch.where(rise.abs() < 0.3, 0.1, 0.5), 4.0)
        over = (error <= _ENOUGH) & ~(new_error < error / 2)
        now = ahead.or_else(now, takes & ~over)
        for whole, part in zip(best, now, strict=True):
            whole[here] = part
        if code < len(COSTS):  # else the parameters are those of the whole batch
            here, damping, now, dual = here[~over], damping[~over], now.rows(~over), dual.rows(~over)
        elif over.all():
            break
    return best.x.clamp(max=1.0), best.blocks, ~(best.error() <= _ENOUGH)


@operator("sstricks::arborescence_normals", core=(2, 2, None), output_core=2)
def arborescence_normals(frame: Tensor, found: Tensor, edges: Tensor, nodes: int, oracle: int) -> Tensor:
    """Orthonormal normals of the faces that optima lie on, as far as coordinates vary there; else zeros.

    Args:
        frame: Any matrix of the shape of the result, (E, 2n).
        found: What `arborescence_optimum` found, shape (*batch, 3, E).
        edges: The tail and the head of every edge, shape (2, E).
        nodes: The number of nodes n.
        oracle: The handle of the structure.

    Returns:
        Shape (*batch, E, 2n).
    """
    x, blocks, pull = found.unbind(-2)
    varies = interior(x).to(x.dtype).unsqueeze(-1)
    into = torch.nn.functional.one_hot(edges[1].to(x.device), nodes).to(x.dtype)
    within = torch.nn.functional.one_hot(blocks.long().clamp(min=0), nodes).to(x.dtype)
    within[..., 0] = 0.0  # free edges are in no block
    rows = torch.cat([within, into.expand_as(within)], -1) * varies
    left = blocks[:, 0] == _BY_ACTIVE_SET
    if left.any():
        square = x.new_empty(x.shape[1], x.shape[1])
        normals = face_normals.twin(square, pull[left], oracle) * varies[left]
        values, vectors = torch.linalg.eigh(normals @ normals.mT)
        largest = values[..., -2 * nodes :].clamp(min=0.0).sqrt()
        kept = torch.zeros_like(rows[left])
        kept[..., : largest.shape[-1]] = vectors[..., -2 * nodes :] * largest.unsqueeze(-2)
        rows[left] = kept
    values, vectors = torch.linalg.eigh(rows.mT @ rows)
    clear = values > _RANK * values.amax(-1, keepdim=True).clamp(min=1.0)
    return (rows @ vectors) * torch.where(clear, values, torch.inf).rsqrt().unsqueeze(-2)


# Locally, the face does not change.
@arborescence_normals.backward
def _(
    needs: tuple[bool, ...], grad: Tensor, normals: Tensor, frame: Tensor, found: Tensor, *numbers: object
) -> tuple[None, None, None]:
    return None, None, None
