import torch
from torch import Tensor

from sstricks.errors import check_number, invalid, joint_shape
from sstricks.functional.checks import check_coordinates
from sstricks.functional.utility import scaled_utility, to_working


def divide_by_temperature(u: Tensor, temperature: Tensor | float, at_least: int = 1) -> Tensor:
    """The scaled utilities u/t in the working dtype, for the t > 0 that a relaxation without a limit of its own needs.

    Args:
        u: Utilities, shape (*batch, n); −∞ marks an absent coordinate.
        temperature: t > 0, a number or a tensor that broadcasts with (*batch).
        at_least: How many coordinates must be present.

    Raises:
        ValueError: t is not positive or does not fit the batch, u has NaN, or too few coordinates are present.
    """
    check_coordinates(u)
    joint_batch_shape(u, temperature)
    if not torch.as_tensor(temperature > 0).all():
        raise invalid("temperature", temperature, "positive numbers", "For t = 0 take the argmax of the structure.")
    return scaled_utility(u, temperature, at_least=at_least)


def add_gumbel_noise(
    logits: Tensor, generator: torch.Generator | None, scale: float = 1.0, argument: str = "logits"
) -> Tensor:
    """Independent Gumbel utilities with the given locations, in the working dtype.

    Args:
        logits: θ, shape (*batch, n).
        generator: Where the randomness comes from, if not from torch's default generator.
        scale: Of the noise.
        argument: What θ is called.

    Raises:
        ValueError: θ is no tensor of floating numbers.
    """
    check_coordinates(logits, argument=argument)
    theta = to_working(logits)
    return theta - scale * torch.empty_like(theta).exponential_(generator=generator).log()


def joint_batch_shape(u: Tensor, temperature: Tensor | float) -> torch.Size:
    """What the batch shape of the utilities and that of the temperature broadcast to."""
    if not isinstance(temperature, Tensor):
        remedy = "Write 1.0, or torch.tensor([...])."
        check_number("temperature", temperature, "a number > 0, or a tensor of them", remedy)
        return u.shape[:-1]
    return joint_shape("temperature", temperature.shape, u.shape[:-1], "utilities")


def check_square(argument: str, x: Tensor) -> None:
    """Raise unless it is a tensor of floating numbers whose last two dimensions are those of a square matrix."""
    check_coordinates(x, 2, argument)
    if x.shape[-1] != x.shape[-2]:
        raise invalid(argument, f"shape {tuple(x.shape)}", "(*batch, n, n)", "Give one entry for each pair.")
