"""With what kernels are launched: how much of a row a program holds in registers, of how many warps it is."""

LARGEST_BLOCK = 1024

# Triton asks to say whether a product and a sum may be rounded once: they may.
OPTIONS = {"enable_fp_fusion": True}


def block(n: int) -> int:
    """The least power of two that holds a row of n numbers, or `LARGEST_BLOCK`, for kernels that go through it."""
    return min(1 << max(n - 1, 1).bit_length(), LARGEST_BLOCK)


def warps(numbers: int, each: int = 4) -> int:
    """How many warps share so many numbers, of which each thread holds about `each`: a power of two up to 16."""
    return max(1, min(16, 1 << (max(numbers // (32 * each), 1)).bit_length() - 1))
