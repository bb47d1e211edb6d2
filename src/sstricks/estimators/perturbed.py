import torch
from torch import Tensor

from sstricks.errors import check_integer
from sstricks.estimators.action import draw_action
from sstricks.estimators.estimator import Law, Sampler, check_law, perturbed
from sstricks.structures.structure import Structure
from sstricks.utilities import Gumbel


class PerturbedArgmax(Sampler):
    r"""The mean of the argmax under noise, with its own gradient (Berthet et al. 2020).

    .. math:: y(\theta) = \mathbb{E}[X(U)], \qquad
        \nabla_\theta \, y^\top g = \mathbb{E} \big[ (X(U) - x_0)^\top g \; \nabla_\theta \log p_\theta(U) \big], \quad
        x_0 = \operatorname{argmax}_{x \in \mathcal{X}} \theta^\top x

    Both are means over `samples` draws, and the gradient is unbiased for that of the expectation. Subtracting the
    constant x₀ changes no mean; it leaves nothing of the draws that reach the same vertex as θ. With
    U = θ + σZ the score is the paper's ∇ν(Z)/σ.

    The output is a point of conv 𝒳: the loss of a mean is not the mean of losses.

    Args:
        structure: 𝒳.
        samples: How many vertices are averaged.
        utility: The random utility as a function of θ, with a density; its scale is σ, as in
            ``partial(torch.distributions.Normal, scale=0.5)``.

    Raises:
        ValueError: `samples` is below 1.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> mean = sst.estimators.PerturbedArgmax(sst.SpanningTree.complete(4), samples=1000)
        >>> mean(torch.zeros(6)).sum().round(decimals=4)
        tensor(3.)
    """

    def __init__(self, structure: Structure, samples: int = 10, utility: Law = Gumbel) -> None:
        super().__init__(structure)
        self.utility = check_law(utility)
        self.samples = check_integer("samples", samples, "A mean takes one at least.", low=1)

    def sample(self, theta: Tensor, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """The mean of the vertices."""
        trick = perturbed(self.structure, self.utility, theta)
        log_prob, _, x = draw_action(trick, torch.Size((self.samples, *shape)), generator=generator)
        beyond = x - self.structure.argmax(theta)
        score = (log_prob - log_prob.detach())[(..., *[None] * len(self.structure.event_shape))]
        return x.mean(0) + (beyond * score).mean(0)

    def extra_repr(self) -> str:
        """Structure and samples."""
        return f"{super().extra_repr()}, samples={self.samples}"
