"""Message passing on ListOps as one writes it first: every message of every pair of tokens, in torch alone."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sstricks.recipes.listops import readout, token_embedding


class DenseNetwork(nn.Module):
    """The graph network with a dense message matrix.

    Args:
        hidden: the size of nodes and messages.
        steps: rounds of messages.
        dropout: the share of hidden units that are set to zero in training.
    """

    def __init__(self, hidden: int, steps: int, dropout: float) -> None:
        super().__init__()
        self.steps = steps
        self.embedding = token_embedding(hidden)
        self.messages = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.unit = nn.GRUCell(hidden, hidden)
        self.readout = readout(hidden, dropout)

    def forward(self, tokens: Tensor, graph: Tensor) -> Tensor:
        """Tokens (B, L) and weights (B, L, L) of the edges i -> j -> logits (B, 10)."""
        batch, length = tokens.shape
        nodes = self.embedding(tokens)
        for _ in range(self.steps):
            pair = batch, length, length, nodes.shape[-1]
            ends = torch.cat([nodes.unsqueeze(1).expand(pair), nodes.unsqueeze(2).expand(pair)], -1)
            received = (graph.unsqueeze(-1) * self.messages(ends)).sum(2)
            nodes = self.unit(received.flatten(0, 1), nodes.flatten(0, 1)).view_as(nodes)
        return self.readout(nodes[:, 0])


def loss(network: DenseNetwork, tokens: Tensor, graph: Tensor, answer: Tensor) -> Tensor:
    """The cross-entropy of a batch."""
    return F.cross_entropy(network(tokens, graph), answer)
