"""Separable regularizers on the matching polytope, on the CPU; the mathematics stands in `sstricks.ops.matching`."""

import math

import numpy as np

from sstricks.ops.costs import CATEGORICAL, EUCLIDEAN
from sstricks.ops.kernels.assignment import assign, has_more_columns
from sstricks.ops.kernels.compiled import compiled
from sstricks.ops.kernels.floats import exp_nonpositive
from sstricks.ops.kernels.separate import separate_sums


@separate_sums
def _dot(m, a, i, b, k):
    total = 0.0
    for j in range(np.uint64(m)):
        total += a[i, j] * b[k, j]
    return total


@separate_sums
def _add(m, factor, source, i, out):
    for j in range(np.uint64(m)):
        out[j] += factor * source[i, j]


@separate_sums
def _passed_on(m, d, i, held, inverse, ground, gamma, share):
    """What row i passes on to each column it meets, and what comes to it from the ground and from the right side."""
    lost, gained = 0.0, 0.0
    for j in range(np.uint64(m)):
        share[i, j] = d[i, j] * inverse[j]
        lost += d[i, j] * held[j] + share[i, j] * ground[j]
        gained += share[i, j] * gamma[j]
    return lost, gained


@separate_sums
def _spread(first, n, factor, w, i, k):
    for row in range(np.uint64(first), np.uint64(n)):
        w[k, row] += factor * w[i, row]


@compiled
def solve(d, rows, columns, damping, rho, gamma, p, q, share, w, loss, right, inverse, ground, held):
    """Write p and q with (L + damping) (p, q) = (ρ, γ) on the rows and columns that are free, zero on the others."""
    n, m = d.shape
    inverse[:] = damping
    ground[:] = damping
    for i in range(n):
        _add(m, 1.0, d, i, inverse)
        if not rows[i]:
            _add(m, 1.0, d, i, ground)
    for j in range(m):
        held[j] = 0.0 if columns[j] else 1.0
        inverse[j] = 1.0 / inverse[j] if columns[j] and inverse[j] > 0.0 else 0.0
    for i in range(n):
        loss[i], right[i] = _passed_on(m, d, i, held, inverse, ground, gamma, share)
        loss[i] += damping
        right[i] += rho[i]
    for i in range(n):
        for k in range(i + 1, n):
            w[i, k] = _dot(m, share, i, d, k) if rows[i] and rows[k] else 0.0
    for i in range(n):
        total = loss[i]
        for k in range(i + 1, n):
            total += w[i, k]
        p[i] = total  # kept here until it is needed again
        if total <= 0.0 or not rows[i]:
            continue
        for k in range(i + 1, n):
            factor = w[i, k] / total
            if factor > 0.0:
                loss[k] += factor * loss[i]
                right[k] += factor * right[i]
                _spread(k + 1, n, factor, w, i, k)
    for i in range(n - 1, -1, -1):
        value = right[i]
        for k in range(i + 1, n):
            value += w[i, k] * p[k]
        p[i] = value / p[i] if rows[i] and p[i] > 0.0 else 0.0
    for j in range(m):
        q[j] = gamma[j]
    for i in range(n):
        if rows[i]:
            _add(m, p[i], d, i, q)
    for j in range(m):
        q[j] *= inverse[j]


@compiled
def fits(begin, end, d, k, rows, columns, out):
    """Write the two-way fit A(AᵀDA)⁺Aᵀk of problems `begin` to `end` into `out`."""
    n, m = d.shape[1], d.shape[2]
    weight, share, w = np.empty((n, m)), np.empty((n, m)), np.empty((n, n))
    p, loss, right, rho = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    q, inverse, ground, held, gamma = np.empty(m), np.empty(m), np.empty(m), np.empty(m), np.empty(m)
    for r in range(begin, end):
        gamma[:] = 0.0
        for i in range(n):
            rho[i] = 0.0
            for j in range(m):
                weight[i, j] = d[r, i, j] if d[r, i, j] > 1e-18 else 0.0
                rho[i] += k[r, i, j]
                gamma[j] -= k[r, i, j]
        solve(weight, rows[r], columns[r], 0.0, rho, gamma, p, q, share, w, loss, right, inverse, ground, held)
        for i in range(n):
            for j in range(m):
                out[r, i, j] = p[i] - q[j]


_MATHS = {"contract", "nsz", "arcp", "reassoc"}
_EPSILON = 2.220446049250313e-16
_FARTHEST = 2000.0  # a gap wider than that cannot be seen across
_ROW_STEPS = 100
_BALANCES = 3
_SWEEPS = 8
_PINS = 8


