from itertools import combinations
from math import comb

import torch
from torch import Tensor

from sstricks.errors import check_integer, invalid, joint_shape
from sstricks.functional.checks import check_n
from sstricks.ops import k_subset
from sstricks.ops.operator import is_checked, is_eager
from sstricks.regularizers import ExponentialFamilyEntropy, Regularizer, SeparableRegularizer
from sstricks.solvers.registry import find_solver, register_solver
from sstricks.structures.k_subset import KSubset
from sstricks.structures.structure import Structure
from sstricks.structures.subset import Subset


class BoundedSubset(Structure):
    r"""The subsets of n items whose size is within bounds, which each example may have of its own.

    .. math:: \mathcal{X} = \{ x \in \{0, 1\}^n : a \le \textstyle\sum_i x_i \le b \}

    With a = b it is a `KSubset` with a k for each row.

    The argmax takes the items of positive utility, and more or fewer of the best where the bounds ask for it. So do the
    relaxations: that of `Subset` where its size is within the bounds, else that of the `KSubset` at the bound it is
    beyond, since all that the bound adds is one multiplier. The exponential family takes O(nb), as for k-subsets.

    Args:
        n: The number of items.
        at_least: a ≥ 0, an integer or an integer tensor, shape (*batch).
        at_most: b ≤ n, likewise; n by default.
        mask: False where an item is absent, shape (*batch, n); at least a must be present.

    Raises:
        ValueError: The bounds are no integers, or not 0 ≤ a ≤ b ≤ n, or too few items are present.

    Example:
        >>> u = torch.tensor([0.5, 3.0, -1.0, 2.0])
        >>> sst.BoundedSubset(4, at_most=2).argmax(u)
        tensor([0., 1., 0., 1.])
        >>> k = torch.tensor([1, 4])
        >>> sst.BoundedSubset(4, at_least=k, at_most=k).argmax(u)
        tensor([[0., 1., 0., 0.],
                [1., 1., 1., 1.]])
    """

    def __init__(
        self,
        n: int,
        at_least: int | Tensor = 0,
        at_most: int | Tensor | None = None,
        mask: Tensor | None = None,
    ) -> None:
        n = check_n(n)
        low = _bound("at_least", at_least, n)
        high = _bound("at_most", n if at_most is None else at_most, n)
        batch = joint_shape("at_most", high.shape, low.shape, "at_least", high.shape)
        if (low > high).any():
            raise invalid("at_most", high.tolist(), f"numbers >= at_least = {low.tolist()}", "Swap the two.")
        self.n, self.at_least, self.at_most = n, low, high
        self._bounds = torch.stack(torch.broadcast_tensors(low, high), -1)
        if batch and mask is None:
            mask = torch.ones(n, dtype=torch.bool)
        if mask is not None:
            mask = mask.expand(*torch.broadcast_shapes(batch, mask.shape[:-1]), n)
        self._sizes = range(int(low.min()), int(high.max()) + 1)
        bounds = sorted({*low.flatten().tolist(), *high.flatten().tolist()} - {0})
        self._free, self._of_size = Subset(n), {s: KSubset(n, s) for s in bounds}
        super().__init__((n,), mask, at_least=self._sizes.start)
        self._check_not_empty("mask")

    def _arguments(self) -> str:
        return f"{self.n}, at_least={self.at_least.tolist()}, at_most={self.at_most.tolist()}"

    def _empty(self) -> tuple[str, str, str]:
        least = int(self.at_least.max())
        remedy = "Unmask items, or lower at_least."
        return "fewer present items than at_least in some row", f"at least {least} of them", remedy

    def scaled(self, u: Tensor, temperature: Tensor | float) -> Tensor:
        """See `Structure.scaled`; a row with fewer present items than its own bound is invalid as well."""
        u = super().scaled(u, temperature)
        if self.at_least.dim() == 0:
            return u
        short = (u != -torch.inf).sum(-1) < self._limits(u)[0]
        if is_checked(u) and is_eager(u) and short.any():
            raise invalid("u", *self._empty())
        return torch.where(short.unsqueeze(-1), torch.nan, u)

    def _argmax(self, u: Tensor) -> Tensor:
        low, high = self._limits(u)
        size = torch.minimum(torch.maximum((u > 0).sum(-1), low), high).unsqueeze(-1)
        order = u.sort(dim=-1, descending=True, stable=True).indices
        first = (torch.arange(self.n, device=u.device) < size).to(u.dtype)
        return torch.zeros_like(u).scatter(-1, order, first).masked_fill(u.isnan().any(-1, keepdim=True), torch.nan)

    def _limits(self, u: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.placed("_bounds", u.device).unbind(-1)
        return low, high

    def _contains(self, x: Tensor) -> Tensor:
        low, high = self._limits(x)
        return (low <= x.sum(-1)) & (x.sum(-1) <= high)

    def _candidates(self) -> int:
        return sum(comb(self.n, s) for s in self._sizes)

    def _support(self) -> Tensor:
        x = torch.zeros(self._candidates(), self.n)
        subsets = (chosen for s in self._sizes for chosen in combinations(range(self.n), s))
        for row, chosen in zip(x, subsets, strict=True):
            row[list(chosen)] = 1.0
        return x

    def _law(self, u: Tensor) -> tuple[Tensor, Tensor, int]:
        """What the operators take."""
        return u, self.placed("_bounds", u.device), self._sizes.stop - 1

    def _log_partition(self, u: Tensor) -> Tensor:
        return k_subset.log_partition(*self._law(u))

    def _sample(self, u: Tensor, generator: torch.Generator | None) -> Tensor:
        return k_subset.draw(*self._law(u), generator)


def _bound(argument: str, value: int | Tensor, n: int) -> Tensor:
    remedy = "Sizes are counted in items."
    if not isinstance(value, Tensor):
        return torch.tensor(check_integer(argument, value, remedy, low=0, high=n, top="n"))
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise invalid(argument, f"dtype {value.dtype}", "integers", f"Write {argument}.long().")
    if ((value < 0) | (value > n)).any():
        raise invalid(argument, value.tolist(), f"integers from 0 to n = {n}", remedy)
    return value.detach().long().clone()


@register_solver(BoundedSubset, SeparableRegularizer)
def _(subset: BoundedSubset, f: SeparableRegularizer, u: Tensor) -> Tensor:
    low, high = subset._limits(u)
    x = torch.where(high.unsqueeze(-1) > 0, find_solver(subset._free, f)(subset._free, f, u), 0.0)
    size = x.detach().sum(-1)
    for s, fixed in subset._of_size.items():
        # Or at the bound: where it holds an item at 0 there, which the item alone would leave, it has no slope.
        beyond = (((low == s) & (size <= s)) | ((high == s) & (size >= s))).unsqueeze(-1)
        x = torch.where(beyond, find_solver(fixed, f)(fixed, f, torch.where(beyond, u, 0.0)), x)
    return x


@register_solver(BoundedSubset, ExponentialFamilyEntropy)
def _(subset: BoundedSubset, f: Regularizer, u: Tensor) -> Tensor:
    return k_subset.marginals(*subset._law(u))
