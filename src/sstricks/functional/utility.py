import torch
from torch import Tensor

from sstricks.errors import check_temperature, joint_shape
from sstricks.functional.checks import check_coordinates, check_mask
from sstricks.ops.precision import is_large, to_float32, to_float64, working_dtype
from sstricks.ops.scaled import scaled


def to_working(u: Tensor) -> Tensor:
    """The numbers in the dtype that solvers compute in, `working_dtype(u)`.

    Args:
        u: Any shape, any floating dtype.

    Example:
        >>> F.to_working(torch.tensor([0.5], dtype=torch.bfloat16)).dtype
        torch.float64
    """
    return to_float64(u) if u.dtype == torch.float32 and is_large(u) else u.to(working_dtype(u))


def from_working(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The numbers in the caller's dtype.

    Args:
        x: What was computed, any shape.
        dtype: That of the utilities.

    Example:
        >>> F.from_working(torch.ones(1, dtype=torch.float64), torch.float32)
        tensor([1.])
    """
    return to_float32(x) if dtype == torch.float32 and is_large(x) else x.to(dtype)


def scaled_utility(u: Tensor, temperature: Tensor | float, mask: Tensor | None = None, at_least: int = 0) -> Tensor:
    """The scaled utility u/t that solvers work on, in the working dtype, with absent coordinates at −∞.

    Args:
        u: Utilities, shape (*batch, n). −∞ is an absent coordinate; +∞ comes before everything finite.
        temperature: t > 0, a number or a tensor that broadcasts with (*batch).
        mask: False where a coordinate is absent, broadcasts with (*batch, n).
        at_least: How many coordinates must be present.

    Raises:
        ValueError: Some utility is NaN, some temperature is not positive, too few coordinates are present, or the
            shapes do not fit.

    Example:
        >>> F.scaled_utility(torch.tensor([1.0, 2.0]), 0.5, torch.tensor([True, False]))
        tensor([2., -inf], dtype=torch.float64)
    """
    check_coordinates(u)
    batch = u.shape[:-1]
    if isinstance(temperature, Tensor):
        batch = joint_shape("temperature", temperature.shape, batch, "utilities")
    else:
        check_temperature(temperature)
    if mask is not None:
        check_mask(mask, u.shape[-1:])
        joint_shape("mask", mask.shape, batch, "utilities", mask.shape[:-1])
    return scaled_checked(u, temperature, mask, at_least)


def scaled_checked(u: Tensor, temperature: Tensor | float, mask: Tensor | None, at_least: int) -> Tensor:
    """What `scaled_utility` returns, of shapes and types that have been checked."""
    dtype, device = working_dtype(u), u.device
    if isinstance(temperature, Tensor):
        temperature = temperature.to(dtype=dtype, device=device)
    else:
        temperature = filled(temperature, dtype, device)
    mask = torch.empty(0, dtype=torch.bool, device=device) if mask is None else mask.to(device)
    if device.type == "cpu" and u.dtype not in {torch.float32, torch.float64}:
        u = u.to(dtype)
    return scaled(u, temperature, mask, at_least)


def filled(number: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The number as a tensor, without a copy to the device, which would have to wait for it.

    Args:
        number: Its value.
        dtype: Of the tensor.
        device: Where it is to be.
    """
    if torch.compiler.is_compiling():  # a product is compiled once for all numbers, `full` once for each
        return torch.ones((), dtype=dtype, device=device) * number
    return torch.full((), number, dtype=dtype, device=device)
