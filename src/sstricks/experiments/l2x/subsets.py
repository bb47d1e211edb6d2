"""Distributions over the k words of a review that explain its rating, and their relaxations (8.3, App. D.6)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution, Gumbel

import sstricks as sst
from sstricks.experiments.l2x.encoder import Theta

Relaxation = Literal["l2x", "soft-sub", "euclid", "cat", "bin", "ef-top-k", "corr-top-k"]


class SubsetDistribution(Protocol):
    """A distribution over k-subsets, soft in training and hard in evaluation.

    Every method takes the encoder's θ for B padded reviews of L places and where `candidates` are, of which each review
    has at least k, and returns (B, L).
    """

    has_pairs: bool
    """Whether pairs of neighbours have utilities."""

    def relaxed(self, theta: Theta, candidates: Tensor, temperature: float) -> Tensor:
        """A relaxed sample, differentiable in θ."""
        ...

    def sample(self, theta: Theta, candidates: Tensor) -> Tensor:
        """A hard sample."""
        ...

    def mode(self, theta: Theta, candidates: Tensor) -> Tensor:
        """The hard subset of the utilities without their noise."""
        ...


@dataclass(frozen=True)
class LargestWords:
    """The k words with the largest Gumbel utilities, of which there are several relaxations.

    Attributes:
        k: how many words.
    """

    k: int
    has_pairs = False

    def sample(self, theta: Theta, candidates: Tensor) -> Tensor:
        """The stochastic argmax trick."""
        utility = Gumbel(theta.words, 1.0, validate_args=False)
        return sst.StochasticArgmaxTrick(self._structure(candidates), utility).sample()

    def mode(self, theta: Theta, candidates: Tensor) -> Tensor:
        """The words with the largest θ, as the authors of SoftSub evaluate it too."""
        return self._structure(candidates).argmax(theta.words)

    def _structure(self, candidates: Tensor) -> sst.KSubset:
        return sst.KSubset(candidates.shape[-1], self.k, candidates)


@dataclass(frozen=True)
class TopK(LargestWords):
    """The k words with the largest Gumbel utilities, relaxed with a regularizer of choice.

    Attributes:
        k: how many words.
        regularizer: f.
        solver: what to use instead of the registered one; none for that.
    """

    regularizer: sst.Regularizer
    solver: sst.Solver | None = None

    def relaxed(self, theta: Theta, candidates: Tensor, temperature: float) -> Tensor:
        """The stochastic softmax trick."""
        utility = Gumbel(theta.words, 1.0, validate_args=False)
        trick = sst.StochasticSoftmaxTrick(
            self._structure(candidates), utility, temperature, self.regularizer, solver=self.solver
        )
        return trick.rsample()


@dataclass(frozen=True)
class CorrelatedTopK:
    """The k words with the largest sum of their Gumbel utilities and of those of neighbours among them (App. B.5).

    Attributes:
        k: how many words.
        solver: what to use instead of the exponential family's registered one; none for that.
    """

    k: int
    solver: sst.Solver | None = None
    has_pairs = True

    def relaxed(self, theta: Theta, candidates: Tensor, temperature: float) -> Tensor:
        """The stochastic softmax trick, without the pairs."""
        utility = self._utility(theta)
        trick = sst.StochasticSoftmaxTrick(
            self._structure(candidates), utility, temperature, sst.ExponentialFamilyEntropy(), solver=self.solver
        )
        return trick.rsample()[..., : candidates.shape[-1]]

    def sample(self, theta: Theta, candidates: Tensor) -> Tensor:
        """The stochastic argmax trick, without the pairs."""
        trick = sst.StochasticArgmaxTrick(self._structure(candidates), self._utility(theta))
        return trick.sample()[..., : candidates.shape[-1]]

    def mode(self, theta: Theta, candidates: Tensor) -> Tensor:
        """The words with the largest sum of θ."""
        utilities = torch.cat([theta.words, _pairs(theta)], -1)
        return self._structure(candidates).argmax(utilities)[..., : candidates.shape[-1]]

    def _structure(self, candidates: Tensor) -> sst.ChainKSubset:
        mask = torch.cat([candidates, candidates[:, 1:] & candidates[:, :-1]], -1)
        return sst.ChainKSubset(candidates.shape[-1], self.k, mask)

    def _utility(self, theta: Theta) -> Distribution:
        return sst.ChainUtility(Gumbel(theta.words, 1.0, validate_args=False), _pairs(theta), validate_args=False)


@dataclass(frozen=True)
class L2X:
    """The baseline of Chen et al. (2018): the union of k independent words, which may be the same.

    Attributes:
        k: how many draws.
    """

    k: int
    has_pairs = False

    def relaxed(self, theta: Theta, candidates: Tensor, temperature: float) -> Tensor:
        """The largest of k Gumbel-softmax samples."""
        return sst.baselines.l2x(theta.words.masked_fill(~candidates, -torch.inf), self.k, temperature)

    def sample(self, theta: Theta, candidates: Tensor) -> Tensor:
        """At most k words."""
        one = sst.OneHot(candidates.shape[-1], mask=candidates)
        trick = sst.StochasticArgmaxTrick(one, Gumbel(theta.words, 1.0, validate_args=False))
        return trick.sample(torch.Size([self.k])).amax(0)

    def mode(self, theta: Theta, candidates: Tensor) -> Tensor:
        """The words with the largest θ, as its authors evaluate it."""
        return LargestWords(self.k).mode(theta, candidates)


@dataclass(frozen=True)
class SoftSub(LargestWords):
    """The baseline of Xie and Ermon (2019): the k words with the largest Gumbel utilities, relaxed one by one.

    Attributes:
        k: how many words.
    """

    def relaxed(self, theta: Theta, candidates: Tensor, temperature: float) -> Tensor:
        """The sum of k softmaxes."""
        u = Gumbel(theta.words, 1.0, validate_args=False).rsample()
        return sst.baselines.soft_sub(u.masked_fill(~candidates, -torch.inf), self.k, temperature)


SUBSETS: dict[str, Callable[[int, sst.Solver | None], SubsetDistribution]] = {
    "euclid": lambda k, solver: TopK(k, sst.Euclidean(), solver),
    "cat": lambda k, solver: TopK(k, sst.CategoricalEntropy(), solver),
    "bin": lambda k, solver: TopK(k, sst.BinaryEntropy(), solver),
    "ef-top-k": lambda k, solver: TopK(k, sst.ExponentialFamilyEntropy(), solver),
    "corr-top-k": CorrelatedTopK,
    "l2x": lambda k, solver: L2X(k),
    "soft-sub": lambda k, solver: SoftSub(k),
}
"""From a command line's name to what builds the distribution over k words, given a solver or none."""

