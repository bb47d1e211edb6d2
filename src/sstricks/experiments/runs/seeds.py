import hashlib

import torch


def fold_in(seed: int, *parts: int | str) -> int:
    """A seed that depends on all its arguments, and on nothing else: not on the process, nor on what was drawn before.

    Args:
        seed: the run's seed.
        *parts: what to tell apart, such as a purpose and a step.

    Returns:
        An integer in [0, 2⁶³).

    Example:
        >>> fold_in(0, "noise", 1) == fold_in(0, "noise", 1) != fold_in(0, "noise", 2)
        True
    """
    digest = hashlib.blake2b(repr((seed, *parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator_of(seed: int) -> torch.Generator:
    """A generator that begins at a seed of any size.

    Args:
        seed: an integer; torch has seeds of 64 bits, larger ones are taken modulo 2⁶⁴.

    Returns:
        The generator, on the CPU.

    Example:
        >>> generator_of(2**64 + 3).initial_seed()
        3
    """
    return torch.Generator().manual_seed(seed % 2**64)