@compiled(fastmath=_MATHS)
def _relu(m, z, tau, x):
    """x = max(z − τ, 0); return Σx and how many are positive."""
    total, count = 0.0, 0.0
    for j in range(np.uint64(m)):
        value = z[j] - tau
        x[j] = max(value, 0.0)
        total += x[j]
        count += np.float64(value > 0.0)
    return total, count


@compiled(fastmath=_MATHS)
def _exponentials(m, z, top, x):
    total = 0.0
    for j in range(np.uint64(m)):
        x[j] = exp_nonpositive(z[j] - top)
        total += x[j]
    return total


@compiled(fastmath=_MATHS)
def _sigmoids(m, z, nu, x):
    """x = σ(z + ν); return Σx and Σ dx/dν."""
    total, slope = 0.0, 0.0
    for j in range(np.uint64(m)):
        e = exp_nonpositive(-abs(z[j] + nu))
        x[j] = (1.0 if z[j] + nu > 0.0 else e) / (1.0 + e)
        total += x[j]
        slope += e / ((1.0 + e) * (1.0 + e))
    return total, slope


@compiled(fastmath=_MATHS)
def _top(m, z):
    top = -np.inf
    for j in range(np.uint64(m)):
        top = max(top, z[j])
    return top


@compiled
def _row_euclidean(m, z, top, cap, x):
    """Whether the row is full."""
    for j in range(m):
        z[j] -= top
    least = -cap - top
    tau = max(-1.0, least)
    before, total = -1.0, 1.0
    for _ in range(_ROW_STEPS):  # Newton's method from the left on a convex function: it never steps back
        total, count = _relu(m, z, tau, x)
        if total <= 1.0 or count == before:
            break
        before = count
        tau += (total - 1.0) / count
    if tau == least:
        return False
    for j in range(m):  # the last digits, which the row may have lost to a large τ
        x[j] /= total
    return True


@compiled
def _row_binary(m, z, top, cap, partial, x):
    """Whether the row is full."""
    second, present = -np.inf, 0
    at_top = False
    for j in range(m):
        present += z[j] > -np.inf
        if z[j] == top and not at_top:
            at_top = True
        else:
            second = max(second, z[j])
        z[j] -= top
    if partial:
        total, slope = _sigmoids(m, z, cap + top, x)
        if total <= 1.0:
            return False
    elif present == 1:
        for j in range(m):
            x[j] = np.float64(z[j] > -np.inf)
        return True
    width = math.log(2.0 * m)
    nu = 0.5 * min(top - second, _FARTHEST)
    low, high = nu - width, nu + width
    if partial:  # a lone pair cannot be pushed up by what the others lack
        high = min(high, cap + top)
        low = min(low, high - width)
        nu = min(nu, high)
    for _ in range(_ROW_STEPS):
        total, slope = _sigmoids(m, z, nu, x)
        if abs(total - 1.0) <= _EPSILON * (4.0 + 0.5 * m):
            break
        if total > 1.0:
            high = nu
        else:
            low = nu
        step = nu - (total - 1.0) / slope
        nu = step if low < step < high else 0.5 * (low + high)
    return True


@compiled
def _respond(n, m, response, partial, dustbins, c, delta, cap, z, x, tight):
    """Each row of x for the column multipliers δ, with the best row multiplier; which rows have one."""
    for i in range(n):
        for j in range(m):
            z[j] = c[i, j] + delta[j]
        top = _top(m, z)
        if dustbins and i == n - 1:
            tight[i] = False
            if response == EUCLIDEAN:
                _relu(m, z, 0.0, x[i])
            elif response == CATEGORICAL:
                _exponentials(m, z, 0.0, x[i])
            else:
                _sigmoids(m, z, 0.0, x[i])
            continue
        room = cap[i] if partial else np.inf
        tight[i] = top > -np.inf
        if not tight[i]:
            for j in range(m):
                x[i, j] = 0.0
            continue
        if response == EUCLIDEAN:
            tight[i] = _row_euclidean(m, z, top, room, x[i])
        elif response == CATEGORICAL:
            total = _exponentials(m, z, top, x[i])
            scale = 1.0 / total
            if partial:
                full = math.exp(min(room + top, 0.0))
                tight[i] = scale <= full
                scale = min(scale, full)
            for j in range(m):
                x[i, j] *= scale
        else:
            tight[i] = _row_binary(m, z, top, room, partial, x[i])


@compiled
def _missing(n, m, x, delta, room, present, gamma, free):
    """What each column lacks; which have a multiplier that may move. Return the worst lack or excess of these."""
    for j in range(m):
        gamma[j] = 1.0
    for i in range(n):
        for j in range(m):
            gamma[j] -= x[i, j]
    worst = 0.0
    for j in range(m):
        free[j] = present[j] and not (delta[j] >= room[j] and gamma[j] >= 0.0)
        if not present[j]:
            gamma[j] = 0.0
        if free[j]:
            worst = max(worst, abs(gamma[j]))
    return worst


