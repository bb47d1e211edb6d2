import torch
from torch import Tensor

from sstricks.ops.gradients import attach_no_gradient
from sstricks.ops.operator import operator
from sstricks.ops.projective_chart import check_feasible, divisions, edge_cells, offset, size
from sstricks.ops.threads import over_rows

_BITS = 62  # edges to a word of a key, so that no key is negative


def _best(one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor], at: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The best sum of two parts, and the largest key among those that reach it."""
    value = one[0][..., at[0]] + two[0][..., at[1]]
    top = value.amax(-2, keepdim=True)
    best = value == top
    words = []
    for before, after in zip(one[1].unbind(-2), two[1].unbind(-2), strict=True):
        word = torch.where(best, before[..., at[0]] + after[..., at[1]], -1)
        words.append(word.amax(-2, keepdim=True))
        best = best & (word == words[-1])
    return top.squeeze(-2), torch.cat(words, -2)


def _grown(chart: tuple[Tensor, Tensor], wider: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.cat([chart[0], wider[0]], -1), torch.cat([chart[1], wider[1]], -1)


@operator("sstricks::maximum_projective_arborescence", core=(1,))
def maximum_projective_arborescence(u: Tensor, nodes: int) -> Tensor:
    """The indicator vector of the best projective tree from node 0 (App. B.8), shape (*batch, (n−1)²), in O(n³).

    Eisner's dynamic program: that of `projective_arborescence` with max in place of the sums. Of trees that are worth
    the same, as their utilities add up in floating point, the one whose indicator vector is lexicographically largest
    wins: that which has the lowest edge that the other lacks. The twin adds up these vectors themselves, as the bits of
    integers, the lowest edge first.

    Args:
        u: Utilities, shape (*batch, (n−1)²); −∞ is an absent edge.
        nodes: The number of nodes n; one without any edge is padding and is skipped.

    Raises:
        ValueError: Some row has no projective tree.
    """
    cells, count = edge_cells(u, nodes)
    number = torch.arange(u.shape[-1], device=u.device)
    bit = 1 << (_BITS - 1 - number % _BITS)
    spans, words = size(nodes), -(-u.shape[-1] // _BITS)
    weight = u.new_full((len(u), 2 * spans), -torch.inf).scatter(-1, cells, u)
    mark = torch.where(number // _BITS == torch.arange(words, device=u.device).unsqueeze(-1), bit, 0)
    blank = torch.zeros(len(u), words, 2 * spans, dtype=torch.int64, device=u.device)
    mark = blank.scatter(-1, cells.unsqueeze(-2).expand(-1, words, -1), mark.expand(len(u), -1, -1))
    right = left = u.new_zeros(len(u), nodes), blank[..., :nodes]
    rightward = leftward = right
    for width in range(1, nodes):
        between = _best(right, left, divisions(nodes, width, 0, 1, u.device))
        start = offset(nodes, width)
        here, there = (slice(s, s + nodes - width) for s in (start, start + spans))
        rightward = _grown(rightward, (between[0] + weight[..., here], between[1] + mark[..., here]))
        leftward = _grown(leftward, (between[0] + weight[..., there], between[1] + mark[..., there]))
        right = _grown(right, _best(rightward, right, divisions(nodes, width, 1, 1, u.device)))
        left = _grown(left, _best(left, leftward, divisions(nodes, width, 0, 0, u.device)))
    root = offset(nodes, (count - 1).clamp(min=0)).unsqueeze(-1)
    check_feasible((count > 0) & (right[0].gather(-1, root).squeeze(-1) > -torch.inf))
    key = right[1].gather(-1, root.unsqueeze(-2).expand(-1, words, -1)).squeeze(-1)
    return ((key[..., number // _BITS] & bit) > 0).to(u.dtype)


@maximum_projective_arborescence.cpu
def _(u: Tensor, nodes: int) -> Tensor:
    from sstricks.ops.kernels import maximum_projective_arborescence as kernels

    out = torch.empty_like(u)
    feasible = torch.empty(len(u), dtype=torch.bool)
    work = 2.0 * nodes**3 + 10.0 * nodes**2
    kernel = kernels.maximum_projective_arborescence
    over_rows(kernel, len(u), work, nodes, u.numpy(), out.numpy(), feasible.numpy())
    check_feasible(feasible)
    return out


attach_no_gradient(maximum_projective_arborescence)
