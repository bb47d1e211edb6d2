import torch
from torch import Tensor, nn

from sstricks.experiments.l2x.convolutions import WordConvolutions

_FILTERS = 100


class Decoder(nn.Module):
    """Predicts a rating from the vectors of the selected words (App. D.6).

    Two convolutions of 100 filters of size three with ReLUs, the maximum over all places, dropout, a hidden layer of
    100 with ReLU, and a sigmoid.

    Args:
        dimension: of the word vectors.
        dropout: the share of the features that is set to zero in training.
        precision: of the convolutions, if not float32.
    """

    def __init__(self, dimension: int, *, dropout: float, precision: torch.dtype | None = None) -> None:
        super().__init__()
        self.convolutions = WordConvolutions(dimension, _FILTERS, precision)
        self.head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(_FILTERS, _FILTERS), nn.ReLU(), nn.Linear(_FILTERS, 1), nn.Sigmoid()
        )

    def forward(self, vectors: Tensor, selected: Tensor, present: Tensor) -> Tensor:
        """Ratings of reviews of which only some words are seen.

        Args:
            vectors: of the words, (B, L, d), zero beyond the end.
            selected: how much of each word is seen, (B, L).
            present: where there is a word, bool (B, L).

        Returns:
            In (0, 1), shape (B,).
        """
        features = self.convolutions(vectors * selected.unsqueeze(-1), present)
        return self.head(features.amax(1)).squeeze(-1)
