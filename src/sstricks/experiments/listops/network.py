"""The network that evaluates an expression by passing messages over its graph (App. D.5.2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sstricks.experiments.listops.encoder import token_embedding
from sstricks.experiments.listops.links import Links
from sstricks.experiments.listops.messages import messages
from sstricks.experiments.listops.vocabulary import NUM_ANSWERS


class Readout(nn.Sequential):
    """From one vector of an expression to the logits of its value: one hidden layer, with dropout.

    Args:
        hidden: the size of the vector and of the layer.
        dropout: the share of hidden numbers that are set to zero in training.
    """

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, NUM_ANSWERS))


class MessageNetwork(nn.Module):
    """A two-layer message network; the first layer is linear in both nodes, so each node's share is computed once.

    Dropout after the first layer takes the same hidden units from all messages of a sentence: one mask for each message
    would be more random numbers than all else together.

    Args:
        hidden: h, the size of nodes and messages.
        dropout: the share of hidden units that are set to zero in training.
        precision: the dtype of the hidden-to-hidden products, by default the parameters' own.
    """

    def __init__(self, hidden: int, dropout: float, precision: torch.dtype | None) -> None:
        super().__init__()
        self.ends = nn.Linear(hidden, 2 * hidden)
        self.message = nn.Linear(hidden, hidden)
        self.dropout = dropout
        self.precision = precision

    def forward(self, nodes: Tensor, links: Links, length: int) -> Tensor:
        """What each node receives: (N, h) -> (N, h)."""
        ends = self.ends(nodes)
        if self.training and self.dropout > 0:
            hidden = nodes.shape[-1]
            kept = F.dropout(ends.new_ones(len(nodes) // length, 1, hidden), self.dropout)  # relu(m x) = m relu(x)
            ends = (ends.view(-1, length, 2, hidden) * kept.unsqueeze(2)).view_as(ends)
        sent, received = ends.chunk(2, -1)
        return messages(sent, received, links, self.message.weight, self.message.bias, self.precision)


class GraphNetwork(nn.Module):
    """Message passing with a gated recurrent unit at the nodes; the first token's node knows the answer.

    Args:
        hidden: h, the size of nodes and messages.
        steps: rounds of messages.
        dropout: the share of hidden units of the networks that are set to zero in training.
        precision: the dtype of the messages' hidden-to-hidden products, by default the parameters' own.
    """

    def __init__(self, hidden: int, steps: int, dropout: float, precision: torch.dtype | None = None) -> None:
        super().__init__()
        self.steps = steps
        self.embedding = token_embedding(hidden)
        self.messages = MessageNetwork(hidden, dropout, precision)
        self.unit = nn.GRUCell(hidden, hidden)
        self.readout = Readout(hidden, dropout)

    def forward(self, tokens: Tensor, links: Links) -> Tensor:
        """The logits of the values.

        Args:
            tokens: (B, L).
            links: the messages between the B·L nodes.

        Returns:
            (B, 10).
        """
        batch, length = tokens.shape
        nodes = self.embedding(tokens).flatten(0, 1)
        for _ in range(self.steps):
            nodes = self.unit(self.messages(nodes, links, length), nodes)
        return self.readout(nodes.view(batch, length, -1)[:, 0])
