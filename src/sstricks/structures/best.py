"""The best vertices under conditions, from the argmax alone."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from sstricks.errors import check_integer
from sstricks.ops.operator import is_readable
from sstricks.ops.oracles import Oracle, best_vertices


class Best(NamedTuple):
    """Vertices in the order of their utility."""

    vertices: Tensor
    """Shape (*batch, k, *event_shape), zero where 𝒳 has no more."""
    values: Tensor
    """Their uᵀx, shape (*batch, k), −∞ where 𝒳 has no more."""


class _Conditioned:
    # The argmax among the vertices that have some coordinates and lack others. A coordinate is bound by adding or
    # subtracting a force. Whatever the force, a vertex that it makes fit is the best that fits, since all that fit gain
    # the same. So a weak one comes first, next to which no utility is lost in rounding, and ever stronger ones where it
    # does not do, up to more than all utilities together can make up for. Where no vertex fits, the value is −∞.

    def __init__(self, structure: Oracle, u: Tensor, infinite: Tensor) -> None:
        depth = len(structure.event_shape)
        self.handle, self.u, self.infinite = structure.handle(), u.flatten(-depth), infinite.flatten(-depth)
        self.finite = torch.where(self.u.isfinite(), self.u, 0.0)
        size = self.finite.abs()
        weak = pad(size, (0, 1)).median(-1, keepdim=True).values + 1  # of a graph of one node as well
        strong = 2 * (size.sum(-1, keepdim=True) + 1)
        self.forces = [strong]
        while is_readable(u) and (self.forces[0] > 2.0**30 * weak).any():
            self.forces.insert(0, torch.maximum(self.forces[0] / 2.0**20, weak))

    def __call__(self, inside: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
        """Vertices (candidates, *batch, n) and their values (candidates, *batch)."""
        sign = inside.to(self.u.dtype) - outside.to(self.u.dtype)
        x = fits = torch.zeros_like(inside)
        for force in self.forces:
            bound = self.u + force * sign
            found = best_vertices(self.handle, bound.flatten(0, -2)).view_as(bound)
            x = torch.where(fits, x, found)
            fits = ~((inside & (x == 0)) | (outside & (x != 0))).any(-1, keepdim=True)
            if len(self.forces) > 1 and fits.all():
                break
        return x, torch.where(fits.squeeze(-1), (self.finite * x).sum(-1), -torch.inf)

    def shown(self, x: Tensor, values: Tensor) -> Tensor:
        """The values, +∞ for vertices with a coordinate at +∞, which `scaled` makes finite."""
        return torch.where((self.infinite & (x != 0)).any(-1) & (values > -torch.inf), torch.inf, values)


@torch.no_grad()
def max_marginals(structure: Oracle, u: Tensor, infinite: Tensor) -> Tensor:
    """See `Structure.max_marginals`; u is scaled, and was +∞ where `infinite`."""
    best = _Conditioned(structure, u, infinite)
    n, batch = best.u.shape[-1], best.u.shape[:-1]
    each = torch.eye(n, dtype=torch.bool, device=u.device).view(n, *[1] * len(batch), n).expand(n, *batch, n)
    values = best.shown(*best(each, torch.zeros_like(each))).movedim(0, -1)
    return torch.where(best.u > -torch.inf, values, -torch.inf).unflatten(-1, structure.event_shape)


@torch.no_grad()
def k_best(structure: Oracle, u: Tensor, infinite: Tensor, k: int) -> Best:
    """See `Structure.k_best`; u is scaled, and was +∞ where `infinite`."""
    k = check_integer("k", k, "1 is the argmax.", low=1)
    best = _Conditioned(structure, u, infinite)
    n, batch = best.u.shape[-1], best.u.shape[:-1]
    inside = outside = torch.zeros(1, *batch, n, dtype=torch.bool, device=u.device)
    x, values = best(inside, outside)
    here = torch.eye(n, dtype=torch.bool, device=u.device).view(n, *[1] * len(batch), n)
    before = (torch.arange(n, device=u.device) < torch.arange(n, device=u.device)[:, None]).view_as(here)
    found, worth = [], []
    for last in [*[False] * (k - 1), True]:
        # Lawler (1972): take the best candidate, and split the other vertices of its class by the first coordinate in
        # which they differ from it.
        top = values.argmax(0, keepdim=True)
        value = values.gather(0, top)
        at = top.unsqueeze(-1).expand(1, *batch, n)
        taken, with_, without = x.gather(0, at), inside.gather(0, at), outside.gather(0, at)
        found.append(torch.where(value.unsqueeze(-1) > -torch.inf, taken, 0.0))
        worth.append(best.shown(taken, value))
        if last or (is_readable(value) and not (value > -torch.inf).any()):  # there are no more
            break
        values = values.scatter(0, top, -torch.inf)
        free = ~(with_ | without) & (best.u > -torch.inf)
        chosen = taken != 0
        within = with_ | (free & ((before & chosen) | (here & ~chosen)))
        beyond = without | (free & ((before & ~chosen) | (here & chosen)))
        more, gains = best(within, beyond)
        gains = torch.where(free.squeeze(0).movedim(-1, 0) & (value > -torch.inf), gains, -torch.inf)
        values, order = torch.cat([values, gains]).topk(min(k, len(values) + n), 0)
        order = order.unsqueeze(-1).expand(-1, *batch, n)
        x, inside, outside = (
            torch.cat(pair).gather(0, order) for pair in ((x, more), (inside, within), (outside, beyond))
        )
    rest = k - len(found)
    vertices = torch.cat([*found, torch.zeros_like(found[0]).expand(rest, *batch, n)]).movedim(0, len(batch))
    values = torch.cat([*worth, torch.full_like(worth[0], -torch.inf).expand(rest, *batch)]).movedim(0, -1)
    return Best(vertices.unflatten(-1, structure.event_shape), values)
