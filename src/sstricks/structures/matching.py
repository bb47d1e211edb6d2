from itertools import combinations, permutations
from math import comb, perm

import torch
from torch import Tensor

from sstricks import functional as F
from sstricks.errors import check_integer
from sstricks.regularizers import (
    BinaryEntropy,
    CategoricalEntropy,
    Euclidean,
    ExponentialFamilyEntropy,
    Regularizer,
)
from sstricks.solvers.frank_wolfe import register_frank_wolfe
from sstricks.solvers.registry import declare_intractable, declare_iterative, register_solver
from sstricks.structures.structure import Structure


class Matching(Structure):
    r"""The matchings of n rows with m columns, as n × m matrices; permutation matrices if n = m (App. B.6, eq. 45).

    .. math:: \mathcal{X} = \{ x \in \{0, 1\}^{n \times n} : \textstyle\sum_i x_{ij} = 1, \sum_j x_{ij} = 1 \}

    With n < m every row is matched once and every column at most once, with n > m the reverse. Tables of different
    sizes share a batch by masking: a row or column none of whose pairs is present is itself absent. Marginals of the
    exponential family are permanents and cannot be had.

    With `partial=True` every row and column is matched at most once. A row whose pairs sum to 1 in the relaxation stays
    at 1 if its utilities are lowered a little: that sum has gradient zero, and nothing is learnt of whether the row
    should be matched at all. For a gradient, give every row and column a partner of its own, a dustbin, with a utility
    of its own: the square matching of n + m rows and columns in the second example.

    Args:
        n: The number of rows.
        m: The number of columns, n unless it is given.
        partial: Whether any row and column may stay unmatched, even all of them.
        mask: False where a pair is absent, shape (*batch, n, m).

    Raises:
        ValueError: No matching is left by the mask, or a size is not positive.

    Example:
        >>> sst.Matching(2).argmax(torch.tensor([[3.0, 2.0], [2.0, 0.0]]))
        tensor([[0., 1.],
                [1., 0.]])

        Row i is unmatched with utility `row[i]` and column j with `column[j]`:

        >>> def with_dustbins(u, row, column):
        ...     n, m = u.shape
        ...     table = torch.full((n + m, n + m), -torch.inf)
        ...     table[:n, :m], table[n:, m:] = u, 0.0
        ...     table[:n, m:].diagonal().copy_(row)
        ...     table[n:, :m].diagonal().copy_(column)
        ...     return table
        >>> u = torch.tensor([[1.5, 0.5, 0.0]], requires_grad=True)
        >>> partial = sst.Matching(1, 3, partial=True).softmax(u, 1.0, sst.CategoricalEntropy())
        >>> torch.autograd.grad(partial.sum(), u)[0]  # whether the row is matched: no gradient
        tensor([[0., 0., 0.]])
        >>> table = with_dustbins(u, torch.zeros(1), torch.zeros(3))
        >>> square = sst.Matching(4).softmax(table, 1.0, sst.CategoricalEntropy())[:1, :3]
        >>> torch.autograd.grad(square.sum(), u)[0] > 0
        tensor([[True, True, True]])
    """

    def __init__(self, n: int, m: int | None = None, *, partial: bool = False, mask: Tensor | None = None) -> None:
        n = check_integer("n", n, "A matching needs a row and a column.", low=1)
        m = n if m is None else check_integer("m", m, "A matching needs a row and a column.", low=1)
        super().__init__((n, m), mask, at_least=1)
        self.n = n
        self.m = m
        self.partial = partial
        if mask is not None:
            self._check_not_empty("mask")

    def _arguments(self) -> str:
        size = f"{self.n}" if self.n == self.m else f"{self.n}, {self.m}"
        return f"{size}{', partial=True' if self.partial else ''}"

    def _empty(self) -> tuple[str, str, str]:
        return (
            "a table without a matching",
            "present pairs that match every present row or, if there are fewer of them, every present column",
            "Unmask pairs, mask rows and columns of a square table in equal numbers, or use partial=True.",
        )

    def _argmax(self, u: Tensor) -> Tensor:
        return F.maximum_matching(u, partial=self.partial)

    def _contains(self, x: Tensor) -> Tensor:
        rows, columns = x.sum(-1), x.sum(-2)
        inside = (rows <= 1).all(-1) & (columns <= 1).all(-1)
        if self.partial:
            return inside
        mask = torch.ones_like(x, dtype=torch.bool) if self.mask is None else self.placed("mask", x.device)
        if self.n <= self.m:
            inside = inside & (rows == mask.any(-1)).all(-1)
        if self.n >= self.m:
            inside = inside & (columns == mask.any(-2)).all(-1)
        return inside

    def _candidates(self) -> int:
        return sum(comb(self.n, k) * perm(self.m, k) for k in self._sizes())

    def _sizes(self) -> range:
        """How many pairs a matching has, at most as many as there are rows and columns."""
        most = min(self.n, self.m)
        least = most if self.mask is None and not self.partial else 0
        return range(least, most + 1)

    def _support(self) -> Tensor:
        flat = [
            [i * self.m + j for i, j in zip(rows, columns, strict=True)]
            for k in self._sizes()
            for rows in combinations(range(self.n), k)
            for columns in permutations(range(self.m), k)
        ]
        x = torch.zeros(len(flat), self.n * self.m)
        for row, pairs in zip(x, flat, strict=True):
            row[pairs] = 1.0
        return x.unflatten(-1, (self.n, self.m))


declare_intractable(Matching, ExponentialFamilyEntropy, "its marginals are permanents, which are #P-hard to compute")


@register_solver(Matching, Euclidean)
def _(matching: Matching, f: Regularizer, u: Tensor) -> Tensor:
    return F.birkhoff_projection(u, partial=matching.partial)


@register_solver(Matching, CategoricalEntropy)
def _(matching: Matching, f: Regularizer, u: Tensor) -> Tensor:
    return F.sinkhorn(u, partial=matching.partial)


@register_solver(Matching, BinaryEntropy)
def _(matching: Matching, f: Regularizer, u: Tensor) -> Tensor:
    return F.matching_sigmoid(u, partial=matching.partial)


for _regularizer in (Euclidean, CategoricalEntropy, BinaryEntropy):
    declare_iterative(Matching, _regularizer, "Newton")

register_frank_wolfe(Matching)
