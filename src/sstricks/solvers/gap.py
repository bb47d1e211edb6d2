from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sstricks.errors import check_temperature, invalid
from sstricks.ops.oracles import checked_vertices
from sstricks.regularizers import Regularizer, SeparableRegularizer
from sstricks.solvers.separable import domain_on

if TYPE_CHECKING:
    from sstricks.structures.structure import Structure

# Slopes are taken these far inside the cube (or what else f is defined on), where the entropies' are finite. A
# coordinate that a solver took for zero, or whose distance from one was rounded, has a better slope farther inside than
# where it is.
_INSIDE = (1e-300, 1e-14, 1e-11, 1e-9, 1e-8)
_RESOLUTION = 2.0**-53


@torch.no_grad()
def duality_gap(
    structure: Structure, regularizer: Regularizer, x: Tensor, u: Tensor, temperature: Tensor | float = 1.0
) -> Tensor:
    r"""A certificate: how far the value of x is below the optimum of uᵀx − t·f(x) over conv 𝒳 at most (Def. 2).

    The objective F is concave, so its tangent at any point y bounds it, and a linear function is largest at a vertex:

    .. math:: \max_{\operatorname{conv} \mathcal{X}} F - F(x)
              \le F(y) - F(x) + \max_{v \in \mathcal{X}} \nabla F(y)^\top (v - y)

    Here y is x itself, or near it where a slope of f is infinite: every y gives a bound, of several the least.
    It takes one argmax (of a few points side by side), whatever found x.

    Args:
        structure: 𝒳.
        regularizer: f, separable.
        x: A point of conv 𝒳, shape (*batch, *event_shape).
        u: Utilities, shape (*batch, *event_shape).
        temperature: t > 0, a number, or a tensor that broadcasts with (*batch).

    Returns:
        The bound, in the unit of u, shape (*batch). At the optimum rounding makes it about 10⁻¹⁶ times the size of u,
        and up to 10⁻⁷ times under an entropy, if coordinates are so near to 0 or 1 that they have few digits.

    Raises:
        ValueError: f is not separable, t is not positive, x or u has NaN or does not fit 𝒳, or the argmax of a
            `LinearOracle` is not the best of the vertices that it returns.

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
    structure.check_shape("x", x)
    if x.isnan().any():
        raise invalid("x", "NaN", "points of conv X", "Look for what computed it.")
    if not isinstance(temperature, Tensor):
        temperature = check_temperature(temperature)
    if not torch.as_tensor(temperature > 0).all():
        raise invalid("temperature", temperature, "numbers > 0", "At t = 0 compare with structure.argmax(u) instead.")
    depth = len(structure.event_shape)
    scaled = structure.scaled(u, temperature).flatten(-depth)
    present = scaled > -torch.inf
    x = x.to(scaled).flatten(-depth)
    low, high = domain_on(structure, regularizer)
    y = torch.stack([x.clamp(low + distance, high - max(distance, _RESOLUTION)) for distance in _INSIDE])
    uphill = torch.where(present, scaled - regularizer.slope(y), -torch.inf)
    vertex = checked_vertices(structure.handle(), uphill.flatten(0, -2)).reshape(uphill.shape)
    finite = torch.where(present, uphill, 0.0)
    u_finite = torch.where(present, scaled, 0.0)

    def value(point: Tensor) -> Tensor:
        return torch.where(present, u_finite * point - regularizer.density(point), 0.0)

    bound = (value(y) - value(x) + finite * (vertex - y)).sum(-1).amin(0)
    t = temperature.to(bound.device) if isinstance(temperature, Tensor) else temperature
    return (bound * t).clamp(min=0.0).to(u.dtype)
