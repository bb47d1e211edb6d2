"""Where the density of a relaxed sample is known: the Concrete distributions (Maddison, Mnih & Teh, 2017)."""

import torch
from torch import Tensor
from torch.distributions import Distribution, Gumbel
from torch.nn.functional import softplus

from sstricks.errors import invalid
from sstricks.ops.operator import is_eager
from sstricks.regularizers import BinaryEntropy, CategoricalEntropy, ExponentialFamilyEntropy, Regularizer
from sstricks.structures import OneHot, Structure, Subset
from sstricks.tricks.known_law import common_scale, coordinates
from sstricks.utilities import Logistic


def relaxed_log_prob(
    structure: Structure, utility: Distribution, temperature: Tensor | float, regularizer: Regularizer, x: Tensor
) -> Tensor:
    """The log-density of X_t at x, shape (*batch); −∞ outside of the open set that X_t fills.

    Args:
        structure: 𝒳.
        utility: U, with the structure's event shape.
        temperature: t > 0.
        regularizer: f.
        x: Shape (*batch, *event_shape).

    Raises:
        NotImplementedError: It is not known.
        ValueError: t is 0.
    """
    base, mask = coordinates(utility)
    match structure, regularizer, base:
        case OneHot(), (CategoricalEntropy() | ExponentialFamilyEntropy()), Gumbel():
            density, scale = _concrete, common_scale(base)
        case Subset(), (BinaryEntropy() | ExponentialFamilyEntropy()), Logistic():
            density, scale = _binary_concrete, base.scale
        case _:
            raise NotImplementedError(
                f"The density of a relaxed sample is not known for {structure!r} with {type(base).__name__} utilities "
                f"and {regularizer!r}, but for OneHot with Gumbel utilities and CategoricalEntropy, and for Subset "
                "with Logistic utilities and BinaryEntropy; ExponentialFamilyEntropy is the same on both. Use "
                "StochasticArgmaxTrick(structure, utility).log_prob on a vertex where that is known, or "
                "utility.log_prob on the utility of a draw. kl_divergence between utilities is no substitute: it is "
                "an upper bound, and changes with shifts of the logits that X does not see."
            )
    t = torch.as_tensor(temperature)
    if is_eager(t) and not (t > 0).all():
        raise invalid(
            "temperature",
            float(t.min()),
            "a number > 0",
            "At 0 the sample is a vertex: use StochasticArgmaxTrick(structure, utility).log_prob.",
        )
    logits = base.loc / scale
    if mask is not None:
        logits = logits.masked_fill(~mask.to(logits.device), -torch.inf)
    phi = structure.scaled(logits, 1.0)
    sharpness = t.unsqueeze(-1).to(phi) / scale.to(phi)
    return density(phi, sharpness, x.to(phi)).to(torch.promote_types(x.dtype, logits.dtype))


def _concrete(logits: Tensor, sharpness: Tensor, x: Tensor) -> Tensor:
    r"""Log p(x) of X = softmax((φ + G)/λ) for standard Gumbels G, with respect to all coordinates but one.

    With z_i = φ_i − λ log x_i and n coordinates present,

    .. math:: \log p(x) = \log (n-1)! + (n-1) \log \lambda + \sum_i (z_i - \log \textstyle\sum_j e^{z_j} - \log x_i)
    """
    present = logits > -torch.inf
    inside = ((x > 0) == present).all(-1)
    log_x = torch.where(x > 0, x, 1.0).log()
    z = logits - sharpness * log_x  # −∞ where absent
    terms = torch.where(present, z - z.logsumexp(-1, keepdim=True) - log_x, 0.0).sum(-1)
    n = present.sum(-1).to(x.dtype)
    return torch.where(inside, n.lgamma() + (n - 1) * sharpness.squeeze(-1).log() + terms, -torch.inf)


def _binary_concrete(logits: Tensor, sharpness: Tensor, x: Tensor) -> Tensor:
    r"""Log p(x) of X = σ((φ + L)/λ) for standard logistics L, with respect to the coordinates present.

    With z = λ logit x − φ, :math:`\log p(x) = \sum_i \log \lambda - |z_i| - 2 \log(1 + e^{-|z_i|}) - \log x_i (1-x_i)`.
    """
    present = logits > -torch.inf
    inside = torch.where(present, (x > 0) & (x < 1), x == 0)
    y = torch.where(present & inside, x, 0.5)
    log_x, log_rest = y.log(), (-y).log1p()
    z = (sharpness * (log_x - log_rest) - torch.where(present, logits, 0.0)).abs()
    terms = sharpness.log() - z - 2 * softplus(-z) - log_x - log_rest
    return torch.where(inside, torch.where(present, terms, 0.0), -torch.inf).sum(-1)
