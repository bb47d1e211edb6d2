r"""Maximum-weight bipartite matchings, by shortest augmenting paths (App. B.6).

With n ≤ m, the linear program :math:`\max u^\top x` over matchings of the n rows into the m columns has the multipliers
α of the rows and β of the columns with :math:`\alpha_i + \beta_j \ge u_{ij}`, tight where :math:`x_{ij} = 1`; β_j ≥ 0,
and zero for unmatched columns, wherever columns may stay unmatched, and the same of α and rows. A row is added by
the shortest path, in the slacks α + β − u, to an unmatched column (or, in a partial matching, to a row that had better
be left alone); Dijkstra's algorithm finds it, since no slack is negative. Rows that a short auction has matched at
tight pairs already need no path (Jonker & Volgenant).

All optima lie on tight pairs. Of these the one is returned whose indicator vector is lexicographically largest: row by
row, the lowest column that an alternating cycle of tight pairs can give to it. Slacks are floating-point numbers, so
optima tie if the sums and differences of their utilities are exact; in general position there is but one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sstricks.errors import invalid_rows
from sstricks.ops.gradients import attach_no_gradient
from sstricks.ops.operator import is_checked, operator
from sstricks.ops.threads import over_rows

NO_DUSTBIN = (
    "a pair whose row or column has no dustbin",
    "the last row and the last column to be present wherever a pair is",
    "Lower their utilities instead, to -1e4 say, or mask the whole row or column.",
)


def check_feasible(feasible: Tensor, dustbins: bool) -> None:
    """Raise if some problem of the batch has no matching."""
    if not feasible.all():
        if dustbins:
            raise invalid_rows(~feasible, "u", *NO_DUSTBIN)
        row = int((~feasible).nonzero()[0])
        raise invalid_rows(
            ~feasible,
            "u",
            f"a table without a matching (row {row})",
            "present pairs that match every present row or, if there are fewer of them, every present column",
            "Unmask pairs, or let who is left stay unmatched: partial=True or dustbins=True.",
        )


def without_dustbins(u: Tensor) -> tuple[Tensor, Tensor]:
    """The table in which all dustbins have the utility 0, u_ij − v_i − w_j, which has the same solutions.

    Also whether there are dustbins for all who are in a pair.
    """
    n, m = (torch.arange(size, device=u.device) < size - 1 for size in u.shape[-2:])
    u = torch.where(n.unsqueeze(-1) | m, u, -torch.inf)
    row, column = u[..., -1:], u[..., -1:, :]
    lost = ((row == -torch.inf) | (column == -torch.inf)) & (u > -torch.inf)
    table = u - torch.where(row > -torch.inf, row, 0.0) - torch.where(column > -torch.inf, column, 0.0)
    return table, ~lost[..., :-1, :-1].flatten(-2).any(-1)


def with_dustbins(x: Tensor, u: Tensor) -> Tensor:
    """A partial matching (*batch, n − 1, m − 1) and who is left for the dustbins of u, shape (*batch, n, m)."""
    row, column = 1 - x.sum(-1, keepdim=True), 1 - x.sum(-2, keepdim=True)
    table = torch.cat([torch.cat([x, row], -1), torch.cat([column, torch.zeros_like(row[..., :1, :])], -1)], -2)
    return torch.where(u == -torch.inf, 0.0, table)


def numbers_present(u: Tensor) -> tuple[Tensor, Tensor]:
    """How many rows and how many columns have pairs, shape (*batch) each."""
    here = u > -torch.inf
    return here.any(-1).sum(-1), here.any(-2).sum(-1)


def oriented(function: Callable[..., Tensor], u: Tensor, partial: bool, *more: object) -> Tensor:
    """The function of tables in which no more rows than columns have pairs: transposes of some, if they are square."""
    if u.shape[-2] == u.shape[-1] and not partial:
        rows, columns = numbers_present(u)
        turned = (rows > columns)[..., None, None]
        if turned.any():
            x = function(torch.where(turned, u.mT, u), partial, *more)
            return torch.where(turned, x.mT, x)
    return function(u, partial, *more)


def duals(u: Tensor, partial: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Multipliers α (batch, n), β (batch, m), the column of each row (−1: none), and whether there is a matching."""
    batch, n, m = u.shape
    alpha, beta = u.new_zeros(batch, n), u.new_zeros(batch, m)
    match = torch.full((batch, n), -1, device=u.device)
    owner = torch.full((batch, m), -1, device=u.device)
    feasible = torch.ones(batch, dtype=torch.bool, device=u.device)
    every = torch.arange(batch, device=u.device)
    for start in range(n):
        top = (u[:, start] - beta).amax(-1)
        some = top > -torch.inf
        top = top.clamp(min=0.0) if partial else torch.where(some, top, 0.0)
        alpha[:, start] = top
        distance = torch.full_like(beta, torch.inf)
        before = torch.zeros_like(owner)
        seen = torch.zeros_like(owner, dtype=torch.bool)
        entered = torch.full_like(alpha, torch.inf)  # when the path reached a row
        entered[:, start] = 0.0
        length = torch.zeros_like(top)
        row = torch.full_like(every, start)
        column = torch.full_like(every, -1)
        leave = top.clone() if partial else torch.full_like(top, torch.inf)
        leaver = row.clone()
        going = some.clone()
        while going.any():
            d = ((length + alpha[every, row]).unsqueeze(-1) + beta) - u[every, row]
            better = (d < distance) & ~seen & going.unsqueeze(-1)
            distance = torch.where(better, d, distance)
            before = torch.where(better, row.unsqueeze(-1), before)
            nearest, at = distance.masked_fill(seen, torch.inf).min(-1)
            stop = going & (leave <= nearest)
            feasible &= ~(stop & (leave == torch.inf))
            length = torch.where(stop, leave, torch.where(going, torch.maximum(length, nearest), length))
            going &= ~stop
            column = torch.where(going, at, column)
            column = torch.where(stop, -1, column)
            free = owner[every, at] < 0
            going &= ~free
            seen[every, at] |= going
            row = torch.where(going, owner[every, at], row)
            entered[every, row] = torch.where(going, length, entered[every, row])
            if partial:
                cost = length + alpha[every, row]
                leaver = torch.where(going & (cost < leave), row, leaver)
                leave = torch.where(going, torch.minimum(leave, cost), leave)
        alive = some & feasible
        beta = torch.where(seen & alive.unsqueeze(-1), beta + (length.unsqueeze(-1) - distance), beta)
        reached = (entered < torch.inf) & alive.unsqueeze(-1)
        alpha = torch.where(reached, alpha - (length.unsqueeze(-1) - entered), alpha)
        leaves = alive & (column < 0)
        column = torch.where(leaves, match[every, leaver], column)
        match[every, leaver] = torch.where(leaves, -1, match[every, leaver])
        alpha[every, leaver] = torch.where(leaves, 0.0, alpha[every, leaver])
        back = alive & (column >= 0)
        while back.any():
            at = column.clamp(min=0)
            row = before[every, at]
            owner[every, at] = torch.where(back, row, owner[every, at])
            previous = match[every, row]
            match[every, row] = torch.where(back, at, previous)
            column = torch.where(back, previous, column)
            back &= row != start
    taken = match.clamp(min=0).unsqueeze(-1)
    value = u.gather(-1, taken).squeeze(-1) - beta.gather(-1, taken.squeeze(-1))
    return torch.where(match >= 0, value, 0.0), beta, match, feasible


