"""Numbers as mantissa and exponent, which have all their digits whatever the range of the utilities."""

from typing import NamedTuple

import torch
from torch import Tensor

_LOG2_E, LN2 = 1.4426950408889634, 0.6931471805599453
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # the 32 leading bits and the rest


class Number(NamedTuple):
    """The number mantissa · 2 ^ exponent, both floating; the exponent is a constant, without gradient."""

    mantissa: Tensor
    exponent: Tensor


def nothing(like: Tensor) -> float:
    """The exponent of zero: below the sum of all others."""
    return torch.finfo(like.dtype).min / 64


def exponential(u: Tensor) -> Number:
    """The exponentials of utilities, zero where they are −∞."""
    here = u > -torch.inf
    v = torch.where(here, u, 0.0)
    exponent = (v.detach() * _LOG2_E + 0.5).floor()
    rest = ((v - exponent * _LN2_HIGH) - exponent * _LN2_LOW).clamp(-0.35, 0.35)
    return Number(torch.where(here, rest.exp(), 0.0), torch.where(here, exponent, nothing(u)))
