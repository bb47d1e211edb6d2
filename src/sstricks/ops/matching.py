r"""Separable regularizers on the matching polytope: one multiplier for each row and column, by Newton's method (B.6).

The optimum of :math:`u^\top x - \sum_{ij} h(x_{ij})` over nonnegative n × m tables (n ≤ m) whose rows sum to one and
whose columns sum to one (at most, if n < m; rows, too, if the matching is partial) is :math:`x_{ij} = r(u_{ij} + a_i +
b_j)` with multipliers a, b, which are ≤ 0 where a sum may stay below one:

==========================  ===================  =================
h                           r(z)                 d = r'(z), from x
==========================  ===================  =================
x²/2                        max(z, 0)            1 where x > 0
x log x − x                 exp(z)               x
x log x + (1−x) log(1−x)    σ(z)                 x (1 − x)
==========================  ===================  =================

**Start.** At low temperatures this is the assignment problem, so its multipliers −α, −β are where to begin: c = u − α −
β ≤ 0 is zero on the matching, whatever the range of u, and is computed with the digits that the differences lose. Each
matched pair is then moved until its next best offers by row and by column are equally far away.

**Iteration.** The rows are always solved exactly, each by its own a_i, which leaves a smooth convex function of b with
the gradient −γ, where γ is what the columns lack. Its Newton step is the bipartite Laplacian system of the two-way fit,
:math:`L (\delta a, -\delta b) = (0, -\gamma)`, slightly damped, and shortened while it leads too far. Bounded
multipliers follow the primal-dual active set method: where the step would pass the bound, the column is put there and
the others are solved again. An entropy begins with some sweeps of Sinkhorn's algorithm.

**Dustbins.** The last row and the last column take what stays unmatched. Their pairs have utilities v_i and w_j like
all others, but they have no multiplier and no sum to keep: :math:`\sum_j x_{ij} + r(v_i + a_i) = 1` and
:math:`\sum_i x_{ij} + r(w_j + b_j) = 1`. Where a partial matching has the lack max(0, ·), which is flat at a full row,
this has r. A constant added to a row or column changes nothing, so all v and w are 0 of utilities u_ij − v_i − w_j, and
the partial matching with these is where to begin. As no dustbin holds more than one, b_j ≤ r⁻¹(1).

**Backward.** dx = D(du + A(da, db)) with zero sums wherever the sum is bound to one gives J = D − D A (AᵀDA)⁺ Aᵀ D,
with the two-way fit A(AᵀDA)⁺Aᵀ. J is symmetric. Written with the differentiable d(x), it can be differentiated again.

**Two-way fit.** This is what a row and a column effect can explain of a table (the analysis of variance). With A the
matrix that adds a row vector p and a column vector −q to a table, :math:`(A(p, q))_{ij} = p_i - q_j`, and D = diag(d)
for weights d ≥ 0, this is :math:`A (A^\top D A)^+ A^\top k`. AᵀDA is the Laplacian of the bipartite graph whose edge ij
has the conductance d_ij; rows and columns that have no effect are the ground. It is solved by eliminating nodes, first
the columns, :math:`w_{ik} = \sum_j d_{ij} d_{kj} / \sum_i d_{ij}`, then the rows (star–mesh), which subtracts nothing,
so that weak links keep their digits; a component without ground has one free constant, taken as zero at its last node.
Links weaker than 10⁻¹⁸ are none.

Its backward: F(k) = A L⁺ Aᵀ k is symmetric in k. Since dL⁺ = −L⁺ (dL) L⁺, the derivative in d of hᵀF(k) is −F(h)∘F(k).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from sstricks.errors import ConvergenceWarning, warn
from sstricks.ops.assignment import check_feasible, duals, numbers_present, oriented, with_dustbins, without_dustbins
from sstricks.ops.costs import EUCLIDEAN
from sstricks.ops.operator import is_checked, operator
from sstricks.ops.separable import capped_simplex, k_subset_sigmoid
from sstricks.ops.threads import over_rows

ALLOWED = 1e-10  # what the sum of a column may miss without a warning
_STEPS = 300
_HALVINGS = 40
_PINS = 8
_BALANCES = 3
_FARTHEST = 2000.0
_FULL = 2 * ALLOWED  # what the sum of a row or column may miss to be taken for one


NEGLIGIBLE = 1e-18


def _tolerance(m: int) -> float:
    """How far the iteration goes: what the sum of a column costs in digits."""
    return 1e-14 * m


def _softmax(z: Tensor) -> Tensor:
    return z.softmax(-1)


def _simplex(z: Tensor) -> Tensor:
    return capped_simplex.twin(z, 1)


def _sigmoid(z: Tensor) -> Tensor:
    return k_subset_sigmoid.twin(z, 1)


# For each regularizer: its response r, a row that sums to one, and the slope r' from x.
_RESPONSES: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda z: z.clamp(0, 1),
    lambda z: z.clamp(max=0).exp(),
    torch.sigmoid,
)
_MOST = 1.0, 0.0, torch.inf  # where r is 1
_ROWS: tuple[Callable[[Tensor], Tensor], ...] = (_simplex, _softmax, _sigmoid)
_SLOPES: tuple[Callable[[Tensor], Tensor], ...] = (lambda x: (x > 0).to(x.dtype), lambda x: x, lambda x: x * (1 - x))


def _respond(response: int, partial: bool, dustbins: bool, z: Tensor, cap: Tensor) -> tuple[Tensor, Tensor]:
    """Each row of x with the best row multiplier, and which rows have one."""
    here = (z > -torch.inf).any(-1)
    z = torch.where(here.unsqueeze(-1), z, 0.0)
    x = _ROWS[response](z)
    full = here
    if partial:
        alone = _RESPONSES[response](z + cap.unsqueeze(-1))
        full = here & (alone.sum(-1) > 1)
        x = torch.where(full.unsqueeze(-1), x, alone)
    if dustbins:
        x = torch.cat([x[:, :-1], _RESPONSES[response](z[:, -1:])], -2)
        full = full & (torch.arange(full.shape[-1], device=z.device) < full.shape[-1] - 1)
    return torch.where(here.unsqueeze(-1), x, 0.0), full


def _slacks(u: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """The difference u − α − β, with the digits that each of the two differences loses."""
    here = u > -torch.inf
    u, alpha, beta = torch.where(here, u, 0.0), alpha.unsqueeze(-1), beta.unsqueeze(-2)
    s = u - beta
    part = s - u
    lost = (u - (s - part)) - (beta + part)
    t = s - alpha
    part = t - s
    return torch.where(here, t + (lost + ((s - (t - part)) - (alpha + part))), -torch.inf)


def _balance(c: Tensor, match: Tensor, alpha: Tensor, beta: Tensor, room: Tensor, partial: bool) -> Tensor:
    """The δ that puts the best other offers of each matched pair, by row and by column, equally far away."""
    batch, n, _ = c.shape
    every = torch.arange(batch, device=c.device)
    delta = torch.zeros_like(beta)
    nothing = torch.full_like(alpha[:, 0], -torch.inf)
    # Out of sight, and beyond what rounding may have cost.
    far = (1e-9 * torch.maximum(alpha.abs().amax(-1), beta.abs().amax(-1))).clamp(min=_FARTHEST)
    for i in [*range(n)] * _BALANCES:
        matched, mine = match[:, i] >= 0, match[:, i].clamp(min=0)
        offers = (c[:, i] + delta).index_put((every, mine), nothing)
        there = torch.where(match >= 0, delta.gather(-1, match.clamp(min=0)), 0.0)
        backs = (c[every, :, mine] - there).index_put((every, torch.full_like(every, i)), nothing)
        out = torch.maximum(offers.amax(-1), -alpha[:, i] if partial else nothing)
        most = room[every, mine]
        back = torch.maximum(backs.amax(-1), -most)  # for a column that may stay unmatched this is an offer, too
        # On no cycle, so it cannot be chosen.
        out, back = (
            torch.where((out == -torch.inf) & (back > -torch.inf) & (most == torch.inf), back - 2 * far, out),
            torch.where((back == -torch.inf) & (out > -torch.inf), out - 2 * far, back),
        )
        moved = matched & (out > -torch.inf) & (back > -torch.inf)
        target = torch.minimum(0.5 * (out - back), most)
        delta[every, mine] = torch.where(moved, target, delta[every, mine])
    return delta


def _step(
    d: Tensor, rows: Tensor, free: Tensor, present: Tensor, gamma: Tensor, room: Tensor, damping: Tensor
) -> Tensor:
    """The Newton step in δ that goes up by `room` at most."""
    moving, pinned = free, torch.zeros_like(gamma)
    step = pinned
    for _ in range(_PINS):
        p, q = solve(d, rows, moving, damping, -(d @ pinned.unsqueeze(-1)).squeeze(-1), -gamma)
        step = torch.where(moving, -q, pinned)
        left = gamma - (d * (p.unsqueeze(-1) + pinned.unsqueeze(-2))).sum(-2)
        held = moving & (step > room)
        freed = ~moving & present & (left < 0)
        if not (held | freed).any():
            break
        moving = (moving & ~held) | freed
        pinned = torch.where(moving, 0.0, torch.where(held, room, pinned))
    return step


def solve(
    d: Tensor, rows: Tensor, columns: Tensor, damping: Tensor, rho: Tensor, gamma: Tensor
) -> tuple[Tensor, Tensor]:
    """Solve (L + damping) (p, q) = (ρ, γ) on the rows and columns that are marked; zero on the others.

    Args:
        d: Conductances, shape (batch, n, m).
        rows: The rows that have an effect, shape (batch, n).
        columns: The columns that have one, shape (batch, m).
        damping: What joins each node to the ground, shape (batch, 1).
        rho: The right side of rows, shape (batch, n).
        gamma: The right side of columns, shape (batch, m).

    Returns:
        p of shape (batch, n) and q of shape (batch, m).
    """
    n = d.shape[-2]
    total = d.sum(-2) + damping
    inverse = torch.where(columns & (total > 0), 1 / total, 0.0)
    ground = d.masked_fill(rows.unsqueeze(-1), 0.0).sum(-2) + damping
    d_rows = d.masked_fill(~rows.unsqueeze(-1), 0.0)
    share = d_rows * inverse.unsqueeze(-2)
    w = share @ d_rows.mT
    loss = damping + d_rows.masked_fill(columns.unsqueeze(-2), 0.0).sum(-1) + (share @ ground.unsqueeze(-1)).squeeze(-1)
    right = rho + (share @ gamma.unsqueeze(-1)).squeeze(-1)
    later = torch.ones(n, n, dtype=torch.bool, device=d.device).triu(1)
    w = w.masked_fill(~later, 0.0)
    totals = []
    for i in range(n):
        sum_ = loss[:, i] + w[:, i].sum(-1)
        totals.append(torch.where(rows[:, i] & (sum_ > 0), sum_, torch.inf))
        factor = w[:, i] / totals[i].unsqueeze(-1)
        loss = loss + factor * loss[:, i : i + 1]
        right = right + factor * right[:, i : i + 1]
        w = w + (factor.unsqueeze(-1) * w[:, i].unsqueeze(-2)).masked_fill(~later, 0.0)
    p = torch.zeros_like(right)
    for i in reversed(range(n)):
        p[:, i] = (right[:, i] + (w[:, i] * p).sum(-1)) / totals[i]
    return p, inverse * (gamma + (d_rows * p.unsqueeze(-1)).sum(-2))


@operator("sstricks::two_way_fit", core=(2, 2, 1, 1), output_core=2)
def fit(d: Tensor, k: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The table A(AᵀDA)⁺Aᵀk, shape (*batch, n, m).

    Args:
        d: Weights ≥ 0, shape (*batch, n, m).
        k: A table, shape (*batch, n, m).
        rows: Which rows have an effect, shape (*batch, n).
        columns: Which columns have one, shape (*batch, m).
    """
    d = torch.where(d > NEGLIGIBLE, d, 0.0)
    p, q = solve(d, rows, columns, d.new_zeros(len(d), 1), k.sum(-1), -k.sum(-2))
    return p.unsqueeze(-1) - q.unsqueeze(-2)


