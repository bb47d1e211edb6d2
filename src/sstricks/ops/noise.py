import torch
from torch import Tensor

from sstricks.ops.precision import working_dtype


def standard_exponential(like: Tensor, shape: torch.Size, generator: torch.Generator | None = None) -> Tensor:
    """Exponential numbers of rate 1 and of this shape, on the device of another tensor.

    They are in its dtype, or in float32 where that is narrower: in half precision they would tie. The smallest of them
    decide an argmax, so they are −log V of V with 53 bits: with 24 bits none would be below 6e-8.

    Args:
        like: The other tensor.
        shape: How many.
        generator: Where they come from, if not from torch's default generator.
    """
    v = torch.rand(shape, dtype=working_dtype(like), device=like.device, generator=generator)  # may be 0, and never 1
    return v.clamp(min=2**-54).log_().neg_().to(torch.promote_types(like.dtype, torch.float32))
