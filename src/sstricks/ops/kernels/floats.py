"""Floating point for kernels: exponents that cannot overflow, and an exponential that vectorises.

A number is held as m·2ᵉ with a float64 mantissa m and an int64 exponent e. Sums and products of such numbers keep
sixteen digits over any range, where float64 alone ends at e^±709 and logarithms lose a digit for every factor of ten
in the range. `LANES` problems are treated in lockstep, stored side by side, so that every inner loop is one vector.
"""

import numpy as np
from numba import njit

LANES = 8
ROW = np.uint64(LANES)  # as an offset: a signed one would cost its wrap-around test
NOTHING = np.int64(-(1 << 60))  # the exponent of zero: below every other, and no sum of three of them overflows
LARGEST = 1e15  # no utility is farther below the largest, so exponents stay far above NOTHING
LOG2_E = 1.4426950408889634
LN2_HIGH = 6.93147180369123816490e-01  # its 32 leading bits: k·LN2_HIGH is exact for every |k| < 2²¹
LN2_LOW = 1.90821492927058770002e-10
LN2 = 0.6931471805599453
_MANTISSA = np.int64(0x000FFFFFFFFFFFFF)
_ONE = np.int64(1023 << 52)
inlined = njit(inline="always")  # into Numba's own code, where these take the licences of their surroundings


@inlined
def power_of_two(k):
    """2ᵏ for a whole number k ≤ 1023 of either type, and 0 where that underflows."""
    return np.int64((np.int64(max(k, np.int64(-1023))) + np.int64(1023)) << np.int64(52)).view(np.float64)


@inlined
def mantissa(x):
    """The m in [1, 2) of x = m·2ᵉ, for x > 0."""
    return np.int64((np.float64(x).view(np.int64) & _MANTISSA) | _ONE).view(np.float64)


@inlined
def exponent(x):
    """The e of x = m·2ᵉ, for x ≥ 0."""
    return (np.float64(x).view(np.int64) >> np.int64(52)) - np.int64(1023)


@inlined
def exp_reduced(r):
    """The exponential on |r| ≤ ln(2)/2, by its Taylor series to degree 13: the remainder is below 5e-18."""
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    return p * r + 1.0


@inlined
def exp_nonpositive(y):
    """exp(y) for y ≤ 0; zero below −709."""
    y = max(y, -1000.0)
    k = np.floor(y * LOG2_E + 0.5)
    return exp_reduced((y - k * LN2_HIGH) - k * LN2_LOW) * power_of_two(np.int64(k))
