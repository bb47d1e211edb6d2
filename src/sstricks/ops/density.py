"""What operators know of a separable regularizer Σh(xᵢ) that is not built into them."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.forward_ad import _set_fwd_grad_enabled

from sstricks.errors import invalid
from sstricks.ops.operator import Sizes
from sstricks.ops.oracles import object_of

# The state of the dispatcher while no operator runs.
_KEYS = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()


@contextmanager
def differentiable() -> Iterator[None]:
    """Inside an operator, where torch has switched its derivatives off, lets `Density` find those of a user's h."""
    keys = torch._C._ForceDispatchKeyGuard(*_KEYS)
    # h may have parameters, which are not learnt here, and whose tangents end here.
    with torch.inference_mode(False), keys, torch.no_grad(), _set_fwd_grad_enabled(False):
        yield


# An interval of numbers, which ends at 0 or has no lower end, and ends at 1 or has no upper end.
Domain = tuple[float, float]
UNIT: Domain = (0.0, 1.0)


class Density(Protocol):
    """A separable regularizer."""

    domain: Domain
    """Where h is strictly convex."""

    def density(self, x: Tensor) -> Tensor:
        """h(x)."""
        ...

    def slope(self, x: Tensor) -> Tensor:
        """h'(x)."""
        ...

    def curvature(self, x: Tensor) -> Tensor:
        """h''(x)."""
        ...

    def inverse_slope(self, y: Tensor) -> Tensor:
        """(h')⁻¹(y), cut to [0, 1]."""
        ...

    def inverse_slope_near(self, x: Tensor, y: Tensor) -> Tensor:
        """The same, perhaps sought from x on."""
        ...


def density_of(handle: int, u: Tensor) -> Density:
    """The regularizer of a handle, if its h' increases.

    Args:
        handle: That of a regularizer.
        u: Anything of the shape of utilities, in their batch shape.

    Raises:
        ValueError: It does not, or is NaN.
    """
    f: Density = object_of(handle)
    first, low, high, last = (f.slope(torch.full_like(u, x)) for x in (ends(u)[0], 0.25, 0.75, ends(u)[1]))
    if not ((low <= high) & (first < last)).all():
        raise invalid(
            "regularizer",
            f"{f!r}, with a density whose slope does not increase",
            "a strictly convex density",
            "Look for its sign: an entropy is concave, and f is minus an entropy.",
        )
    return f


def ends(x: Tensor, domain: Domain = UNIT) -> tuple[float, float]:
    """The smallest and the largest number inside a domain of the dtype of x."""
    info, (low, high) = torch.finfo(x.dtype), domain
    return info.tiny if low == 0 else low, 1 - info.eps / 2 if high == 1 else high


def interior(x: Tensor, domain: Domain = UNIT) -> Tensor:
    """Where x is inside the domain, and not so near to 0 that derivatives of h there overflow."""
    low = ends(x)[0] ** (1 / 3) if domain[0] == 0 else domain[0]
    return (x > low) & (x < domain[1])


def in_batch(rows: Tensor, batch: Sizes) -> Tensor:
    """Rows of a batch, or of several one after the other as under vmap, with its shape: (·, *batch, n)."""
    size = prod(batch)
    return rows.reshape(len(rows) // size if size else 1, *batch, rows.shape[-1])