@compiled
def _slacks(n, m, u, alpha, beta, c):
    """c = u − α − β with the digits that each of the differences loses."""
    for i in range(n):
        for j in range(m):
            if u[i, j] == -np.inf:
                c[i, j] = -np.inf
                continue
            s = u[i, j] - beta[j]
            part = s - u[i, j]
            lost = (u[i, j] - (s - part)) - (beta[j] + part)
            t = s - alpha[i]
            part = t - s
            lost += (s - (t - part)) - (alpha[i] + part)
            c[i, j] = t + lost


@compiled
def _balance(n, m, partial, c, match, alpha, beta, room, delta):
    """Move each matched pair so that its best other offers, by row and by column, are equally far away."""
    far = _FARTHEST
    for i in range(n):  # and beyond what rounding may have cost
        far = max(far, 1e-9 * abs(alpha[i]))
    for j in range(m):
        far = max(far, 1e-9 * abs(beta[j]))
    for _ in range(_BALANCES):
        for i in range(n):
            mine = match[i]
            if mine < 0:
                continue
            out = -alpha[i] if partial else -np.inf  # to be left unmatched is an offer, too
            back = -room[mine]
            for j in range(m):
                if j != mine:
                    out = max(out, c[i, j] + delta[j])
            for k in range(n):
                if k != i:
                    there = delta[match[k]] if match[k] >= 0 else 0.0
                    back = max(back, c[k, mine] - there)
            if out > -np.inf and back == -np.inf:
                back = out - 2.0 * far  # on no cycle, so it cannot be chosen
            elif back > -np.inf and out == -np.inf and room[mine] == np.inf:
                out = back - 2.0 * far
            if out > -np.inf and back > -np.inf:
                delta[mine] = min(0.5 * (out - back), room[mine])


@compiled
def _pin(n, m, d, delta, room, lack, present, p, q, moving, pinned, rho):
    """Columns that a step would take past their bound go just there, until they would rather turn back.

    Returns whether any changed sides; then the right side of the rows has changed, too.
    """
    changed = False
    for j in range(m):
        if moving[j]:
            if delta[j] - q[j] > room[j]:
                changed, moving[j] = True, False
                pinned[j] = room[j] - delta[j]
        elif present[j]:
            left = lack[j]
            for i in range(n):
                left -= d[i, j] * (p[i] + pinned[j])
            if left < 0.0:
                changed, moving[j] = True, True
                pinned[j] = 0.0
    for i in range(n if changed else 0):
        rho[i] = 0.0
        for j in range(m):
            rho[i] -= d[i, j] * pinned[j]
    return changed


@compiled
def _without_dustbins(n, m, u, out):
    """The table in which all dustbins have the utility 0; whether there are dustbins for all who are in a pair."""
    fine = True
    for i in range(n):
        for j in range(m):
            row = u[i, m - 1] if i < n - 1 else 0.0
            column = u[n - 1, j] if j < m - 1 else 0.0
            here = u[i, j] > -np.inf and (i < n - 1 or j < m - 1)
            fine = fine and not (here and (row == -np.inf or column == -np.inf))
            out[i, j] = u[i, j] - row - column if here else -np.inf
    return fine


@compiled
def _left_over(rows, columns, u, x):
    """Put those into the dustbins that are present and not matched."""
    for i in range(rows):
        x[i, columns] = np.float64(u[i, columns] > -np.inf)
        for j in range(columns):
            x[i, columns] -= x[i, j]
    for j in range(columns):
        x[rows, j] = np.float64(u[rows, j] > -np.inf)
        for i in range(rows):
            x[rows, j] -= x[i, j]


