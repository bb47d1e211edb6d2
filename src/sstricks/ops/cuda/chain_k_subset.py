"""The exponential family of correlated k-subsets; the mathematics stands in `sstricks.ops.chain_k_subset`.

One warp goes through the items of a row, from the last to the first and back. Its lanes are the states (s, j), first
those with s = 0, then those with s = 1, STATES of each. Numbers are mantissas and exponents, both float64; a whole
number d becomes 2ᵈ, and a number its exponent, through the bits of 1.5 · 2⁵² + d.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sstricks.ops.cuda.blocks import launch, power_of_two, programs

_ALIGN = tl.constexpr(1.5 * 2.0**52 + 1023.0)
_WHOLE = tl.constexpr(0x433 << 52)
_MANTISSA = tl.constexpr(0x000FFFFFFFFFFFFF)
_ONE = tl.constexpr(1023 << 52)
_NOTHING = tl.constexpr(-1e306)
_LOG2_E = tl.constexpr(1.4426950408889634)
_LN2 = tl.constexpr(0.6931471805599453)
_LN2_HIGH = tl.constexpr(6.93147180369123816490e-01)
_LN2_LOW = tl.constexpr(1.90821492927058770002e-10)
_INF = tl.constexpr(float("inf"))


@triton.jit
def _two(d):
    """2ᵈ for whole numbers d ≤ 0."""
    return ((tl.maximum(d, -1023.0) + _ALIGN).to(tl.int64, bitcast=True) << 52).to(tl.float64, bitcast=True)


@triton.jit
def _exponent(x):
    """The e of x = m·2ᵉ, for x > 0."""
    return ((x.to(tl.int64, bitcast=True) >> 52) | _WHOLE).to(tl.float64, bitcast=True) - (2.0**52 + 1023.0)


@triton.jit
def _mantissa(x):
    """The m in [1, 2) of x = m·2ᵉ, for x > 0."""
    return ((x.to(tl.int64, bitcast=True) & _MANTISSA) | _ONE).to(tl.float64, bitcast=True)


@triton.jit
def _weights(u, weight, power, size, BLOCK: tl.constexpr):
    """The exponentials of the utilities as mantissas and exponents."""
    for start in range(0, size, BLOCK):
        i = start + tl.arange(0, BLOCK)
        x = tl.load(u + i, mask=i < size, other=-_INF)
        here = x > -_INF
        x = tl.where(here, x, 0.0)
        whole = tl.floor(x * _LOG2_E + 0.5)
        rest = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
        rest = tl.minimum(tl.maximum(rest, -0.35), 0.35)
        tl.store(weight + i, tl.where(here, tl.exp(rest), 0.0), mask=i < size)
        tl.store(power + i, tl.where(here, whole, _NOTHING), mask=i < size)


@triton.jit
def _states(STATES: tl.constexpr):
    """The lanes, the s and the j of their states, and the lane of the state with s = 1 and one item fewer."""
    lane = tl.arange(0, 2 * STATES)
    j = lane & (STATES - 1)
    return lane, lane // STATES, j, tl.where(j > 0, STATES + j - 1, 0)


@triton.jit
def _completions(
    weight, power, slope, share, dshare, n, STATES: tl.constexpr, KEEP: tl.constexpr, TANGENT: tl.constexpr
):  # fmt: skip
    """From the last item to the first: write the shares of choosing an item; return the weights of all completions."""
    lane, s, j, fewer = _states(STATES)
    m = (j == 0).to(tl.float64)
    e = tl.where(j == 0, 0.0, _NOTHING)
    b = 0.0 * m
    for step in range(0, n):
        i = n - 1 - step
        pair = tl.where(i > 0, n + i - 1, 0)
        paired = (s == 1) & (i > 0)
        w = tl.load(weight + i) * tl.where(paired, tl.load(weight + pair), 1.0)
        p = tl.load(power + i) + tl.where(paired, tl.load(power + pair), 0.0)
        stay = tl.gather(m, j, 0)
        stay_power = tl.gather(e, j, 0)
        take = tl.where(j > 0, tl.gather(m, fewer, 0), 0.0)
        take_power = tl.where(j > 0, tl.gather(e, fewer, 0), _NOTHING) + p
        top = tl.maximum(stay_power, take_power)
        taken = take * w * _two(take_power - top)
        total = stay * _two(stay_power - top) + taken
        alive = total > 0.0
        m = tl.where(alive, _mantissa(total), 0.0)
        e = tl.where(alive, top + _exponent(total), _NOTHING)
        if KEEP:
            c = taken / tl.where(alive, total, 1.0)
            tl.store(share + i * 2 * STATES + lane, c)
            if TANGENT:
                g = tl.load(slope + i) + tl.where(paired, tl.load(slope + pair), 0.0)
                before = tl.gather(b, j, 0)
                moved = c * (g + tl.gather(b, fewer, 0) - before)
                tl.store(dshare + i * 2 * STATES + lane, moved * (1.0 - c))
                b = before + moved
    return m, e


@triton.jit
def _walked(law, taken, s, j, other, more, k):
    """The law of the state past an item, from that before it and the part of it that chooses the item."""
    left = law - taken
    left = left + tl.gather(left, other, 0)
    came = tl.gather(taken + tl.gather(taken, other, 0), more, 0)
    return tl.where(s == 0, left, tl.where(j < k, came, 0.0))


@triton.jit(do_not_specialize=["rows", "n", "k"])
def _marginals(u, g, out, memory, rows, n, k, STATES: tl.constexpr, TANGENT: tl.constexpr, BLOCK: tl.constexpr):
    """Marginals, or with TANGENT their derivative in the direction g."""
    size = 2 * n - 1
    table = 2 * STATES * n
    weight = memory + tl.program_id(0).to(tl.int64) * (2 * size + (1 + TANGENT) * table)
    power = weight + size
    share = power + size
    dshare = share + TANGENT * table
    result = dshare
    lane, s, j, _fewer = _states(STATES)
    other = lane ^ STATES
    more = tl.minimum(j + 1, STATES - 1)
    row = tl.program_id(0).to(tl.int64)
    while row < rows:
        _weights(u + row * size, weight, power, size, BLOCK)
        tl.debug_barrier()
        m, _e = _completions(weight, power, g + row * size, share, dshare, n, STATES, True, TANGENT)
        tl.debug_barrier()
        valid = tl.sum(tl.where(lane == k, m, 0.0)) > 0.0
        law = (lane == k).to(tl.float64)
        dlaw = 0.0 * law
        c = tl.load(share + lane)
        dc = tl.load(dshare + lane)
        for i in range(0, n):
            ahead = tl.minimum(i + 1, n - 1) * 2 * STATES + lane  # loaded before it is needed
            next_c = tl.load(share + ahead)
            taken = law * c
            if TANGENT:
                next_dc = tl.load(dshare + ahead)
                dtaken = dlaw * c + law * dc
                tl.store(result + i * 2 * STATES + lane, dtaken)
                dlaw = _walked(dlaw, dtaken, s, j, other, more, k)
                dc = next_dc
            else:
                tl.store(result + i * 2 * STATES + lane, taken)
            law = _walked(law, taken, s, j, other, more, k)
            c = next_c
        tl.debug_barrier()
        for start in range(0, n, BLOCK):
            items = start + tl.arange(0, BLOCK)
            alone = tl.zeros((BLOCK,), tl.float64)
            pair = tl.zeros((BLOCK,), tl.float64)
            for state in range(0, STATES):
                place = result + items * 2 * STATES + state
                alone += tl.load(place, mask=items < n, other=0.0)
                pair += tl.load(place + STATES, mask=items < n, other=0.0)
            item = alone + pair
            if not TANGENT:
                item = tl.minimum(item, 1.0)
                pair = tl.minimum(pair, 1.0)
            at = out + row * size + items
            tl.store(at, tl.where(valid, item, float("nan")), mask=items < n)
            tl.store(at + n - 1, tl.where(valid, pair, float("nan")), mask=(items > 0) & (items < n))
        tl.debug_barrier()
        row += tl.num_programs(0)


@triton.jit(do_not_specialize=["rows", "n", "k"])
def _log_partition(u, out, memory, rows, n, k, STATES: tl.constexpr, BLOCK: tl.constexpr):
    size = 2 * n - 1
    weight = memory + tl.program_id(0).to(tl.int64) * (2 * size)
    power = weight + size
    lane = tl.arange(0, 2 * STATES)
    row = tl.program_id(0).to(tl.int64)
    while row < rows:
        _weights(u + row * size, weight, power, size, BLOCK)
        tl.debug_barrier()
        m, e = _completions(weight, power, weight, weight, weight, n, STATES, False, False)
        m = tl.sum(tl.where(lane == k, m, 0.0))
        e = tl.sum(tl.where(lane == k, e, 0.0))
        value = tl.log(tl.where(m > 0.0, m, 1.0)) + e * _LN2
        tl.store(out + row, tl.where(m > 0.0, value, float("nan")))
        tl.debug_barrier()
        row += tl.num_programs(0)


@triton.jit
def _read(n, k, share, uniform, out, valid, STATES: tl.constexpr, SAMPLE: tl.constexpr):
    """From the first item to the last: write the vertex that choices, or shares and uniforms, lead to."""
    last = 0
    left = k
    for i in range(0, n):
        at = (2 * i + last) * STATES + left
        if SAMPLE:
            chosen = tl.load(uniform + i) < tl.load(share + at)
        else:
            chosen = tl.load(share + at) > 0
        now = chosen.to(tl.int32)
        tl.store(out + i, tl.where(valid, now.to(tl.float64), float("nan")))
        tl.store(out + n + i - 1, tl.where(valid, (now * last).to(tl.float64), float("nan")), mask=i > 0)
        left -= now
        last = now


@triton.jit(do_not_specialize=["rows", "n", "k"])
def _argmax(u, out, memory, rows, n, k, STATES: tl.constexpr, BLOCK: tl.constexpr):
    size = 2 * n - 1
    better = memory + tl.program_id(0).to(tl.int64) * (2 * STATES * n)
    lane, s, j, fewer = _states(STATES)
    row = tl.program_id(0).to(tl.int64)
    while row < rows:
        best = tl.where(j == 0, 0.0, -_INF).to(tl.float64)
        nans = 0
        for step in range(0, n):
            i = n - 1 - step
            item = tl.load(u + row * size + i)
            pair = tl.load(u + row * size + n + i - 1, mask=i > 0, other=0.0)
            nans += ((item != item) | (pair != pair)).to(tl.int32)
            take = tl.where(j > 0, tl.gather(best, fewer, 0), -_INF) + (item + tl.where(s == 1, pair, 0.0))
            stay = tl.gather(best, j, 0)
            tl.store(better + i * 2 * STATES + lane, (take >= stay).to(tl.int8))
            best = tl.maximum(take, stay)
        tl.debug_barrier()
        valid = (tl.max(tl.where(lane == k, best, -_INF)) > -_INF) & (nans == 0)
        _read(n, k, better, u, out + row * size, valid, STATES, False)
        tl.debug_barrier()
        row += tl.num_programs(0)


@triton.jit(do_not_specialize=["rows", "n", "k"])
def _sample(u, uniform, out, memory, rows, n, k, STATES: tl.constexpr, BLOCK: tl.constexpr):
    size = 2 * n - 1
    weight = memory + tl.program_id(0).to(tl.int64) * (2 * size + 2 * STATES * n)
    power = weight + size
    share = power + size
    lane = tl.arange(0, 2 * STATES)
    row = tl.program_id(0).to(tl.int64)
    while row < rows:
        _weights(u + row * size, weight, power, size, BLOCK)
        tl.debug_barrier()
        m, _e = _completions(weight, power, weight, share, share, n, STATES, True, False)
        tl.debug_barrier()
        valid = tl.sum(tl.where(lane == k, m, 0.0)) > 0.0
        _read(n, k, share, uniform + row * n, out + row * size, valid, STATES, True)
        tl.debug_barrier()
        row += tl.num_programs(0)


_BLOCK = 128


def _tangent_or_not(u: Tensor, g: Tensor, k: int, tangent: bool) -> Tensor:
    rows, size = u.shape
    n, states, out = (size + 1) // 2, power_of_two(k + 1), torch.empty_like(u)
    memory = _memory(rows, 2 * size + (1 + tangent) * 2 * states * n, u)
    if rows:
        launch(_marginals, len(memory), (u, g, out, memory, rows, n, k), (states, tangent, _BLOCK), 1)
    return out


def _memory(rows: int, numbers: int, like: Tensor) -> Tensor:
    return like.new_empty(programs(rows, numbers), numbers)


def marginals(u: Tensor, k: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    return _tangent_or_not(u, u, k, tangent=False)


def marginals_jvp(u: Tensor, g: Tensor, k: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    return _tangent_or_not(u, g, k, tangent=True)


def log_partition(u: Tensor, k: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    rows, size = u.shape
    out, memory = u.new_empty(rows), _memory(rows, 2 * size, u)
    if rows:
        args = u, out, memory, rows, (size + 1) // 2, k
        launch(_log_partition, len(memory), args, (power_of_two(k + 1), _BLOCK), 1)
    return out


def argmax(u: Tensor, k: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    rows, size = u.shape
    n, states, out = (size + 1) // 2, power_of_two(k + 1), torch.empty_like(u)
    if rows:
        memory = torch.empty(programs(rows, 2 * states * n), 2 * states * n, dtype=torch.int8, device=u.device)
        launch(_argmax, len(memory), (u, out, memory, rows, n, k), (states, _BLOCK), 1)
    return out


def sample(u: Tensor, uniform: Tensor, k: int) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    rows, size = u.shape
    n, states, out = (size + 1) // 2, power_of_two(k + 1), torch.empty_like(u)
    memory = _memory(rows, 2 * size + 2 * states * n, u)
    if rows:
        launch(_sample, len(memory), (u, uniform, out, memory, rows, n, k), (states, _BLOCK), 1)
    return out
