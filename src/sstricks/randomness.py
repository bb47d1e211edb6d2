from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch
from torch import Tensor

_lock = RLock()


@contextmanager
def drawing_from(generator: torch.Generator | None) -> Iterator[None]:
    """Let torch's distributions, which know the default generator only, draw from `generator` instead.

    The default generator lends its place, not its numbers: it resumes where it was, and `generator` moves on.
    """
    if generator is None:
        yield
        return
    device = generator.device
    on_gpu = device.type == "cuda"
    default = torch.cuda.default_generators[device.index or 0] if on_gpu else torch.default_generator
    if generator is default:
        yield
        return
    with _lock:
        state = default.get_state()
        default.set_state(generator.get_state())
        try:
            yield
        finally:
            generator.set_state(default.get_state())
            default.set_state(state)


def standard_exponential(like: Tensor, shape: torch.Size) -> Tensor:
    """Exponential numbers of rate 1 and of this shape, in the dtype and on the device of another tensor.

    Args:
        like: The other tensor.
        shape: How many.
    """
    # What is empty belongs to no example of a vmap, which would not fill it for each of them; random numbers do.
    mapped = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    return (torch.rand if mapped else torch.empty)(shape, dtype=like.dtype, device=like.device).exponential_()
