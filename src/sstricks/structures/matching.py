from itertools import combinations, permutations
from math import comb, perm

import torch
from torch import Tensor

from sstricks import functional as F
from sstricks.errors import check_integer, invalid
from sstricks.ops.assignment import NO_DUSTBIN, with_dustbins
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
    sizes share a batch by masking: a row or column none of whose pairs is present is itself absent. In a square table,
    rows and columns may be left in different numbers, and the fewer of them are all matched. Marginals of the
    exponential family are permanents and cannot be had.

    With `partial=True` every row and column is matched at most once. A row whose pairs sum to 1 in the relaxation stays
    at 1 if its utilities are lowered a little: that sum has gradient zero, and nothing is learnt of whether the row
    should be matched at all.

    For that, take `dustbins=True`: who stays unmatched goes to a dustbin, at a utility of its own (Sarlin et al. 2020).
    The table has a last column, for the rows, and a last row, for the columns:

    .. math:: \mathcal{X} = \{ x \in \{0, 1\}^{(n+1) \times (m+1)} : \textstyle\sum_j x_{ij} = 1 \ (i \le n),
              \sum_i x_{ij} = 1 \ (j \le m), x_{n+1, m+1} = 0 \}

    Args:
        n: The number of rows, without dustbins.
        m: The number of columns, n unless it is given.
        partial: Whether any row and column may stay unmatched, even all of them.
        dustbins: Whether they may, and have a last column and a last row for it.
        mask: False where a pair is absent, in the shape of the table, (*batch, n, m) or (*batch, n + 1, m + 1). Who is
            in a pair needs a dustbin.

    Raises:
        ValueError: No matching is left by the mask, or a size is not positive; `partial` and `dustbins` are both True.

    Example:
        >>> sst.Matching(2).argmax(torch.tensor([[3.0, 2.0], [2.0, 0.0]]))
        tensor([[0., 1.],
                [1., 0.]])

        A row, three columns, and what the table sums to where they are matched:

        >>> u = torch.tensor([[1.5, 0.5, 0.0]], requires_grad=True)
        >>> partial = sst.Matching(1, 3, partial=True).softmax(u, 1.0, sst.CategoricalEntropy())
        >>> torch.autograd.grad(partial.sum(), u)[0]  # whether the row is matched: no gradient
        tensor([[0., 0., 0.]])
        >>> table = torch.nn.functional.pad(u, (0, 1, 0, 1))  # everybody's dustbin has utility 0
        >>> x = sst.Matching(1, 3, dustbins=True).softmax(table, 1.0, sst.CategoricalEntropy())
        >>> torch.autograd.grad(x[:1, :3].sum(), u)[0] > 0
        tensor([[True, True, True]])
    """

    def __init__(
        self,
        n: int,
        m: int | None = None,
        *,
        partial: bool = False,
        dustbins: bool = False,
        mask: Tensor | None = None,
    ) -> None:
        n = check_integer("n", n, "A matching needs a row and a column.", low=1)
        m = n if m is None else check_integer("m", m, "A matching needs a row and a column.", low=1)
        if partial and dustbins:
            raise invalid("dustbins", "True, and partial=True", "one of them", "Both let rows and columns stay alone.")
        self.n = n
        self.m = m
        self.partial = partial
        self.dustbins = dustbins
        shape = n + dustbins, m + dustbins
        super().__init__(shape, mask, at_least=1)
        if dustbins:
            corner = torch.ones(shape, dtype=torch.bool)
            corner[-1, -1] = False
            self._take_mask(corner if mask is None else mask & corner.to(mask.device))
        if mask is not None:
            self._check_not_empty("mask")

    def _arguments(self) -> str:
        size = f"{self.n}" if self.n == self.m else f"{self.n}, {self.m}"
        return f"{size}{', partial=True' if self.partial else ''}{', dustbins=True' if self.dustbins else ''}"

    def _empty(self) -> tuple[str, str, str]:
        if self.dustbins:
            return NO_DUSTBIN
        return (
            "a table without a matching",
            "present pairs that match every present row or, if there are fewer of them, every present column",
            "Unmask pairs, or let who is left stay unmatched: partial=True or dustbins=True.",
        )

    def _argmax(self, u: Tensor) -> Tensor:
        return F.maximum_matching(u, partial=self.partial, dustbins=self.dustbins)

    def _contains(self, x: Tensor) -> Tensor:
        rows, columns = x.sum(-1), x.sum(-2)
        mask = torch.ones_like(x, dtype=torch.bool) if self.mask is None else self.placed("mask", x.device)
        some_rows, some_columns = mask.any(-1), mask.any(-2)
        if self.dustbins:
            each = (rows == some_rows)[..., :-1], (columns == some_columns)[..., :-1]
            return each[0].all(-1) & each[1].all(-1)
        inside = (rows <= 1).all(-1) & (columns <= 1).all(-1)
        if self.partial:
            return inside
        fewest = torch.minimum(some_rows.sum(-1), some_columns.sum(-1))
        return inside & (rows.sum(-1) == fewest)

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
        x = x.unflatten(-1, (self.n, self.m))
        if not self.dustbins:
            return x
        assert self.mask is not None  # that of the corner at least
        return with_dustbins(x, torch.where(self.mask, 0.0, -torch.inf))


declare_intractable(Matching, ExponentialFamilyEntropy, "its marginals are permanents, which are #P-hard to compute")


@register_solver(Matching, Euclidean)
def _(matching: Matching, f: Regularizer, u: Tensor) -> Tensor:
    return F.birkhoff_projection(u, partial=matching.partial, dustbins=matching.dustbins)


@register_solver(Matching, CategoricalEntropy)
def _(matching: Matching, f: Regularizer, u: Tensor) -> Tensor:
    return F.sinkhorn(u, partial=matching.partial, dustbins=matching.dustbins)


@register_solver(Matching, BinaryEntropy)
def _(matching: Matching, f: Regularizer, u: Tensor) -> Tensor:
    return F.matching_sigmoid(u, partial=matching.partial, dustbins=matching.dustbins)


for _regularizer in (Euclidean, CategoricalEntropy, BinaryEntropy):
    declare_iterative(Matching, _regularizer, "Newton")

register_frank_wolfe(Matching)
