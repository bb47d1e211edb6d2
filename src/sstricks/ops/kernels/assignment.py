"""Maximum-weight matchings on the CPU; the mathematics stands in `sstricks.ops.assignment`.

Row i is matched to the column `match[i]`, column j to the row `owner[j]`; −1 is nobody.
"""

import numpy as np

from sstricks.ops.kernels.compiled import compiled

_ROUNDS = 2  # of the auction: what it has not matched by then is matched by augmenting paths
_NOBODY = -1


@compiled
def _best_two(m, u, row, beta, floor):
    """The largest and the second largest of u − β in a row, or the floor, and where they are."""
    first = second = floor
    at = other = _NOBODY
    for j in range(m):
        value = u[row, j] - beta[j]
        if value > second:
            if value > first:
                second, other = first, at
                first, at = value, j
            else:
                second, other = value, j
    return first, second, at, other


@compiled
def _auction(n, m, u, partial, alpha, beta, match, owner, queue):
    """Rows bid for columns: an offer above the second best raises the price β. Returns how many rows are left."""
    floor = 0.0 if partial else -np.inf
    waiting = n
    for i in range(n):
        queue[i] = i
    patience = 8 * n  # a price war between nearly equal offers is left to the augmenting paths
    for _ in range(_ROUNDS):
        count, waiting, k = waiting, 0, 0
        while k < count:
            i = queue[k]
            k += 1
            first, second, at, other = _best_two(m, u, i, beta, floor)
            if at == _NOBODY:  # nothing to win: left unmatched, or absent, or infeasible
                if not partial:
                    queue[waiting] = i
                    waiting += 1
                continue
            rival = owner[at]
            raised = first > second
            if rival >= 0 and ((raised and second == -np.inf) or (not raised and other < 0) or patience <= 0):
                queue[waiting] = i
                waiting += 1
                continue
            patience -= 1
            if raised and second > -np.inf:
                beta[at] += first - second
            elif not raised and rival >= 0:
                at = other
                rival = owner[at]
            owner[at] = i
            match[i] = at
            if rival >= 0:
                match[rival] = _NOBODY
                if raised:
                    k -= 1
                    queue[k] = rival
                else:
                    queue[waiting] = rival
                    waiting += 1
    return waiting


@compiled
def _augment(m, u, start, partial, alpha, beta, match, owner, distance, before, todo, seen, entered):
    """Match one more row, by Dijkstra's algorithm over the slacks α + β − u; false if there is no way."""
    top = 0.0 if partial else -np.inf
    for j in range(m):
        top = max(top, u[start, j] - beta[j])
        distance[j] = np.inf
        todo[j] = j
    if top == -np.inf:
        return False
    alpha[start] = top
    length, row, steps = 0.0, start, 0
    leave = alpha[start] if partial else np.inf  # what it costs that a row is left unmatched
    leaver = start
    left = m
    while True:
        nearest, at = np.inf, 0
        base = length + alpha[row]
        for k in range(left):
            j = todo[k]
            d = base + beta[j] - u[row, j]
            if d < distance[j]:
                distance[j] = d
                before[j] = row
            if distance[j] < nearest or (distance[j] == nearest and owner[j] < 0 and nearest < np.inf):
                nearest = distance[j]
                at = k
        if leave <= nearest:
            length = leave
            column = _NOBODY
            if leave == np.inf:
                return False
            break
        length = max(length, nearest)
        column = todo[at]
        if owner[column] < 0:
            break
        left -= 1
        todo[at] = todo[left]
        seen[steps] = column
        entered[steps] = length
        steps += 1
        row = owner[column]
        if partial and length + alpha[row] < leave:
            leave, leaver = length + alpha[row], row
    alpha[start] -= length
    for k in range(steps):
        beta[seen[k]] += length - entered[k]
        alpha[owner[seen[k]]] -= length - entered[k]
    if column == _NOBODY:  # the leaver's column is taken by whoever came before it
        if leaver == start:
            return True
        column = match[leaver]
        match[leaver] = _NOBODY
        alpha[leaver] = 0.0
    while True:
        row = before[column]
        owner[column] = row
        column, match[row] = match[row], column
        if row == start:
            return True


@compiled
def _tight(u, alpha, beta, i, j):
    return (u[i, j] - beta[j]) - alpha[i] >= 0.0


