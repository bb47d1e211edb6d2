"""The baseline that knows nothing of trees (App. D.5.2)."""

from torch import Tensor, nn
from torch.nn import functional as F

from sstricks.experiments.listops.encoder import TokenLSTM, token_embedding
from sstricks.experiments.listops.network import Readout


class SequenceNetwork(nn.Module):
    """An LSTM whose outputs at all positions together go through a linear layer and one hidden layer.

    Args:
        hidden: h, the size of all vectors.
        max_length: tokens of the longest expression; what a shorter one lacks counts as zeros.
        dropout: the share of the LSTM's outputs, and of the hidden layer, that are set to zero in training.
    """

    def __init__(self, hidden: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.tokens = TokenLSTM(token_embedding(hidden), dropout)
        self.positions = nn.Linear(max_length * hidden, hidden)
        self.readout = Readout(hidden, dropout)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """The logits of the values.

        Args:
            tokens: (B, L), L at most `max_length`.
            mask: bool (B, L), true where there is a token.

        Returns:
            (B, 10).
        """
        outputs = (self.tokens(tokens) * mask.unsqueeze(-1)).flatten(1)
        together = F.linear(outputs, self.positions.weight[:, : outputs.shape[1]], self.positions.bias)
        return self.readout(together)
