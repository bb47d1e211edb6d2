"""One Newton step of the weights of a mixture of vertices, for the active-set method."""

from typing import NamedTuple

import torch
from torch import Tensor

from sstricks.ops.active_start import Start
from sstricks.ops.costs import Cost

# Below this a weight cannot be seen beside the others, and may be cut without asking them.
FAINT = 1e-8
# What a step may leave of a weight, or of a distance to an end of infinite slope.
KEPT = 0.01
# A weight that is smaller than this and should be smaller still stays where it is.
NOTHING = 1e-14


class Pull(NamedTuple):
    """A mixture's point x, 1 − x, g = u − ∇f(x), and the sizes of its vertices and of itself."""

    x: Tensor
    rest: Tensor
    g: Tensor
    sizes: Tensor
    size: Tensor


def newton(start: Start, now: Pull, leads: Tensor, cost: Cost) -> tuple[Start, Tensor]:
    """One step, and which rows could not move since a weight that is zero would become negative."""
    active, weights, moving = start.active, start.weights, start.active
    if cost.steep_below:
        moving = active & ~((weights > 0) & (weights <= 2 * NOTHING) & (leads < 0))
        direction = _direction(start, now, leads, moving, cost)
        cut = moving & (weights > 0) & (weights < FAINT) & (direction < (KEPT - 1) * weights)
        vital = _vital(start, now, torch.where(cut, weights, 0.0), cost)
        direction = torch.where(cut, torch.maximum((KEPT - 1) * weights, NOTHING - weights), direction)
        direction = direction - torch.where(cut, 0.0, weights) * direction.sum(-1, keepdim=True)
        # Where some can go, only they go: without them the direction is another one.
        leaves = cut & ~vital
        waits = leaves.any(-1, keepdim=True)
        direction = torch.where(waits, 0.0, direction)
    else:
        direction, leaves = _direction(start, now, leads, moving, cost), torch.zeros_like(active)
    dx = (direction.unsqueeze(-2) @ start.vertices).squeeze(-2)
    room = torch.where(active & (direction < 0), weights / -direction, torch.inf)
    nearest, leaving = room.min(-1, keepdim=True)
    length = nearest.clamp(max=1.0)
    if cost.steep_below:
        length = torch.minimum(length, _inside(now.x, dx, start.free))
    if cost.steep_above:
        length = torch.minimum(length, _inside(now.rest, -dx, start.free))
    if not cost.quadratic:
        length = _shortened(start, now, dx, length, cost)
    weights = (weights + length * direction).clamp(min=0.0)
    leaves = leaves | torch.zeros_like(active).scatter(-1, leaving, length == nearest)
    active = active & ~leaves
    weights = torch.where(active, weights, 0.0)
    vertices = torch.where(active.unsqueeze(-1), start.vertices, 0.0)
    moved = start._replace(vertices=vertices, weights=weights / weights.sum(-1, keepdim=True), active=active)
    return moved, (length == 0).squeeze(-1)


def _direction(start: Start, now: Pull, leads: Tensor, moving: Tensor, cost: Cost) -> Tensor:
    ones = moving.to(now.x.dtype)
    root = torch.where(start.free, cost.curvature(now.x, now.rest), 0.0).sqrt()
    w = (start.vertices - now.x.unsqueeze(-2)) * (root.unsqueeze(-2) * ones.unsqueeze(-1))
    matrix = w @ w.mT + ones.unsqueeze(-1) * ones.unsqueeze(-2)
    # The diagonal is graded as the weights are; scaled to one, it is well conditioned, and empty slots are apart.
    scale = torch.where(moving, matrix.diagonal(dim1=-2, dim2=-1), 1.0).rsqrt()
    matrix = matrix * scale.unsqueeze(-1) * scale.unsqueeze(-2)
    ridge = 16 * torch.finfo(w.dtype).eps
    matrix = matrix + torch.diag_embed(torch.where(moving, ridge, 1.0).to(w.dtype))
    factor = torch.linalg.cholesky_ex(matrix).L
    sides = torch.stack([leads, ones], -1) * scale.unsqueeze(-1)
    solved = torch.cholesky_solve(sides, factor) * scale.unsqueeze(-1)
    z, one = (solved * ones.unsqueeze(-1)).unbind(-1)
    return z - one * (z.sum(-1, keepdim=True) / one.sum(-1, keepdim=True))


def _vital(start: Start, now: Pull, cut: Tensor, cost: Cost) -> Tensor:
    """Which active vertices some coordinate needs: if all that are to be cut left, it would be at a steep end."""
    lost = (cut.unsqueeze(-2) @ start.vertices).squeeze(-2) > 0.9 * now.x
    vital = (start.vertices * (lost & start.free).unsqueeze(-2)).amax(-1) > 0
    if cost.steep_above:
        lost = (cut.unsqueeze(-2) @ (1 - start.vertices)).squeeze(-2) > 0.9 * now.rest
        vital = vital | (((1 - start.vertices) * (lost & start.free).unsqueeze(-2)).amax(-1) > 0)
    return vital


def _inside(distance: Tensor, change: Tensor, free: Tensor) -> Tensor:
    """How far one can go and keep something of all distances."""
    room = torch.where(free & (change < 0), distance / -change, torch.inf)
    return (1 - KEPT / 2) * room.amin(-1, keepdim=True)


def _shortened(start: Start, now: Pull, dx: Tensor, length: Tensor, cost: Cost) -> Tensor:
    """Half the length, and so on, until the slope along the way has not turned against it."""
    shares = length.new_tensor([1.0, 0.5, 0.25, 0.125, 0.0625]) * length
    x = now.x.unsqueeze(-2) + shares.unsqueeze(-1) * dx.unsqueeze(-2)
    rest = now.rest.unsqueeze(-2) - shares.unsqueeze(-1) * dx.unsqueeze(-2)
    free = start.free.unsqueeze(-2)
    g = torch.where(free, start.u.unsqueeze(-2) - cost.slope(x, rest), 0.0)
    across = (start.centre * dx.sum(-1, keepdim=True)).detach()
    ahead = (g * dx.unsqueeze(-2)).sum(-1) + across
    begin = (now.g * dx).sum(-1, keepdim=True) + across
    good = (ahead >= -0.5 * begin.abs()) | (begin.abs() < 1e-9)
    first = good.to(torch.int8).argmax(-1, keepdim=True)
    return torch.where(good.any(-1, keepdim=True), shares.gather(-1, first), shares[..., -1:])
