import torch
from torch import Tensor

from sstricks.baselines.inputs import divide_by_temperature
from sstricks.functional.checks import check_coordinates, check_k
from sstricks.functional.utility import from_working
from sstricks.ops.precision import COLDEST


def soft_sub(u: Tensor, k: int, temperature: Tensor | float) -> Tensor:
    r"""The relaxed k-subset of SoftSub: k softmaxes one after the other, each choice taken out before the next.

    .. math:: X = \sum_{j=1}^k p^{(j)}, \quad p^{(j)} = \operatorname{softmax}(a^{(j)} / t), \quad
              a^{(1)} = u, \quad a^{(j+1)} = a^{(j)} + \log(1 - p^{(j)})

    From Xie and Ermon, "Reparameterizable Subset Sampling via Continuous Relaxations" (2019), who take Gumbel utilities
    u. The coordinates sum to k but may exceed 1: X is not confined to the hypersimplex. As t → 0 it becomes the top k.

    Args:
        u: Utilities, shape (*batch, n); −∞ is an absent element.
        k: How many elements are chosen; at least so many must be present.
        temperature: t > 0, a number or a tensor that broadcasts with (*batch).

    Returns:
        Points with Σx = k, shape and dtype of u, differentiable in utilities and temperature.

    Raises:
        ValueError: t is not positive, k is not in 1..n, u has NaN, or fewer than k elements are present.

    Example:
        >>> sst.baselines.soft_sub(torch.tensor([3.0, 1.0, 2.0]), 2, 0.01).round(decimals=3)
        tensor([1., 0., 1.])
    """
    check_coordinates(u)
    k = check_k(k, u.shape[-1])
    a = divide_by_temperature(u, temperature, at_least=k)
    t = torch.as_tensor(temperature, dtype=a.dtype, device=a.device).clamp(min=COLDEST).unsqueeze(-1)
    p = a.softmax(-1)
    x = p
    for _ in range(k - 1):
        a = a + _log_complement(a, p) / t
        p = a.softmax(-1)
        x = x + p
    return from_working(x, u.dtype)


def _log_complement(a: Tensor, p: Tensor) -> Tensor:
    """Log(1 − p) for p = softmax(a), which for the largest p, where 1 − p cancels, is the weight of all others."""
    top = a.detach().argmax(-1, keepdim=True)
    others = a.scatter(-1, top, -torch.inf).logsumexp(-1, keepdim=True) - a.logsumexp(-1, keepdim=True)
    small = torch.log1p(-p.scatter(-1, top, 0.0))
    return small.scatter(-1, top, others)
