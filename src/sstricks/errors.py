import operator
import os
import sys
import warnings
from itertools import zip_longest
from numbers import Real
from pathlib import Path

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

_OURS = tuple(str(Path(file).parent) + os.sep for file in (__file__, torch.__file__))


def invalid(argument: str, found: object, expected: str, remedy: str) -> ValueError:
    """The one form of every complaint about an argument: its name, what it is, what it should be, how to mend it."""
    return ValueError(f"{argument}: found {found}, expected {expected}. {remedy}")


class InvalidRows(ValueError):
    """Some rows of a batch have values with which there is nothing to compute."""

    rows: Tensor
    """Which, shape (rows)."""


def invalid_rows(rows: Tensor, argument: str, found: object, expected: str, remedy: str) -> InvalidRows:
    """As `invalid`, where `found` is what is wrong with the first of these rows."""
    error = InvalidRows(*invalid(argument, found, expected, remedy).args)
    error.rows = rows
    return error


def check_integer(
    argument: str, value: object, remedy: str, *, low: int, high: int | None = None, top: str = ""
) -> int:
    """A whole number of any integer type, NumPy's and torch's included, as an int.

    Args:
        argument: Its name.
        value: What the caller gave.
        remedy: How to mend it.
        low: The smallest that will do.
        high: The largest that will do, if there is one.
        top: What `high` is called.

    Raises:
        ValueError: It is no integer, or out of range.

    Example:
        >>> from sstricks.errors import check_integer
        >>> check_integer("n", torch.tensor(3), "Count again.", low=1)
        3
    """
    expected = f"an integer >= {low}" if high is None else f"an integer from {low} to {top} = {high}"
    try:
        number = value if type(value) is int else operator.index(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, RuntimeError):
        raise invalid(argument, repr(value), expected, remedy) from None
    if number < low or (high is not None and number > high):
        raise invalid(argument, repr(value), expected, remedy)
    return number


def check_number(argument: str, value: object, expected: str, remedy: str) -> float:
    """A number of any real type, NumPy's and torch's included, as a float; its range is for the caller to check.

    Args:
        argument: Its name.
        value: What the caller gave.
        expected: What it should be.
        remedy: How to mend it.

    Raises:
        ValueError: It is no number.

    Example:
        >>> from sstricks.errors import check_number
        >>> check_number("t", 0.5, "a number", "Write one.")
        0.5
    """
    if isinstance(value, (float, int)):
        return value
    if isinstance(value, Real) or (isinstance(value, Tensor) and not value.dim()):
        return float(value)
    raise invalid(argument, f"{value!r}, a {type(value).__name__}", expected, remedy)


def check_positive(argument: str, value: object, remedy: str) -> float:
    """A number above 0, as a float.

    Args:
        argument: Its name.
        value: What the caller gave.
        remedy: How to mend it.

    Raises:
        ValueError: It is no number, not positive, or NaN.
    """
    expected = "a number > 0"
    if not (number := check_number(argument, value, expected, remedy)) > 0:
        raise invalid(argument, repr(value), expected, remedy)
    return number


def check_temperature(temperature: object, argument: str = "temperature") -> float:
    """A temperature that is not in a tensor, as a float.

    Args:
        temperature: What the caller gave.
        argument: What it is called there.

    Raises:
        ValueError: It is no number, negative, or NaN.
    """
    expected = "a number >= 0, or a tensor of them"
    t = check_number(argument, temperature, expected, "For one temperature for each example write torch.tensor([...]).")
    if not t >= 0:  # NaN included
        raise invalid(argument, temperature, expected, "Use 0 for the argmax.")
    return t


def check_tensor(argument: str, value: object) -> Tensor:
    """The value, if it is a tensor.

    Args:
        argument: Its name.
        value: What the caller gave.

    Raises:
        ValueError: It is a list, an array or anything else.
    """
    if isinstance(value, Tensor):
        return value
    raise invalid(argument, f"a {type(value).__name__}", "a tensor", f"Write torch.as_tensor({argument}).")


def check_floating(argument: str, value: object) -> Tensor:
    """The value, if it is a tensor of floating numbers.

    Args:
        argument: Its name.
        value: What the caller gave.

    Raises:
        ValueError: It is something else.
    """
    found = check_tensor(argument, value)
    if found.is_floating_point():
        return found
    raise invalid(argument, f"dtype {found.dtype}", "a floating dtype", f"Write {argument}.float().")


