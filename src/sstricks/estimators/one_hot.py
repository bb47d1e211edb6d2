"""Two estimators that were made for one choice among n."""

import torch
from torch import Tensor

from sstricks.errors import check_integer, check_positive, invalid
from sstricks.estimators.estimator import Sampler
from sstricks.ops.noise import standard_exponential
from sstricks.structures import OneHot
from sstricks.structures.structure import Structure


class ReinMax(Sampler):
    r"""Straight-through of second order (Liu et al. 2023).

    .. math:: \nabla_\theta \, \mathbb{E}[L(X)] \approx 2 J(\tilde p) \, g - \tfrac12 J(p) \, g, \qquad
        \tilde p = \tfrac12 (\operatorname{softmax}(\theta / \tau) + x), \quad
        J(p) = \operatorname{diag}(p) - p p^\top, \quad p = \operatorname{softmax}(\theta)

    It is Heun's method where straight-through is Euler's, and exact for losses of second degree in x.

    Args:
        structure: A `OneHot`.
        temperature: τ > 0.

    Raises:
        ValueError: The structure is another, or τ is not positive.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> theta = torch.zeros(3, requires_grad=True)
        >>> x = sst.estimators.ReinMax(sst.OneHot(3))(theta, (1000,))
        >>> ((x - 0.45) ** 2).sum(-1).mean().backward()
        >>> theta.grad.abs().max() < 0.1
        tensor(True)
    """

    def __init__(self, structure: Structure, temperature: float = 1.0) -> None:
        super().__init__(_one_hot(structure))
        self.temperature = check_positive("temperature", temperature, "1 is a good beginning.")

    def sample(self, theta: Tensor, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """One-hot samples of softmax(θ)."""
        logits = self.structure.scaled(theta, 1.0)
        x = self.structure.sample(logits.detach(), shape, generator=generator)
        # J(p) g is the vector–Jacobian product of the softmax at any logits l with softmax(l) = p: at log p̃ + l − l̄.
        p, tempered = logits.softmax(-1), (logits / self.temperature).softmax(-1)
        middle = ((tempered + x) / 2).detach().log()
        free = torch.where(logits > -torch.inf, logits, 0.0)
        middle = (middle + (free - free.detach())).softmax(-1)
        return x + 2 * (middle - middle.detach()) - (p - p.detach()) / 2

    def extra_repr(self) -> str:
        """Structure and τ."""
        return f"{super().extra_repr()}, temperature={self.temperature}"


class GumbelRao(Sampler):
    r"""Straight-through with less variance: the mean of the relaxations that belong to one choice (Paulus et al. 2021).

    .. math:: \nabla_\theta \, \mathbb{E}[L(X)] \approx \frac1K \sum_k J_\tau(\theta + G_k) \, g, \qquad
        G_k \sim \text{Gumbel noise given that } \operatorname{argmax}(\theta + G_k) = x

    Rao–Blackwell: with K samples of the noise instead of one, the mean is that of straight-through and the variance
    smaller, and the loss is evaluated once all the same. Given x, the largest of θ + G is Gumbel with location
    logsumexp(θ), and the others are Gumbel truncated at it.

    Args:
        structure: A `OneHot`.
        temperature: τ > 0.
        samples: K.

    Raises:
        ValueError: The structure is another, τ is not positive, or K below 1.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> theta = torch.zeros(3, requires_grad=True)
        >>> sst.estimators.GumbelRao(sst.OneHot(3), temperature=0.5, samples=100)(theta).sum()
        tensor(1., grad_fn=<SumBackward0>)
    """

    def __init__(self, structure: Structure, temperature: float = 1.0, samples: int = 10) -> None:
        super().__init__(_one_hot(structure))
        self.temperature = check_positive("temperature", temperature, "1 is a good beginning.")
        self.samples = check_integer("samples", samples, "A mean takes one at least.", low=1)

    def sample(self, theta: Tensor, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """One-hot samples of softmax(θ)."""
        logits = self.structure.scaled(theta, 1.0)
        x = self.structure.sample(logits.detach(), shape, generator=generator)
        with torch.no_grad():
            # The largest is m = log Z − log E, others −log(E_i / exp θ_i + exp(−m)) = θ_i − log(E_i + exp(θ_i − m)).
            noise = standard_exponential(logits, torch.Size((self.samples, *x.shape)), generator)
            largest = logits.logsumexp(-1, keepdim=True) - (noise * x).sum(-1, keepdim=True).log()
            below = logits - (noise + (logits - largest).exp()).log()
            perturbed = torch.where(x > 0, largest, below)
        free = torch.where(logits > -torch.inf, logits, 0.0)
        relaxed = ((perturbed + (free - free.detach())) / self.temperature).softmax(-1).mean(0)
        return x + (relaxed - relaxed.detach())

    def extra_repr(self) -> str:
        """Structure, τ and K."""
        return f"{super().extra_repr()}, temperature={self.temperature}, samples={self.samples}"


def _one_hot(structure: Structure) -> OneHot:
    if not isinstance(structure, OneHot):
        raise invalid("structure", repr(structure), "a OneHot", "IMLE and MarginalStraightThrough take any structure.")
    return structure
