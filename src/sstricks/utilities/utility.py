from typing import Self

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.utils import broadcast_all
from torch.types import _size as Shape

from sstricks.errors import check_floating, expanded_shape, invalid
from sstricks.functional.utility import filled


def location_and_scale(loc: Tensor | float, scale: Tensor | float) -> tuple[Tensor, Tensor]:
    """Both as tensors of one shape and of one dtype.

    Args:
        loc: What the caller gave.
        scale: What the caller gave.

    Raises:
        ValueError: Their shapes do not fit together.
    """
    try:
        loc, scale = broadcast_all(*(_on_device(x, loc, scale) for x in (loc, scale)))
    except RuntimeError:
        shapes = " and ".join(str(tuple(torch.as_tensor(x).shape)) for x in (loc, scale))
        raise invalid(
            "loc and scale", f"shapes {shapes}", "shapes that broadcast", "Give one scale for each loc, or one for all."
        ) from None
    dtype = torch.promote_types(loc.dtype, scale.dtype)
    return loc.to(dtype), scale.to(dtype)


def _on_device(value: Tensor | float, *values: Tensor | float) -> Tensor | float:
    """A number as a tensor like those among the values."""
    like = next((x for x in values if isinstance(x, Tensor)), None)
    if like is None or not isinstance(value, int | float):
        return value
    return filled(value, like.dtype, like.device)


def known(base: Distribution, name: str, *arguments: Tensor) -> Tensor:
    """What the base of a utility has under this name, a property or a method.

    Args:
        base: The base.
        name: That of a moment, of `cdf`, `icdf` or `entropy`.
        arguments: Those of the method.

    Raises:
        NotImplementedError: Nothing.
    """
    try:
        found = getattr(base, name)
        return found(*arguments) if callable(found) else found  # pyright: ignore[reportReturnType]
    except NotImplementedError:
        raise NotImplementedError(f"{name}: not known for {base!r}. Estimate it from samples.") from None


def reparameterised(base: Distribution, sample_shape: Shape) -> Tensor:
    """Samples of the base of a utility, with a gradient.

    Args:
        base: The base.
        sample_shape: How many.

    Raises:
        NotImplementedError: It has none.
    """
    if base.has_rsample:
        return base.rsample(torch.Size(sample_shape))
    raise NotImplementedError(
        f"rsample: {base!r} is not reparameterised: its samples have no gradient. Use sample(), or a score-function "
        "estimator (sst.estimators)."
    )


class Utility(Distribution):
    """What the utilities share: how they are checked, expanded, and what they say of what is not known."""

    def __init__(
        self, batch_shape: torch.Size, event_shape: torch.Size = torch.Size(), *, validate_args: bool | None = None
    ) -> None:
        for name in self.arg_constraints:
            check_floating(name, getattr(self, name))
        if torch.compiler.is_compiling():
            validate_args = False  # a graph that is traced has no values to look at
        Distribution.__init__(self, batch_shape, event_shape, validate_args=validate_args)

    def _expanded(self, cls: type[Distribution], batch_shape: Shape, instance: Self | None) -> Self:
        """The instance that `expand` fills: of the class of this one, with everything that this one has.

        Args:
            cls: The class that defines `expand`. A subclass of it with another `__init__` has to define its own.
            batch_shape: What to expand to.
            instance: What a subclass that defines its own hands over.

        Raises:
            ValueError: It is not larger than the batch shape of this one.
        """
        new: Self = self._get_checked_instance(cls, instance)  # pyright: ignore[reportAssignmentType]
        vars(new).update({**vars(self), **vars(new)})
        new._batch_shape = expanded_shape(batch_shape, self.batch_shape)
        return new

    def cdf(self, value: Tensor) -> Tensor:
        """Not defined: a sample is more than one number.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(self._without_order("cdf"))

    def icdf(self, value: Tensor) -> Tensor:
        """Not defined: a sample is more than one number.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(self._without_order("icdf"))

    def _without_order(self, name: str) -> str:
        return f"{name}: a sample of {type(self).__name__} is more than one number. Use {name} of its coordinates."
