"""How much of the parse trees latent graphs recover (8.2)."""

from torch import Tensor

from sstricks.experiments.listops.links import gold_graph
from sstricks.experiments.listops.sentences import Sentences


def edge_scores(graphs: Tensor, sentences: Sentences) -> tuple[Tensor, Tensor]:
    """Precision and recall of each graph's edges, leaving out edges from and to closing brackets.

    Gold edges are directed, from operator to operand. A graph of undirected edges has both directions of each, so that
    its precision is at most one half. A graph without edges has precision 0.

    Args:
        graphs: bool (B, L, L), entry ij true for an edge i -> j.
        sentences: with the gold edges.

    Returns:
        Precision (B,) and recall (B,), float64.
    """
    counted = sentences.mask & ~sentences.closing
    found = graphs & counted.unsqueeze(-1) & counted.unsqueeze(-2)
    gold = gold_graph(sentences)
    hits, predicted, true = (edges.sum((-2, -1)).double() for edges in (found & gold, found, gold))
    return hits / predicted.clamp(min=1), hits / true.clamp(min=1)
