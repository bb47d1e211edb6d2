from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints, kl_divergence, register_kl
from torch.distributions.constraints import Constraint
from torch.types import _size as Shape

from sstricks.distributions.base import BaseDistribution
from sstricks.errors import check_tensor, invalid
from sstricks.utilities.gumbel import Gumbel


class Sorting(BaseDistribution):
    r"""Utilities over matchings whose argmax sorts n random scores (App. B.6, after Stochastic NeuralSort).

    .. math:: U_{ij} = p_i\, G_j, \quad G_j \sim \mathrm{Gumbel}(\theta_j, 1), \quad p = (n, n - 1, \ldots, 1)

    Row i is the i-th place, column j the j-th item. The weights p decrease, so by the rearrangement inequality the best
    permutation gives the first place to the largest score, and so on: under the scores G it follows the Plackett–Luce
    model with log-weights θ. The coordinates of U are correlated: it has a density over the scores G only, and that is
    what `log_prob` and the divergence are of.

    Args:
        scores: θ, shape (*batch, n).

    Raises:
        ValueError: `scores` has no dimension for the items.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> trick = sst.StochasticArgmaxTrick(sst.Matching(3), sst.Sorting(torch.tensor([0.0, 9.0, -9.0])))
        >>> trick.sample()
        tensor([[0., 1., 0.],
                [1., 0., 0.],
                [0., 0., 1.]])
    """

    has_rsample = True

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        """What the parameters must satisfy."""
        return {"scores": constraints.real_vector}

    @property
    def support(self) -> Constraint:
        """The space of tables, of which the utilities fill n dimensions."""
        return constraints.independent(constraints.real, 2)

    def __init__(self, scores: Tensor, *, validate_args: bool | None = None) -> None:
        if check_tensor("scores", scores).dim() == 0:
            raise invalid("scores", "a scalar", "shape (*batch, n)", "Give one score for each item.")
        self.scores = scores
        n = scores.shape[-1]
        super().__init__(scores.shape[:-1], torch.Size((n, n)), validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: Self | None = None) -> Self:
        """The same law with a larger batch shape."""
        new = self._expanded(Sorting, batch_shape, _instance)
        new.scores = self.scores.expand(*batch_shape, self.scores.shape[-1])
        return new

    @property
    def mean(self) -> Tensor:
        """The table p_i E[G_j]."""
        return self.table(self._random_scores.mean)

    @property
    def mode(self) -> Tensor:
        """The table p_i θ_j, where the density of the scores is largest."""
        return self.table(self.scores)

    @property
    def variance(self) -> Tensor:
        """The table p_i² Var[G_j]."""
        return self.table(self._random_scores.stddev).square()

    def rsample(self, sample_shape: Shape = torch.Size()) -> Tensor:
        """Samples, shape (*sample_shape, *batch, n, n), differentiable in θ."""
        return self.table(self._random_scores.rsample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """The density of the scores, shape (*batch); −∞ where the table is not one of p_i G_j."""
        if self._validate_args:
            self._validate_sample(value)
        scores = value[..., -1, :]  # the last place has weight 1
        density = self._random_scores.log_prob(scores).sum(-1)
        return torch.where((value == self.table(scores)).all((-1, -2)), density, -torch.inf)

    def entropy(self) -> Tensor:
        """That of the scores, as `log_prob` is their density: n(1 + γ), γ being Euler's constant."""
        return self._random_scores.entropy().sum(-1)

    @property
    def _random_scores(self) -> Gumbel:
        return Gumbel(self.scores, validate_args=False)

    def table(self, scores: Tensor) -> Tensor:
        """The utilities p_i G_j that scores G make, shape (*batch, n, n).

        Args:
            scores: G, shape (*batch, n).
        """
        places = torch.arange(scores.shape[-1], 0, -1, dtype=scores.dtype, device=scores.device)
        return places.unsqueeze(-1) * scores.unsqueeze(-2)


@register_kl(Sorting, Sorting)
def _(p: Sorting, q: Sorting) -> Tensor:
    """Of the scores, from which the utilities are computed one to one."""
    return kl_divergence(p._random_scores, q._random_scores).sum(-1)
