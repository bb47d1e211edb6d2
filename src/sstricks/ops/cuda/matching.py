"""Separable regularizers on the matching polytope, on a GPU; the mathematics stands in `sstricks.ops.matching`.

One program solves one table. What belongs to columns is in registers, what belongs to rows and to pairs in memory, of
which some rows are worked on at a time.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sstricks.ops import costs
from sstricks.ops.cuda.assignment import duals, oriented, scan, vertex, without_dustbins
from sstricks.ops.cuda.blocks import launch, power_of_two
from sstricks.ops.cuda.floats import INF, quotient
from sstricks.ops.cuda.graphs import FEW, MEMORY

EUCLIDEAN = tl.constexpr(costs.EUCLIDEAN)
CATEGORICAL = tl.constexpr(costs.CATEGORICAL)
NEGLIGIBLE = tl.constexpr(1e-18)
_EPSILON = tl.constexpr(2.220446049250313e-16)
_FARTHEST = tl.constexpr(2000.0)  # a gap wider than that cannot be seen across
_ROW_STEPS = tl.constexpr(100)
_BALANCES = tl.constexpr(3)
_SWEEPS = tl.constexpr(8)
_PINS = tl.constexpr(8)
_HALVINGS = tl.constexpr(40)


@triton.jit
def _solve(
    d, rows, columns, damping, rho, gamma, p_at, loss_at, right_at, share, w, n, m,
    R: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """Solve (L + damping) (p, q) = (ρ, γ) on the rows and columns that are marked; p to memory, q returned.

    `rows` and ρ are in memory, `columns` and γ in registers. Where rows or columns are not marked, p and q are zero.
    """
    j = tl.arange(0, M)
    k = tl.arange(0, N)
    all_of = tl.zeros([R, M], tl.float64)
    of_ground = tl.zeros([R, M], tl.float64)
    for begin in range(0, n, R):
        i = begin + tl.arange(0, R)
        weight = tl.load(d + i[:, None] * m + j[None, :], mask=(i[:, None] < n) & (j[None, :] < m), other=0.0)
        marked = tl.load(rows + i, mask=i < n, other=0) > 0
        all_of += weight
        of_ground += tl.where(marked[:, None], 0.0, weight)
    total = damping + tl.sum(all_of, axis=0)
    ground = damping + tl.sum(of_ground, axis=0)
    inverse = tl.where(columns > 0, quotient(1.0, total), 0.0)
    for begin in range(0, n, R):
        i = begin + tl.arange(0, R)
        inside = (i[:, None] < n) & (j[None, :] < m)
        weight = tl.load(d + i[:, None] * m + j[None, :], mask=inside, other=0.0)
        part = weight * inverse[None, :]
        held = tl.where(columns[None, :] > 0, 0.0, weight)
        tl.store(share + i[:, None] * m + j[None, :], part, mask=inside)
        tl.store(loss_at + i, damping + tl.sum(held + part * ground[None, :], axis=1), mask=i < n)
        gained = tl.load(rho + i, mask=i < n, other=0.0) + tl.sum(part * gamma[None, :], axis=1)
        tl.store(right_at + i, gained, mask=i < n)
    tl.debug_barrier()
    for first in range(0, n):
        passed = tl.load(share + first * m + j, mask=j < m, other=0.0)
        marked = tl.load(rows + first)
        for begin in range((first + 1) // R * R, n, R):
            i = begin + tl.arange(0, R)
            inside = (i[:, None] < n) & (j[None, :] < m)
            weight = tl.load(d + i[:, None] * m + j[None, :], mask=inside, other=0.0)
            link = tl.sum(weight * passed[None, :], axis=1)
            both = (tl.load(rows + i, mask=i < n, other=0) * marked) > 0
            tl.store(w + first * n + i, tl.where(both & (i > first), link, 0.0), mask=i < n)
    loss = tl.load(loss_at + k, mask=k < n, other=0.0)
    right = tl.load(right_at + k, mask=k < n, other=0.0)
    usable = tl.load(rows + k, mask=k < n, other=0)
    totals = tl.zeros([N], tl.float64)
    for first in range(0, n):
        tl.debug_barrier()
        links = tl.load(w + first * n + k, mask=(k > first) & (k < n), other=0.0)
        own = tl.sum(tl.where(k == first, loss, 0.0), axis=0)
        sum_ = own + tl.sum(links, axis=0)
        sum_ = tl.where(tl.load(rows + first) > 0, sum_, 0.0)
        totals = tl.where(k == first, sum_, totals)
        factor = quotient(links, sum_)
        loss += factor * own
        right += factor * tl.sum(tl.where(k == first, right, 0.0), axis=0)
        for begin in range((first + 1) // R * R, n, R):
            i = begin + tl.arange(0, R)
            inside = (i[:, None] < n) & (k[None, :] > i[:, None]) & (k[None, :] < n) & (i[:, None] > first)
            link = tl.load(w + first * n + i, mask=(i > first) & (i < n), other=0.0)
            at = w + i[:, None] * n + k[None, :]
            tl.store(
                at, tl.load(at, mask=inside, other=0.0) + quotient(link, sum_)[:, None] * links[None, :], mask=inside
            )
    p = tl.zeros([N], tl.float64)
    for step in range(0, n):
        i = n - 1 - step
        value = tl.sum(
            tl.load(w + i * n + k, mask=(k > i) & (k < n), other=0.0) * p + tl.where(k == i, right, 0.0), axis=0
        )
        p = tl.where((k == i) & (usable > 0), quotient(value, totals), p)
    tl.debug_barrier()
    tl.store(p_at + k, p, mask=k < n)
    tl.debug_barrier()
    gained = tl.zeros([R, M], tl.float64)
    for begin in range(0, n, R):
        i = begin + tl.arange(0, R)
        weight = tl.load(d + i[:, None] * m + j[None, :], mask=(i[:, None] < n) & (j[None, :] < m), other=0.0)
        gained += weight * tl.load(p_at + i, mask=i < n, other=0.0)[:, None]
    return inverse * (gamma + tl.sum(gained, axis=0))


@triton.jit(do_not_specialize=["tables", "n", "m"])
def _fit(
    d, k, rows, columns, out, floats, integers, tables, n, m, R: tl.constexpr, N: tl.constexpr, M: tl.constexpr
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    weight_at = floats + program * (2 * n * m + n * n + 4 * n)
    share = weight_at + n * m
    w = share + n * m
    p_at = w + n * n
    loss_at = p_at + n
    right_at = loss_at + n
    rho = right_at + n
    marked = integers + program * n
    j = tl.arange(0, M)
    for table in range(program, tables, tl.num_programs(0)):
        begin = table * n * m
        sums = tl.zeros([R, M], tl.float64)
        odd = tl.zeros([R, M], tl.int32)
        for first in range(0, n, R):
            i = first + tl.arange(0, R)
            at = i[:, None] * m + j[None, :]
            inside = (i[:, None] < n) & (j[None, :] < m)
            weight = tl.load(d + begin + at, mask=inside, other=0.0)
            value = tl.load(k + begin + at, mask=inside, other=0.0)
            odd |= ((weight != weight) | (value != value)).to(tl.int32)
            tl.store(weight_at + at, tl.where(weight > NEGLIGIBLE, weight, 0.0), mask=inside)
            tl.store(rho + i, tl.sum(value, axis=1), mask=i < n)
            tl.store(marked + i, tl.load(rows + table * n + i, mask=i < n, other=0).to(tl.int32), mask=i < n)
            sums += value
        free = tl.load(columns + table * m + j, mask=j < m, other=0).to(tl.int32)
        tl.debug_barrier()
        gamma = -tl.sum(sums, axis=0)
        q = _solve(weight_at, marked, free, 0.0, rho, gamma, p_at, loss_at, right_at, share, w, n, m, R, N, M)
        wrong = tl.max(tl.max(odd, axis=0), axis=0) > 0
        for first in range(0, n, R):
            i = first + tl.arange(0, R)
            inside = (i[:, None] < n) & (j[None, :] < m)
            effect = tl.load(p_at + i, mask=i < n, other=0.0)[:, None] - q[None, :]
            tl.store(out + begin + i[:, None] * m + j[None, :], tl.where(wrong, float("nan"), effect), mask=inside)
        tl.debug_barrier()


@triton.jit
def _sigmoid(z):
    """σ(z) and its slope."""
    e = tl.exp(-tl.abs(z))
    return tl.where(z > 0.0, 1.0, e) / (1.0 + e), e / ((1.0 + e) * (1.0 + e))


@triton.jit
def _row_euclidean(z, top, room, R: tl.constexpr, M: tl.constexpr):
    """max(z − top − τ, 0) with sums of one, or of less where τ = −room − top; where the sum is one."""
    z = z - top[:, None]
    least = -room - top
    tau = tl.maximum(least, -1.0)
    before = tl.full([R], -1, tl.int32)
    stopped = tl.zeros([R], tl.int32)
    step = 0
    while (tl.min(stopped, axis=0) == 0) & (step < _ROW_STEPS):  # Newton's method from the left never steps back
        above = tl.maximum(z - tau[:, None], 0.0)
        total = tl.sum(above, axis=1)
        count = tl.sum((above > 0.0).to(tl.int32), axis=1)
        stopped = tl.where((total <= 1.0) | (count == before), 1, stopped)
        before = tl.where(stopped > 0, before, count)
        tau = tl.where(stopped > 0, tau, tau + (total - 1.0) / tl.maximum(count, 1).to(tl.float64))
        step += 1
    x = tl.maximum(z - tau[:, None], 0.0)
    full = tau != least
    # The last digits, which the row may have lost to a large τ.
    return tl.where(full[:, None], quotient(x, tl.sum(x, axis=1)[:, None] + tl.zeros_like(x)), x), full


@triton.jit
def _row_binary(z, top, room, m, PARTIAL: tl.constexpr, R: tl.constexpr, M: tl.constexpr):
    """σ(z + ν) with sums of one, or of less where ν = room; where the sum is one."""
    j = tl.arange(0, M)
    at = tl.min(tl.where(z == top[:, None], j[None, :], M), axis=1)
    second = tl.max(tl.where(j[None, :] == at[:, None], -INF, z), axis=1)
    alone = tl.sum((z > -INF).to(tl.int32), axis=1) == 1
    z = z - top[:, None]
    width = tl.log(2.0 * m.to(tl.float64))
    nu = 0.5 * tl.minimum(top - second, _FARTHEST)
    low, high = nu - width, nu + width
    full = top > -INF
    if PARTIAL:
        x, slope = _sigmoid(z + (room + top)[:, None])
        full = tl.sum(x, axis=1) > 1.0
        high = tl.minimum(high, room + top)
        low = tl.minimum(low, high - width)
        nu = tl.minimum(nu, high)
    stopped = (~full).to(tl.int32)
    step = 0
    while (tl.min(stopped, axis=0) == 0) & (step < _ROW_STEPS):
        x, slope = _sigmoid(z + nu[:, None])
        total = tl.sum(x, axis=1)
        stopped = tl.where(tl.abs(total - 1.0) <= _EPSILON * (4.0 + 0.5 * m), 1, stopped)
        high = tl.where(total > 1.0, nu, high)
        low = tl.where(total > 1.0, low, nu)
        newton = nu - (total - 1.0) / tl.sum(slope, axis=1)
        newton = tl.where((newton > low) & (newton < high), newton, 0.5 * (low + high))
        nu = tl.where(stopped > 0, nu, newton)
        step += 1
    x, slope = _sigmoid(z + tl.where(full, nu, room + top)[:, None])
    if not PARTIAL:
        x = tl.where(alone[:, None], tl.where(z > -INF, 1.0, 0.0), x)
    return x, full


@triton.jit
def _state(
    c, delta, room, alpha_at, present, x_at, along, across, full_at, n, m,
    RESPONSE: tl.constexpr, PARTIAL: tl.constexpr, DUSTBINS: tl.constexpr, R: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """Write each row of x for the column multipliers δ, with the best row multiplier, and which rows have one.

    Returns what each column lacks, which have a multiplier that may move, and the worst lack or excess of these.
    """
    j = tl.arange(0, M)
    tl.debug_barrier()
    sums = tl.zeros([R, M], tl.float64)
    for begin in range(0, n, R):
        i = begin + tl.arange(0, R)
        inside = (i[:, None] < n) & (j[None, :] < m)
        z = tl.load(c + i[:, None] * m + j[None, :], mask=inside, other=-INF) + delta[None, :]
        top = tl.max(z, axis=1)
        here = top > -INF
        z = tl.where(here[:, None], z, tl.where(j[None, :] == 0, 0.0, -INF))
        top = tl.where(here, top, 0.0)
        cap = tl.full([R], INF, tl.float64)
        if PARTIAL:
            cap = tl.load(alpha_at + i, mask=i < n, other=0.0)
        if RESPONSE == EUCLIDEAN:
            x, full = _row_euclidean(z, top, cap, R, M)
            alone = tl.maximum(z, 0.0)
        elif RESPONSE == CATEGORICAL:
            x = tl.exp(z - top[:, None])
            scale = 1.0 / tl.sum(x, axis=1)
            most = tl.exp(tl.minimum(cap + top, 0.0))
            full = scale <= most
            x *= tl.minimum(scale, most)[:, None]
            alone = tl.exp(tl.minimum(z, 0.0))
        else:
            x, full = _row_binary(z, top, cap, m, PARTIAL, R, M)
            alone, _ = _sigmoid(z)
        if DUSTBINS:
            bins = i == n - 1
            x = tl.where(bins[:, None], alone, x)
            full = full & ~bins
        x = tl.where(here[:, None], x, 0.0)
        tl.store(x_at + i[:, None] * along + j[None, :] * across, x, mask=inside)
        tl.store(full_at + i, (full & here).to(tl.int32), mask=i < n)
        sums += tl.where(inside, x, 0.0)
    tl.debug_barrier()
    gamma = tl.where(present > 0, 1.0 - tl.sum(sums, axis=0), 0.0)
    free = tl.where((delta >= room) & (gamma >= 0.0), 0, present)
    return gamma, free, tl.max(tl.where(free > 0, tl.abs(gamma), 0.0), axis=0)


@triton.jit
def _slacks(u, along, across, alpha_at, beta, c, n, m, R: tl.constexpr, M: tl.constexpr):
    """c = u − α − β with the digits that each of the differences loses; which columns have a pair."""
    j = tl.arange(0, M)
    some = tl.zeros([R, M], tl.int32)
    for begin in range(0, n, R):
        i = begin + tl.arange(0, R)
        inside = (i[:, None] < n) & (j[None, :] < m)
        value = tl.load(u + i[:, None] * along + j[None, :] * across, mask=inside, other=-INF)
        here = value > -INF
        value = tl.where(here, value, 0.0)
        alpha = tl.load(alpha_at + i, mask=i < n, other=0.0)[:, None]
        s = value - beta[None, :]
        part = s - value
        lost = (value - (s - part)) - (beta[None, :] + part)
        t = s - alpha
        part = t - s
        lost += (s - (t - part)) - (alpha + part)
        tl.store(c + i[:, None] * m + j[None, :], tl.where(here, t + lost, -INF), mask=inside)
        some |= here.to(tl.int32)
    tl.debug_barrier()
    return tl.max(some, axis=0)


@triton.jit
def _balance(
    c, match_at, alpha_at, beta, room, n, m, PARTIAL: tl.constexpr, N: tl.constexpr, M: tl.constexpr
):  # fmt: skip
    """The δ that puts the best other offers of each matched pair, by row and by column, equally far away."""
    j = tl.arange(0, M)
    k = tl.arange(0, N)
    alphas = tl.load(alpha_at + k, mask=k < n, other=0.0)
    largest = tl.maximum(tl.max(tl.abs(alphas), axis=0), tl.max(tl.abs(beta), axis=0))
    far = tl.maximum(_FARTHEST, 1e-9 * largest)  # and beyond what rounding may have cost
    delta = tl.zeros([M], tl.float64)
    there = tl.zeros([N], tl.float64)  # of each row, the δ of its column
    for _ in range(0, _BALANCES):
        for i in range(0, n):
            mine = tl.load(match_at + i)
            if mine >= 0:
                offers = tl.load(c + i * m + j, mask=(j < m) & (j != mine), other=-INF) + delta
                out = tl.max(offers, axis=0)
                back = tl.max(tl.load(c + k * m + mine, mask=(k < n) & (k != i), other=-INF) - there, axis=0)
                bound = tl.sum(tl.where(j == mine, room, 0.0), axis=0)
                if PARTIAL:  # to be left unmatched is an offer, too
                    out = tl.maximum(out, -tl.sum(tl.where(k == i, alphas, 0.0), axis=0))
                back = tl.maximum(back, -bound)
                # On no cycle, so it cannot be chosen.
                lonely = (out > -INF) & (back == -INF)
                out = tl.where((back > -INF) & (out == -INF) & (bound == INF), back - 2.0 * far, out)
                back = tl.where(lonely, out - 2.0 * far, back)
                if (out > -INF) & (back > -INF):
                    target = tl.minimum(0.5 * (out - back), bound)
                    delta = tl.where(j == mine, target, delta)
                    there = tl.where(k == i, target, there)
    return delta


@triton.jit
def _step(
    d, full_at, free, present, gamma, room, damping, rho, p_at, loss_at, right_at, share, w, n, m,
    R: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """The Newton step in δ that goes up by `room` at most: columns that it would take further go just there."""
    j = tl.arange(0, M)
    k = tl.arange(0, N)
    moving = free
    pinned = tl.zeros([M], tl.float64)
    step = pinned
    tl.store(rho + k, 0.0, mask=k < n)
    turn = 0
    while turn < _PINS:
        tl.debug_barrier()
        q = _solve(d, full_at, moving, damping, rho, -gamma, p_at, loss_at, right_at, share, w, n, m, R, N, M)
        step = tl.where(moving > 0, -q, pinned)
        turn += 1
        if tl.min(room, axis=0) < INF:
            used = tl.zeros([R, M], tl.float64)
            for begin in range(0, n, R):
                i = begin + tl.arange(0, R)
                weight = tl.load(d + i[:, None] * m + j[None, :], mask=(i[:, None] < n) & (j[None, :] < m), other=0.0)
                used += weight * (tl.load(p_at + i, mask=i < n, other=0.0)[:, None] + pinned[None, :])
            held = (moving > 0) & (step > room)
            freed = (moving == 0) & (present > 0) & (gamma - tl.sum(used, axis=0) < 0.0)
            if tl.max((held | freed).to(tl.int32), axis=0) > 0:
                moving = tl.where(held, 0, tl.where(freed, 1, moving))
                pinned = tl.where(held, room, tl.where(freed, 0.0, pinned))
                for begin in range(0, n, R):
                    i = begin + tl.arange(0, R)
                    inside = (i[:, None] < n) & (j[None, :] < m)
                    weight = tl.load(d + i[:, None] * m + j[None, :], mask=inside, other=0.0)
                    tl.store(rho + i, -tl.sum(weight * pinned[None, :], axis=1), mask=i < n)
            else:
                turn = _PINS
        else:
            turn = _PINS
    return step


@triton.jit
def _slopes(
    x_at, along, across, d, full_at, worst, stuck, n, m,
    RESPONSE: tl.constexpr, PARTIAL: tl.constexpr, R: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """Write r' of every pair. At a kink, a row that is all but full may be bound as soon as it moves."""
    j = tl.arange(0, M)
    for begin in range(0, n, R):
        i = begin + tl.arange(0, R)
        inside = (i[:, None] < n) & (j[None, :] < m)
        x = tl.load(x_at + i[:, None] * along + j[None, :] * across, mask=inside, other=0.0)
        if RESPONSE == EUCLIDEAN:
            slope = (x > 0.0).to(tl.float64)
        elif RESPONSE == CATEGORICAL:
            slope = x
        else:
            slope = x * (1.0 - x)
        tl.store(d + i[:, None] * m + j[None, :], slope, mask=inside)
        if PARTIAL:
            bound = (tl.sum(x, axis=1) > 1.0 - 2.0 * worst) & (i < n)
            if stuck % 2 == 1:
                tl.store(full_at + i, 1, mask=bound)
    tl.debug_barrier()


