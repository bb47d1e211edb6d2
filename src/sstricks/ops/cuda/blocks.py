"""How kernels are launched: how much of a row a program holds in registers, of how many warps it is."""

from typing import Any

from torch import Tensor

LARGEST_BLOCK = 1024

# Rows that are longer than this do not fit into the registers of a program, and are left to the twin.
LONGEST_ROW = 1 << 16

# Programs that need memory of their own take turns with the rows: so many fill a large device, with so many bytes.
LEAST_PROGRAMS, MOST_PROGRAMS = 264, 2048
MOST_MEMORY = 1 << 29

_compiled: dict[tuple[Any, ...], Any] = {}


def launch(kernel: Any, programs: int, args: tuple[Any, ...], constants: tuple[Any, ...], num_warps: int) -> None:
    """Launch a kernel on the device of its first argument.

    It takes Triton longer than most kernels run to find out that it has compiled one for such arguments. So this is
    asked once for each kind of arguments, and what has been compiled is launched from then on.

    Args:
        kernel: What `triton.jit` made, with `do_not_specialize` of all numbers that are not constants.
        programs: How many there are.
        args: Tensors and numbers.
        constants: What follows them in the kernel's signature.
        num_warps: Of a program.
    """
    kinds = [
        (a.dtype, a.data_ptr() % 16 == 0) if isinstance(a, Tensor) else a.bit_length() > 31 if type(a) is int else None
        for a in args
    ]
    key = (kernel, args[0].get_device(), num_warps, constants, *kinds)
    found = _compiled.get(key)
    if found is not None:
        found[programs, 1, 1](*args, *constants)
        return
    # Triton asks to say whether a product and a sum may be rounded once: they may.
    found = kernel[programs,](*args, *constants, num_warps=num_warps, enable_fp_fusion=True)
    if found is not None:  # in Triton's interpreter it is
        _compiled[key] = found


def power_of_two(n: int) -> int:
    """The least power of two that is not below n ≥ 1."""
    return 1 << (n - 1).bit_length()


def block(n: int) -> int:
    """The least power of two that holds a row of n numbers, or `LARGEST_BLOCK`, for kernels that go through it."""
    return min(power_of_two(max(n, 2)), LARGEST_BLOCK)


def warps(numbers: int, each: int = 4) -> int:
    """How many warps share so many numbers, of which each thread holds about `each`: a power of two up to 16."""
    return max(1, min(16, numbers // (32 * each)))


def programs(rows: int, numbers: int) -> int:
    """How many programs take turns with the rows if each has memory for so many float64."""
    return min(rows, MOST_PROGRAMS, max(LEAST_PROGRAMS, MOST_MEMORY // (8 * numbers)))
