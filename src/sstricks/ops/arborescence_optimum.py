r"""Separable regularizers on arborescences: a multiplier for each node and each full set, by cutting planes.

An arborescence is a spanning tree, directions aside, that has one edge into every node but the root. Its hull is what
both conditions leave together (Edmonds' intersection of matroids): x ≥ 0, :math:`x(\delta^-(v)) = 1` for every node v
but the root, and :math:`x(E(S)) \le |S| - 1` for every set S without the root; for the other sets that follows.

There are too many sets to list. So the optimum is found with none of them, then those that hold too much are looked
for by minimum cuts (see `sstricks.ops.tree_optimum`), and so on until there is none. With the sets known so far the
optimum is :math:`x_e = (h')^{-1}(u_e - \lambda_{\mathrm{head}(e)} + \sum_{S \ni e} \nu_S)` for the λ and ν ≤ 0 that
minimise the dual, which is convex:

.. math:: \varphi(\lambda, \nu) = \sum_v \lambda_v - \sum_S (|S| - 1)\, \nu_S + \sum_e h^*(\dots), \qquad
          \nabla_\lambda = 1 - x(\delta^-), \quad \nabla_\nu = x(E(S)) - |S| + 1.

With the edges' incidence A of nodes and of those sets whose ν may move, its Hessian is :math:`A\,
\operatorname{diag}(1/h''(x)) A^\top`. Steps of Newton's method are damped by a multiple μ of the gradient itself,
:math:`(A\, \operatorname{diag}(1/h'') A^\top + \operatorname{diag}(\mu |g|))\, d = -g`: no multiplier moves by much
more than 1/μ where φ is flat, and at the end the damping vanishes. A step ends where the first ν becomes zero; it is
taken if φ, being convex, does not rise too fast at its end. Beyond 1, h goes on as a parabola, so that on the way
nothing binds that cannot bind at the end.

That the sets' multipliers are variables of their own matters at low temperatures: for the λ alone, with the best ν for
them, φ has kinks whose two sides differ by factors of exp(1/t).

If the root has a single child, the edges from it are one more set, which holds at most one; known from the beginning.
It is always full: that they hold one at least is the condition for the set of all other nodes.

**Backward.** The face of x is known by its sums over nodes and over sets with ν < 0, whose incidences are its normals:
see `sstricks.ops.optimal_face`. What does not converge, as where utilities differ by more than their digits, is left to
the active-set method, and its faces are found by argmax.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from sstricks.ops.active_set import mix
from sstricks.ops.costs import COSTS
from sstricks.ops.density import Density, density_of, differentiable, ends, in_batch, interior
from sstricks.ops.frank_wolfe import check_convergence
from sstricks.ops.operator import Sizes, operator
from sstricks.ops.optimal_face import face_normals
from sstricks.ops.threads import over_rows

_STEPS = 300
# Steps without half the error before a row is given up, and a damping that lets nothing move.
_PATIENCE, _STIFF = 40, 1e8
# By how much sums may be wrong for new sets to be looked for, and at the end.
_NEARLY, _ENOUGH = 1e-6, 1e-11
# By how much a set must hold too much.
_CLEAR = 1e-12
# Of squared lengths of sums of unit vectors: what is smaller is rounding.
_RANK = 1e-9


@operator("sstricks::arborescence_optimum", core=(2, 1, None), output_core=2, waits=True)
@differentiable()
def arborescence_optimum(
    frame: Tensor,
    u: Tensor,
    edges: Tensor,
    nodes: int,
    single: bool,
    oracle: int,
    f: int,
    code: int,
    batch: Sizes,
    max_steps: int,
    tol: float,
) -> Tensor:
    """The maximiser x of uᵀx − Σh(xₑ) on the hull of arborescences from node 0, and the normals of its face.

    Args:
        frame: Any matrix of the shape of the result.
        u: Scaled utilities, shape (*batch, E); −∞ is an absent edge.
        edges: The tail and the head of every edge, shape (2, E).
        nodes: The number of nodes n; one without any edge is absent.
        single: Whether the root has a single child.
        oracle: The handle of the structure.
        f: The handle of the regularizer.
        code: Which of `COSTS` h is, or the handle again.
        batch: The batch shape, which the parameters of h may depend on.
        max_steps: After how many steps of the active-set method, where that is needed, to give up.
        tol: The duality gap that it is to reach.

    Returns:
        x in the first column; orthonormal normals, as far as coordinates vary, or zeros, in the others, if there are
        any: shape (*batch, E, 1 + 2n), or (*batch, E, 1).

    Raises:
        ValueError: Some node is not reached from the root, or h is not strictly convex.

    Warns:
        ConvergenceWarning: Some row stopped short of the tolerance.
    """
    u, edges, is_wanted = u.cpu(), edges.cpu(), frame.shape[-1] > 1
    dual = _Dual(u, edges, nodes, single, density_of(f, in_batch(u, batch)), code, batch)
    now = _solve(dual)
    x, left = _completed(now.x, edges[1], nodes), ~(now.error() <= _ENOUGH)
    sums = torch.cat([dual.heads.mT.expand(*u.shape, nodes), _full(now), dual.limited().mT], -1)
    if left.any():
        rows = left if code < len(COSTS) else torch.ones_like(left)  # the parameters are those of the whole batch
        mixture = mix(oracle, u[rows], code, batch, max_steps, tol)
        check_convergence(mixture, tol)
        x[left] = mixture.point[left[rows]]
        if is_wanted:
            square = u.new_empty(u.shape[-1], u.shape[-1])
            sums = pad(sums, (0, max(0, u.shape[-1] - sums.shape[-1])))
            sums[left] = pad(
                face_normals.twin(square, mixture.pull[left[rows]], oracle), (0, sums.shape[-1] - len(square))
            )
    found = torch.zeros(len(u), *frame.shape[-2:], dtype=u.dtype)
    found[..., 0] = x
    if is_wanted:
        found[..., 1:] = _orthonormal(sums * interior(x).unsqueeze(-1), 2 * nodes)
    return found.to(frame.device)


# Its gradient is that of `on_face`.
@arborescence_optimum.backward
def _(
    needs: tuple[bool, ...], grad: Tensor, found: Tensor, frame: Tensor, u: Tensor, edges: Tensor, *numbers: object
) -> tuple[None, None, None]:
    return None, None, None


def _completed(x: Tensor, heads: Tensor, nodes: int) -> Tensor:
    """The point with what the others leave on the largest edge into every node: exactly one if that is nothing."""
    head, number = heads.expand_as(x), torch.arange(x.shape[-1]).expand_as(x)
    most = x.new_zeros(len(x), nodes).scatter_reduce(-1, head, x, "amax").gather(-1, head)
    first = number.new_full((len(x), nodes), x.shape[-1])
    first = (
        first.scatter_reduce(-1, head, torch.where(x == most, number, x.shape[-1]), "amin").gather(-1, head) == number
    )
    others = x.new_zeros(len(x), nodes).scatter_add(-1, head, torch.where(first, 0.0, x)).gather(-1, head)
    return torch.where(first & (x > 0), 1 - others, x).clamp(0, 1)


def _orthonormal(vectors: Tensor, count: int) -> Tensor:
    """As many orthonormal vectors as these span, in columns, and zeros."""
    values, mixed = torch.linalg.eigh(vectors.mT @ vectors)
    clear = values > _RANK * values.amax(-1, keepdim=True).clamp(min=1.0)
    basis = (vectors @ mixed) * torch.where(clear, values, torch.inf).rsqrt().unsqueeze(-2)
    return pad(basis[..., -count:], (0, max(0, count - basis.shape[-1])))


class _Point(NamedTuple):
    """Multipliers, and where they lead, row by row. Sets that are not in use are empty and have no multiplier."""

    by_node: Tensor
    """λ, shape (rows, nodes)."""
    by_set: Tensor
    """ν ≤ 0, shape (rows, slots)."""
    sets: Tensor
    """The edges within each set, as indicators, shape (rows, slots, E)."""
    ranks: Tensor
    """How many of them a tree may have, shape (rows, slots); 1 where the set is empty."""
    x: Tensor
    """Shape (rows, E)."""
    spread: Tensor
    """1/h''(x), and 0 where x cannot vary, shape (rows, E)."""
    lack: Tensor
    """What is missing from the edges into each node, shape (rows, nodes)."""
    excess: Tensor
    """What the sets hold too much, shape (rows, slots)."""

    def moves(self) -> Tensor:
        """Which ν may move."""
        return (self.by_set < 0) | (self.excess > 0)

    def error(self) -> Tensor:
        """The largest component of the gradient."""
        return torch.cat([self.lack, torch.where(self.moves(), self.excess, 0.0)], -1).abs().amax(-1)

    def rows(self, here: Tensor) -> "_Point":
        return _Point._make(part[here] for part in self)

    def or_else(self, other: "_Point", here: Tensor) -> "_Point":
        """This one in the rows `here`, else the other."""
        pairs = zip(self, other, strict=True)
        return _Point._make(torch.where(here.reshape(-1, *[1] * (a.dim() - 1)), a, b) for a, b in pairs)


class _Dual:
    """φ of rows of utilities."""

    def __init__(self, u: Tensor, edges: Tensor, nodes: int, single: bool, f: Density, code: int, batch: Sizes) -> None:
        self.u, self.edges, self.nodes, self.single = u, edges, nodes, single
        self.f, self.code, self.batch = f, code, batch
        self.heads = one_hot(edges[1], nodes).to(u.dtype).mT
        end = torch.full_like(u, ends(u)[1])
        self.last, self.steepness = (self._on_rows(function, end) for function in (f.slope, f.curvature))
        self.present = u > -torch.inf
        ones = self.present.to(u.dtype)
        self.asked = (self._into(ones) + self._sums(ones, edges[0]) > 0).to(u.dtype)
        self.asked[:, 0] = 0.0

    @property
    def is_whole(self) -> bool:
        """Whether h may depend on the row, so that all rows must stay together."""
        return self.code >= len(COSTS)

    def rows(self, here: Tensor) -> "_Dual":
        return _Dual(self.u[here], self.edges, self.nodes, self.single, self.f, self.code, self.batch)

    def limited(self) -> Tensor:
        """The sets that are known from the beginning, shape (rows, 0 or 1, E)."""
        from_root = (self.present & (self.edges[0] == 0)).to(self.u.dtype)
        return from_root.unsqueeze(-2)[:, : int(self.single)]

    def begin(self) -> _Point:
        """Only sets that are known, and the largest x into every node one half."""
        half = self._on_rows(self.f.slope, torch.full_like(self.u, 0.5))
        head = self.edges[1].expand_as(self.u)
        best = torch.full_like(self.asked, -torch.inf).scatter_reduce(-1, head, self.u - half, "amax")
        sets = self.limited()
        zero = self.u.new_zeros(sets.shape[:-1])
        return self.at(torch.where(best > -torch.inf, best, 0.0), zero, sets, torch.ones_like(zero))

    def at(self, by_node: Tensor, by_set: Tensor, sets: Tensor, ranks: Tensor) -> _Point:
        y = self.u - by_node[:, self.edges[1]] + (by_set.unsqueeze(-2) @ sets).squeeze(-2)
        y = torch.where(self.present, y, 0.0)
        x = self._on_rows(self.f.inverse_slope, torch.minimum(y, self.last))
        x = x + (y - self.last).clamp(min=0.0) / self.steepness
        inside = interior(x)
        curvature = self._on_rows(self.f.curvature, torch.where(inside, x, 0.5))
        spread = torch.where(inside, 1 / curvature, torch.where(y > self.last, 1 / self.steepness, 0.0))
        x, spread = (torch.where(self.present, part, 0.0) for part in (x, spread))
        excess = (sets @ x.unsqueeze(-1)).squeeze(-1) - ranks
        return _Point(by_node, by_set, sets, ranks, x, spread, self.asked - self._into(x), excess)

    def step(self, now: _Point, damping: Tensor) -> tuple[Tensor, Tensor]:
        """The steps of λ and ν, none of which leads from zero upwards."""
        moves = now.moves()
        nodes = self.heads.expand(len(self.u), -1, -1)
        while True:
            a = torch.cat([nodes, -now.sets * moves.unsqueeze(-1)], -2)
            g = torch.cat([now.lack, now.excess * moves], -1)
            hessian = (a * now.spread.unsqueeze(-2)) @ a.mT
            ridge = damping.unsqueeze(-1) * g.abs() + torch.finfo(g.dtype).eps
            d = -torch.linalg.solve_ex(hessian + torch.diag_embed(ridge), g.unsqueeze(-1)).result.squeeze(-1)
            by_node, by_set = d[:, : self.nodes], torch.where(moves, d[:, self.nodes :], 0.0)
            stuck = (now.by_set == 0) & (by_set > 0)
            if not stuck.any():
                return by_node, by_set
            moves = moves & ~stuck

    def cut(self, now: _Point, here: Tensor) -> tuple[_Point, Tensor]:
        """The point with further sets, which hold too much, in the rows `here`, and in which rows there are any."""
        from sstricks.ops.kernels import tree_optimum as kernels

        x = now.x[here]
        given = self.present[here] & (self.edges[0] > 0)
        parts = *self.edges, given.to(torch.int64) - 1, torch.full_like(given, kernels.FREE), given
        state = torch.stack([part.expand_as(given).to(torch.int64) for part in parts], -2)
        over_rows(kernels.divide, len(x), 10.0 * self.nodes * x.shape[1], self.nodes, x.numpy(), state.numpy())
        full = state[:, kernels.RANK] != kernels.FREE
        fresh = one_hot(torch.where(full, state[:, kernels.BLOCK] + 1, 0))[..., 1:].mT.to(x.dtype)
        ranks = (fresh * state[:, kernels.RANK].unsqueeze(-2)).amax(-1)
        sizes, known = fresh.sum(-1, keepdim=True), now.sets[here]
        common = fresh @ known.mT
        is_known = ((common == sizes) & (common == known.sum(-1).unsqueeze(-2))).any(-1)
        counts = ((fresh @ x.unsqueeze(-1)).squeeze(-1) > ranks + _CLEAR) & ~is_known
        some = torch.zeros(len(now.x), dtype=torch.bool)
        some[here] = counts.any(-1)
        if not some.any():
            return now, some
        used = (now.sets.sum(-1) > 0).sum(-1)
        slots = (used[here].unsqueeze(-1) + counts.cumsum(-1) - 1)[counts]
        row = here.unsqueeze(-1).expand_as(counts)[counts]
        more = max(0, int(slots.max()) + 1 - now.sets.shape[1])
        sets, by_set = pad(now.sets, (0, 0, 0, more)), pad(now.by_set, (0, more))
        all_ranks = pad(now.ranks, (0, more), value=1.0)
        sets[row, slots], all_ranks[row, slots] = fresh[counts], ranks[counts]
        return self.at(now.by_node, by_set, sets, all_ranks), some

    def _on_rows(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return function(in_batch(x, self.batch) if self.is_whole else x).reshape(x.shape)

    def _into(self, x: Tensor) -> Tensor:
        return self._sums(x, self.edges[1])

    def _sums(self, x: Tensor, ends_of: Tensor) -> Tensor:
        return x.new_zeros(len(x), self.nodes).index_add(-1, ends_of, x)


def _solve(dual: _Dual) -> _Point:
    """Where no component of the gradient is left and no set holds too much, or as near as possible."""
    now = dual.begin()
    found: list[tuple[Tensor, _Point]] = []
    here = torch.arange(len(now.x))
    damping = now.x.new_full((len(now.x),), 0.5)
    least, since = now.error(), torch.zeros_like(here)
    for step in range(_STEPS + 1 if len(here) else 0):
        error = now.error()
        near = (error <= _NEARLY).nonzero().squeeze(-1)
        if len(near):
            now, fresh = dual.cut(now, near)
            error, damping = now.error(), torch.where(fresh, 0.5, damping)
        else:
            fresh = torch.zeros_like(here, dtype=torch.bool)
        least, since = torch.where(fresh, torch.inf, least), torch.where(fresh, 0, since)
        halved = error < least / 2
        least, since = torch.where(halved, error, least), torch.where(halved, 0, since + 1)
        over = ~fresh & torch.where(error <= _ENOUGH, ~halved, (since > _PATIENCE) | (damping > _STIFF) | error.isnan())
        stop = torch.ones_like(over) if step == _STEPS or over.all() else over & (not dual.is_whole)
        if stop.any():
            found.append((here[stop], now.rows(stop)))
            if stop.all():
                break
            here, damping, least, since = (part[~stop] for part in (here, damping, least, since))
            now, dual = now.rows(~stop), dual.rows(~stop)
        by_node, by_set = dual.step(now, damping)
        # As far as the first ν that becomes zero.
        far = torch.where(by_set > 0, -now.by_set / by_set, torch.inf)
        reach = far.amin(-1, keepdim=True).clamp(max=1.0) if far.shape[-1] else torch.ones_like(by_node[:, :1])
        moved = torch.where(far <= reach, 0.0, (now.by_set + reach * by_set).clamp(max=0.0))
        ahead = dual.at(now.by_node + reach * by_node, moved, now.sets, now.ranks)
        along = (by_node * now.lack).sum(-1) + (by_set * now.excess).sum(-1)
        rise = -((by_node * ahead.lack).sum(-1) + (by_set * ahead.excess).sum(-1)) / along
        takes = (rise <= 0.5) | ((reach < 1).squeeze(-1) & (rise <= 1.0)) | (ahead.error() <= _ENOUGH)
        damping = damping * torch.where(takes, torch.where(rise.abs() < 0.3, 0.1, 0.5), 4.0)
        now = ahead.or_else(now, takes)
    return _joined(found) if found else now


def _joined(found: list[tuple[Tensor, _Point]]) -> _Point:
    """All rows in their order, with as many slots as the most of them have."""
    slots = max(point.sets.shape[1] for _, point in found)
    here = torch.cat([rows_of for rows_of, _ in found]).argsort()
    padded = []
    for _, point in found:
        more = slots - point.sets.shape[1]
        by_set, excess, ranks = (pad(part, (0, more)) for part in (point.by_set, point.excess, point.ranks))
        sets = pad(point.sets, (0, 0, 0, more))
        padded.append(point._replace(by_set=by_set, excess=excess, ranks=ranks, sets=sets))
    return _Point._make(torch.cat(parts)[here] for parts in zip(*padded, strict=True))


def _full(now: _Point) -> Tensor:
    """The indicators of sets that are full, in columns."""
    return (now.sets * (now.by_set < 0).unsqueeze(-1)).mT