@compiled
def _prefer_low(n, m, u, partial, spare, alpha, beta, match, owner, queue, after):
    """Among all optima, the one with the lowest coordinates: cycles of tight pairs, through the ground where allowed.

    The nodes are the rows and the ground n, which owns the columns of nobody and gives a place to rows that may be left
    unmatched. k → l says that k may take what l has.
    """
    for i in range(n):
        now = match[i] if match[i] >= 0 else m
        lower = False
        for j in range(now):
            lower |= _tight(u, alpha, beta, i, j) and (owner[j] < 0 or owner[j] > i)
        if not lower:
            continue
        for k in range(n + 1):
            after[k] = _NOBODY
        after[i] = i
        queue[0] = i
        head, tail = 0, 1
        while head < tail:
            node = queue[head]
            head += 1
            for k in range(i + 1, n + 1):
                if after[k] >= 0:
                    continue
                if k == n:  # the ground takes what a row gives up
                    edge = match[node] < 0 or (spare and beta[match[node]] == 0.0)
                elif node == n:
                    edge = partial and match[k] >= 0 and alpha[k] == 0.0
                    for j in range(m if spare else 0):
                        edge |= owner[j] < 0 and _tight(u, alpha, beta, k, j)
                else:
                    edge = match[node] >= 0 and _tight(u, alpha, beta, k, match[node])
                if edge:
                    after[k] = node
                    queue[tail] = k
                    tail += 1
        for j in range(now):
            giver = owner[j] if owner[j] >= 0 else n
            if (giver == n or giver > i) and after[giver] >= 0 and _tight(u, alpha, beta, i, j):
                _rotate(n, m, u, alpha, beta, match, owner, i, j, after)
                break


@compiled
def _rotate(n, m, u, alpha, beta, match, owner, i, j, after):
    """Give column j to row i, and to every node on the way from its owner back to i what the next one had."""
    had = match[i]
    node = owner[j] if owner[j] >= 0 else n
    match[i] = j
    while node != i:
        onward = after[node]
        if node != n and onward == n:
            match[node] = _NOBODY
            for free in range(m):
                if owner[free] < 0 and _tight(u, alpha, beta, node, free):
                    match[node] = free
                    break
        elif node != n:
            match[node] = had if onward == i else match[onward]
        node = onward
    owner[:] = _NOBODY
    for k in range(n):
        if match[k] >= 0:
            owner[match[k]] = k


@compiled
def assign(u, partial, alpha, beta, match, owner, queue, distance, before, todo, seen, entered):
    """Match the rows of u (no more than columns) at the largest sum, with multipliers α_i + β_j ≥ u_ij.

    Returns whether all present rows could be matched.
    """
    n, m = u.shape
    match[:] = _NOBODY
    owner[:] = _NOBODY
    alpha[:] = 0.0
    beta[:] = 0.0
    waiting = _auction(n, m, u, partial, alpha, beta, match, owner, queue)
    for i in range(n):  # of the rows that are matched, exactly tight
        if match[i] >= 0:
            alpha[i] = u[i, match[i]] - beta[match[i]]
    for k in range(waiting):
        i = queue[k]
        if match[i] < 0 and not _augment(
            m, u, i, partial, alpha, beta, match, owner, distance, before, todo, seen, entered
        ):
            for j in range(m):
                if u[i, j] > -np.inf:
                    return False
    for i in range(n):
        alpha[i] = u[i, match[i]] - beta[match[i]] if match[i] >= 0 else 0.0
    return True


@compiled
def has_more_columns(n, m, u):
    """Whether there are more columns with pairs than rows."""
    more = 0
    for i in range(n):
        for j in range(m):
            if u[i, j] > -np.inf:
                more -= 1
                break
    for j in range(m):
        for i in range(n):
            if u[i, j] > -np.inf:
                more += 1
                break
    return more > 0


@compiled
def matchings(begin, end, partial, u, out, feasible):
    """Write the best matching of rows `begin` to `end` into `out`."""
    n, m = u.shape[1], u.shape[2]
    alpha, beta = np.empty(n), np.empty(m)
    match, owner = np.empty(n, np.int64), np.empty(m, np.int64)
    queue, after = np.empty(n + 1, np.int64), np.empty(n + 1, np.int64)
    distance, entered = np.empty(m), np.empty(m)
    before, todo, seen = np.empty(m, np.int64), np.empty(m, np.int64), np.empty(m, np.int64)
    for r in range(begin, end):
        feasible[r] = assign(u[r], partial, alpha, beta, match, owner, queue, distance, before, todo, seen, entered)
        if feasible[r]:
            spare = partial or has_more_columns(n, m, u[r])
            _prefer_low(n, m, u[r], partial, spare, alpha, beta, match, owner, queue, after)
        for i in range(n):
            for j in range(m):
                out[r, i, j] = 0.0
            if match[i] >= 0:
                out[r, i, match[i]] = 1.0
