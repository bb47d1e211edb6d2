"""Distributions over edges: what an encoder's outputs mean (8.1, App. C.1 and D.4.2)."""

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Gumbel, kl_divergence

import sstricks as sst
from sstricks.experiments.nri.pairs import directed_edges, pairs_to_graph


class EdgeDistribution(Protocol):
    """A stochastic softmax trick over the edges of n nodes, and its coupling to an encoder and a decoder."""

    num_nodes: int
    num_outputs_per_edge: int
    prior_density: float
    """The share of node pairs that a graph drawn from the prior connects."""

    def utilities(self, outputs: Tensor) -> Tensor:
        """Locations theta of the Gumbel utilities, (B, ...), of encoder outputs (B, n(n-1), m)."""
        ...

    def trick(self, theta: Tensor, temperature: float) -> sst.StochasticSoftmaxTrick:
        """The trick whose samples are the edges."""
        ...

    def adjacency(self, edges: Tensor) -> Tensor:
        """A sample as a matrix, entry ij for the message i -> j: (B, *event_shape) -> (B, n, n)."""
        ...

    def kl(self, theta: Tensor) -> Tensor:
        """KL of the utilities to Gumbel(0), summed over all of them: (B,)."""
        ...

    def log_prob(self, theta: Tensor, draw: sst.Draw) -> Tensor:
        """Log probability of the action that a score-function estimator takes: (B,)."""
        ...

    def action_kl(self, theta: Tensor) -> Tensor:
        """KL of the action to its prior: (B,)."""
        ...


def gumbel_kl(theta: Tensor) -> Tensor:
    r"""KL of Gumbel(theta) to Gumbel(0) (App. D.4.2).

    .. math:: \mathrm{KL} = \theta + e^{-\theta} - 1

    It equals ``kl_divergence(Gumbel(theta, 1), Gumbel(0, 1))``, but for float32 near :math:`\theta = 0`, where that
    one cancels to a few 1e-7, even below zero; this one does not.

    Args:
        theta: Any shape.

    Returns:
        The same shape.

    Example:
        >>> gumbel_kl(torch.tensor([0.0, 1.0]))
        tensor([0.0000, 0.3679])
    """
    return theta + torch.expm1(-theta)


def least_kl_gauge(outputs: Tensor) -> Tensor:
    r"""Shift the last dimension to where its KL to Gumbel(0) is least.

    .. math:: \theta_i = o_i + \log \Big( \frac{1}{m} \sum_{j \le m} e^{-o_j} \Big)

    Adding a constant to all utilities changes no sample of a structure whose vertices all have the same number of
    ones, but it changes the KL of the utilities. Left to the encoder, that constant costs bits, and an example whose
    constant goes astray costs :math:`e^{-\theta}` and the training with it; here the gradient of the KL is bounded.

    Args:
        outputs: (..., m).

    Returns:
        (..., m).

    Example:
        >>> theta = least_kl_gauge(torch.tensor([-30.0, -30.0]))
        >>> gumbel_kl(theta).abs() < 1e-6
        tensor([True, True])
    """
    return outputs + torch.logsumexp(-outputs, -1, keepdim=True) - math.log(outputs.shape[-1])


class IndependentEdges:
    r"""Every directed edge on its own: the Gumbel-max trick on two utilities per edge, as in Kipf et al. (2018).

    Their difference is Logistic, so this is ``Subset`` with :math:`U \sim \mathrm{Logistic}(\theta_1 - \theta_0)`.

    Args:
        num_nodes: n.
    """

    num_outputs_per_edge = 2
    prior_density = 0.5

    def __init__(self, num_nodes: int) -> None:
        self.num_nodes = num_nodes
        self.structure = sst.Subset(num_nodes * (num_nodes - 1))

    def utilities(self, outputs: Tensor) -> Tensor:
        """The two outputs of each edge, in the gauge of least KL: (B, n(n-1), 2)."""
        return least_kl_gauge(outputs)

    def trick(self, theta: Tensor, temperature: float) -> sst.StochasticSoftmaxTrick:
        """Relaxed by the sigmoid."""
        utility = sst.Logistic(self._logits(theta))
        return sst.StochasticSoftmaxTrick(self.structure, utility, temperature, sst.ExponentialFamilyEntropy())

    def adjacency(self, edges: Tensor) -> Tensor:
        """(B, n(n-1)) -> (B, n, n), not symmetric."""
        return pairs_to_graph(edges, self.num_nodes)

    def kl(self, theta: Tensor) -> Tensor:
        """Over all 2n(n-1) utilities: (B,)."""
        return gumbel_kl(theta).sum((-2, -1))

    def log_prob(self, theta: Tensor, draw: sst.Draw) -> Tensor:
        """Of the edges X that were drawn: (B,)."""
        return Bernoulli(logits=self._logits(theta), validate_args=False).log_prob(draw.discrete.detach()).sum(-1)

    def action_kl(self, theta: Tensor) -> Tensor:
        """Of the edges X to fair coins: (B,)."""
        logits = self._logits(theta)
        return kl_divergence(Bernoulli(logits=logits), Bernoulli(logits=torch.zeros_like(logits))).sum(-1)

    def _logits(self, theta: Tensor) -> Tensor:
        return theta[..., 1] - theta[..., 0]


