from typing import Self

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints, kl_divergence, register_kl
from torch.distributions.constraints import Constraint
from torch.types import _size as Shape

from sstricks.distributions.base import BaseDistribution
from sstricks.errors import check_distribution, check_tensor, invalid, joint_shape
from sstricks.utilities.utility import known, reparameterised


class ChainUtility(BaseDistribution):
    r"""Random utilities of n items in a row and fixed utilities of the n − 1 pairs of neighbours (App. B.5).

    .. math:: U_i \sim p_i \text{ for } i \le n, \qquad U_{n+i} = \theta_{i,i+1} \text{ for } 1 \le i < n

    The law of a sample has a density over the items only: that is what `log_prob` and the divergence are of.

    Args:
        unary: The utilities of the items, with event_shape () and a batch shape that ends in n, which is read as
            independent items, or with event_shape (n,).
        pairwise: θ of the pairs, shape (*batch, n − 1); its batch dimensions broadcast with those of `unary`.

    Raises:
        ValueError: The shapes do not fit together.

    Example:
        >>> u = sst.ChainUtility(sst.Gumbel(torch.zeros(3)), torch.tensor([0.5, -0.5]))
        >>> u.sample()[3:]
        tensor([ 0.5000, -0.5000])
        >>> sst.StochasticArgmaxTrick(sst.ChainKSubset(3, 2), u).sample().shape
        torch.Size([5])
    """

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        """What the parameters must satisfy."""
        return {"pairwise": constraints.real_vector}

    @property
    def support(self) -> Constraint:
        """Where samples lie."""
        return constraints.real_vector

    def __init__(self, unary: Distribution, pairwise: Tensor, *, validate_args: bool | None = None) -> None:
        if not check_distribution("unary", unary).event_shape and unary.batch_shape:
            unary = Independent(unary, 1)
        if len(unary.event_shape) != 1:
            raise invalid(
                "unary",
                f"batch_shape {tuple(unary.batch_shape)} and event_shape {tuple(unary.event_shape)}",
                "event_shape (n,), or event_shape () and a batch_shape that ends in (n,)",
                "Give one utility for each item of the chain.",
            )
        n = unary.event_shape[0]
        if check_tensor("pairwise", pairwise).dim() == 0 or pairwise.shape[-1] != n - 1:
            raise invalid(
                "pairwise",
                f"shape {tuple(pairwise.shape)}",
                f"(*batch, {n - 1})",
                "There is one pair fewer than items; for the same utility everywhere, expand it.",
            )
        shape = joint_shape("pairwise", pairwise.shape, unary.batch_shape, "unary", pairwise.shape[:-1])
        self.unary = unary.expand(shape)
        self.pairwise = pairwise.expand(*shape, n - 1)
        super().__init__(shape, torch.Size([2 * n - 1]), validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  torch's own idiom
        """Whether the items' utilities have reparameterised samples."""
        return self.unary.has_rsample

    def expand(self, batch_shape: Shape, _instance: Self | None = None) -> Self:
        """The same law with a larger batch shape."""
        new = self._expanded(ChainUtility, batch_shape, _instance)
        new.unary = self.unary.expand(batch_shape)
        new.pairwise = self.pairwise.expand(*batch_shape, self.pairwise.shape[-1])
        return new

    @property
    def mean(self) -> Tensor:
        """The items' means, and θ."""
        return torch.cat([known(self.unary, "mean"), self.pairwise], -1)

    @property
    def mode(self) -> Tensor:
        """The items' modes, and θ."""
        return torch.cat([known(self.unary, "mode"), self.pairwise], -1)

    @property
    def variance(self) -> Tensor:
        """The items' variances, and 0."""
        return torch.cat([known(self.unary, "variance"), torch.zeros_like(self.pairwise)], -1)

    def rsample(self, sample_shape: Shape = torch.Size()) -> Tensor:
        """Samples, differentiable in the parameters of the items and in θ."""
        return self._with_pairs(reparameterised(self.unary, sample_shape))

    def sample(self, sample_shape: Shape = torch.Size()) -> Tensor:
        """Samples without gradient."""
        return self._with_pairs(self.unary.sample(torch.Size(sample_shape))).detach()

    def log_prob(self, value: Tensor) -> Tensor:
        """The density of the items' utilities; −∞ where those of the pairs are not θ."""
        if self._validate_args:
            self._validate_sample(value)
        n = self.unary.event_shape[0]
        fixed = (value[..., n:] == self.pairwise).all(-1)
        return torch.where(fixed, self.unary.log_prob(value[..., :n]), -torch.inf)

    def entropy(self) -> Tensor:
        """That of the items' utilities, as `log_prob` is their density."""
        return known(self.unary, "entropy")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.unary}, pairwise: {tuple(self.pairwise.shape)})"

    def _with_pairs(self, items: Tensor) -> Tensor:
        return torch.cat([items, self.pairwise.expand(*items.shape[:-1], self.pairwise.shape[-1])], -1)


@register_kl(ChainUtility, ChainUtility)
def _(p: ChainUtility, q: ChainUtility) -> Tensor:
    if not torch.equal(*torch.broadcast_tensors(p.pairwise, q.pairwise)):
        raise invalid(
            "pairwise",
            "two ChainUtility with different fixed utilities of the pairs",
            "equal ones",
            "The divergence is infinite where they differ; that of the items alone is kl_divergence(p.unary, q.unary).",
        )
    return kl_divergence(p.unary, q.unary)
