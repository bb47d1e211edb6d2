"""Floating point for Triton kernels: numbers m·2ᵉ whose exponents cannot overflow, as in `sstricks.ops.kernels.floats`.

Both are float64, the exponent a whole number; zero is m = 0, e = ABSENT.
"""

import triton
import triton.language as tl

ABSENT = tl.constexpr(-1e307)  # below the exponent of every weight, and no sum of a few of them overflows
LN2 = tl.constexpr(0.6931471805599453)
INF = tl.constexpr(float("inf"))
_FARTHEST = tl.constexpr(1e305)
_EXACT = tl.constexpr(2.0**52)  # whole numbers below it can be added without rounding
_LOG2_E = tl.constexpr(1.4426950408889634)
_LN2_HIGH = tl.constexpr(6.93147180369123816490e-01)  # its 32 leading bits
_LN2_LOW = tl.constexpr(1.90821492927058770002e-10)
_MANTISSA = tl.constexpr(0x000FFFFFFFFFFFFF)
_ONE = tl.constexpr(1023 << 52)


@triton.jit
def power(k):
    """2ᵏ for whole numbers k ≤ 1023, and 0 from 2⁻⁹⁰⁰ down: adding 2⁵² leaves k + 1023 in the lowest bits."""
    k = tl.where(k > -900.0, k, -1023.0) + (_EXACT + 1023.0)
    return (k.to(tl.int64, bitcast=True) << 52).to(tl.float64, bitcast=True)


@triton.jit
def normalised(m, e):
    """The same numbers with mantissas in [1, 2), unless that would round their exponents."""
    bits = m.to(tl.int64, bitcast=True)
    one_to_two = ((bits & _MANTISSA) | _ONE).to(tl.float64, bitcast=True)
    exact = (m > 0.0) & (tl.abs(e) < _EXACT)
    return tl.where(exact, one_to_two, m), tl.where(exact, e + ((bits >> 52) - 1023).to(tl.float64), e)


@triton.jit
def exponential(x, base):
    """exp(x − base) for x ≤ base; zero where x is −∞ or NaN. What rounding takes from the difference is given back."""
    near = x - base
    back = near - x
    return split_exponential(near, (x - (near - back)) - (base + back))


@triton.jit
def split_exponential(x, low):
    """exp(x + low) for x ≤ 0 and a small rest `low`; zero where x is −∞ or NaN.

    Beyond 1e16 the rest is lost, and only the order of the exponents matters.
    """
    here = x > -_FARTHEST
    x = tl.where(here, x, 0.0)
    k = tl.floor(x * _LOG2_E + 0.5)
    rest = (x - k * _LN2_HIGH) - k * _LN2_LOW + tl.where(here, low, 0.0)
    m = tl.exp(tl.minimum(tl.maximum(rest, -0.5), 0.5))
    return tl.where(here, m, 0.0), tl.where(here, k, ABSENT)


@triton.jit
def summed(m, e, added, e_added):
    """The sum of two numbers ≥ 0, mantissa and exponent, and in the same exponent the mantissa of the second.

    The sum is not normalised: its mantissa stays between 1/(4n) and 4n, where it costs no digits.
    """
    lead = e_added - e
    less = power(-tl.abs(lead))
    added = tl.where(lead > 0.0, added, added * less)
    return tl.where(lead > 0.0, m * less, m) + added, tl.maximum(e, e_added), added


@triton.jit
def quotient(x, y):
    """x/y, and 0 for y = 0."""
    return tl.where(y > 0.0, x / y, 0.0)