def _owners(match: Tensor, m: int) -> Tensor:
    """The row of each column, −1: none."""
    rows = torch.arange(match.shape[1], device=match.device).expand_as(match)
    owner = torch.full((len(match), m + 1), -1, device=match.device)
    return owner.scatter(-1, torch.where(match >= 0, match, m), rows)[:, :m]


def _reachers(i: int, tight: Tensor, match: Tensor, owner: Tensor, loose: Tensor, spare: Tensor) -> Tensor:
    """The next node on a way to row i from every later row and from the ground, shape (batch, n + 1), −1: no way.

    `loose` are the rows that may become unmatched, `spare` the columns that may.
    """
    batch, n = match.shape
    taken = match.clamp(min=0)
    takes = tight.gather(-1, taken.unsqueeze(1).expand(-1, n, -1)) & (match >= 0).unsqueeze(1)
    takes = torch.nn.functional.pad(takes, (0, 1, 0, 1))
    takes[:, :n, n] = (tight & (owner < 0).unsqueeze(1)).any(-1) | (loose & (match >= 0))
    takes[:, n, :n] = (match < 0) | spare.gather(-1, taken)
    after = torch.full((batch, n + 1), -1, device=match.device)
    after[:, i] = i
    open_ = torch.ones_like(after, dtype=torch.bool)
    open_[:, : i + 1] = False
    frontier = after >= 0
    while frontier.any():
        ways = takes & frontier.unsqueeze(1)
        reached = ways.any(-1) & open_
        after = torch.where(reached, ways.int().argmax(-1), after)
        open_ &= ~reached
        frontier = reached
    return after


