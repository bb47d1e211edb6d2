"""Maximum-weight matchings on a GPU; the mathematics stands in `sstricks.ops.assignment`.

One program adds the rows of one table one after the other. What it knows of columns and rows it holds in registers and
looks up by a sum over a single term; a table is only read.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sstricks.ops.cuda.blocks import launch, power_of_two
from sstricks.ops.cuda.floats import INF
from sstricks.ops.cuda.graphs import FEW, MEMORY


@triton.jit
def _at(values, index, place):
    """The value at one place."""
    return tl.sum(tl.where(index == place, values, 0), axis=0)


@triton.jit
def scan(u, n, m, M: tl.constexpr):
    """How many columns with pairs there are more than such rows, and 0 if a utility is NaN."""
    j = tl.arange(0, M)
    present = tl.zeros([M], tl.int32)
    odd = tl.zeros([M], tl.int32)
    rows = 0
    for i in range(0, n):
        row = tl.load(u + i * m + j, mask=j < m, other=-INF)
        present |= (row > -INF).to(tl.int32)
        odd |= (row != row).to(tl.int32)
        rows += tl.max((row > -INF).to(tl.int32), axis=0)
    return tl.sum(present, axis=0) - rows, 1 - tl.max(odd, axis=0)


@triton.jit
def without_dustbins(u, out, n, m, M: tl.constexpr):
    """Write the table in which all dustbins have the utility 0. Returns 0 if someone in a pair has none."""
    j = tl.arange(0, M)
    column = tl.load(u + (n - 1) * m + j, mask=j < m - 1, other=0.0)
    lost = tl.zeros([M], tl.int32)
    for i in range(0, n):
        value = tl.load(u + i * m + j, mask=j < m, other=-INF)
        row = tl.where(i < n - 1, tl.load(u + i * m + m - 1), 0.0)
        here = (value != -INF) & (j < tl.where(i < n - 1, m, m - 1))
        lost |= (here & (tl.minimum(column, row) == -INF)).to(tl.int32)
        tl.store(out + i * m + j, tl.where(here, value - row - column, -INF), mask=j < m)
    tl.debug_barrier()
    return 1 - tl.max(lost, axis=0)


@triton.jit
def vertex(u, match_at, owner_at, i, n, m, DUSTBINS: tl.constexpr, M: tl.constexpr):
    """Rows of the vertex that is known by the column of each row and the row of each column."""
    j = tl.arange(0, M)
    match = tl.load(match_at + i, mask=i < n - DUSTBINS, other=-1)
    x = match[:, None] == j[None, :]
    if DUSTBINS:
        alone = tl.load(owner_at + j, mask=j < m - 1, other=0) < 0
        x = x | ((match < 0)[:, None] & (j == m - 1)[None, :])
        x = tl.where((i == n - 1)[:, None], alone[None, :], x)
        inside = (i[:, None] < n) & (j[None, :] < m)
        x = x & (tl.load(u + i[:, None] * m + j[None, :], mask=inside, other=-INF) > -INF)
    return tl.where(x, 1.0, 0.0)


@triton.jit
def oriented(more, n, m, PARTIAL: tl.constexpr):
    """Strides along columns and rows, swapped in a square table of more rows, and how many columns may be spared."""
    along = m
    across = 1
    if PARTIAL:
        more = m
    elif (n == m) & (more < 0):
        along, across, more = 1, m, -more
    return along, across, more


@triton.jit
def duals(
    u, along, across, n, m, feasible, alpha_at, beta_at, match_at, owner_at,
    PARTIAL: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """Write multipliers α and β, the column of each row and the row of each column, −1 for none.

    Pair ij is at u + i·along + j·across. Returns 0 if there is no matching, or `feasible` is 0.
    """
    i = tl.arange(0, N)
    j = tl.arange(0, M)
    alpha = tl.zeros([N], tl.float64)
    beta = tl.zeros([M], tl.float64)
    match = tl.full([N], -1, tl.int32)
    owner = tl.full([M], -1, tl.int32)
    for start in range(0, n):
        values = tl.load(u + start * along + j * across, mask=j < m, other=-INF)
        top = tl.max(values - beta, axis=0)
        some = (top > -INF) & (feasible > 0)
        if PARTIAL:
            top = tl.maximum(top, 0.0)
        if some:
            alpha = tl.where(i == start, top, alpha)
            distance = tl.full([M], INF, tl.float64)
            before = tl.zeros([M], tl.int32)
            seen = tl.zeros([M], tl.int32)
            entered = tl.where(i == start, 0.0, tl.full([N], INF, tl.float64))
            length = top * 0.0
            row = start
            price = top
            column = -1
            leaver = start
            leave = length + INF
            if PARTIAL:
                leave = top
            going = 1
            while going > 0:
                d = (length + price) + beta - values
                better = (d < distance) & (seen == 0)
                distance = tl.where(better, d, distance)
                before = tl.where(better, row, before)
                open_ = tl.where(seen > 0, INF, distance)
                nearest = tl.min(open_, axis=0)
                if leave <= nearest:
                    feasible = tl.where(leave < INF, feasible, 0)
                    length = leave
                    column = -1
                    going = 0
                else:
                    length = tl.maximum(length, nearest)
                    # Of columns that tie, one without an owner ends the search.
                    ties = tl.where(open_ == nearest, tl.where(owner < 0, j, j + M), 2 * M)
                    column = tl.min(ties, axis=0) % M
                    row = _at(owner, j, column)
                    if row < 0:
                        going = 0
                    else:
                        seen = tl.where(j == column, 1, seen)
                        entered = tl.where(i == row, length, entered)
                        price = _at(alpha, i, row)
                        values = tl.load(u + row * along + j * across, mask=j < m, other=-INF)
                        if PARTIAL:
                            leaver = tl.where(length + price < leave, row, leaver)
                            leave = tl.minimum(leave, length + price)
            if feasible > 0:
                beta = tl.where(seen > 0, beta + (length - distance), beta)
                alpha = tl.where(entered < INF, alpha - (length - entered), alpha)
                if column < 0:
                    column = _at(match, i, leaver)
                    match = tl.where(i == leaver, -1, match)
                    alpha = tl.where(i == leaver, 0.0, alpha)
                while column >= 0:
                    row = _at(before, j, column)
                    owner = tl.where(j == column, row, owner)
                    previous = _at(match, i, row)
                    match = tl.where(i == row, column, match)
                    column = tl.where(row == start, -1, previous)
    tl.store(beta_at + j, beta, mask=j < m)
    tl.store(owner_at + j, owner, mask=j < m)
    tl.store(match_at + i, match, mask=i < n)
    tl.debug_barrier()
    # Of the rows that are matched, exactly tight.
    mine = (i < n) & (match >= 0)
    taken = tl.maximum(match, 0)
    tight = tl.load(u + i * along + taken * across, mask=mine, other=0.0) - tl.load(
        beta_at + taken, mask=mine, other=0.0
    )
    tl.store(alpha_at + i, tight, mask=i < n)
    tl.debug_barrier()
    return feasible


@triton.jit
def _reach(
    u, along, across, n, m, goal, alpha_at, beta_at, match_at, owner_at, after_at, spare,
    PARTIAL: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """The next node on a way to the row `goal` from every later row and from the ground n, −1: no way.

    The ground owns the columns of nobody and gives a place to rows that may be left unmatched.
    """
    k = tl.arange(0, N)
    j = tl.arange(0, M)
    match = tl.load(match_at + k, mask=k < n, other=-1)
    alpha = tl.load(alpha_at + k, mask=k < n, other=0.0)
    # Which rows the ground would let have one of its columns, or no column.
    from_ground = tl.zeros([N], tl.int32)
    if spare > 0:
        beta = tl.load(beta_at + j, mask=j < m, other=0.0)
        nobody = (tl.load(owner_at + j, mask=j < m, other=0) < 0) & (j < m)
        for row in range(goal + 1, n):
            values = tl.load(u + row * along + j * across, mask=j < m, other=-INF)
            tight = nobody & ((values - beta) - tl.load(alpha_at + row) >= 0.0)
            from_ground = tl.where(k == row, tl.max(tight.to(tl.int32), axis=0), from_ground)
    if PARTIAL:
        from_ground = tl.where((match >= 0) & (alpha == 0.0), 1, from_ground)
    after = tl.where(k == goal, goal, -1)
    waiting = (k == goal).to(tl.int32)
    node = goal
    while node < N:
        waiting = tl.where(k == node, 0, waiting)
        takes = from_ground
        if node < n:
            column = tl.load(match_at + node)
            place = tl.maximum(column, 0)
            price = tl.load(beta_at + place)
            values = tl.load(u + k * along + place * across, mask=k < n, other=-INF)
            takes = ((values - price) - alpha >= 0.0).to(tl.int32)
            to_ground = 1
            if column >= 0:
                to_ground = tl.where((price == 0.0) & (spare > 0), 1, 0)
            else:
                takes = tl.zeros([N], tl.int32)
            takes = tl.where(k == n, to_ground, takes)
        found = (takes > 0) & (after < 0) & (k > goal) & (k <= n)
        after = tl.where(found, node, after)
        waiting = tl.where(found, 1, waiting)
        node = tl.min(tl.where(waiting > 0, k, N), axis=0)
    tl.store(after_at + k, after, mask=k <= n)
    tl.debug_barrier()


@triton.jit
def _rotate(
    u, along, across, n, m, i, j, had, alpha_at, beta_at, match_at, owner_at, after_at,
    N: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """Give column j to row i, and to every node on the way from its owner back to i what the next one had."""
    k = tl.arange(0, N)
    columns = tl.arange(0, M)
    nobody = (tl.load(owner_at + columns, mask=columns < m, other=0) < 0) & (columns < m)
    beta = tl.load(beta_at + columns, mask=columns < m, other=0.0)
    node = tl.load(owner_at + j)
    node = tl.where(node < 0, n, node)
    match = tl.load(match_at + k, mask=k < n, other=-1)
    old = match
    match = tl.where(k == i, j, match)
    while node != i:
        onward = tl.load(after_at + node)
        if node < n:
            gets = tl.where(onward == i, had, _at(old, k, onward))
            if onward == n:
                values = tl.load(u + node * along + columns * across, mask=columns < m, other=-INF)
                free = nobody & ((values - beta) - tl.load(alpha_at + node) >= 0.0)
                gets = tl.min(tl.where(free, columns, M), axis=0)
                gets = tl.where(gets < M, gets, -1)
            match = tl.where(k == node, gets, match)
        node = onward
    tl.debug_barrier()
    tl.store(match_at + k, match, mask=k < n)
    tl.store(owner_at + columns, -1, mask=columns < m)
    tl.debug_barrier()
    tl.store(owner_at + match, k, mask=(k < n) & (match >= 0))
    tl.debug_barrier()


@triton.jit
def _prefer_low(
    u, along, across, n, m, alpha_at, beta_at, match_at, owner_at, after_at, spare,
    PARTIAL: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """Among all optima, the one with the lowest coordinates, by cycles of tight pairs and of the ground."""
    j = tl.arange(0, M)
    for i in range(0, n):
        had = tl.load(match_at + i)
        now = tl.where(had < 0, m, had)
        values = tl.load(u + i * along + j * across, mask=j < m, other=-INF)
        beta = tl.load(beta_at + j, mask=j < m, other=0.0)
        owner = tl.load(owner_at + j, mask=j < m, other=0)
        lower = (j < now) & ((values - beta) - tl.load(alpha_at + i) >= 0.0) & ((owner < 0) | (owner > i))
        if tl.max(lower.to(tl.int32), axis=0) > 0:
            _reach(u, along, across, n, m, i, alpha_at, beta_at, match_at, owner_at, after_at, spare, PARTIAL, N, M)
            giver = tl.where(owner < 0, n, owner)
            lower = lower & (tl.load(after_at + giver, mask=lower, other=-1) >= 0)
            best = tl.min(tl.where(lower, j, M), axis=0)
            if best < M:
                _rotate(u, along, across, n, m, i, best, had, alpha_at, beta_at, match_at, owner_at, after_at, N, M)


@triton.jit(do_not_specialize=["tables", "n", "m"])
def _assignment(
    u, out, floats, integers, tables, n, m,
    PARTIAL: tl.constexpr, DUSTBINS: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    alpha_at = floats + program * (n + m + DUSTBINS * n * m)
    beta_at = alpha_at + n
    without = beta_at + m
    match_at = integers + program * (2 * n + m + 1)
    owner_at = match_at + n
    after_at = owner_at + m
    j = tl.arange(0, M)
    for table in range(program, tables, tl.num_programs(0)):
        begin = table * n * m
        more, feasible = scan(u + begin, n, m, M)
        along, across, more = oriented(more, n, m, PARTIAL)
        source = u + begin
        if DUSTBINS:
            feasible *= without_dustbins(source, without, n, m, M)
            source = without
        a, b = n - DUSTBINS, m - DUSTBINS
        feasible = duals(source, along, across, a, b, feasible, alpha_at, beta_at, match_at, owner_at, PARTIAL, N, M)
        if feasible > 0:
            _prefer_low(
                source, along, across, a, b, alpha_at, beta_at, match_at, owner_at, after_at, more, PARTIAL, N, M
            )  # fmt: skip
        for row in range(0, n):
            i = row + tl.arange(0, 1)
            x = tl.where(feasible > 0, vertex(u + begin, match_at, owner_at, i, n, m, DUSTBINS, M), float("nan"))
            tl.store(out + begin + i[:, None] * along + j[None, :] * across, x, mask=j[None, :] < m)
        tl.debug_barrier()


def assignment(u: Tensor, partial: bool, dustbins: bool) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    tables, n, m = u.shape
    out = torch.empty_like(u)
    memory = n + m + dustbins * n * m
    programs = min(tables, max(FEW, MEMORY // (8 * memory + 4 * (2 * n + m))))
    if tables:
        columns = max(16, power_of_two(m))
        floats, integers = u.new_empty(programs * memory), u.new_empty(programs * (2 * n + m + 1), dtype=torch.int32)
        constants = partial or dustbins, int(dustbins), max(16, power_of_two(n + 1)), columns
        launch(
            _assignment, programs, (u, out, floats, integers, tables, n, m), constants, max(1, min(8, columns // 256))
        )
    return out
