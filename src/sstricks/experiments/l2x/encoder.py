from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sstricks.experiments.l2x.convolutions import WordConvolutions

EncoderKind = Literal["simple", "complex"]

_FILTERS = 100


@dataclass(frozen=True)
class Theta:
    """What the encoder says of the words of each review.

    Attributes:
        words: the locations of the utilities, (B, L).
        pairs: the utilities of the pairs of neighbours, (B, L - 1); none if pairs have none.
    """

    words: Tensor
    pairs: Tensor | None


class Encoder(nn.Module):
    r"""How much each word, and each pair of neighbours, speaks for being selected (App. D.6).

    .. math:: \theta_i = a(w_i), \qquad \theta_{i,i+1} = \phi(w_i) + \phi'(w_{i+1}) + \phi''(w_i, w_{i+1})

    Each of a, φ, φ' is a convolution with one filter of size one, φ'' has size two, and all act on the word vectors
    after dropout. The complex encoder puts two convolutions of 100 filters of size three before, with ReLUs. The paper
    writes the index i for φ' as well; with the first word of the pair in both, φ' would add nothing to φ.

    Args:
        dimension: of the word vectors.
        kind: simple or complex.
        pairs: whether pairs of neighbours have utilities.
        dropout: the share of a word vector that is set to zero in training.
        precision: of the two convolutions, if not float32.
    """

    def __init__(
        self, dimension: int, kind: EncoderKind, *, pairs: bool, dropout: float, precision: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.context = WordConvolutions(dimension, _FILTERS, precision) if kind == "complex" else None
        width = dimension if self.context is None else _FILTERS
        self.dropout = nn.Dropout(dropout)
        self.unary = nn.Linear(width, 1)
        self.first = nn.Linear(width, 1) if pairs else None
        self.second = nn.Linear(width, 1) if pairs else None
        self.both = nn.Conv1d(width, 1, 2) if pairs else None

    def forward(self, vectors: Tensor, present: Tensor) -> Theta:
        """The utilities' parameters of padded reviews; those beyond the end of a review mean nothing.

        Args:
            vectors: of the words, (B, L, d), zero beyond the end.
            present: where there is a word, bool (B, L).

        Returns:
            Those of words and of pairs.
        """
        features = vectors if self.context is None else self.context(vectors, present)
        features = self.dropout(features)
        if self.first is None or self.second is None or self.both is None:
            return Theta(self.unary(features).squeeze(-1), None)
        # All at once, so that the gradient of the features, which are large, is made once instead of four times.
        weight = torch.cat([self.unary.weight, self.first.weight, self.second.weight, self.both.weight[0].T])
        words, first, second, before, after = F.linear(features, weight).unbind(-1)
        assert self.both.bias is not None
        bias = self.first.bias + self.second.bias + self.both.bias
        return Theta(words + self.unary.bias, (first + before)[:, :-1] + (second + after)[:, 1:] + bias)
