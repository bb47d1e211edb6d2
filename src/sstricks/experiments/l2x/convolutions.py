from torch import Tensor, nn


class WordConvolutions(nn.Module):
    """Two convolutions over the words of a review with kernels of size three and ReLUs, as long as the review.

    What is beyond the end of a review is zero before and after each, so that the padding of a batch changes nothing.

    Args:
        width: of the input.
        filters: of either convolution.
    """

    def __init__(self, width: int, filters: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, filters, 3, padding=1)
        self.second = nn.Conv1d(filters, filters, 3, padding=1)

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Features of the words.

        Args:
            vectors: (B, L, width), zero beyond the end.
            present: where there is a word, bool (B, L).

        Returns:
            At least 0, shape (B, L, filters), zero beyond the end.
        """
        inside = present.unsqueeze(1).to(vectors.dtype)
        hidden = self.first(vectors.transpose(1, 2)).relu() * inside
        return (self.second(hidden).relu() * inside).transpose(1, 2)
