from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sentences:
    """A batch of expressions, padded to the length of the longest.

    Attributes:
        tokens: int64 (B, L), ids of `vocabulary.TOKENS`; padding is 0.
        mask: bool (B, L), true where there is a token.
        answer: int64 (B,), the values of the expressions, 0 to 9.
        parents: int64 (B, L), the gold head of each token, -1 for the first token, padding and closing brackets.
        closing: bool (B, L), true at closing brackets.
    """

    tokens: Tensor
    mask: Tensor
    answer: Tensor
    parents: Tensor
    closing: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def max_length(self) -> int:
        """L, tokens of the longest expression."""
        return self.tokens.shape[1]

    def to(self, device: torch.device) -> "Sentences":
        """The same batch on a device.

        Args:
            device: where it should be.

        Returns:
            The batch there.
        """
        fields = (self.tokens, self.mask, self.answer, self.parents, self.closing)
        return Sentences(*(field.to(device) for field in fields))
