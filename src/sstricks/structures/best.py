"""The best vertices under conditions, from the argmax alone."""

from typing import NamedTuple

import torch
from torch import Tensor

from sstricks.errors import check_integer
from sstricks.ops.oracles import Oracle, best_vertices


class Best(NamedTuple):
    """Vertices in the order of their utility."""

    vertices: Tensor
    """Shape (*batch, k, *event_shape), zero where 𝒳 has no more."""
    values: Tensor
    """Their uᵀx, shape (*batch, k), −∞ where 𝒳 has no more."""


class _Conditioned:
    # The argmax among the vertices that have some coordinates and lack others. A coordinate is bound by adding or
    # subtracting more than all utilities together can make up for; where no vertex fits, the value is −∞.

    def __init__(self, structure: Oracle, u: Tensor) -> None:
        self.handle, self.u = structure.handle(), u.flatten(-len(structure.event_shape))
        self.finite = torch.where(self.u.isfinite(), self.u, 0.0)
        self.force = 2 * (self.finite.abs().sum(-1, keepdim=True) + 1)

    def __call__(self, inside: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
        """Vertices (candidates, *batch, n) and their values (candidates, *batch)."""
        bound = self.u + self.force * (inside.to(self.u.dtype) - outside.to(self.u.dtype))
        x = best_vertices(self.handle, bound.flatten(0, -2)).view_as(bound)
        fits = ~((inside & (x == 0)) | (outside & (x != 0))).any(-1)
        return x, torch.where(fits, (self.finite * x).sum(-1), -torch.inf)


@torch.no_grad()
def max_marginals(structure: Oracle, u: Tensor) -> Tensor:
    """See `Structure.max_marginals`; u is scaled."""
    best = _Conditioned(structure, u)
    n, batch = best.u.shape[-1], best.u.shape[:-1]
    each = torch.eye(n, dtype=torch.bool, device=u.device).view(n, *[1] * len(batch), n).expand(n, *batch, n)
    values = best(each, torch.zeros_like(each))[1].movedim(0, -1)
    return torch.where(best.u > -torch.inf, values, -torch.inf).unflatten(-1, structure.event_shape)


@torch.no_grad()
def k_best(structure: Oracle, u: Tensor, k: int) -> Best:
    """See `Structure.k_best`; u is scaled."""
    k = check_integer("k", k, "1 is the argmax.", low=1)
    best = _Conditioned(structure, u)
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
        worth.append(value)
        if last:
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
    vertices = torch.cat(found).movedim(0, len(batch)).unflatten(-1, structure.event_shape)
    return Best(vertices, torch.cat(worth).movedim(0, -1))
