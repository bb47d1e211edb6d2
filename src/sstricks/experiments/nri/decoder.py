"""The decoder: the next frame from this one and a graph (App. D.4.2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sstricks.experiments.nri.messages import messages
from sstricks.experiments.nri.pairs import graph_to_pairs


class MessageNetwork(nn.Module):
    """A two-layer message network; the first layer is linear in both nodes, so each node's share is computed once.

    Args:
        hidden: h, the width of both layers.
        precision: The dtype of the hidden-to-hidden products, by default the parameters' own.
    """

    def __init__(self, hidden: int, precision: torch.dtype | None) -> None:
        super().__init__()
        self.pair = nn.Linear(4, hidden)
        self.message = nn.Linear(hidden, hidden)
        self.precision = precision

    def forward(self, positions: Tensor, weights: Tensor) -> Tensor:
        """What each node receives: (B, T, n, 2) and pair weights (B, n(n-1)) -> (B, T, n, h)."""
        send, receive = self.pair.weight.chunk(2, 1)
        sent, received = F.linear(positions, send), F.linear(positions, receive, self.pair.bias)
        return messages(sent, received, weights, self.message.weight, self.message.bias, self.precision)


class Decoder(nn.Module):
    r"""The MLP decoder of Kipf et al. (2018): one message network per edge type, a residual output.

    A message i -> j is :math:`X_{ij} m_1(p_i, p_j) + \rho (1 - X_{ij}) m_0(p_i, p_j)`. The paper's decoder has
    :math:`\rho = 1`, and so has this one until :attr:`no_edge` is set; it is saved with the parameters.

    Args:
        num_nodes: n.
        hidden: h, the width of every layer.
        precision: The dtype of the messages' hidden-to-hidden matrix products, by default the parameters' own. The
            positions, the first layers and the output keep the parameters' dtype: a standard deviation of 0.007 is
            lost in bfloat16.
    """

    no_edge: Tensor
    """:math:`\rho`, the weight of messages along absent edges; what trains the decoder may ramp it (``ramp.Ramp``)."""

    def __init__(self, num_nodes: int, hidden: int, *, precision: torch.dtype | None = None) -> None:
        super().__init__()
        self.num_nodes, self.hidden = num_nodes, hidden
        self.absent, self.present = MessageNetwork(hidden, precision), MessageNetwork(hidden, precision)
        self.update = nn.Sequential(
            nn.Linear(2 + hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2)
        )
        self.register_buffer("no_edge", torch.ones(()))

    def forward(self, positions: Tensor, graph: Tensor, horizon: int = 1) -> Tensor:
        """Predict frames 1 .. T - 1, rolled out ``horizon`` frames from every ``horizon``-th true frame.

        Args:
            positions: (B, T, n, 2), the true frames.
            graph: (B, n, n); entry ij is the weight of edge type 1 in the message i -> j. The diagonal is not read.
            horizon: 1 predicts each frame from the true one before it; at most T.

        Returns:
            (B, T - 1, n, 2).

        Raises:
            ValueError: If the graph does not fit the positions, or the horizon is not in 1 .. T.
        """
        batch, frames, num_nodes, _ = positions.shape
        if num_nodes != self.num_nodes or graph.shape != (batch, num_nodes, num_nodes):
            raise ValueError(
                f"graph has shape {tuple(graph.shape)}, expected {(batch, self.num_nodes, self.num_nodes)} for "
                f"positions of shape {tuple(positions.shape)}: pass one adjacency matrix per example."
            )
        if not 1 <= horizon <= frames:
            raise ValueError(f"horizon is {horizon}, expected 1 to {frames}: it cannot exceed the number of frames.")
        weights = graph_to_pairs(graph)
        known = positions[:, : frames - 1 : horizon]
        predictions = []
        for _ in range(min(horizon, frames - 1)):
            known = self._step(known, weights)
            predictions.append(known)
        return torch.stack(predictions, 2).flatten(1, 2)[:, : frames - 1]

    def _step(self, positions: Tensor, weights: Tensor) -> Tensor:
        received = self.present(positions, weights)
        if self.no_edge > 0:
            received = received + self.absent(positions, self.no_edge * (1 - weights))
        return positions + self.update(torch.cat([positions, received], -1))
