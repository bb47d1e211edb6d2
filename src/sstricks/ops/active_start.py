"""Where the active-set method begins."""

from typing import NamedTuple

import torch
from torch import Tensor

from sstricks.ops.costs import BARELY, Cost
from sstricks.ops.oracles import best_vertices, check_best, checked_vertices, is_binary

# How many numbers to give the oracle at once.
PORTION = 1 << 22


class Start(NamedTuple):
    """Utilities and a mixture of vertices, row by row."""

    u: Tensor
    """Utilities without their centre, shape (rows, n); 0 where absent."""
    centre: Tensor
    """The median of the utilities, shape (rows, 1)."""
    absent: Tensor
    """Coordinates that no vertex in question has."""
    sure: Tensor
    """Coordinates that all vertices in question have, where that must be known."""
    free: Tensor
    """The others."""
    vertices: Tensor
    """Shape (rows, slots, n); empty slots are zero."""
    weights: Tensor
    """Shape (rows, slots)."""
    active: Tensor
    """Which slots are taken."""


def _centred(u: Tensor, best: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The utilities less their median over the best vertex: what is far from that loses digits, but is not chosen."""
    absent = u == -torch.inf
    centre = torch.where(best > 0, u, torch.nan).nanmedian(-1, keepdim=True).values.nan_to_num(0.0)
    return torch.where(absent, 0.0, u - centre), centre, absent


def single(number: int, u: Tensor) -> Start:
    """The best vertex alone."""
    best = checked_vertices(number, u)
    centred, centre, absent = _centred(u, best)
    rows, n = u.shape
    vertices = u.new_zeros(rows, n + 2, n)
    vertices[:, 0] = best
    active = torch.zeros(rows, n + 2, dtype=torch.bool, device=u.device)
    active[:, 0] = True
    sure = torch.zeros_like(absent)
    return Start(centred, centre, absent, sure, ~absent, vertices, active.to(u.dtype), active)


def spanning(number: int, u: Tensor, cost: Cost) -> Start:
    """An affine basis among the best vertices with and without each coordinate, weighted by exp(uᵀv)."""
    first = checked_vertices(number, u)
    centred, centre, absent = _centred(u, first)
    rows, n = u.shape
    candidates = torch.cat([first.unsqueeze(-2), _forced(number, u, 1), _forced(number, u, -1)], -2)
    check_best(number, u, first, candidates)
    best = candidates[:, :1]
    ahead = best - candidates
    behind = (ahead @ centred.unsqueeze(-1)).squeeze(-1) + centre * ahead.sum(-1)
    behind = torch.where(ahead.abs().sum(-1) > 0, behind.clamp(min=0.0), 0.0)
    near = behind <= cost.reach * 2 * best.sum(-1).clamp(min=1.0, max=n / 2)
    near = near | (not is_binary(number))  # other vertices say with absent coordinates that they are others
    order = torch.where(near, behind, torch.inf).argsort(dim=-1, stable=True)
    candidates = candidates.gather(-2, order.unsqueeze(-1).expand_as(candidates))
    behind, near = behind.gather(-1, order), near.gather(-1, order)
    has = ((candidates > 0) & near.unsqueeze(-1)).any(-2)
    lacks = ((candidates < 1) & near.unsqueeze(-1)).any(-2)
    sure = ~lacks & cost.steep_above
    chosen = _independent(candidates, near)
    slots = (chosen.cumsum(-1) - 1).masked_fill(~chosen, n + 1)
    vertices = u.new_zeros(rows, n + 2, n).scatter(-2, slots.unsqueeze(-1).expand_as(candidates), candidates)
    active = torch.zeros(rows, n + 2, dtype=torch.bool, device=u.device).scatter(-1, slots, chosen)
    heights = u.new_zeros(rows, n + 2).scatter(-1, slots, behind.clamp(max=BARELY).neg().exp())
    weights = torch.where(active, heights, 0.0)
    vertices = torch.where(active.unsqueeze(-1), vertices, 0.0)
    weights = weights / weights.sum(-1, keepdim=True)
    return Start(centred, centre, absent | ~has, sure, has & ~sure, vertices, weights, active)


def _forced(number: int, u: Tensor, sign: int) -> Tensor:
    """For each coordinate, the best vertex with (sign 1) or without it (−1), where there is one; shape (rows, n, n)."""
    rows, n = u.shape
    portion = max(1, PORTION // (n * n))
    finite = torch.where(u == -torch.inf, torch.nan, u)
    reach = finite.nan_to_num(-torch.inf).amax(-1) - finite.nan_to_num(torch.inf).amin(-1)
    force = sign * (n * reach + 1)
    eye = torch.eye(n, dtype=u.dtype, device=u.device)
    found = []
    for at in range(0, rows, portion):
        w = u[at : at + portion].unsqueeze(-2) + force[at : at + portion, None, None] * eye
        found.append(best_vertices(number, w.reshape(-1, n)).reshape(-1, n, n))
    return torch.cat(found) if found else u.new_zeros(0, n, n)


def _independent(candidates: Tensor, near: Tensor) -> Tensor:
    """Which candidates, in their order, are not in the affine hull of those before; by Gram–Schmidt."""
    rows, count, n = candidates.shape
    ahead = candidates - candidates[:, :1]
    basis = candidates.new_zeros(rows, n, n)
    chosen = torch.zeros_like(near)
    chosen[:, 0] = True
    for j in range(1, count):
        left = ahead[:, j : j + 1]
        left = left - left @ basis.mT @ basis
        left = left - left @ basis.mT @ basis
        size = left.square().sum(-1).squeeze(-1)
        takes = near[:, j] & (size > 1e-6)
        unit = left.squeeze(-2) * torch.where(takes, size.clamp(min=1e-6).rsqrt(), 0.0).unsqueeze(-1)
        chosen[:, j] = takes
        slot = torch.where(takes, chosen[:, 1:].sum(-1) - 1, n - 1)
        row = basis.gather(-2, slot[:, None, None].expand(-1, 1, n)).squeeze(-2)
        value = torch.where(takes.unsqueeze(-1), unit, row)
        basis = basis.scatter(-2, slot[:, None, None].expand(-1, 1, n), value.unsqueeze(-2))
    return chosen
