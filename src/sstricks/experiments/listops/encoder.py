"""The edge encoder: from the tokens of a sentence to a number for each pair of them (App. D.5.2)."""

from torch import Tensor, nn

from sstricks.experiments.listops.vocabulary import PADDING_ID, TOKENS


class TokenLSTM(nn.Module):
    """A vector for each token, by an LSTM from left to right over an embedding; dropout on its outputs.

    Padding is to the right and so is never seen by a token.

    Args:
        embedding: the tokens' vectors, of size h.
        dropout: the share of numbers that are set to zero in training.
    """

    def __init__(self, embedding: nn.Embedding, dropout: float) -> None:
        super().__init__()
        hidden = embedding.embedding_dim
        self.embedding = embedding
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) -> (B, L, h)."""
        return self.dropout(self.lstm(self.embedding(tokens))[0])


def token_embedding(hidden: int) -> nn.Embedding:
    """A trainable vector for each token of the vocabulary; padding's stays zero.

    Args:
        hidden: the size of the vectors.
    """
    return nn.Embedding(len(TOKENS), hidden, padding_idx=PADDING_ID)


class EdgeEncoder(nn.Module):
    r"""One LSTM sees the tokens as heads, the other as modifiers.

    .. math:: \theta_{ij} = v^{\mathrm{head}}_i \cdot v^{\mathrm{mod}}_j

    Args:
        hidden: the size of all vectors.
        dropout: the share of the LSTMs' outputs that are set to zero in training.
    """

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        embedding = token_embedding(hidden)
        self.heads, self.modifiers = TokenLSTM(embedding, dropout), TokenLSTM(embedding, dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) -> (B, L, L), entry ij about the edge i -> j."""
        return self.heads(tokens) @ self.modifiers(tokens).mT
