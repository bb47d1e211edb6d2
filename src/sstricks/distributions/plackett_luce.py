from abc import abstractmethod
from math import comb, perm
from typing import Self

import torch
from torch import Tensor
from torch.distributions import register_kl
from torch.nn.functional import one_hot
from torch.types import _size as Shape

from sstricks.distributions.vertex_distribution import VertexDistribution, check_same_structure
from sstricks.errors import check_sizes
from sstricks.functional import from_working, working_dtype
from sstricks.ops.noise import standard_exponential
from sstricks.ops.operator import is_eager
from sstricks.randomness import drawing_from
from sstricks.structures.k_subset import KSubset
from sstricks.structures.matching import Matching

_MOST_VERTICES = 2_000


class PlackettLuce(VertexDistribution):
    """Items drawn without replacement, in proportion to weights: what subsets and rankings share.

    Mean, entropy and divergence are sums over all vertices, where there are at most 2,000.
    """

    @abstractmethod
    def _count(self) -> int:
        """How many vertices there are without a mask."""

    @abstractmethod
    def _vertices(self) -> Tensor:
        """All of them, shape (_count(), *event_shape). Those that a mask excludes have probability zero."""

    def list_vertices(self) -> Tensor:
        """All vertices, masks apart, shape (|𝒳|, *event_shape), in the working dtype.

        Raises:
            NotImplementedError: There are more than 2,000.
        """
        if self._count() > _MOST_VERTICES:
            raise NotImplementedError(
                f"{type(self).__name__}: found {self.structure!r}, with more than {_MOST_VERTICES} vertices; mean, "
                "entropy and divergence are sums over all. Average over samples instead."
            )
        return self._vertices()

    def _perturbed(self, theta: Tensor, sample_shape: Shape, generator: torch.Generator | None) -> Tensor:
        """The logarithms of the weights plus independent standard Gumbels."""
        with torch.no_grad(), drawing_from(generator, self):
            shape = check_sizes("sample_shape", sample_shape) + theta.shape
            return theta - standard_exponential(theta, shape).log()

    def _mean(self) -> Tensor:
        x = self.list_vertices()
        return (_at_each(self, x).exp() @ x.flatten(1)).unflatten(-1, self.event_shape)

    def entropy(self) -> Tensor:
        """In nats, shape (*batch), differentiable."""
        log_p = _at_each(self, self.list_vertices())
        return from_working(-_expected(log_p, log_p), self.dtype)


