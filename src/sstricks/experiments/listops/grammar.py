r"""The law of ListOps expressions (Nangia and Bowman 2018), and draws from it given depth and length (App. D.5.1).

A node is a digit with probability 3/4, else an operator that has 2 to 5 operands, each number as likely, every one of
them a node of the same law; digits and operators are uniform. (The generator also makes every node of level 20 a digit,
which is void at the depths that are drawn here.) An operator and its operands take two tokens, for itself and for its
closing bracket, and those of the operands; the depth of an expression is the nesting of its operators.

To draw an expression *given* its depth by rejection takes thousands of draws for one of depth 5 and at most 50 tokens.
But the law given depth and length can be drawn directly, since it factorises over operands. Let p_h(m) be the
probability of m tokens and a depth below h, and P_h^k(m) that of k independent nodes that have m tokens in all and
depths below h:

.. math::
    P_h^k(m) = \sum_l p_h(l) P_h^{k-1}(m - l), \quad
    p_{h+1}(m) = \tfrac34 [m = 1] + \tfrac14 \sum_{k=2}^5 \tfrac14 P_h^k(m - 2)

Let q_h and Q_h^k be the same where the largest depth is h - 1 exactly:

.. math::
    Q_h^k(m) = \sum_l q_h(l) P_h^{k-1}(m - l) + p_{h-1}(l) Q_h^{k-1}(m - l), \quad
    q_{h+1}(m) = \tfrac14 \sum_{k=2}^5 \tfrac14 Q_h^k(m - 2)

From the top, the length of an expression of depth d is drawn from q_{d+1}; the number of its operands from the terms of
q's sum; then operand after operand its length, and whether it is the first of the full depth, from the terms of Q's sum
(or of P's, once one of them is). Each choice has its exact conditional probability, so their product is that of the
whole tree given depth and length. With w = 16^{-m} factored out, every number above is an integer; so the tables are
rounded once, and equal on all machines.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sstricks.experiments.listops import expression_kernels as kernels

_MOST, _FEWEST = kernels.MOST_OPERANDS, kernels.FEWEST_OPERANDS
_BASE = (
    16  # 3/4 = 12/16 for a digit's token; 1/4 · 1/4 = 16/16² for an operator, its number of operands and its bracket
)
_Table = list[list[list[int]]]


@dataclass(frozen=True, eq=False)
class Grammar:
    """Expressions of at most a depth and a length, each with its probability.

    Args:
        max_depth: the deepest nesting of operators.
        max_length: the most tokens.

    Example:
        >>> grammar = Grammar(max_depth=5, max_length=50)
        >>> grammar.count(depth=1, length=4)  # three operators, two digits
        300
        >>> float(grammar.lengths(depth=1)[4])  # (3/4)² among (3/4)² + … + (3/4)⁵
        0.365...
    """

    max_depth: int
    max_length: int

    def __post_init__(self) -> None:
        for name in ("max_depth", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1: pass a larger {name}.")

    def count(self, depth: int, length: int) -> int:
        """The number of expressions of a depth and a length.

        Args:
            depth: exactly.
            length: tokens, exactly.

        Returns:
            An exact integer.
        """
        _, reaching = _integers(10, kernels.NUM_OPERATORS, self.max_depth, self.max_length)
        return reaching[depth + 1][1][length]

    def lengths(self, depth: int, min_length: int = 1) -> NDArray[np.float64]:
        """The law of the length of an expression, given its depth.

        Args:
            depth: exactly.
            min_length: the fewest tokens that are allowed.

        Returns:
            The probability of each length from 0 to `max_length`.

        Raises:
            ValueError: if there is no such expression.
        """
        _, reaching = self._tables
        weights = reaching[depth + 1, 1].copy()
        weights[:min_length] = 0.0
        total = math.fsum(weights)
        if total == 0.0:
            possible = [m for m in range(self.max_length + 1) if self.count(depth, m)]
            found = f"from {min(possible)} to {max(possible)} tokens" if possible else "more tokens"
            raise ValueError(
                f"min_length is {min_length} and max_length {self.max_length}, but expressions of depth {depth} have "
                f"{found}: change the bounds of the length, or the depth."
            )
        return weights / total

    def draw(
        self, size: int, depth: int, seed: int, *, first: int = 0, min_length: int = 1
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Draw expressions given their depth, and that their length is within bounds.

        The draws of a seed are numbered, and each has a random stream of its own: those from 5 to 9 are the same
        whether they are drawn alone or with others.

        Args:
            size: how many, N.
            depth: exactly.
            seed: chooses the streams, non-negative.
            first: the number of the first draw.
            min_length: the fewest tokens that are allowed; the most are `max_length`.

        Returns:
            Token ids, (N, max_length), padded with zeros; and their lengths, (N,).
        """
        tokens = np.zeros((size, self.max_length), np.uint8)
        lengths = np.zeros(size, np.int64)
        law = self.lengths(depth, min_length)
        kernels.sample(np.uint64(seed), first, depth + 1, law, *self._tables, tokens, lengths)
        return tokens, lengths

    @functools.cached_property
    def _tables(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        below, reaching = (
            np.array([[[weight / _BASE**m for m, weight in enumerate(row)] for row in rows] for rows in table])
            for table in _integers(12, 16, self.max_depth, self.max_length)
        )
        return below, reaching


@functools.lru_cache(maxsize=8)
def _integers(digit: int, operator: int, max_depth: int, max_length: int) -> tuple[_Table, _Table]:
    # P and Q of the module's docstring, at [h][k][m]. A tree's weight is the product over its nodes.
    heights, sizes, lengths = range(max_depth + 2), range(_MOST + 1), range(max_length + 1)
    below, reaching = ([[[0] * len(lengths) for _ in sizes] for _ in heights] for _ in range(2))
    for h in heights:
        p, q = below[h], reaching[h]
        p[0][0] = 1
        if h == 0:
            continue
        operands = range(_FEWEST, _MOST + 1)
        for m in lengths[2:]:
            p[1][m] = operator * sum(below[h - 1][k][m - 2] for k in operands)
            q[1][m] = operator * sum(reaching[h - 1][k][m - 2] for k in operands)
        p[1][1] = digit
        q[1][1] = digit if h == 1 else 0
        shallow = below[h - 1][1]
        for k in sizes[2:]:
            for m in lengths:
                p[k][m] = sum(p[1][n] * p[k - 1][m - n] for n in range(m + 1))
                q[k][m] = sum(q[1][n] * p[k - 1][m - n] + shallow[n] * q[k - 1][m - n] for n in range(m + 1))
    return below, reaching
