from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sstricks.experiments.listops import expression_kernels as kernels
from sstricks.experiments.listops.sentences import Sentences
from sstricks.experiments.listops.vocabulary import CLOSING_ID, PADDING_ID, decode, encode

MOST_TOKENS = 127
"""Tokens of the longest expression that can be held: the heads are held as int8."""


@dataclass(frozen=True)
class Expressions:
    """Many expressions, in four bytes a token or less, from which batches are taken.

    Attributes:
        tokens: uint8 (N, L), ids of `vocabulary.TOKENS`, padded with zeros.
        lengths: int64 (N,), tokens of each.
        heads: int8 (N, L), the position of the operator whose operand a token is; -1 for the first token, for closing
            brackets and for padding.
        answers: int64 (N,), the value of each.
        depths: int64 (N,), how deep the operators of each are nested.
    """

    tokens: Tensor
    lengths: Tensor
    heads: Tensor
    answers: Tensor
    depths: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def select(self, chosen: Tensor) -> Sentences:
        """Some of the expressions as a batch, as wide as the longest of them.

        Args:
            chosen: which ones, int64 (B,).

        Returns:
            Those, in that order.
        """
        width = int(self.lengths[chosen].max()) if len(chosen) else 0
        tokens = self.tokens[:, :width][chosen].long()
        return Sentences(
            tokens=tokens,
            mask=tokens != PADDING_ID,
            answer=self.answers[chosen],
            parents=self.heads[:, :width][chosen].long(),
            closing=tokens == CLOSING_ID,
        )

    def text(self, index: int) -> str:
        """One expression as it is written.

        Args:
            index: which one.

        Returns:
            Its tokens, separated by blanks.
        """
        return " ".join(decode(self.tokens[index].tolist()))

    def take(self, chosen: Tensor | slice) -> "Expressions":
        """Some of the expressions.

        Args:
            chosen: which ones.

        Returns:
            Those, in that order.
        """
        fields = (self.tokens, self.lengths, self.heads, self.answers, self.depths)
        return Expressions(*(field[chosen] for field in fields))


def read(tokens: NDArray[np.uint8], lengths: NDArray[np.int64]) -> Expressions:
    """Evaluate and parse expressions: MIN, MAX, and MED, which is the integer part of the median.

    Args:
        tokens: (N, L), padded with zeros; kept, not copied.
        lengths: (N,).

    Returns:
        The expressions with their values, depths and heads.

    Raises:
        ValueError: if one of them is not an expression, or there are more than 127 columns.
    """
    if tokens.shape[1] > MOST_TOKENS:
        raise ValueError(
            f"tokens has {tokens.shape[1]} columns, expected at most {MOST_TOKENS}: use shorter expressions."
        )
    heads = np.empty(tokens.shape, np.int8)
    answers, depths = np.empty(len(tokens), np.int64), np.empty(len(tokens), np.int64)
    kernels.read(tokens, lengths, heads, answers, depths)
    wrong = np.flatnonzero(depths < 0)
    if len(wrong):
        found = " ".join(decode(tokens[wrong[0], : lengths[wrong[0]]].tolist()))
        raise ValueError(
            f"tokens[{wrong[0]}] is {found!r}, expected a digit, or an operator with operands and a bracket: "
            "write one whole expression, such as '[MAX 3 [MIN 8 2 ] ]'."
        )
    return Expressions(*(torch.from_numpy(array) for array in (tokens, lengths, heads, answers, depths)))


def parse(texts: Sequence[str]) -> Expressions:
    """Read expressions as people write them.

    Args:
        texts: expressions in prefix notation, their tokens separated by blanks.

    Returns:
        The expressions, evaluated.

    Example:
        >>> expressions = parse(["[MAX 3 [MIN 8 2 ] ]", "[MED 1 4 ]"])
        >>> expressions.answers, expressions.depths
        (tensor([3, 2]), tensor([2, 1]))
        >>> expressions.heads[0]
        tensor([-1,  0,  0,  2,  2, -1, -1], dtype=torch.int8)
        >>> expressions.text(0)
        '[MAX 3 [MIN 8 2 ] ]'
    """
    ids = [encode(text.split()) for text in texts]
    lengths = np.array([len(row) for row in ids], np.int64)
    tokens = np.zeros((len(ids), max(lengths, default=0)), np.uint8)
    for row, numbers in zip(tokens, ids, strict=True):
        row[: len(numbers)] = numbers
    return read(tokens, lengths)
