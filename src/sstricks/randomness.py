from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from threading import RLock

import torch
from torch import Tensor
from torch.distributions import Distribution

from sstricks.errors import invalid

_lock = RLock()


def drawing_from(generator: torch.Generator | None, law: Distribution) -> AbstractContextManager[object]:
    """Let a torch distribution, which knows the default generator only, draw from `generator` instead.

    The default generator lends its place, not its numbers: it resumes where it was, and `generator` moves on. Autocast
    is off meanwhile: it would round the samples of a multivariate normal to half precision, where they tie.
    """
    autocast = [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]
    if generator is None and not autocast:  # as nearly always, and what follows takes longer than a small problem
        return nullcontext()
    if generator is not None:
        _check_generator(generator, law)
    stack = ExitStack()
    for device in autocast:
        stack.enter_context(torch.autocast(device, enabled=False))
    if generator is not None:
        stack.enter_context(_in_place_of_the_default(generator))
    return stack


def device_of(law: Distribution) -> torch.device | None:
    """Where a distribution has its parameters, if it has any."""
    for value in vars(law).values():
        if isinstance(value, Tensor):
            return value.device
        if isinstance(value, Distribution) and (device := device_of(value)) is not None:
            return device
    return None


def waits_for(law: Distribution) -> bool:
    """Whether its parameters are on a device, so that to look at their values would be to wait for it."""
    device = device_of(law)
    return device is not None and device.type != "cpu"


def _check_generator(generator: torch.Generator, law: Distribution) -> None:
    device = device_of(law) or generator.device
    if generator.device.type != device.type or device.type not in ("cpu", "cuda"):
        raise invalid(
            "generator",
            f"a generator on {generator.device}",
            f"one on {device}, where the utility has its parameters",
            f"Write torch.Generator('{device}')."
            if device.type in ("cpu", "cuda")
            else "Seed with torch.manual_seed there: torch's distributions draw from the default generator.",
        )


@contextmanager
def _in_place_of_the_default(generator: torch.Generator) -> Iterator[None]:
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
