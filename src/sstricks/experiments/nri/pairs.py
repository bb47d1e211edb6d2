"""The ordered pairs of distinct nodes, laid out so that nothing has to be gathered by index.

Pair (k, r) of the (n - 1, n) layout is the message from sender (r + k + 1) mod n to receiver r: row k is the nodes
rolled by k + 1, and a sum over rows is a sum over the senders of each receiver.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def directed_edges(num_nodes: int) -> Tensor:
    """The (sender, receiver) of each pair in the flattened (n - 1, n) layout.

    Args:
        num_nodes: n, at least 2.

    Returns:
        LongTensor (2, n(n-1)).

    Example:
        >>> directed_edges(3)
        tensor([[1, 2, 0, 2, 0, 1],
                [0, 1, 2, 0, 1, 2]])
    """
    receivers = torch.arange(num_nodes).expand(num_nodes - 1, num_nodes)
    senders = (receivers + torch.arange(1, num_nodes).unsqueeze(1)) % num_nodes
    return torch.stack([senders.flatten(), receivers.flatten()])


def pair_sum(senders: Tensor, receivers: Tensor) -> Tensor:
    """Sender's plus receiver's features of every pair: (B, n, h) twice -> (B, n - 1, n, h)."""
    shifts = range(1, senders.shape[1])
    return torch.stack([senders.roll(-shift, 1) + receivers for shift in shifts], 1)


def graph_to_pairs(graph: Tensor) -> Tensor:
    """Entries ij (message i -> j) of a matrix, off its diagonal: (..., n, n) -> (..., n(n-1))."""
    num_nodes = graph.shape[-1]
    senders, receivers = directed_edges(num_nodes).to(graph.device)
    return graph.flatten(-2).index_select(-1, senders * num_nodes + receivers)


def pairs_to_graph(pairs: Tensor, num_nodes: int) -> Tensor:
    """The inverse of :func:`graph_to_pairs`, with a zero diagonal: (..., n(n-1)) -> (..., n, n)."""
    senders, receivers = directed_edges(num_nodes).to(pairs.device)
    place = torch.full((num_nodes * num_nodes,), len(senders), device=pairs.device)
    place[senders * num_nodes + receivers] = torch.arange(len(senders), device=pairs.device)
    return F.pad(pairs, (0, 1)).index_select(-1, place).unflatten(-1, (num_nodes, num_nodes))
