"""The encoder: from trajectories to what an edge distribution is parametrised by (App. D.4.2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sstricks.experiments.nri.pairs import pair_sum


class MixedLinear(nn.Linear):
    """An affine map whose matrix product runs in ``precision``; parameters, input and output stay as they are.

    Xavier weights and a bias of 0.1, as Kipf et al. (2018) start their encoder.
    """

    def __init__(self, num_inputs: int, num_outputs: int, precision: torch.dtype | None = None) -> None:
        super().__init__(num_inputs, num_outputs)
        self.precision = precision
        nn.init.xavier_normal_(self.weight)
        nn.init.constant_(self.bias, 0.1)

    def forward(self, input: Tensor) -> Tensor:
        """(..., num_inputs) -> (..., num_outputs)."""
        return F.linear(self.cast(input), self.cast(self.weight), self.cast(self.bias)).to(input.dtype)

    def cast(self, tensor: Tensor) -> Tensor:
        """The tensor in the product's dtype."""
        return tensor if self.precision is None else tensor.to(self.precision)


class Block(nn.Module):
    """ELU of the pre-activations, one more layer, ELU, batch norm over all dimensions but the last."""

    def __init__(self, hidden: int, precision: torch.dtype | None) -> None:
        super().__init__()
        self.linear = MixedLinear(hidden, hidden, precision)
        self.norm = nn.BatchNorm1d(hidden)

    def forward(self, pre: Tensor) -> Tensor:
        """(..., h) -> (..., h)."""
        out = F.elu(self.linear(F.elu(pre)))
        return self.norm(out.flatten(0, -2)).view(out.shape)


class PairLayer(nn.Module):
    """An affine map of the (sender, receiver) features of every pair, computed once per node and added per pair."""

    def __init__(self, hidden: int, num_skips: int, precision: torch.dtype | None) -> None:
        super().__init__()
        self.linear = MixedLinear((2 + num_skips) * hidden, hidden, precision)

    def forward(self, nodes: Tensor, skips: tuple[Tensor, ...] = ()) -> Tensor:
        """(B, n, h) and per-pair skips (B, n - 1, n, h) -> (B, n - 1, n, h)."""
        cast = self.linear.cast
        send, receive, *skip_weights = self.linear.weight.chunk(2 + len(skips), 1)
        sent = F.linear(cast(nodes), cast(send)).to(nodes.dtype)
        received = F.linear(cast(nodes), cast(receive), cast(self.linear.bias)).to(nodes.dtype)
        out = pair_sum(sent, received)
        for skip, weight in zip(skips, skip_weights, strict=True):
            out = out + F.linear(cast(skip), cast(weight)).to(nodes.dtype)
        return out


class Encoder(nn.Module):
    """The factor-graph MLP encoder of Kipf et al. (2018): nodes, pairs, nodes, pairs with a skip connection.

    Args:
        num_nodes: n.
        num_frames: T; a node's input is its trajectory, 2T numbers.
        hidden: h, the width of every layer.
        num_outputs_per_edge: m.
        precision: The dtype of the hidden-to-hidden matrix products, by default the parameters' own; the layers at
            the input and at the output always keep the parameters' dtype.
    """

    def __init__(
        self,
        num_nodes: int,
        num_frames: int,
        hidden: int,
        num_outputs_per_edge: int,
        *,
        precision: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_nodes, self.num_frames, self.hidden = num_nodes, num_frames, hidden
        self.input = MixedLinear(2 * num_frames, hidden)
        self.nodes1 = Block(hidden, precision)
        self.pairs1 = PairLayer(hidden, 0, precision)
        self.edges1 = Block(hidden, precision)
        self.gather = MixedLinear(hidden, hidden, precision)
        self.nodes2 = Block(hidden, precision)
        self.pairs2 = PairLayer(hidden, 1, precision)
        self.edges2 = Block(hidden, precision)
        self.readout = MixedLinear(hidden, num_outputs_per_edge)

    def features(self, positions: Tensor) -> Tensor:
        """What :attr:`readout` reads, and an input-dependent baseline may: (B, T, n, 2) -> (B, n(n-1), h).

        Args:
            positions: (B, T, n, 2).

        Returns:
            Features per directed edge, in the order of ``pairs.directed_edges``.

        Raises:
            ValueError: If the positions do not have T frames of n points in the plane.
        """
        expected = (self.num_frames, self.num_nodes, 2)
        if positions.dim() != 4 or positions.shape[1:] != expected:
            raise ValueError(
                f"positions has shape {tuple(positions.shape)}, expected (batch, frames, nodes, 2) = "
                f"(batch, {self.num_frames}, {self.num_nodes}, 2): build the encoder for the data's size."
            )
        nodes = self.nodes1(self.input(positions.transpose(1, 2).flatten(2)))
        edges = self.edges1(self.pairs1(nodes))
        nodes = self.nodes2(self.gather(edges.sum(1) / self.num_nodes))
        return self.edges2(self.pairs2(nodes, (edges,))).flatten(1, 2)

    def forward(self, positions: Tensor) -> Tensor:
        """Per directed edge, m numbers: (B, T, n, 2) -> (B, n(n-1), m), in the order of ``pairs.directed_edges``."""
        return self.readout(self.features(positions))
