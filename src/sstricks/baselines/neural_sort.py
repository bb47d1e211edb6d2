import torch
from torch import Tensor

from sstricks.baselines.inputs import add_gumbel_noise, divide_by_temperature
from sstricks.functional.utility import from_working


def neural_sort(scores: Tensor, temperature: Tensor | float) -> Tensor:
    r"""NeuralSort: the permutation matrix that sorts the scores in decreasing order, relaxed row by row.

    .. math:: P_{i \cdot} = \operatorname{softmax}\big( ((n + 1 - 2i)\, s - A \mathbf{1}) / t \big), \quad
              A_{jk} = |s_j - s_k|, \quad i = 1, \dots, n

    From Grover, Wang, Zweig and Ermon, "Stochastic Optimization of Sorting Networks via Continuous Relaxations" (2019).
    Rows sum to 1, columns need not: P is not confined to the Birkhoff polytope. As t → 0, P s is the sorted s.

    Args:
        scores: s, shape (*batch, n); −∞ is an absent item, whose column is zero, as are the rows left over at the end.
        temperature: t > 0, a number or a tensor that broadcasts with (*batch).

    Returns:
        Matrices (*batch, n, n), the i-th row nearly one where the i-th largest score stands, in the scores' dtype,
        differentiable in scores and temperature.

    Raises:
        ValueError: t is not positive, the scores have NaN, or all of a row are −∞.

    Example:
        >>> sst.baselines.neural_sort(torch.tensor([1.0, 3.0, 2.0]), 0.01).round(decimals=3)
        tensor([[0., 1., 0.],
                [0., 0., 1.],
                [1., 0., 0.]])
    """
    s = divide_by_temperature(scores, temperature)
    present = s > -torch.inf
    count = present.sum(-1, keepdim=True)
    # Shifting the scores shifts each row of the softmax by a constant; around zero the products lose fewer digits.
    s = torch.where(present, s, 0.0)
    s = torch.where(present, s - s.detach().sum(-1, keepdim=True) / count, 0.0)
    both = present.unsqueeze(-1) & present.unsqueeze(-2)
    distance = (s.unsqueeze(-1) - s.unsqueeze(-2)).abs().masked_fill(~both, 0.0).sum(-1)
    rank = torch.arange(1, s.shape[-1] + 1, device=s.device)
    logits = (count + 1 - 2 * rank).unsqueeze(-1) * s.unsqueeze(-2) - distance.unsqueeze(-2)
    p = logits.masked_fill(~present.unsqueeze(-2), -torch.inf).softmax(-1)
    return from_working(p.masked_fill((rank > count).unsqueeze(-1), 0.0), scores.dtype)


def stochastic_neural_sort(
    log_weights: Tensor, temperature: Tensor | float, *, generator: torch.Generator | None = None
) -> Tensor:
    r"""Stochastic NeuralSort: a relaxed sample of the Plackett–Luce law over permutations.

    .. math:: P = \mathrm{NeuralSort}_t(\theta + G), \quad G_i \sim \mathrm{Gumbel}(0)

    From Grover, Wang, Zweig and Ermon (2019), who call the weights exp(θ) scores. As t → 0 the first row chooses item i
    with probability proportional to exp(θᵢ), the second among the rest, and so on (Cor. 2).

    Args:
        log_weights: θ, shape (*batch, n); −∞ is an absent item.
        temperature: t > 0, a number or a tensor that broadcasts with (*batch).
        generator: Where the randomness comes from, if not from torch's default generator.

    Returns:
        Matrices (*batch, n, n), as `neural_sort` returns them.

    Raises:
        ValueError: As for `neural_sort`.

    Example:
        >>> sst.baselines.stochastic_neural_sort(torch.zeros(3), 0.5).sum(-1).round(decimals=3)
        tensor([1., 1., 1.])
    """
    return from_working(
        neural_sort(add_gumbel_noise(log_weights, generator, argument="log_weights"), temperature), log_weights.dtype
    )
