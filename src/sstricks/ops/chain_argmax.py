import torch
from torch import Tensor
from torch.nn.functional import pad

from sstricks.ops.chain import check_feasible
from sstricks.ops.gradients import attach_no_gradient
from sstricks.ops.operator import operator
from sstricks.ops.threads import over_rows


@operator("sstricks::chain_argmax", core=(1,))
def chain_argmax(u: Tensor, k: int) -> Tensor:
    """The best subset of k items with its pairs (App. B.5), shape (*batch, 2n − 1), by Viterbi's algorithm.

    The recursion is that of the partition function with max for +, from the last item to the first. The best vertex is
    then read from the first item to the last; where choosing an item and leaving it are equally good, it is chosen.

    Args:
        u: Utilities of the n items and of the n − 1 pairs, shape (*batch, 2n − 1); −∞ is absent.
        k: The size of the subsets, 1 ≤ k ≤ n.

    Raises:
        ValueError: Some row has no vertex.
    """
    n = (u.shape[-1] + 1) // 2
    pair = torch.stack([torch.zeros_like(u[:, :n]), pad(u[:, n:], (1, 0))], -1)  # by the state s of the item before
    reward = u[:, :n, None] + pair
    best = torch.full((len(u), 2, k + 1), -torch.inf, dtype=u.dtype, device=u.device)
    best[..., 0] = 0
    better = []
    for i in range(n - 1, -1, -1):
        stay = best[:, :1]
        take = pad(best[:, 1:, :-1], (1, 0), value=-torch.inf) + reward[:, i, :, None]
        better.append(take >= stay)
        best = torch.maximum(take, stay)
    check_feasible(best[:, 0, k] > -torch.inf, k)
    left = torch.full((len(u),), k, device=u.device)
    last = torch.zeros_like(left)
    chosen = []
    for choice in reversed(better):
        last = choice.flatten(1).gather(1, (last * (k + 1) + left).unsqueeze(1)).squeeze(1).long()
        left = left - last
        chosen.append(last)
    items = torch.stack(chosen, -1)
    return torch.cat([items, items[:, 1:] * items[:, :-1]], -1).to(u.dtype)


@chain_argmax.cpu
def _(u: Tensor, k: int) -> Tensor:
    from sstricks.ops.kernels.chain_argmax import chain_argmax as kernel

    out = torch.empty_like(u)
    feasible = torch.empty(len(u), dtype=torch.bool)
    over_rows(kernel, len(u), (10.0 + 2.0 * k) * u.shape[1], k, u.numpy(), out.numpy(), feasible.numpy())
    check_feasible(feasible, k)
    return out


attach_no_gradient(chain_argmax)