@triton.jit(do_not_specialize=["tables", "n", "m", "steps"])
def _relax(
    u, out, residual, floats, integers, tables, n, m, tolerance, allowed, steps,
    RESPONSE: tl.constexpr, PARTIAL: tl.constexpr, DUSTBINS: tl.constexpr,
    R: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    c = floats + program * ((3 + DUSTBINS) * n * m + n * n + 5 * n + m)
    d = c + n * m
    share = d + n * m
    w = share + n * m
    alpha_at = w + n * n
    p_at = alpha_at + n
    loss_at = p_at + n
    right_at = loss_at + n
    rho = right_at + n
    beta_at = rho + n
    without = beta_at + m
    match_at = integers + program * (2 * n + m)
    full_at = match_at + n
    owner_at = full_at + n
    j = tl.arange(0, M)
    for table in range(program, tables, tl.num_programs(0)):
        begin = table * n * m
        x_at = out + begin
        more, feasible = scan(u + begin, n, m, M)
        along, across, more = oriented(more, n, m, PARTIAL or DUSTBINS)
        source = u + begin
        if DUSTBINS:
            feasible *= without_dustbins(source, without, n, m, M)
            source = without
            tl.store(alpha_at + n - 1, 0.0)
            tl.store(beta_at + m - 1, 0.0)
            tl.store(match_at + n - 1, -1)
            tl.debug_barrier()
        feasible = duals(
            source, along, across, n - DUSTBINS, m - DUSTBINS, feasible, alpha_at, beta_at, match_at, owner_at,
            PARTIAL or DUSTBINS, N, M,
        )  # fmt: skip
        worst = tl.load(beta_at) * 0.0 - 1.0
        if feasible > 0:
            beta = tl.load(beta_at + j, mask=j < m, other=0.0)
            present = _slacks(source, along, across, alpha_at, beta, c, n, m, R, M)
            room = tl.where((j < m) & (more > 0), beta, INF)
            if DUSTBINS:
                present = tl.where(j < m - 1, present, 0)
                least = tl.load(c + (n - 1) * m + j, mask=j < m, other=-INF)
                room = (1.0 if RESPONSE == EUCLIDEAN else 0.0 if RESPONSE == CATEGORICAL else INF) - least
            delta = _balance(c, match_at, alpha_at, beta, room, n, m, PARTIAL, N, M)
            gamma, free, worst = _state(
                c, delta, room, alpha_at, present, x_at, along, across, full_at, n, m, RESPONSE, PARTIAL, DUSTBINS, R, M
            )
            if RESPONSE == CATEGORICAL:
                sweep = 0
                while (sweep < _SWEEPS) & (worst >= 0.1):
                    moved = delta - tl.log(tl.where(gamma < 1.0, 1.0 - gamma, 1.0))
                    delta = tl.where(free > 0, tl.minimum(moved, room), delta)
                    gamma, free, worst = _state(
                        c, delta, room, alpha_at, present, x_at, along, across, full_at, n, m,
                        RESPONSE, PARTIAL, DUSTBINS, R, M,
                    )  # fmt: skip
                    sweep += 1
            stuck = 0
            step = 0
            while (step < steps) & (worst > tolerance) & ((stuck < 3) | (worst >= 20.0 * tolerance)):
                _slopes(x_at, along, across, d, full_at, worst, stuck, n, m, RESPONSE, PARTIAL, R, M)
                direction = _step(
                    d, full_at, free, present, gamma, room - delta, 1e-3 * worst,
                    rho, p_at, loss_at, right_at, share, w, n, m, R, N, M,
                )  # fmt: skip
                lack = gamma
                length = worst * 0.0 + 1.0
                now = worst
                trial = delta
                turn = 0
                while turn < _HALVINGS:
                    trial = tl.minimum(delta + length * direction, room)
                    slope = tl.sum(lack * (trial - delta), axis=0)
                    gamma, free, now = _state(
                        c, trial, room, alpha_at, present, x_at, along, across, full_at, n, m,
                        RESPONSE, PARTIAL, DUSTBINS, R, M,
                    )  # fmt: skip
                    after = tl.sum(gamma * (trial - delta), axis=0)
                    turn += 1
                    if (now <= 0.5 * worst) | (after >= -0.5 * slope):
                        turn = _HALVINGS
                    else:
                        length *= tl.minimum(tl.maximum(slope / (slope - after), 0.1), 0.7)
                stuck = tl.where(now > 0.5 * worst, stuck + 1, 0)
                worst = now
                delta = trial
                step += 1
        tl.store(residual + table, worst)
        for first in range(0, n, R):
            i = first + tl.arange(0, R)
            inside = (i[:, None] < n) & (j[None, :] < m)
            at = x_at + i[:, None] * along + j[None, :] * across
            x = tl.load(at, mask=inside, other=0.0)
            if RESPONSE == EUCLIDEAN:  # within the tolerance of the kink is on it, or its slope would be the wrong one
                x = tl.where(x < 1e-13, 0.0, x)
            best = vertex(u + begin, match_at, owner_at, i, n, m, DUSTBINS, M)
            x = tl.where(worst > allowed, best, x)  # a point of the hull all the same
            tl.store(at, tl.where(feasible > 0, x, float("nan")), mask=inside)
        tl.debug_barrier()


def _sizes(n: int, m: int) -> tuple[tuple[int, int, int], int]:
    """R, N and M, and how many warps a program has."""
    columns, rows = max(16, power_of_two(m)), max(16, power_of_two(n + 1))
    tile = max(1, min(rows, 1024 // columns))
    return (tile, rows, columns), max(1, min(8, tile * columns // 128))


def fit(d: Tensor, k: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    tables, n, m = d.shape
    out = torch.empty_like(d)
    memory = 2 * n * m + n * n + 4 * n
    programs = min(tables, max(FEW, MEMORY // (8 * memory)))
    if tables:
        floats, integers = d.new_empty(programs * memory), d.new_empty(programs * n, dtype=torch.int32)
        launch(_fit, programs, (d, k, rows, columns, out, floats, integers, tables, n, m), *_sizes(n, m))
    return out


def matching_softmax(
    u: Tensor, response: int, partial: bool, dustbins: bool, tolerance: float, allowed: float, steps: int
) -> tuple[Tensor, Tensor]:
    """Launch; for arguments see the operator of this name. Returns also what the worst column misses, −1: no matching.

    Args:
        u: As there.
        response: As there.
        partial: As there.
        dustbins: As there.
        tolerance: How little it may be for the iteration to end.
        allowed: How much it may be for x to be returned, and not a vertex.
        steps: How many steps there are at most.
    """
    tables, n, m = u.shape
    out, residual = torch.empty_like(u), u.new_empty(tables)
    memory = (3 + dustbins) * n * m + n * n + 5 * n + m
    programs = min(tables, max(FEW, MEMORY // (8 * memory)))
    if tables:
        floats = u.new_empty(programs * memory)
        integers = u.new_empty(programs * (2 * n + m), dtype=torch.int32)
        sizes, warps = _sizes(n, m)
        args = u, out, residual, floats, integers, tables, n, m, tolerance, allowed, steps
        launch(_relax, programs, args, (response, partial, int(dustbins), *sizes), warps)
    return out, residual
