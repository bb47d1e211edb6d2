import torch
from torch import Tensor, nn


class WordConvolutions(nn.Module):
    """Two convolutions over the words of a review with kernels of size three and ReLUs, as long as the review.

    What is beyond the end of a review is zero before and after each, so that the padding of a batch changes nothing.

    Args:
        width: of the input.
        filters: of either convolution.
        precision: what the products are computed in, if not in float32.
    """

    def __init__(self, width: int, filters: int, precision: torch.dtype | None = None) -> None:
        super().__init__()
        self.precision = precision or torch.float32
        # Of height one, since the words' vectors are then an image with its channels last: faster than nn.Conv1d.
        self.first = nn.Conv2d(width, filters, (1, 3), padding=(0, 1))
        self.second = nn.Conv2d(filters, filters, (1, 3), padding=(0, 1))

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Features of the words.

        Args:
            vectors: (B, L, width), zero beyond the end.
            present: where there is a word, bool (B, L).

        Returns:
            At least 0, shape (B, L, filters), zero beyond the end.
        """
        inside = present[:, None, None].to(vectors.dtype)
        low = self.precision != torch.float32
        with torch.autocast(vectors.device.type, self.precision if low else torch.bfloat16, enabled=low):
            hidden = self.first(vectors.transpose(1, 2).unsqueeze(2)).relu() * inside.to(self.precision)
            features = self.second(hidden).relu()
        return (features.to(vectors.dtype) * inside).squeeze(2).transpose(1, 2)
