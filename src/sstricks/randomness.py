from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch

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
