from dataclasses import dataclass

import torch
from torch import Tensor

from sstricks.experiments.listops.sentences import Sentences


@dataclass(frozen=True)
class Links:
    """The messages of a batch of B latent graphs over L tokens each: from whom, to whom, with which weight.

    Nodes are numbered through the batch: token i of sentence b is node b·L + i. Messages are sorted by receiver. They
    run against a tree's edges, from operand to operator, for the answer is read at the root.

    Attributes:
        senders: int64 (M,).
        receivers: int64 (M,).
        weights: (M,), differentiable.
        starts: int64 (B + 1,), where the messages of each sentence begin, and M.
    """

    senders: Tensor
    receivers: Tensor
    weights: Tensor
    starts: Tensor


def links_of(graph: Tensor, negligible: float = 0.0) -> Links:
    r"""The messages along the edges that are not absent; what is absent costs nothing.

    A weight :math:`w \le \epsilon` that is left out changes no sum of messages by more than :math:`\epsilon` times its
    message; and since no entry of the Jacobian of the weights :math:`\partial w / \partial U` in its row exceeds
    :math:`w / t`, the gradient of the utilities changes as little.

    Args:
        graph: (B, L, L), entry ij the weight of edge i -> j, along which j sends to i.
        negligible: :math:`\epsilon`, the largest weight of an edge that counts as absent.

    Returns:
        As many messages as there are larger entries.

    Example:
        >>> links_of(torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])).senders
        tensor([1])
    """
    batch, length, _ = graph.shape
    flat = graph.flatten()
    present = (flat.detach() > negligible).nonzero().squeeze(-1)
    receivers = present // length
    senders = receivers // length * length + present % length
    bounds = torch.arange(batch + 1, device=graph.device) * length**2
    return Links(senders, receivers, flat.index_select(0, present), torch.searchsorted(present, bounds))


def gold_graph(sentences: Sentences) -> Tensor:
    """The gold edges from operators to their operands as adjacency matrices.

    Args:
        sentences: a batch.

    Returns:
        bool (B, L, L), entry ij true for an edge i -> j.
    """
    heads = torch.arange(sentences.max_length, device=sentences.parents.device)
    return sentences.parents.unsqueeze(-2) == heads.unsqueeze(-1)
