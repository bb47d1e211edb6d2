from math import inf, isnan

import torch
from torch import Tensor

from sstricks.functional.checks import check_n
from sstricks.ops import separable
from sstricks.ops.operator import is_readable
from sstricks.regularizers import (
    BinaryEntropy,
    CategoricalEntropy,
    Euclidean,
    ExponentialFamilyEntropy,
    Regularizer,
    SeparableRegularizer,
    TsallisEntropy,
)
from sstricks.solvers.registry import Solver, register_solver
from sstricks.solvers.separable import box_optimum, entmax, log_box_optimum
from sstricks.structures.structure import Structure

_SOFTMAX = (CategoricalEntropy, ExponentialFamilyEntropy)
_EXACT_ENOUGH = (torch.float32, torch.float64)


class OneHot(Structure):
    r"""One of n elements, as a one-hot vector (App. B.2).

    .. math:: \mathcal{X} = \{ x \in \{0, 1\}^n : \textstyle\sum_i x_i = 1 \}

    With Gumbel utilities and `CategoricalEntropy` (or `ExponentialFamilyEntropy`, which coincides with it here) this is
    the Gumbel-softmax trick; with `Euclidean` the Gumbel-sparsemax trick.

    Args:
        n: The number of elements.
        mask: False where an element is absent, shape (*batch, n); at least one must be present.

    Example:
        >>> sst.OneHot(3).argmax(torch.tensor([0.1, 2.0, 0.3]))
        tensor([0., 1., 0.])
    """

    _may_have_unused_coordinates = False
    _compares_only = True

    def __init__(self, n: int, mask: Tensor | None = None) -> None:
        n = check_n(n)
        super().__init__((n,), mask, at_least=1)
        self.n = n

    def _arguments(self) -> str:
        return f"{self.n}"

    def softmax(
        self, u: Tensor, temperature: Tensor | float, regularizer: Regularizer, *, solver: Solver | None = None
    ) -> Tensor:
        """As `Structure.softmax`; where it is torch's own softmax, in the dtype of u and without looking twice.

        With the largest u subtracted first, the exponents −a of weights e⁻ᵃ have relative errors of 2ε, and the weights
        absolute ones of 2ε a e⁻ᵃ < ε: float32 is exact enough. What that cannot do comes out as NaN, and is looked at.
        """
        if (
            type(regularizer) in _SOFTMAX
            and solver is None
            and self.mask is None
            and type(temperature) is float
            and 0 < temperature < inf
            and isinstance(u, Tensor)
            and u.dtype in _EXACT_ENOUGH
            and u.shape[-1:] == self.event_shape
            and is_readable(u)
        ):
            x = ((u - u.detach().amax(-1, keepdim=True)) / temperature).softmax(-1)
            if not isnan(x.detach().sum().item()):
                return x
        return super().softmax(u, temperature, regularizer, solver=solver)

    def _argmax(self, u: Tensor) -> Tensor:
        return separable.top_k(u, 1)

    def _contains(self, x: Tensor) -> Tensor:
        return x.sum(-1) == 1

    def _candidates(self) -> int:
        return self.n

    def _support(self) -> Tensor:
        return torch.eye(self.n)

    def _log_partition(self, u: Tensor) -> Tensor:
        return u.logsumexp(-1)

    def _log_softmax(self, u: Tensor, regularizer: Regularizer) -> Tensor | None:
        if isinstance(regularizer, CategoricalEntropy | ExponentialFamilyEntropy):
            return u.log_softmax(-1)
        if isinstance(regularizer, BinaryEntropy):
            return log_box_optimum(regularizer, u, separable.k_subset_sigmoid(u, 1), 1)
        return None

    def _sample(self, u: Tensor, generator: torch.Generator | None) -> Tensor:
        exponential = torch.empty_like(u).exponential_(generator=generator)
        return separable.top_k(u - exponential.log(), 1)


@register_solver(OneHot, Euclidean)
def _(one_hot: Structure, f: Regularizer, u: Tensor) -> Tensor:
    return separable.capped_simplex(u, 1)


@register_solver(OneHot, ExponentialFamilyEntropy)
@register_solver(OneHot, CategoricalEntropy)
def _(one_hot: Structure, f: Regularizer, u: Tensor) -> Tensor:
    return u.softmax(-1)


@register_solver(OneHot, BinaryEntropy)
def _(one_hot: Structure, f: Regularizer, u: Tensor) -> Tensor:
    return separable.k_subset_sigmoid(u, 1)


@register_solver(OneHot, TsallisEntropy)
def _(one_hot: Structure, f: TsallisEntropy, u: Tensor) -> Tensor:
    return entmax(f, u, 1)


@register_solver(OneHot, SeparableRegularizer)
def _(one_hot: Structure, f: SeparableRegularizer, u: Tensor) -> Tensor:
    return box_optimum(f, u, 1)
