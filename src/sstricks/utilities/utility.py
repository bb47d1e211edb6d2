import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.utils import broadcast_all
from torch.types import _size as Shape

from sstricks.errors import invalid
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
