from copy import copy
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions import Gumbel as TorchGumbel

from sstricks.distributions.parts import rebuilt, tensors
from sstricks.utilities.gumbel import Gumbel

_HALF = (torch.float16, torch.bfloat16)


def in_full_precision(distribution: Distribution) -> Distribution:
    """The same law with its parameters in float32, if they are in half precision, and else the distribution itself.

    Samples of half precision tie and have no tails: their argmax follows another law. The gradient goes on to the
    parameters in half precision. They are looked for in the attributes, also in those of a base, of parts and of
    transforms. A distribution with a transform that is an `nn.Module` stays as it is.

    Args:
        distribution: Any distribution.

    Example:
        >>> from torch.distributions import Normal
        >>> from sstricks.utilities.precision import in_full_precision
        >>> in_full_precision(Normal(torch.zeros(2, dtype=torch.bfloat16), 1.0)).sample().dtype
        torch.float32
    """
    return rebuilt(distribution, _widened) if _has_half(distribution) else distribution


def parameter_dtype(distribution: Distribution) -> torch.dtype:
    """What the dtypes of all floating parameters promote to: that of the samples.

    Args:
        distribution: One with such parameters.

    Example:
        >>> from torch.distributions import Normal
        >>> from sstricks.utilities.precision import parameter_dtype
        >>> parameter_dtype(Normal(torch.zeros(2, dtype=torch.bfloat16), 1.0))
        torch.bfloat16
    """
    return reduce(torch.promote_types, (x.dtype for x in tensors(distribution) if x.is_floating_point()))


def _has_half(distribution: Distribution) -> bool:
    """As `tensors` would find it, but for transforms, in a few microseconds: every new trick asks."""
    for part in vars(distribution).values():
        if (isinstance(part, Tensor) and part.dtype in _HALF) or (isinstance(part, Distribution) and _has_half(part)):
            return True
    return False


def _widened(part: Any) -> Any:
    if isinstance(part, Tensor) and part.dtype in _HALF:
        return part.float()
    if isinstance(part, TorchGumbel) and "base_dist" in vars(part):
        # Torch's own starts from uniform numbers that end where those of its dtype do.
        part = copy(part)
        part.base_dist, part.transforms = Gumbel(part.loc, part.scale, validate_args=False), []
    return part
