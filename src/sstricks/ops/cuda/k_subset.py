"""The exponential family of k-subsets; the mathematics stands in `sstricks.ops.k_subset`.

As the twin does, laws of the number of heads are convolved up a binary tree over the items, and weights of completion
are handed down it, in 2 log₂ n steps. On level l stand LEAVES/2ˡ groups of 2ˡ items, each with its law in
min(2ˡ⁺¹, STATES) places; LEAVES and STATES are powers of two.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sstricks.ops.cuda.blocks import launch, power_of_two, programs, warps
from sstricks.ops.cuda.order import INF, kth_largest

_ENOUGH = tl.constexpr(0.25)  # Σσ(u+ν) need only be near k: then P(Σ=k) is near the mode of its law
_MOST_STEPS = tl.constexpr(200)
_NEVER = tl.constexpr(-8e307)  # a shift that leaves no item


@triton.jit
def _coins(u, bounds, n, LEAVES: tl.constexpr):
    """The utilities from an edge on, the shift ν with which they lead near a size, the edge and the size."""
    i = tl.arange(0, LEAVES)
    least = tl.load(bounds).to(tl.int32)
    most = tl.load(bounds + 1).to(tl.int32)
    v = tl.load(u + i, mask=i < n, other=-INF)
    z = tl.exp(-tl.abs(v))
    mean = tl.sum(tl.where(v > 0.0, 1.0, z) / (1.0 + z))
    size = tl.where((mean > most) | (least == most), most, least)
    inside = (least < most) & (mean <= most) & (least <= mean)
    edge, below = kth_largest(v, tl.maximum(size, 1))
    nu = 0.5 * tl.minimum(edge - below, 2000.0)
    if inside | (size == 0):
        edge = edge * 0.0
        nu = tl.where(inside, 0.0, edge + _NEVER)
    v = v - edge
    reach = tl.log(2.0 * n.to(tl.float64))
    low = nu - reach
    high = nu + reach
    z = tl.exp(-tl.abs(v + nu))
    p = tl.where(v + nu > 0.0, 1.0, z) / (1.0 + z)
    excess = tl.where(inside, 0.0, tl.sum(p) - size)
    steps = 0
    while (tl.abs(excess) > _ENOUGH) & (steps < _MOST_STEPS):
        low = tl.where(excess > 0.0, low, nu)
        high = tl.where(excess > 0.0, nu, high)
        newton = nu - excess / tl.sum(z / ((1.0 + z) * (1.0 + z)))
        nu = tl.where((newton > low) & (newton < high), newton, 0.5 * (low + high))
        z = tl.exp(-tl.abs(v + nu))
        p = tl.where(v + nu > 0.0, 1.0, z) / (1.0 + z)
        excess = tl.sum(p) - size
        steps += 1
    return v, nu, edge, size


@triton.jit
def _weights(bounds, s, nu, edge, size):
    """What sizes s weigh beside the one that ν leads to, 0 out of bounds."""
    more = (size - s).to(tl.float64)
    weights = tl.exp(tl.where(more == 0.0, 0.0, more * (nu - edge)))
    return tl.where((tl.load(bounds) <= s) & (s <= tl.load(bounds + 1)), weights, 0.0)


@triton.jit
def _up(level, dlevel, k, LEAVES: tl.constexpr, STATES: tl.constexpr, BLOCK: tl.constexpr, TANGENT: tl.constexpr):
    """Convolve the laws of all levels from that of single items; return where the last stands."""
    groups = LEAVES // 2
    width = 2
    top = 1
    while groups >= 1:
        wide = tl.minimum(2 * width, STATES)
        most = tl.minimum(2 * top, k)
        above = level + 2 * groups * width
        dabove = dlevel + 2 * groups * width
        for start in range(0, groups * wide, BLOCK):
            e = start + tl.arange(0, BLOCK)
            s = e & (wide - 1)
            inside = (e < groups * wide) & (s <= most)
            left = 2 * (e // wide) * width
            right = left + width + s
            total = tl.zeros((BLOCK,), tl.float64)
            dtotal = tl.zeros((BLOCK,), tl.float64)
            for j in range(0, top + 1):
                fits = inside & (j <= s) & (s - j <= top)
                a = tl.load(level + left + j, mask=inside, other=0.0)
                b = tl.load(level + right - j, mask=fits, other=0.0)
                total += a * b
                if TANGENT:
                    da = tl.load(dlevel + left + j, mask=inside, other=0.0)
                    db = tl.load(dlevel + right - j, mask=fits, other=0.0)
                    dtotal += da * b + a * db
            tl.store(above + e, total, mask=inside)
            if TANGENT:
                tl.store(dabove + e, dtotal, mask=inside)
        tl.debug_barrier()
        level = above
        dlevel = dabove
        groups = groups // 2
        width = wide
        top = most
    return level, dlevel


@triton.jit
def _down(
    level, dlevel, outside, doutside, k, bounds, nu, edge, near, center,
    LEAVES: tl.constexpr, STATES: tl.constexpr, BLOCK: tl.constexpr, TANGENT: tl.constexpr,
):  # fmt: skip
    """Hand weights of completion down, from the level below the last to that of single items; return where they are."""
    # Two halves take turns in being read and written.
    now = outside
    dnow = doutside
    then = outside + 2 * LEAVES
    dthen = doutside + 2 * LEAVES
    wide = tl.minimum(2 * LEAVES, STATES)
    for start in range(0, wide, BLOCK):
        s = start + tl.arange(0, BLOCK)
        weights = _weights(bounds, s, nu, edge, near)
        tl.store(now + s, weights, mask=s < wide)
        if TANGENT:
            tl.store(dnow + s, (s - near) * center * weights, mask=s < wide)
    tl.debug_barrier()
    groups = 2
    while groups <= LEAVES:
        size = LEAVES // groups
        width = tl.minimum(2 * size, STATES)
        top = tl.minimum(size, k)
        most = tl.minimum(2 * size, k)
        level -= groups * width
        dlevel -= groups * width
        for start in range(0, groups * width, BLOCK):
            e = start + tl.arange(0, BLOCK)
            s = e & (width - 1)
            group = e // width
            inside = (e < groups * width) & (s <= top)
            sibling = (group ^ 1) * width
            parent = (group // 2) * wide + s
            total = tl.zeros((BLOCK,), tl.float64)
            dtotal = tl.zeros((BLOCK,), tl.float64)
            for j in range(0, top + 1):
                fits = inside & (s + j <= most)
                a = tl.load(level + sibling + j, mask=inside, other=0.0)
                b = tl.load(now + parent + j, mask=fits, other=0.0)
                total += a * b
                if TANGENT:
                    da = tl.load(dlevel + sibling + j, mask=inside, other=0.0)
                    db = tl.load(dnow + parent + j, mask=fits, other=0.0)
                    dtotal += da * b + a * db
            tl.store(then + e, total, mask=inside)
            if TANGENT:
                tl.store(dthen + e, dtotal, mask=inside)
        tl.debug_barrier()
        now, then = then, now
        dnow, dthen = dthen, dnow
        groups = groups * 2
        wide = width
    return now, dnow


@triton.jit(do_not_specialize=["rows", "n", "k", "length"])
def _marginals(
    u, g, bounds, out, memory, rows, n, k, length,
    LEAVES: tl.constexpr, STATES: tl.constexpr, BLOCK: tl.constexpr, TANGENT: tl.constexpr,
):  # fmt: skip
    """Marginals, or with TANGENT their derivative in the direction g."""
    level = memory + tl.program_id(0).to(tl.int64) * length
    outside = level + length // (1 + TANGENT) - 4 * LEAVES
    dlevel = level + length // 2
    doutside = outside + length // 2
    i = tl.arange(0, LEAVES)
    number = tl.program_id(0).to(tl.int64)
    while number < rows:
        row = number * n
        of = bounds + number * 2
        v, nu, edge, size = _coins(u + row, of, n, LEAVES)
        z = tl.exp(-tl.abs(v + nu))
        p = tl.where(v + nu > 0.0, 1.0, z) / (1.0 + z)
        q = tl.where(v + nu > 0.0, z, 1.0) / (1.0 + z)
        tl.store(level + 2 * i, q)
        tl.store(level + 2 * i + 1, p)
        dp = 0.0 * p
        center = 0.0 * nu
        if TANGENT:
            spread = p * q
            pull = tl.load(g + row + i, mask=i < n, other=0.0)
            center = tl.sum(spread * pull) / (tl.sum(spread) + 1e-300)
            dp = spread * (pull - center)
            tl.store(dlevel + 2 * i, -dp)
            tl.store(dlevel + 2 * i + 1, dp)
        tl.debug_barrier()
        last, dlast = _up(level, dlevel, k, LEAVES, STATES, BLOCK, TANGENT)
        now, dnow = _down(
            last, dlast, outside, doutside, k, of, nu, edge, size, center, LEAVES, STATES, BLOCK, TANGENT
        )  # fmt: skip
        none = tl.load(now + 2 * i) * q
        one = tl.load(now + 2 * i + 1) * p
        total = none + one
        x = one / total
        if TANGENT:
            dnone = tl.load(dnow + 2 * i) * q - tl.load(now + 2 * i) * dp
            done = tl.load(dnow + 2 * i + 1) * p + tl.load(now + 2 * i + 1) * dp
            x = (done - x * (dnone + done)) / total
        tl.store(out + row + i, x, mask=i < n)
        tl.debug_barrier()
        number += tl.num_programs(0)


@triton.jit(do_not_specialize=["rows", "n", "k", "length"])
def _log_partition(
    u, bounds, out, memory, rows, n, k, length, LEAVES: tl.constexpr, STATES: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    level = memory + tl.program_id(0).to(tl.int64) * length
    i = tl.arange(0, LEAVES)
    number = tl.program_id(0).to(tl.int64)
    while number < rows:
        of = bounds + number * 2
        v, nu, edge, size = _coins(u + number * n, of, n, LEAVES)
        z = tl.exp(-tl.abs(v + nu))
        large = v + nu > 0.0
        tl.store(level + 2 * i, tl.where(large, z, 1.0) / (1.0 + z))
        tl.store(level + 2 * i + 1, tl.where(large, 1.0, z) / (1.0 + z))
        tl.debug_barrier()
        last, _ = _up(level, level, k, LEAVES, STATES, BLOCK, False)
        # Σ log(1 + exp(u+ν)) − kν, term by term so that large ν cancel in pairs.
        terms = tl.sum(tl.where(large, v, 0.0) + tl.log(1.0 + z))
        surplus = tl.sum(large.to(tl.int32)) - size
        total = 0.0 * nu
        for start in range(0, k + 1, BLOCK):
            s = start + tl.arange(0, BLOCK)
            total += tl.sum(tl.load(last + s, mask=s <= k, other=0.0) * _weights(of, s, nu, edge, size))
        value = tl.log(total) + terms + surplus * nu + size * edge
        tl.store(out + number, value)
        tl.debug_barrier()
        number += tl.num_programs(0)


@triton.jit(do_not_specialize=["n", "k"])
def _toss(u, bounds, p, q, weights, n, k, LEAVES: tl.constexpr, STATES: tl.constexpr):
    """The probabilities of all coins, and the weights of sizes, by how many there may be still."""
    row = tl.program_id(0).to(tl.int64) * n
    of = bounds + tl.program_id(0).to(tl.int64) * 2
    i = tl.arange(0, LEAVES)
    v, nu, edge, size = _coins(u + row, of, n, LEAVES)
    z = tl.exp(-tl.abs(v + nu))
    tl.store(p + row + i, tl.where(v + nu > 0.0, 1.0, z) / (1.0 + z), mask=i < n)
    tl.store(q + row + i, tl.where(v + nu > 0.0, z, 1.0) / (1.0 + z), mask=i < n)
    s = tl.arange(0, STATES)
    tl.store(weights + tl.program_id(0).to(tl.int64) * STATES + s, _weights(of, k - s, nu, edge, size))


@triton.jit(do_not_specialize=["n", "k"])
def _walk(p, q, weights, uniform, out, share, n, k, STATES: tl.constexpr):
    """One walk over the items, each chosen with its share of what can follow."""
    row = tl.program_id(0).to(tl.int64) * n
    share += row * STATES
    j = tl.arange(0, STATES)
    weight = tl.load(weights + tl.program_id(0).to(tl.int64) * STATES + j)
    for step in range(0, n):
        item = n - 1 - step
        take = tl.load(p + row + item) * tl.where(j > 0, tl.gather(weight, tl.maximum(j - 1, 0), 0), 0.0)
        weight = tl.load(q + row + item) * weight + take
        tl.store(share + item * STATES + j, take / tl.where(weight > 0.0, weight, 1.0))
    tl.debug_barrier()
    invalid = tl.load(p + row)
    left = k
    for item in range(0, n):
        chosen = tl.load(uniform + row + item) < tl.load(share + item * STATES + left)
        left -= chosen.to(tl.int32)
        tl.store(out + row + item, chosen.to(tl.float64) + (invalid - invalid))


def _sizes(n: int, k: int) -> tuple[int, int, int]:
    """LEAVES, STATES, and how many numbers stand on all levels."""
    leaves, states = power_of_two(max(n, 2)), power_of_two(k + 1)
    levels = sum((leaves >> level) * min(2 << level, states) for level in range(leaves.bit_length()))
    return leaves, states, levels


def _launch(u: Tensor, g: Tensor, bounds: Tensor, k: int, tangent: bool) -> Tensor:
    out = torch.empty_like(u)
    rows, n = u.shape
    leaves, states, levels = _sizes(n, k)
    size = (1 + tangent) * (levels + 4 * leaves)
    count = programs(rows, size)
    if rows:
        memory = torch.empty(count, size, dtype=u.dtype, device=u.device)
        threads = 4 * warps(leaves, 8)
        constants = leaves, states, min(512, 2 * leaves), tangent
        launch(_marginals, count, (u, g, bounds, out, memory, rows, n, k, size), constants, max(1, min(threads, 8)))
    return out


def marginals(u: Tensor, bounds: Tensor, k: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    return _launch(u, u, bounds, k, tangent=False)


def marginals_jvp(u: Tensor, g: Tensor, bounds: Tensor, k: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    return _launch(u, g, bounds, k, tangent=True)


def log_partition(u: Tensor, bounds: Tensor, k: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    rows, n = u.shape
    out = u.new_empty(rows)
    leaves, states, size = _sizes(n, k)
    count = programs(rows, size)
    if rows:
        memory = torch.empty(count, size, dtype=u.dtype, device=u.device)
        block = min(512, 2 * leaves)
        launch(
            _log_partition, count, (u, bounds, out, memory, rows, n, k, size), (leaves, states, block), warps(leaves)
        )
    return out


def sample(u: Tensor, uniform: Tensor, bounds: Tensor, k: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    out = torch.empty_like(u)
    rows, n = u.shape
    if rows:
        p, q = torch.empty_like(u), torch.empty_like(u)
        leaves, states, _ = _sizes(n, k)
        weights = u.new_empty(rows, states)
        share = u.new_empty(rows, n, states)
        launch(_toss, rows, (u, bounds, p, q, weights, n, k), (leaves, states), warps(leaves))
        launch(_walk, rows, (p, q, weights, uniform, out, share, n, k), (states,), 1)
    return out