class PlackettLuceSubset(PlackettLuce):
    r"""The first k of n items drawn without replacement, in proportion to weights exp(θ) (App. B.4, Cor. 2).

    .. math:: P(x) = \sum_{\pi \text{ orders } x} \prod_{i=1}^k
              \frac{\exp \theta_{\pi_i}}{\sum_j \exp \theta_j - \sum_{l<i} \exp \theta_{\pi_l}}

    It is the law of the k largest of θ + G for standard Gumbels G. The sum over orders is a recursion over the 2ᵏ
    subsets of x.

    Args:
        structure: The subsets.
        logits: θ, shape (*batch, n); −∞ is an absent item.
        validate_args: Whether θ is looked at right away, and `log_prob` of NaN is an error. Torch's default.

    Example:
        >>> from sstricks.distributions import PlackettLuceSubset
        >>> PlackettLuceSubset(sst.KSubset(3, 2), torch.tensor([0.0, 0.0, -torch.inf])).mean
        tensor([1., 1., 0.])
    """

    structure: KSubset

    def __init__(self, structure: KSubset, logits: Tensor, *, validate_args: bool | None = None) -> None:
        batch = structure.check_shape("logits", logits)
        self.logits = logits.expand(batch + structure.event_shape)
        super().__init__(structure, batch, validate_args=validate_args)
        if self._validate_args:
            structure.scaled(logits.detach(), 1.0)  # which finds fault with the values, if there is any

    @property
    def dtype(self) -> torch.dtype:
        """That of the logits."""
        return self.logits.dtype

    def expand(self, batch_shape: Shape, _instance: Self | None = None) -> Self:
        """The same law with a larger batch shape."""
        new = self._expanded(PlackettLuceSubset, batch_shape, _instance)
        new.logits = self.logits.expand(new.batch_shape + self.event_shape)
        return new

    def sample(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Tensor:
        """Subsets, shape (*sample_shape, *batch_shape, n), without gradient.

        Args:
            sample_shape: How many.
            generator: Where the randomness comes from, if not from torch's default generator.
        """
        return self.structure.argmax(self._perturbed(self.logits, sample_shape, generator)).to(self.logits.dtype)

    def _count(self) -> int:
        return comb(self.structure.n, self.structure.k)

    def _vertices(self) -> Tensor:
        x = KSubset(self.structure.n, self.structure.k).enumerate_support()
        return x.to(self.logits.device, working_dtype(self.logits))

    @property
    def mode(self) -> Tensor:
        """The k largest logits: to swap an item for one of more weight makes a subset more likely."""
        return self.structure.argmax(self.logits)

    def _log_prob(self, x: Tensor) -> Tensor:
        """By a recursion over the sets A of items that came first.

        The next is i with probability w_i over the weight of all that have not come. That weight is a sum of what
        remains, never a difference from the total.
        """
        k = self.structure.k
        logits, x = torch.broadcast_tensors(self.structure.scaled(self.logits, 1.0), x)
        chosen = x.topk(k, -1).indices
        mine = logits.gather(-1, chosen)
        possible = (mine > -torch.inf).all(-1)
        # An impossible vertex goes through the recursion as another one does, so that its gradient is 0 and not NaN.
        mine = torch.where(possible.unsqueeze(-1), mine, 0.0)
        others = logits.masked_fill((x > 0.5) | (logits == -torch.inf), -torch.inf).logsumexp(-1)
        some = others > -torch.inf
        reached = [torch.zeros_like(others)]
        for came in range(1, 2**k):
            ways = []
            for i in range(k):
                if came >> i & 1:
                    before = came ^ (1 << i)
                    remain = [j for j in range(k) if not before >> j & 1]
                    rest = mine[..., remain].logsumexp(-1)
                    rest = torch.where(some, torch.logaddexp(rest, torch.where(some, others, 0.0)), rest)
                    ways.append(reached[before] + mine[..., i] - rest)
            reached.append(torch.stack(ways).logsumexp(0))
        return torch.where(possible, reached[-1], -torch.inf)


class PlackettLuceRanking(PlackettLuce):
    r"""Items ranked by drawing them without replacement, in proportion to weights exp(θ), as a matrix (App. B.6).

    .. math:: P(x) = \prod_{i=1}^m \frac{\exp \theta_{\pi_i}}{\sum_j \exp \theta_j - \sum_{l<i} \exp \theta_{\pi_l}},
              \qquad x_{i \pi_i} = 1

    Row i is the i-th of m places, column j the j-th of n items. An item of score −∞ is absent, and so are the places
    for which no item is left.

    Args:
        structure: The matchings of m places with n ≥ m items.
        scores: θ, shape (*batch, n).
        validate_args: Whether `log_prob` of NaN is an error. Torch's default.

    Example:
        >>> from sstricks.distributions import PlackettLuceRanking
        >>> PlackettLuceRanking(sst.Matching(2), torch.tensor([0.0, 0.0])).mean
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """

    structure: Matching

    def __init__(self, structure: Matching, scores: Tensor, *, validate_args: bool | None = None) -> None:
        self.scores = scores
        super().__init__(structure, scores.shape[:-1], validate_args=validate_args)

    @property
    def dtype(self) -> torch.dtype:
        """That of the scores."""
        return self.scores.dtype

    def expand(self, batch_shape: Shape, _instance: Self | None = None) -> Self:
        """The same law with a larger batch shape."""
        new = self._expanded(PlackettLuceRanking, batch_shape, _instance)
        new.scores = self.scores.expand(*new.batch_shape, -1)
        return new

    def sample(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Tensor:
        """Rankings, shape (*sample_shape, *batch_shape, m, n), without gradient.

        Args:
            sample_shape: How many.
            generator: Where the randomness comes from, if not from torch's default generator.
        """
        return self._in_order(self._perturbed(self.scores, sample_shape, generator))

    def _in_order(self, scores: Tensor) -> Tensor:
        """The matrix with the largest score's item in the first row, and so on."""
        item = scores.sort(dim=-1, descending=True, stable=True).indices[..., : self.structure.n]
        present = scores.gather(-1, item) > -torch.inf
        return (one_hot(item, scores.shape[-1]) * present.unsqueeze(-1)).to(self.scores.dtype)

    def _count(self) -> int:
        return perm(self.structure.m, self.structure.n)

    def _vertices(self) -> Tensor:
        if is_eager(self.scores) and self.scores.isneginf().any():
            raise NotImplementedError(
                "PlackettLuceRanking: found absent items; mean, entropy and divergence are those of full tables. "
                "Average over samples, or build one law for each size."
            )
        return self.structure.enumerate_support().to(self.scores.device, working_dtype(self.scores))

    @property
    def mode(self) -> Tensor:
        """The items in the order of their scores, largest first."""
        return self._in_order(self.scores)

    def _log_prob(self, x: Tensor) -> Tensor:
        """Each place goes to one of the items that remain: those of later places, and those of none."""
        present = self.scores > -torch.inf
        theta = torch.where(present, self.scores, 0.0)
        filled = torch.arange(self.structure.n, device=x.device) < present.sum(-1, keepdim=True)
        possible = (x.sum(-1) == filled).all(-1) & ~((x != 0).any(-2) & ~present).any(-1)
        placed = (x * theta.unsqueeze(-2)).sum(-1)
        left = torch.where(present & (x == 0).all(-2), theta, -torch.inf)
        later = torch.where(filled, placed, -torch.inf)
        remain = torch.cat([later, left], -1).flip(-1).logcumsumexp(-1).flip(-1)[..., : self.structure.n]
        each = torch.where(filled, placed - torch.where(filled, remain, 0.0), 0.0)
        return torch.where(possible, each.sum(-1), -torch.inf)


def _at_each(d: VertexDistribution, x: Tensor) -> Tensor:
    """Their log-probabilities of each of the x, shape (|X|, *event_shape), in the working dtype: (*batch, |X|)."""
    return d._log_prob(x.reshape(-1, *[1] * len(d.batch_shape), *d.event_shape)).movedim(0, -1)


def _expected(log_p: Tensor, value: Tensor) -> Tensor:
    """Σ p·value over the last dimension; what has no probability counts for nothing, also at an infinite value."""
    return (log_p.exp() * torch.where(log_p > -torch.inf, value, 0.0)).sum(-1)


@register_kl(PlackettLuce, PlackettLuce)
@register_kl(PlackettLuce, VertexDistribution)
@register_kl(VertexDistribution, PlackettLuce)
def _(p: VertexDistribution, q: VertexDistribution) -> Tensor:
    check_same_structure(p, q)
    x = next(d.list_vertices() for d in (p, q) if isinstance(d, PlackettLuce))
    log_p, log_q = _at_each(p, x), _at_each(q, x)
    return from_working(_expected(log_p, log_p - log_q), torch.promote_types(p.dtype, q.dtype))