def check_distribution(argument: str, value: object) -> Distribution:
    """The value, if it is a torch distribution.

    Args:
        argument: Its name.
        value: What the caller gave.

    Raises:
        ValueError: It is a tensor of parameters or anything else.
    """
    if isinstance(value, Distribution):
        return value
    raise invalid(
        argument,
        f"a {type(value).__name__}",
        "a torch distribution over the coordinates",
        "For Gumbel noise around logits write sst.Gumbel(logits).",
    )


def check_sizes(argument: str, value: object) -> Size:
    """The sizes of dimensions, as `torch.Size`.

    Args:
        argument: Its name.
        value: What the caller gave.

    Raises:
        ValueError: It is no tuple of integers >= 0.
    """
    if isinstance(value, Size):
        return value
    remedy = "Sizes come in a tuple, one for each dimension: (5,) for five."
    if not isinstance(value, tuple | list):
        raise invalid(argument, repr(value), "a tuple of integers >= 0", remedy)
    return Size([check_integer(argument, n, remedy, low=0) for n in value])


def joint_shape(argument: str, shape: Size, batch: Size, other: str, batch_of: Size | None = None) -> Size:
    """What the batch shape of an argument and that of something else broadcast to.

    Args:
        argument: Its name.
        shape: Its shape.
        batch: The batch shape of the other.
        other: What the other is.
        batch_of: The batch part of `shape`, if that is not all of it.

    Raises:
        ValueError: They do not broadcast.
    """
    mine = shape if batch_of is None else batch_of
    if not mine or mine == batch:  # as nearly always, and what follows takes longer than a small problem
        return batch
    # Not torch.broadcast_shapes, which loads sympy first, in a second.
    pairs = [*zip_longest(reversed(mine), reversed(batch), fillvalue=1)]
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        raise invalid(
            argument,
            f"shape {tuple(shape)}",
            f"a batch shape that broadcasts with {tuple(batch)}, that of the {other}",
            "Give one for each example, or one for all.",
        )
    return Size([a if b == 1 else b for a, b in reversed(pairs)])


def expanded_shape(batch_shape: object, shape: Size) -> Size:
    """The batch shape that a distribution of another one is to be expanded to.

    Args:
        batch_shape: What the caller gave.
        shape: That of the distribution.

    Raises:
        ValueError: It is no shape, or the other cannot be expanded to it.
    """
    batch = check_sizes("batch_shape", batch_shape)
    if joint_shape("batch_shape", batch, shape, "distribution") != batch:
        raise invalid(
            "batch_shape",
            tuple(batch),
            f"one that {tuple(shape)}, that of the distribution, can be expanded to",
            "Expanding makes a batch larger: new dimensions come first, and those of size 1 may grow.",
        )
    return batch


class ConvergenceWarning(RuntimeWarning):
    """An iterative solver stopped short of its tolerance; what it returned is a point of conv 𝒳 all the same.

    Args:
        solver: What stopped short.
        problems: How many problems of the batch it concerns.
        gap: The largest of their gaps or residuals, in the unit that the solver states.
        tolerance: What the gap should have been at most.
        steps: After how many steps the solver gave up.

    Example:
        >>> from sstricks.errors import ConvergenceWarning
        >>> print(ConvergenceWarning("Frank-Wolfe", problems=2, gap=0.5, tolerance=1e-6, steps=10))
        Frank-Wolfe: found a gap of 0.5 in 2 problems after 10 steps, expected at most 1e-06. Raise the temperature...
    """

    def __init__(self, solver: str, *, problems: int, gap: float, tolerance: float, steps: int) -> None:
        self.solver = solver
        self.problems = problems
        self.gap = gap
        self.tolerance = tolerance
        self.steps = steps
        super().__init__(
            f"{solver}: found a gap of {gap:.3g} in {problems} problems after {steps} steps, expected at most "
            f"{tolerance:.3g}. Raise the temperature, allow more steps or a larger tolerance."
        )


def warn(warning: Warning) -> None:
    """Issue a warning that points to the line of the caller: the nearest one outside of this package and of torch.

    Args:
        warning: What to say.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        level, frame = level + 1, frame.f_back
    warnings.warn(warning, stacklevel=level)
