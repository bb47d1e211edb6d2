"""The k-th largest number of a row that a program holds, exactly: its bits are found one after the other."""

import triton
import triton.language as tl

INF = tl.constexpr(float("inf"))
_LEAST = tl.constexpr(-(2**63))
_ALL_BUT_SIGN = tl.constexpr(2**63 - 1)


@triton.jit
def _swapped(bits):
    """From the bits of a float64 to an integer that is ordered as the number is, and back."""
    return bits ^ ((bits >> 63) & _ALL_BUT_SIGN)


@triton.jit
def kth_largest(x, k):
    """The k-th and the (k+1)-th largest of x, counting equals; −∞ where there are none."""
    key = _swapped(x.to(tl.int64, bitcast=True))
    low = tl.full((), _LEAST, tl.int64)
    step = tl.full((), _LEAST, tl.int64)  # 2⁶³: added to the least number it makes 0
    found = 0
    while (step != 0) & (found != k):
        middle = low + step
        count = tl.sum((key >= middle).to(tl.int32))
        found = tl.where(count >= k, count, found)
        low = tl.where(count >= k, middle, low)
        step = (step >> 1) & _ALL_BUT_SIGN
    edge = tl.min(tl.where(key >= low, key, _ALL_BUT_SIGN))
    ties = tl.sum((key >= edge).to(tl.int32)) > k
    below = tl.max(tl.where(key < edge, x, -INF))
    edge = _swapped(edge).to(tl.float64, bitcast=True)
    return edge, tl.where(ties, edge, below)
