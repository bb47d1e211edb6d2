import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.types import _size as Shape

from sstricks.errors import check_number, joint_shape
from sstricks.functional.utility import filled


def location_and_scale(loc: Tensor | float, scale: Tensor | float) -> tuple[Tensor, Tensor]:
    """Both as tensors of one shape, one dtype and one device.

    Args:
        loc: What the caller gave.
        scale: What the caller gave.

    Raises:
        ValueError: One is neither a tensor nor a number, or their shapes do not fit together.
    """
    like = loc if isinstance(loc, Tensor) else scale if isinstance(scale, Tensor) else torch.empty(())
    loc, scale = _tensor("loc", loc, like), _tensor("scale", scale, like)
    shape = joint_shape("scale", scale.shape, loc.shape, "loc")
    dtype = torch.promote_types(loc.dtype, scale.dtype)
    return _shaped(loc, shape).to(dtype), _shaped(scale, shape).to(dtype)


def _tensor(argument: str, value: Tensor | float, like: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value
    remedy = f"Write torch.as_tensor({argument})."
    return filled(check_number(argument, value, "a tensor or a number", remedy), like.dtype, like.device)


def _shaped(x: Tensor, shape: torch.Size) -> Tensor:
    return x if x.shape == shape else x.expand(shape)


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