BESPOKE: frozenset[str] = frozenset({"l2x", "soft-sub"})
"""The relaxations that are no stochastic softmax tricks, and so have no solver."""


def candidates_of(present: Tensor, k: int) -> Tensor:
    """The places that a subset of k may choose from: the words, or the first k places of a review that has fewer.

    A review of at most k words is its own explanation: all of its words are chosen, and the places beyond its end that
    fill up the k hold nothing and count nowhere.

    Args:
        present: where there is a word, bool (B, L) with L at least k.
        k: how many are chosen.

    Returns:
        bool (B, L), at least k in each row.

    Example:
        >>> candidates_of(torch.tensor([[True, False, False, False]]), 3)
        tensor([[ True,  True,  True, False]])
    """
    return present | (torch.arange(present.shape[-1], device=present.device) < k)


def only_words(subset: Tensor, present: Tensor, k: int) -> Tensor:
    """A subset of candidates as one of words: all of them in a review of at most k, however it was relaxed.

    Args:
        subset: (B, L), hard or soft.
        present: where there is a word, bool (B, L).
        k: how many are chosen.

    Returns:
        (B, L), zero where there is no word.
    """
    short = present.sum(-1, keepdim=True) <= k
    return torch.where(short, present.to(subset.dtype), subset * present)


def _pairs(theta: Theta) -> Tensor:
    assert theta.pairs is not None
    return theta.pairs
