"""Exact samples of the exponential family of projective trees, down its chart.

Given that a tree has a span, how it divides it is independent of all else, with the shares as probabilities. Choose one
division for every span, also for those that no tree will turn out to have, and let the whole sentence decide.
"""

import torch
from torch import Tensor

from sstricks.ops.projective_chart import check_feasible, offset, size
from sstricks.ops.projective_passes import Shares, inside, outside


def sample(u: Tensor, nodes: int, generator: torch.Generator | None) -> Tensor:
    """One tree for each row of u, shape (*batch, (n−1)²); rows that `expand` made share one chart.

    Raises:
        ValueError: Some row has no projective tree.
    """
    if u.numel() == 0:
        return torch.zeros_like(u)
    once = u[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in u.stride()[:-1])]
    work = inside(once, nodes)
    check_feasible(work.feasible.flatten())
    shape = (*u.shape[:-1], 3, size(nodes))
    uniform = torch.rand(shape, dtype=u.dtype, device=u.device, generator=generator)
    chosen = []
    for width, shares in enumerate(work.shares, 1):
        start = offset(nodes, width)
        points = uniform[..., start : start + nodes - width].unbind(-2)
        chosen.append(Shares(*(_chosen(p, point) for p, point in zip(shares, points, strict=True))))
    return outside(work, chosen, nodes)


def _chosen(share: Tensor, uniform: Tensor) -> Tensor:
    """One division of every span, as an indicator vector over divisions; none where a span has no weight."""
    sums = share.cumsum(-2)
    number = (sums <= uniform.unsqueeze(-2) * sums[..., -1:, :]).sum(-2, keepdim=True)
    return (number == torch.arange(share.shape[-2], device=share.device).unsqueeze(-1)).to(share.dtype)
