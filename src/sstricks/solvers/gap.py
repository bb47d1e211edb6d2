from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sstricks.errors import invalid
from sstricks.regularizers import Regularizer, SeparableRegularizer

if TYPE_CHECKING:
    from sstricks.structures.structure import Structure

# Slopes are taken this far inside the cube, where the entropies' are finite.
_INSIDE = 1e-300
_INSIDE_ABOVE = 2.0**-53


@torch.no_grad()
def duality_gap(
    structure: Structure, regularizer: Regularizer, x: Tensor, u: Tensor, temperature: Tensor | float = 1.0
) -> Tensor:
    r"""A certificate: how far the value of x is below the optimum of uᵀx − t·f(x) over conv 𝒳 at most (Def. 2).

    The objective F is concave, so its tangent at any point y bounds it, and a linear function is largest at a vertex:

    .. math:: \max_{\operatorname{conv} \mathcal{X}} F - F(x)
              \le F(y) - F(x) + \max_{v \in \mathcal{X}} \nabla F(y)^\top (v - y)

    Here y is x itself, or next to it where a slope of f is infinite. One argmax, whatever found x.

    Args:
        structure: 𝒳.
        regularizer: f, separable.
        x: A point of conv 𝒳, shape (*batch, *event_shape).
        u: Utilities, shape (*batch, *event_shape).
        temperature: t > 0, a number, or a tensor that broadcasts with (*batch).

    Returns:
        The bound, in the unit of u, shape (*batch). Rounding makes it about 10⁻¹⁶ times the size of u at the optimum.

    Raises:
        ValueError: f is not separable, t is not positive, or x or u do not fit 𝒳.

    Example:
        >>> matchings, u = sst.Matching(2), torch.tensor([[1.0, 0.0], [0.0, 0.5]])
        >>> x = matchings.softmax(u, 0.5, sst.CategoricalEntropy())
        >>> bool(sst.duality_gap(matchings, sst.CategoricalEntropy(), x, u, 0.5) < 1e-6)
        True
    """
    if not isinstance(regularizer, SeparableRegularizer):
        raise invalid(
            "regularizer",
            repr(regularizer),
            "a separable one, such as sst.Euclidean()",
            "The value of the exponential family's entropy is not known at a point alone.",
        )
    structure._check_shape("x", x)
    scaled = structure._scaled(u, temperature)
    events = tuple(range(-len(structure.event_shape), 0))
    present = scaled > -torch.inf
    x = x.to(scaled)
    with torch.enable_grad():
        y = x.clamp(_INSIDE, 1 - _INSIDE_ABOVE).detach().requires_grad_()
        (slope,) = torch.autograd.grad(regularizer.density(y).sum(), y)
    uphill = torch.where(present, scaled - slope, -torch.inf)
    vertex = structure.argmax(uphill)
    finite = torch.where(present, uphill, 0.0)
    u_finite = torch.where(present, scaled, 0.0)

    def value(point: Tensor) -> Tensor:
        return torch.where(present, u_finite * point - regularizer.density(point), 0.0)

    bound = (value(y.detach()) - value(x) + finite * (vertex - y.detach())).sum(events)
    return (bound * temperature).clamp(min=0.0).to(u.dtype)