@compiled
def relax(begin, end, response, partial, dustbins, tolerance, allowed, steps, u, out, residual):
    """Write the relaxation of problems `begin` to `end` into `out`, and by how much a column misses into `residual`."""
    n, m = u.shape[1], u.shape[2]
    rows, columns = n - int(dustbins), m - int(dustbins)  # that are to be matched
    gauged, core = np.empty((n, m)), np.empty((rows, columns))
    alpha, beta, room = np.empty(n), np.empty(m), np.empty(m)
    match, owner = np.empty(n, np.int64), np.empty(m, np.int64)
    queue, distance, entered = np.empty(n + 1, np.int64), np.empty(m), np.empty(m)
    before, todo, seen = np.empty(m, np.int64), np.empty(m, np.int64), np.empty(m, np.int64)
    c, d, share, w = np.empty((n, m)), np.empty((n, m)), np.empty((n, m)), np.empty((n, n))
    p, loss, right, rho = np.empty(n), np.empty(n), np.empty(n), np.zeros(n)
    q, inverse, ground, held, z = np.empty(m), np.empty(m), np.empty(m), np.empty(m), np.empty(m)
    delta, trial, gamma, lack, gain = np.empty(m), np.empty(m), np.empty(m), np.empty(m), np.empty(m)
    tight, free, present = np.empty(n, np.bool_), np.empty(m, np.bool_), np.empty(m, np.bool_)
    moving, pinned = np.empty(m, np.bool_), np.empty(m)
    for r in range(begin, end):
        x = out[r]
        table, fine = u[r], True
        if dustbins:
            table, fine = gauged, _without_dustbins(n, m, u[r], gauged)
            match[n - 1], alpha[n - 1], beta[m - 1] = -1, 0.0, 0.0
        core[:, :] = table[:rows, :columns]
        if not fine or not assign(
            core, partial or dustbins, alpha[:rows], beta[:columns], match[:rows], owner[:columns],
            queue, distance, before, todo, seen, entered,
        ):  # fmt: skip
            residual[r] = -1.0
            continue
        _slacks(n, m, table, alpha, beta, c)
        spare = partial or has_more_columns(n, m, u[r])
        for j in range(m):
            delta[j] = pinned[j] = 0.0
            present[j] = False
            for i in range(n):
                present[j] |= c[i, j] > -np.inf
            room[j] = beta[j] if spare else np.inf
            if dustbins:
                most = 1.0 if response == EUCLIDEAN else 0.0 if response == CATEGORICAL else np.inf
                room[j] = most - c[n - 1, j]
        if dustbins:
            present[m - 1] = False
        _balance(n, m, partial, c, match, alpha, beta, room, delta)
        _respond(n, m, response, partial, dustbins, c, delta, alpha, z, x, tight)
        worst = _missing(n, m, x, delta, room, present, gamma, free)
        for _ in range(_SWEEPS if response == CATEGORICAL else 0):
            if worst < 0.1:
                break
            for j in range(m):
                if free[j] and gamma[j] < 1.0:
                    delta[j] = min(delta[j] - math.log(1.0 - gamma[j]), room[j])
            _respond(n, m, response, partial, dustbins, c, delta, alpha, z, x, tight)
            worst = _missing(n, m, x, delta, room, present, gamma, free)
        stuck = 0
        for _ in range(steps):
            if worst <= tolerance or (stuck >= 3 and worst < 20.0 * tolerance):
                break
            for i in range(n):
                for j in range(m):
                    if response == EUCLIDEAN:
                        d[i, j] = np.float64(x[i, j] > 0.0)
                    elif response == CATEGORICAL:
                        d[i, j] = x[i, j]
                    else:
                        d[i, j] = x[i, j] * (1.0 - x[i, j])
            if partial and stuck % 2 == 1:
                # At a kink: a row that is all but full may be bound as soon as it moves.
                for i in range(n):
                    total = 0.0
                    for j in range(m):
                        total += x[i, j]
                    tight[i] |= total > 1.0 - 2.0 * worst
            for j in range(m):
                moving[j] = free[j]
                lack[j] = gamma[j]
                gain[j] = -gamma[j]
                pinned[j] = 0.0
            rho[:] = 0.0
            for _ in range(_PINS):
                solve(d, tight, moving, 1e-3 * worst, rho, gain, p, q, share, w, loss, right, inverse, ground, held)
                if not _pin(n, m, d, delta, room, lack, present, p, q, moving, pinned, rho):
                    break
            length, slope, now = 1.0, 0.0, worst
            for _ in range(40):
                slope, after = 0.0, 0.0
                for j in range(m):
                    step = -q[j] if moving[j] else pinned[j]
                    trial[j] = min(delta[j] + length * step, room[j])
                    slope += lack[j] * (trial[j] - delta[j])
                _respond(n, m, response, partial, dustbins, c, trial, alpha, z, x, tight)
                now = _missing(n, m, x, trial, room, present, gamma, free)
                for j in range(m):
                    after += gamma[j] * (trial[j] - delta[j])
                if now <= 0.5 * worst or after >= -0.5 * slope:
                    break
                shorter = slope / (slope - after)
                length *= min(max(shorter, 0.1), 0.7)
            stuck = stuck + 1 if now > 0.5 * worst else 0
            worst = now
            for j in range(m):
                delta[j] = trial[j]
        residual[r] = worst
        if response == EUCLIDEAN:  # within the tolerance of the kink is on it, or its slope would be the wrong one
            for i in range(n):
                for j in range(m):
                    if x[i, j] < 1e-13:
                        x[i, j] = 0.0
        if worst > allowed:  # a point of the hull all the same
            for i in range(n):
                for j in range(m):
                    x[i, j] = np.float64(match[i] == j)
            if dustbins:
                _left_over(rows, columns, u[r], x)