def _prefer_low(u: Tensor, partial: bool, alpha: Tensor, beta: Tensor, match: Tensor) -> Tensor:
    """Among all optima, the matching with the lowest coordinates."""
    batch, n, m = u.shape
    every = torch.arange(batch, device=u.device)
    tight = (u - beta.unsqueeze(-2)) - alpha.unsqueeze(-1) >= 0
    rows, columns = numbers_present(u)
    spare = (beta == 0) & ((rows < columns).unsqueeze(-1) | partial)
    loose = (alpha == 0) & partial
    columns = torch.arange(m, device=u.device)
    for i in range(n):
        had = torch.where(match[:, i] >= 0, match[:, i], m)
        lower = tight[:, i] & (columns < had.unsqueeze(-1))
        if not lower.any():
            continue
        owner = _owners(match, m)
        after = _reachers(i, tight, match, owner, loose, spare)
        giver = torch.where(owner >= 0, owner, n)
        way = lower & (after.gather(-1, giver) >= 0) & (giver > i)
        going = way.any(-1)
        j = way.int().argmax(-1)
        node = torch.where(going, giver[every, j], i)
        old, free = match, (owner < 0).unsqueeze(1) & tight
        match = match.clone()
        match[:, i] = torch.where(going, j, old[:, i])
        while going.any():
            onward = after[every, node]
            row, other = node.clamp(max=n - 1), onward.clamp(min=0, max=n - 1)
            spot = torch.where(free[every, row].any(-1), free[every, row].int().argmax(-1), -1)
            column = torch.where(onward == n, spot, old[every, other])
            match[every, row] = torch.where(going & (node < n), column, match[every, row])
            node = torch.where(going, onward, node)
            going &= node != i
    return match


@operator("sstricks::assignment", core=(2,), output_core=2)
def assignment(u: Tensor, partial: bool, dustbins: bool) -> Tensor:
    """The indicator matrix of the maximum-weight matching (App. B.6), shape (*batch, n, m), n ≤ m.

    Ties go to the lower coordinates. The twin is the same algorithm for the whole batch at once, without the auction.

    Args:
        u: Utilities, shape (*batch, n, m); −∞ is an absent pair, a row or column without pairs is absent. Fewer columns
            than rows may be left in square tables.
        partial: Whether rows, too, may stay unmatched.
        dustbins: Whether the last row and the last column take those that stay unmatched.

    Raises:
        ValueError: Some table has no matching.
    """
    return _best(_assignment, u, partial, dustbins)


def _best(function: Callable[..., Tensor], u: Tensor, partial: bool, dustbins: bool) -> Tensor:
    if not dustbins:
        return oriented(function, u, partial)
    table, fine = without_dustbins(u)
    check_feasible(fine, dustbins)
    return with_dustbins(function(table[..., :-1, :-1].contiguous(), True), u)


def _assignment(u: Tensor, partial: bool) -> Tensor:
    alpha, beta, match, feasible = duals(u, partial)
    check_feasible(feasible, False)
    match = _prefer_low(u, partial, alpha, beta, match)
    return (match.unsqueeze(-1) == torch.arange(u.shape[-1], device=u.device)).to(u.dtype)


def _launch(u: Tensor, partial: bool) -> Tensor:
    from sstricks.ops.kernels.assignment import matchings as kernel

    out = torch.empty_like(u, memory_format=torch.contiguous_format)
    feasible = torch.empty(len(u), dtype=torch.bool)
    work = 2.0 * u.shape[1] ** 2 * u.shape[2] ** 0.5
    over_rows(kernel, len(u), work, partial, u.numpy(), out.numpy(), feasible.numpy())
    check_feasible(feasible, False)
    return out


@assignment.cpu
def _(u: Tensor, partial: bool, dustbins: bool) -> Tensor:
    return _best(_launch, u, partial, dustbins)


@assignment.cuda
def _(u: Tensor, partial: bool, dustbins: bool) -> Tensor:
    from sstricks.ops.cuda.assignment import assignment as launch

    x = launch(u, partial, dustbins)
    if is_checked(u):
        check_feasible(~x.isnan().flatten(1).any(-1), dustbins)
    return x


attach_no_gradient(assignment)
