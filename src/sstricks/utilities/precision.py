from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Transform
from torch.distributions import Gumbel as TorchGumbel
from torch.distributions.transforms import _InverseTransform

from sstricks.utilities.gumbel import Gumbel


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
    return _widened(distribution) if _is_half(distribution) else distribution


def _is_half(item: Any) -> bool:
    if isinstance(item, Tensor):
        return item.dtype in (torch.float16, torch.bfloat16)
    return isinstance(item, Distribution) and any(_is_half(value) for value in vars(item).values())


def _widened(item: Any) -> Any:
    if isinstance(item, Tensor):
        return item.float() if _is_half(item) else item
    if isinstance(item, list):
        return [_widened(part) for part in item]
    if isinstance(item, _InverseTransform):
        return _widened(item.inv).inv
    if not isinstance(item, Distribution | Transform):
        return item
    attributes = vars(item)
    if any(isinstance(part, nn.Module) for part in (item, *attributes.get("transforms", ()))):
        return item
    if isinstance(item, TorchGumbel) and "base_dist" in attributes:
        # Torch's own starts from uniform numbers that end where those of its dtype do.
        attributes = attributes | {"base_dist": Gumbel(item.loc, item.scale, validate_args=False), "transforms": []}
    new = type(item).__new__(type(item))
    for name, value in attributes.items():
        vars(new)[name] = None if name == "_inv" else _widened(value)  # a transform makes its inverse anew
    return new
