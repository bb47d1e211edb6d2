"""The evidence lower bound and the measures of recovered structure (App. D.4.2)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sstricks.experiments.nri.edges import EdgeDistribution
from sstricks.experiments.nri.pairs import graph_to_pairs


def gaussian_nll(prediction: Tensor, target: Tensor, variance: float = 5e-5) -> Tensor:
    r"""Negative Gaussian log likelihood per node, without its constant.

    .. math:: \frac{1}{n} \sum_{t, i, d} \frac{(\hat p_{tid} - p_{tid})^2}{2 \sigma^2}

    The constant :math:`\frac{1}{2} \log 2 \pi \sigma^2`, which is -4.03 a coordinate here, is left out, as in Kipf et
    al. (2018) and in the code behind the paper's numbers: with it every ELBO would be higher by 8.06 (T - 1).

    Args:
        prediction: (B, T, n, 2).
        target: (B, T, n, 2).
        variance: :math:`\sigma^2`.

    Returns:
        (B,).
    """
    return (prediction - target).square().sum((1, 2, 3)) / (2 * variance * target.shape[2])


def elbo(nll: Tensor, kl: Tensor, num_nodes: int) -> Tensor:
    r"""The evidence lower bound per node, :math:`-\mathrm{nll} - \mathrm{KL} / n`.

    Args:
        nll: Per node, (B,).
        kl: Summed over utilities, (B,).
        num_nodes: n.

    Returns:
        (B,).
    """
    return -nll - kl / num_nodes


@dataclass(frozen=True)
class EdgeScores:
    """Mean precision and recall of recovered edges, in [0, 1].

    Attributes:
        precision: The share of predicted edges that are true, averaged over graphs.
        recall: The share of true edges that are predicted, averaged over graphs.
        complemented: Whether the complement of the predicted graphs was scored.
    """

    precision: float
    recall: float
    complemented: bool = False


def edge_scores(predicted: Tensor, true_edges: Tensor) -> EdgeScores:
    """Precision and recall of graphs, or of their complements if those have the higher precision (App. D.4.2).

    Which of the two edge types came to mean "edge" is arbitrary, so it is decided by the mean precision: once for all
    graphs given, never graph by graph. Pass the whole evaluated set. A graph without edges has precision 0.

    Args:
        predicted: (N, n, n), 0 or 1 or bool; both entries of a pair are counted, the diagonal is not.
        true_edges: bool (N, n(n-1)/2), in the order of ``torch.triu_indices(n, n, 1)``.

    Returns:
        The better orientation's scores.

    Raises:
        ValueError: If the shapes do not fit.
    """
    num, num_nodes, _ = predicted.shape
    expected = (num, num_nodes * (num_nodes - 1) // 2)
    if true_edges.shape != expected:
        raise ValueError(
            f"true_edges has shape {tuple(true_edges.shape)}, expected {expected} for predicted graphs of shape "
            f"{tuple(predicted.shape)}: pass the upper triangle of as many graphs."
        )
    upper = torch.triu_indices(num_nodes, num_nodes, 1, device=predicted.device)
    truth = torch.zeros(predicted.shape, dtype=torch.bool, device=predicted.device)
    truth[:, upper[0], upper[1]] = truth[:, upper[1], upper[0]] = true_edges.bool()
    pairs, found = graph_to_pairs(truth), graph_to_pairs(predicted) > 0.5
    as_drawn, flipped = _scores(found, pairs, complemented=False), _scores(~found, pairs, complemented=True)
    return flipped if flipped.precision > as_drawn.precision else as_drawn


def chance_scores(edges: EdgeDistribution) -> EdgeScores:
    """What graphs drawn from the prior score against independent trees: precision 2/n, recall the prior's density."""
    return EdgeScores(precision=2 / edges.num_nodes, recall=edges.prior_density)


def _scores(found: Tensor, truth: Tensor, *, complemented: bool) -> EdgeScores:
    hits = (found & truth).sum(-1).double()
    precision = (hits / found.sum(-1).clamp(min=1)).mean().item()
    recall = (hits / truth.sum(-1)).mean().item()
    return EdgeScores(precision, recall, complemented)
