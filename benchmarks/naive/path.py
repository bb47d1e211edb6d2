"""Log Z of linear chains and of alignments in logs, one step of Python after the other."""

import torch
from torch import Tensor
from torch.nn.functional import pad

NEVER = -1e9


def chain(u: Tensor, steps: int, classes: int) -> Tensor:
    """Log Σ exp(uᵀx) over labellings, for the utilities of `sst.Path.linear_chain`: the forward algorithm."""
    pairs = u[..., classes:].unflatten(-1, (steps - 1, classes, classes))
    value = u[..., :classes]
    for t in range(steps - 1):
        value = (value.unsqueeze(-1) + pairs[..., t, :, :]).logsumexp(-2)
    return value.logsumexp(-1)


def alignment(u: Tensor, n: int, m: int) -> Tensor:
    """Log Σ exp(uᵀx) over alignments, for the utilities of `sst.Path.alignment`: all points with one i + j at once."""
    i, total = torch.arange(n + 1), torch.arange(n + m + 1).unsqueeze(-1)
    j = total - i
    there = (j >= 0) & (j <= m)
    moves = u.unflatten(-1, (n + 1, m + 1, 3))[..., i, j.clamp(0, m), :]
    moves = torch.where(there.unsqueeze(-1), moves, NEVER)
    before = torch.full_like(u[..., :1], NEVER).expand(*u.shape[:-1], n + 1)
    value = torch.where(i == 0, 0.0, before)
    for d in range(n + m):
        across = before + moves[..., d - 1, :, 0] if d else before
        ways = [pad(x[..., :-1], (1, 0), value=NEVER) for x in (across, value + moves[..., d, :, 1])]
        after = torch.stack([*ways, value + moves[..., d, :, 2]]).logsumexp(0)
        before, value = value, torch.where(there[d + 1], after, NEVER)
    return value[..., n]