class UndirectedEdges:
    """A structure over the n(n-1)/2 undirected edges, with Gumbel utilities averaged over both directions.

    Args:
        num_nodes: n.
        structure: Over the node pairs in the order of ``torch.triu_indices(n, n, 1)``.
    """

    num_outputs_per_edge = 1

    def __init__(self, num_nodes: int, structure: sst.KSubset | sst.SpanningTree) -> None:
        self.num_nodes = num_nodes
        self.structure = structure
        self.prior_density = 2 / num_nodes
        place = torch.empty(num_nodes, num_nodes, dtype=torch.long)
        senders, receivers = directed_edges(num_nodes)
        place[senders, receivers] = torch.arange(len(senders))
        lower, upper = torch.triu_indices(num_nodes, num_nodes, 1)
        self._there, self._back = place[lower, upper], place[upper, lower]
        undirected = torch.zeros(num_nodes, num_nodes, dtype=torch.long)
        undirected[lower, upper] = undirected[upper, lower] = torch.arange(len(lower))
        self._undirected = undirected[senders, receivers]

    def utilities(self, outputs: Tensor) -> Tensor:
        """The mean over both directions, in the gauge of least KL: (B, n(n-1)/2)."""
        directed = outputs.squeeze(-1)
        there, back = self._there.to(outputs.device), self._back.to(outputs.device)
        return least_kl_gauge((directed.index_select(-1, there) + directed.index_select(-1, back)) / 2)

    def trick(self, theta: Tensor, temperature: float) -> sst.StochasticSoftmaxTrick:
        """Relaxed by the exponential family's marginals."""
        utility = Gumbel(theta, torch.ones_like(theta))
        return sst.StochasticSoftmaxTrick(self.structure, utility, temperature, sst.ExponentialFamilyEntropy())

    def adjacency(self, edges: Tensor) -> Tensor:
        """(B, n(n-1)/2) -> (B, n, n), symmetric."""
        return pairs_to_graph(edges.index_select(-1, self._undirected.to(edges.device)), self.num_nodes)

    def kl(self, theta: Tensor) -> Tensor:
        """Over the n(n-1)/2 utilities, each once (the code behind the paper's numbers counts both directions): (B,)."""
        return gumbel_kl(theta).sum(-1)

    def log_prob(self, theta: Tensor, draw: sst.Draw) -> Tensor:
        """Of the utilities U that were drawn, for that of X is a sum over too many orders: (B,)."""
        return Gumbel(theta, torch.ones_like(theta)).log_prob(draw.utility.detach()).sum(-1)

    def action_kl(self, theta: Tensor) -> Tensor:
        """That of the utilities: (B,)."""
        return self.kl(theta)


def top_k_edges(num_nodes: int) -> UndirectedEdges:
    """E.F. Ent. Top |V| - 1: as many edges as a tree has, anywhere."""
    return UndirectedEdges(num_nodes, sst.KSubset(num_nodes * (num_nodes - 1) // 2, num_nodes - 1))


def spanning_tree_edges(num_nodes: int) -> UndirectedEdges:
    """Spanning Tree, over the complete graph."""
    return UndirectedEdges(num_nodes, sst.SpanningTree.complete(num_nodes))


EDGE_DISTRIBUTIONS: dict[str, Callable[[int], EdgeDistribution]] = {
    "independent": IndependentEdges,
    "top-k": top_k_edges,
    "spanning-tree": spanning_tree_edges,
}
"""From a command line's name to what builds the distribution on n nodes."""
