"""Distributions over the edges between the tokens of sentences of different lengths (8.2, App. D.5.2)."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

import sstricks as sst
from sstricks.experiments.listops.utilities import UTILITIES, UTILITIES_OF_SINGLE_EDGES


class EdgeDistribution(Protocol):
    """A stochastic softmax trick over the edges between tokens, and its coupling to an encoder and a network."""

    def trick(self, theta: Tensor, mask: Tensor, temperature: float) -> sst.StochasticSoftmaxTrick:
        """The trick whose samples are the edges of a batch.

        Args:
            theta: (B, L, L), entry ij about the edge i -> j.
            mask: bool (B, L), true where there is a token.
            temperature: t.
        """
        ...

    def adjacency(self, x: Tensor, length: int) -> Tensor:
        """Samples as matrices, entry ij for the edge i -> j: (B, E) -> (B, L, L)."""
        ...


@dataclass(frozen=True)
class DirectedEdges:
    """A structure over ordered pairs of tokens.

    Attributes:
        structure: makes it, with its pairs, for L tokens.
        utility: the law of the utilities.
    """

    structure: Callable[[int], tuple[sst.Structure, Tensor]]
    utility: Callable[[Tensor], Distribution]

    def trick(self, theta: Tensor, mask: Tensor, temperature: float) -> sst.StochasticSoftmaxTrick:
        """Relaxed by the exponential family's marginals; pairs with padding are absent."""
        structure, pairs = self.structure(theta.shape[-1])
        return _trick(structure, pairs, self.utility, theta, mask, temperature)

    def adjacency(self, x: Tensor, length: int) -> Tensor:
        """(B, E) -> (B, L, L)."""
        return _matrices(x, self.structure(length)[1], length)


@dataclass(frozen=True)
class UndirectedEdges:
    """A structure over unordered pairs of tokens, with utilities averaged over both directions.

    Attributes:
        structure: makes it, with its pairs, for L tokens.
        utility: the law of the utilities.
    """

    structure: Callable[[int], tuple[sst.Structure, Tensor]]
    utility: Callable[[Tensor], Distribution]

    def trick(self, theta: Tensor, mask: Tensor, temperature: float) -> sst.StochasticSoftmaxTrick:
        """Relaxed by the exponential family's marginals; pairs with padding are absent."""
        structure, pairs = self.structure(theta.shape[-1])
        return _trick(structure, pairs, self.utility, (theta + theta.mT) / 2, mask, temperature)

    def adjacency(self, x: Tensor, length: int) -> Tensor:
        """(B, E) -> (B, L, L), symmetric."""
        half = _matrices(x, self.structure(length)[1], length)
        return half + half.mT


@functools.lru_cache(maxsize=64)
def directed_pairs(length: int) -> tuple[sst.Structure, Tensor]:
    """Any subset of the ordered pairs i -> j of different tokens, and these."""
    pairs = torch.cartesian_prod(torch.arange(length), torch.arange(length)).T
    pairs = pairs[:, pairs[0] != pairs[1]].contiguous()
    return sst.Subset(pairs.shape[1]), pairs


@functools.lru_cache(maxsize=64)
def undirected_pairs(length: int) -> tuple[sst.Structure, Tensor]:
    """Any subset of the pairs i < j, and these."""
    pairs = torch.triu_indices(length, length, 1)
    return sst.Subset(pairs.shape[1]), pairs


@functools.lru_cache(maxsize=64)
def spanning_trees(length: int) -> tuple[sst.Structure, Tensor]:
    """The spanning trees over all tokens, and their pairs."""
    trees = sst.SpanningTree.complete(length)
    return trees, trees.edges


@functools.lru_cache(maxsize=64)
def arborescences(length: int) -> tuple[sst.Structure, Tensor]:
    """The arborescences from the first token over all others, and their pairs."""
    trees = sst.Arborescence.complete(length)
    return trees, trees.edges


def _independent(utility: str) -> Callable[[Tensor], Distribution]:
    if utility not in UTILITIES_OF_SINGLE_EDGES:
        raise ValueError(
            f"utility is {utility!r}, expected one of {list(UTILITIES_OF_SINGLE_EDGES)} for independent edges, which "
            "are present where their utility is positive: choose one of these, or edges that form a tree."
        )
    return UTILITIES_OF_SINGLE_EDGES[utility]


EDGE_DISTRIBUTIONS: dict[str, Callable[[str], EdgeDistribution]] = {
    "arborescence": lambda utility: DirectedEdges(arborescences, UTILITIES[utility]),
    "spanning-tree": lambda utility: UndirectedEdges(spanning_trees, UTILITIES[utility]),
    "independent-directed": lambda utility: DirectedEdges(directed_pairs, _independent(utility)),
    "independent-undirected": lambda utility: UndirectedEdges(undirected_pairs, _independent(utility)),
}
"""From a command line's names, of the structure and of the utility, to the distribution."""


def _trick(
    structure: sst.Structure,
    pairs: Tensor,
    utility: Callable[[Tensor], Distribution],
    theta: Tensor,
    mask: Tensor,
    temperature: float,
) -> sst.StochasticSoftmaxTrick:
    first, second = pairs.to(theta.device)
    place = first * theta.shape[-1] + second
    present = mask[:, first] & mask[:, second]
    masked = sst.Masked(utility(theta.flatten(-2).index_select(-1, place)), present)
    return sst.StochasticSoftmaxTrick(structure, masked, temperature, sst.ExponentialFamilyEntropy())


def _matrices(x: Tensor, pairs: Tensor, length: int) -> Tensor:
    first, second = pairs.to(x.device)
    flat = x.new_zeros(len(x), length**2)
    return flat.index_copy(-1, first * length + second, x).unflatten(-1, (length, length))
