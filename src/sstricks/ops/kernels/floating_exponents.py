"""Numbers m·2ᵉ whose exponents e are floats: those of utilities of any size, and conversions that vectorise."""

import numpy as np

from sstricks.ops.kernels.compiled import compiled

MATHS = {"contract", "nsz", "arcp"}
_ALIGN = 1.5 * 2.0**52 + 1023.0
_WHOLE = np.int64(0x433 << 52)  # the bits of 2⁵²
ZERO = -1e306  # the exponent of zero: below the sum of all others, and no sum with it overflows


@compiled(inline=True, fastmath=MATHS)
def two(d):
    """2ᵈ for a whole number d ≤ 0: added to 1.5·2⁵², it stands in the last bits, and these become the exponent."""
    return np.int64(np.float64(max(d, -1023.0) + _ALIGN).view(np.int64) << np.int64(52)).view(np.float64)


@compiled(inline=True, fastmath=MATHS)
def exponent(x):
    """The e of x = m·2ᵉ, for x > 0, as a float, the same way back; conversions of integers do not always vectorise."""
    bits = (np.float64(x).view(np.int64) >> np.int64(52)) | _WHOLE
    return np.int64(bits).view(np.float64) - (2.0**52 + 1023.0)