@fit.cpu
def _(d: Tensor, k: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    from sstricks.ops.kernels.matching import fits as kernel

    out = torch.empty_like(d)
    work = 0.3 * d.shape[1] ** 2 * d.shape[2]
    over_rows(kernel, len(d), work, *(x.numpy() for x in (d, k, rows, columns)), out.numpy())
    return out


@fit.cuda
def _(d: Tensor, k: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    from sstricks.ops.cuda.matching import fit as launch

    return launch(d, k, rows, columns)


@fit.backward
def _(
    needs: tuple[bool, ...], grad: Tensor, out: Tensor, d: Tensor, k: Tensor, rows: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor, None, None]:
    back = fit(d, grad, rows, columns)
    return -back * out, back, None, None


@operator("sstricks::matching_softmax", core=(2,), output_core=2)
def matching_softmax(u: Tensor, response: int, partial: bool, dustbins: bool) -> Tensor:
    """The maximiser of uᵀx − Σ h(x) on the matching polytope (App. B.6), shape (*batch, n, m), n ≤ m.

    Args:
        u: Scaled utilities, shape (*batch, n, m), absent and present as in `assignment`.
        response: Which h, as numbered in `costs`.
        partial: Whether rows may sum to less than one.
        dustbins: Whether the last row and the last column are dustbins, which have all others' last resort.

    Raises:
        ValueError: Some table has no matching.
    """
    return oriented(_matching_softmax, u, partial or dustbins, response, dustbins)


def _matching_softmax(u: Tensor, partial: bool, response: int, dustbins: bool) -> Tensor:
    m = u.shape[-1]
    if dustbins:
        partial, (u, fine) = False, without_dustbins(u)
        alpha, beta, match, feasible = duals(u[:, :-1, :-1], True)
        alpha, beta, match = pad(alpha, (0, 1)), pad(beta, (0, 1)), pad(match, (0, 1), value=-1)
        feasible = feasible & fine
    else:
        alpha, beta, match, feasible = duals(u, partial)
    check_feasible(feasible, dustbins)
    c = _slacks(u, alpha, beta)
    present = (c > -torch.inf).any(-2)
    if dustbins:
        present = present & (torch.arange(m, device=u.device) < m - 1)
        room = _MOST[response] - c[:, -1]
    else:
        rows, columns = numbers_present(u)
        room = torch.where((rows < columns).unsqueeze(-1) | partial, beta, torch.inf)
    delta = _balance(c, match, alpha, beta, room, partial)

    def state(delta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        x, full = _respond(response, partial, dustbins, c + delta.unsqueeze(-2), alpha)
        gamma = torch.where(present, 1 - x.sum(-2), 0.0)
        free = present & ~((delta >= room) & (gamma >= 0))
        return x, full, gamma, free, torch.where(free, gamma.abs(), 0.0).amax(-1, keepdim=True)

    x, full, gamma, free, worst = state(delta)
    stuck = torch.zeros_like(worst)
    for _ in range(_STEPS):
        going = (worst > _tolerance(m)) & ~((stuck >= 3) & (worst < 20 * _tolerance(m)))
        if not going.any():
            break
        d = _SLOPES[response](x)
        # At a kink: a row that is all but full may be bound as soon as it moves.
        bound = full | ((stuck % 2 == 1) & (x.sum(-1) > 1 - 2 * worst)) if partial else full
        step = _step(d, bound, free, present, gamma, room - delta, 1e-3 * worst)
        length, trial = going.to(u.dtype), (x, full, gamma, free, worst)
        for _ in range(_HALVINGS):
            moved = torch.minimum(delta + length * step, room) - delta
            trial = state(delta + moved)
            slope = (gamma * moved).sum(-1, keepdim=True)
            after = (trial[2] * moved).sum(-1, keepdim=True)
            far = going & (trial[4] > 0.5 * worst) & (after < -0.5 * slope)
            if not far.any():
                break
            length = torch.where(far, length * (slope / (slope - after)).clamp(0.1, 0.7), length)
        stuck = torch.where(trial[4] > 0.5 * worst, stuck + 1, 0)
        delta = torch.where(going, torch.minimum(delta + length * step, room), delta)
        x, full, gamma, free, worst = state(delta)
    _warn(worst.squeeze(-1))
    if response == EUCLIDEAN:
        x = torch.where(x < 1e-13, 0.0, x)
    vertex = (match.unsqueeze(-1) == torch.arange(m, device=u.device)).to(x.dtype)
    if dustbins:
        vertex = with_dustbins(vertex[:, :-1, :-1], u)
    return torch.where(worst.unsqueeze(-1) > ALLOWED, vertex, x)


def _warn(residual: Tensor) -> None:
    short = residual > ALLOWED
    if short.any():
        gap, problems = float(residual.max()), int(short.sum())
        warn(ConvergenceWarning("matching", problems=problems, gap=gap, tolerance=ALLOWED, steps=_STEPS))


def _launch(u: Tensor, partial: bool, response: int, dustbins: bool) -> Tensor:
    from sstricks.ops.kernels.matching import relax as kernel

    out = torch.empty_like(u, memory_format=torch.contiguous_format)
    residual = torch.empty(len(u), dtype=torch.float64)
    n, m = u.shape[1:]
    work = 4.0 * n * n * m + 20.0 * n * m
    numbers = response, partial and not dustbins, dustbins, _tolerance(m), ALLOWED, _STEPS
    over_rows(kernel, len(u), work, *numbers, u.numpy(), out.numpy(), residual.numpy())
    check_feasible(residual >= 0, dustbins)
    _warn(residual)
    return out


@matching_softmax.cpu
def _(u: Tensor, response: int, partial: bool, dustbins: bool) -> Tensor:
    return oriented(_launch, u, partial or dustbins, response, dustbins)


@matching_softmax.cuda
def _(u: Tensor, response: int, partial: bool, dustbins: bool) -> Tensor:
    from sstricks.ops.cuda.matching import matching_softmax as launch

    x, residual = launch(u, response, partial, dustbins, _tolerance(u.shape[-1]), ALLOWED, _STEPS)
    if is_checked(u):
        check_feasible(residual >= 0, dustbins)
        _warn(residual)
    return x


@matching_softmax.symmetric
def _(
    needs: tuple[bool, ...], grad: Tensor, x: Tensor, u: Tensor, response: int, partial: bool, dustbins: bool
) -> tuple[Tensor]:
    d = _SLOPES[response](x)
    if dustbins:
        rows, columns = (torch.arange(size, device=x.device) < size - 1 for size in x.shape[-2:])
    else:
        rows, columns = x.sum(-1) > 1 - _FULL, x.sum(-2) > 1 - _FULL
    along = d * grad
    return (along - d * fit(d, along, rows, columns),)
