from typing import Protocol

import torch
from torch import Tensor

from sstricks.errors import check_floating, check_temperature, invalid
from sstricks.ops.noise import standard_exponential


class _Structure(Protocol):
    event_shape: torch.Size

    def check_shape(self, argument: str, x: Tensor) -> torch.Size: ...
    def argmax(self, u: Tensor) -> Tensor: ...
    def marginals(self, u: Tensor, temperature: Tensor | float = 1.0) -> Tensor: ...


def gumbel_softmax(
    logits: Tensor,
    structure: _Structure,
    tau: Tensor | float = 1.0,
    hard: bool = False,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """`torch.nn.functional.gumbel_softmax` for any structure with marginals (Sec. 5, eq. 8).

    It is one sample of a `StochasticSoftmaxTrick` with Gumbel utilities and the exponential family's entropy, which for
    `OneHot` is torch's function.

    Args:
        logits: Shape (*batch, *event_shape).
        structure: 𝒳.
        tau: The temperature, ≥ 0.
        hard: Whether the sample is the argmax, with the gradient of the relaxation (straight-through).
        generator: Where the randomness comes from, if not from torch's default generator.

    Returns:
        Shape and dtype of the logits, with the batch dimensions of the structure's mask.

    Raises:
        NoSolverError: The marginals of the structure are intractable.
        ValueError: The logits do not fit the structure, or the temperature is negative.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> sst.functional.gumbel_softmax(torch.zeros(2, 6), sst.SpanningTree.complete(4), hard=True).sum(-1)
        tensor([3., 3.])
    """
    if not hasattr(structure, "check_shape"):
        raise invalid("structure", repr(structure), "a structure such as sst.OneHot(n)", "The temperature is `tau`.")
    batch = structure.check_shape("logits", check_floating("logits", logits))
    noise = standard_exponential(logits, batch + structure.event_shape, generator).log_()
    u = logits.to(noise.dtype) - noise
    x = structure.marginals(u, tau if isinstance(tau, Tensor) else check_temperature(tau, "tau"))
    x = structure.argmax(u) + (x - x.detach()) if hard else x
    return x.to(logits.dtype)
