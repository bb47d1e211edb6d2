from math import isfinite

import torch
from torch import Tensor

from sstricks.baselines.inputs import add_gumbel_noise, check_square, divide_by_temperature
from sstricks.errors import check_integer, check_number, invalid
from sstricks.functional.utility import from_working


def truncated_sinkhorn(u: Tensor, temperature: Tensor | float, iterations: int = 20) -> Tensor:
    r"""The truncated Sinkhorn operator: a fixed number of normalisations of rows and columns, unrolled.

    .. math:: S^0 = \exp(u / t), \qquad S^{l+1} = \mathcal{T}_{\mathrm{columns}}(\mathcal{T}_{\mathrm{rows}}(S^l))

    From Mena, Belanger, Linderman and Snoek, "Learning Latent Permutations with Gumbel-Sinkhorn Networks" (2018).
    Columns sum to 1; rows do so only in the limit of many iterations, of which small t needs more.

    Args:
        u: Utilities, shape (*batch, n, n); −∞ is an absent pair. Rows and columns that are absent as a whole stay zero.
        temperature: t > 0, a number or a tensor that broadcasts with (*batch).
        iterations: How many times all rows and then all columns are normalised, ≥ 1.

    Returns:
        Matrices, shape and dtype of u, differentiable in utilities and temperature.

    Raises:
        ValueError: t is not positive, the matrices are not square, u has NaN or no present pair, or iterations < 1.

    Example:
        >>> sst.baselines.truncated_sinkhorn(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), 0.1).round(decimals=3)
        tensor([[1., 0.],
                [0., 1.]])
    """
    check_square("u", u)
    iterations = check_integer("iterations", iterations, "Mena et al. take 20.", low=1)
    log_s = divide_by_temperature(u.flatten(-2), temperature).unflatten(-1, u.shape[-2:])
    for _ in range(iterations):
        log_s = _normalized(_normalized(log_s, -1), -2)
    return from_working(log_s.exp(), u.dtype)


def gumbel_sinkhorn(
    logits: Tensor,
    temperature: Tensor | float,
    iterations: int = 20,
    *,
    noise: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Truncated Gumbel-Sinkhorn: a relaxed random matching.

    .. math:: X = S^L\big( (\theta + \sigma G) / t \big), \quad G_{ij} \sim \mathrm{Gumbel}(0)

    From Mena, Belanger, Linderman and Snoek (2018).

    Args:
        logits: θ, shape (*batch, n, n); −∞ is an absent pair.
        temperature: t > 0, a number or a tensor that broadcasts with (*batch).
        iterations: As in `truncated_sinkhorn`.
        noise: σ.
        generator: Where the randomness comes from, if not from torch's default generator.

    Returns:
        Matrices, shape and dtype of the logits, differentiable in logits and temperature.

    Raises:
        ValueError: As for `truncated_sinkhorn`, or σ is no finite number.

    Example:
        >>> sst.baselines.gumbel_sinkhorn(torch.zeros(3, 3), 1.0).sum(-2).round(decimals=3)
        tensor([1., 1., 1.])
    """
    check_square("logits", logits)
    if not isfinite(check_number("noise", noise, "a finite number", "1.0 is the scale of Gumbel utilities.")):
        raise invalid("noise", noise, "a finite number", "1.0 is the scale of Gumbel utilities.")
    u = add_gumbel_noise(logits, generator, noise)
    return from_working(truncated_sinkhorn(u, temperature, iterations), logits.dtype)


def _normalized(log_s: Tensor, dim: int) -> Tensor:
    present = (log_s > -torch.inf).any(dim, keepdim=True)
    return log_s - torch.where(present, log_s, 0.0).logsumexp(dim, keepdim=True)
