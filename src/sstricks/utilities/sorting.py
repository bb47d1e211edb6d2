from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints, kl_divergence, register_kl
from torch.distributions.constraints import Constraint
from torch.types import _size as Shape

from sstricks.distributions.base import BaseDistribution
from sstricks.errors import check_integer, check_tensor, invalid
from sstricks.utilities.gumbel import Gumbel


class Sorting(BaseDistribution):
    r"""Utilities over matchings whose argmax sorts n random scores (App. B.6, after Stochastic NeuralSort).

    .. math:: U_{ij} = p_i\, G_j, \quad G_j \sim \mathrm{Gumbel}(\theta_j, 1), \quad p = (m, m - 1, \ldots, 1)

    Row i is the i-th of m places, column j the j-th item. The weights p decrease, so by the rearrangement inequality
    the best matching gives the first place to the largest score, and so on: under the scores G it follows the
    Plackett–Luce model with log-weights θ. The coordinates of U are correlated: it has a density over the scores G
    only, and that is what `log_prob` and the divergence are of.

    An item of score −∞ is absent, as padding is, and places for which no item is left are absent as well:
    ``sst.Matching(m, n, mask=utility.mask)`` is the structure that knows it.

    Args:
        scores: θ, shape (*batch, n).
        places: m, from 1 to n, for the first places alone, over ``sst.Matching(m, n)``; n by default.

    Raises:
        ValueError: `scores` has no dimension for the items, or there are more places than items.

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

    def __init__(self, scores: Tensor, places: int | None = None, *, validate_args: bool | None = None) -> None:
        if check_tensor("scores", scores).dim() == 0:
            raise invalid("scores", "a scalar", "shape (*batch, n)", "Give one score for each item.")
        self.scores = scores
        n = scores.shape[-1]
        remedy = "A place needs an item."
        self.places = n if places is None else check_integer("places", places, remedy, low=1, high=n, top="n")
        super().__init__(scores.shape[:-1], torch.Size((self.places, n)), validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: Self | None = None) -> Self:
        """The same law with a larger batch shape."""
        new = self._expanded(Sorting, batch_shape, _instance)
        new.scores, new.places = self.scores.expand(*batch_shape, self.scores.shape[-1]), self.places
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
        """The table p_i² Var[G_j], 0 where U is −∞."""
        return torch.where(self.mask, self.table(self._random_scores.stddev), 0.0).square()

    def rsample(self, sample_shape: Shape = torch.Size()) -> Tensor:
        """Samples, shape (*sample_shape, *batch, m, n), differentiable in θ."""
        return self.table(self._random_scores.rsample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """The density of the scores, shape (*batch); −∞ where the table is not one of p_i G_j."""
        if self._validate_args:
            self._validate_sample(value)
        scores, present = self.scores_of(value), self.scores > -torch.inf
        each = Gumbel(torch.where(present, self.scores, 0.0), 1.0, validate_args=False).log_prob(
            torch.where(present, scores, 0.0)
        )
        density = torch.where(present, each, 0.0).sum(-1)
        return torch.where((value == self.table(scores)).all((-1, -2)), density, -torch.inf)

    def entropy(self) -> Tensor:
        """That of the scores, as `log_prob` is their density: 1 + γ for each item, γ being Euler's constant."""
        return torch.where(self.scores > -torch.inf, self._random_scores.entropy(), 0.0).sum(-1)

    @property
    def mask(self) -> Tensor:
        """Which pairs of a place and an item there are, shape (*batch, m, n): that of the matchings under padding."""
        present = self.scores > -torch.inf
        return self._weights.unsqueeze(-1).gt(0) & present.unsqueeze(-2)

    @property
    def _weights(self) -> Tensor:
        """p, 1 in the last place that has an item, shape (*batch, m)."""
        filled = (self.scores > -torch.inf).sum(-1, keepdim=True).clamp(max=self.places)
        return filled - torch.arange(self.places, device=self.scores.device)

    @property
    def _random_scores(self) -> Gumbel:
        return Gumbel(self.scores, validate_args=False)

    def table(self, scores: Tensor) -> Tensor:
        """The utilities p_i G_j that scores G make, shape (*batch, m, n).

        Args:
            scores: G, shape (*batch, n).
        """
        finite = torch.where(self.scores > -torch.inf, scores, 0.0)  # the product with 0 is no number
        return torch.where(self.mask, self._weights.to(scores.dtype).unsqueeze(-1) * finite.unsqueeze(-2), -torch.inf)

    def scores_of(self, value: Tensor) -> Tensor:
        """The scores that made utilities, shape (*batch, n): the row of weight 1.

        Args:
            value: U, shape (*batch, m, n).
        """
        last = (self._weights == 1).long().argmax(-1)[..., None, None]
        return value.gather(-2, last.expand(*value.shape[:-2], 1, value.shape[-1])).squeeze(-2)


@register_kl(Sorting, Sorting)
def _(p: Sorting, q: Sorting) -> Tensor:
    """Of the scores, from which the utilities are computed one to one."""
    here, there = p.scores > -torch.inf, q.scores > -torch.inf
    both = (Gumbel(torch.where(here & there, s, 0.0), 1.0, validate_args=False) for s in (p.scores, q.scores))
    each = torch.where(here & there, kl_divergence(*both), 0.0).sum(-1)
    return torch.where((here != there).any(-1), torch.inf, each)
