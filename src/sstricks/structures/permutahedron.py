from itertools import permutations
from math import factorial

import torch
from torch import Tensor

from sstricks.errors import check_floating, invalid
from sstricks.functional.checks import check_n
from sstricks.ops import permutahedron
from sstricks.regularizers import CategoricalEntropy, Euclidean, ExponentialFamilyEntropy, Regularizer
from sstricks.solvers.registry import declare_intractable, register_solver
from sstricks.structures.structure import Structure


class Permutahedron(Structure):
    r"""The orders of 1, …, n, or of other values: ranks (Blondel, Teboul, Berthet and Djolonga 2020).

    .. math:: \mathcal{X} = \{ (w_{\sigma(1)}, \dots, w_{\sigma(n)}) : \sigma \text{ is a permutation} \}

    The argmax gives the largest value to the largest utility: with the values 1, …, n it is the rank of each
    coordinate, n for the largest, and `softmax` is a soft rank. Sorted values, which are differentiable in the values,
    are those of `sst.functional.soft_sort`.

    The relaxations are isotonic regressions, in O(n log n) and exact at any range of u: `Euclidean`, and
    `CategoricalEntropy` for values that are not negative. Other separable regularizers take `solver=sst.FrankWolfe()`.
    The log-partition function is the logarithm of the permanent of the matrix exp(uᵢwⱼ), so the exponential family
    is not available.

    A coordinate that is masked, or −∞, has the value 0, and the others share the smallest values: the ranks that they
    have among themselves. That is not the limit of low utilities, which have the smallest values. Coordinates at +∞
    share the largest ones.

    Args:
        n: The number of coordinates.
        values: w, finite numbers in any order, shape (n,); 1, …, n by default.
        mask: False where a coordinate is absent, shape (*batch, n).

    Raises:
        ValueError: n is no integer ≥ 1; the values have another shape or no finite sum; a mask leaves nothing.

    Example:
        >>> u = torch.tensor([0.5, 9.0, 0.0])
        >>> sst.Permutahedron(3).argmax(u)
        tensor([2., 3., 1.])
        >>> sst.Permutahedron(3).softmax(u, 1.0, sst.Euclidean())
        tensor([1.7500, 3.0000, 1.2500])
        >>> sst.Permutahedron(3, torch.tensor([0.0, 0.0, 1.0])).softmax(u, 10.0, sst.Euclidean())  # = OneHot(3)
        tensor([0.0667, 0.9167, 0.0167])
    """

    is_binary = False
    _may_have_unused_coordinates = False
    _compares_only = True

    def __init__(self, n: int, values: Tensor | None = None, *, mask: Tensor | None = None) -> None:
        n = check_n(n)
        if values is None:
            values = torch.arange(1.0, n + 1, dtype=torch.float64)
            self._shown = f"{n}"
        else:
            values = check_floating("values", values).detach().double()
            if values.shape != (n,) or not (2 * n * values.abs().max()).isfinite():
                found = f"shape {tuple(values.shape)}" if values.shape != (n,) else f"{values.tolist()}"
                expected = f"{n} numbers, shape ({n},), whose sum is finite"
                raise invalid("values", found, expected, "The hull is that of their orders.")
            self._shown = f"{n}, values from {float(values.min()):g} to {float(values.max()):g}"
        self.n = n
        self.values = values.sort(descending=True).values
        self.most, self.least = float(self.values[0]), float(self.values[-1])
        super().__init__((n,), mask, at_least=1)

    def _arguments(self) -> str:
        return self._shown

    def scaled(self, u: Tensor, temperature: Tensor | float) -> Tensor:
        """See `Structure.scaled`; +∞ also becomes more than values can make up for."""
        return permutahedron.spread(super().scaled(u, temperature), u, self.most - self.least)

    def values_like(self, u: Tensor) -> Tensor:
        """The values in descending order, in the dtype and on the device of u."""
        return self.placed("values", u.device).to(u.dtype)

    def _argmax(self, u: Tensor) -> Tensor:
        return permutahedron.arrange(u.detach(), self.values_like(u))

    def _contains(self, x: Tensor) -> Tensor:
        x = x if x.is_floating_point() else x.double()  # the values need not be integers
        present = torch.ones_like(x, dtype=torch.bool) if self.mask is None else self.placed("mask", x.device)
        found = torch.where(present, x, torch.inf).sort(dim=-1, descending=True).values
        absent = torch.arange(self.n, device=x.device) < self.n - present.sum(-1, keepdim=True)
        return (absent | (found == self.values_like(x))).all(-1)

    def _present(self) -> list[int]:
        return list(range(self.n)) if self.mask is None else self.mask.nonzero().flatten().tolist()

    def _candidates(self) -> int:
        return factorial(len(self._present()))

    def _support(self) -> Tensor:
        present = self._present()
        x = torch.zeros(self._candidates(), self.n, dtype=torch.float64)
        smallest = self.values[self.n - len(present) :].tolist()
        x[:, present] = torch.tensor(list(permutations(smallest)), dtype=torch.float64)
        return x.unique(dim=0)


declare_intractable(
    Permutahedron,
    ExponentialFamilyEntropy,
    "its log-partition function is the logarithm of a permanent, for which no polynomial algorithm is known",
)


@register_solver(Permutahedron, Euclidean)
def _(orders: Permutahedron, f: Regularizer, u: Tensor) -> Tensor:
    return permutahedron.projection(u, orders.values_like(u))


@register_solver(Permutahedron, CategoricalEntropy)
def _(orders: Permutahedron, f: Regularizer, u: Tensor) -> Tensor:
    if orders.least < 0:
        raise invalid(
            "regularizer",
            f"{f!r}, and the value {orders.least:g}",
            "values >= 0",
            "Take sst.Euclidean(), or shift the values, which shifts the ranks.",
        )
    return permutahedron.softmax(u, orders.values_like(u))
