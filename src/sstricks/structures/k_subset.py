from itertools import combinations
from math import comb

import torch
from torch import Tensor

from sstricks.errors import invalid
from sstricks.functional import k_subset_sample
from sstricks.functional.checks import check_k, check_n
from sstricks.ops import k_subset, separable
from sstricks.regularizers import (
    BinaryEntropy,
    CategoricalEntropy,
    Euclidean,
    ExponentialFamilyEntropy,
    Regularizer,
    SeparableRegularizer,
    TsallisEntropy,
)
from sstricks.solvers.registry import find_solver, register_solver
from sstricks.solvers.separable import box_optimum, entmax, log_box_optimum
from sstricks.structures.structure import Structure


class KSubset(Structure):
    r"""The subsets of k out of n items, as k-hot vectors (App. B.4).

    .. math:: \mathcal{X} = \{ x \in \{0, 1\}^n : \textstyle\sum_i x_i = k \}

    Args:
        n: The number of items.
        k: How many of them are chosen, 1 ≤ k ≤ n.
        mask: False where an item is absent, shape (*batch, n); at least k must be present.

    Example:
        >>> sst.KSubset(4, 2).argmax(torch.tensor([1.0, 3.0, 0.0, 2.0]))
        tensor([0., 1., 0., 1.])
    """

    _may_have_unused_coordinates = False
    _compares_only = True

    def __init__(self, n: int, k: int, mask: Tensor | None = None) -> None:
        n = check_n(n)
        if isinstance(k, Tensor) and k.dim():
            raise invalid("k", k.tolist(), "an integer", "For a k of each row take BoundedSubset(n, k, k).")
        k = check_k(k, n)
        super().__init__((n,), mask, at_least=k)
        self.n = n
        self.k = k

    def _arguments(self) -> str:
        return f"{self.n}, {self.k}"

    def _argmax(self, u: Tensor) -> Tensor:
        return separable.top_k(u, self.k)

    def _contains(self, x: Tensor) -> Tensor:
        return x.sum(-1) == self.k

    def _candidates(self) -> int:
        return comb(self.n, self.k)

    def _support(self) -> Tensor:
        chosen = torch.tensor(list(combinations(range(self.n), self.k)))
        return torch.zeros(len(chosen), self.n).scatter(-1, chosen, 1.0)

    def _log_partition(self, u: Tensor) -> Tensor:
        return k_subset.log_partition(u, k_subset.exactly(u, self.k), self.k)

    def _log_softmax(self, u: Tensor, regularizer: Regularizer) -> Tensor | None:
        if isinstance(regularizer, CategoricalEntropy | BinaryEntropy):
            return log_box_optimum(regularizer, u, find_solver(self, regularizer)(self, regularizer, u), self.k)
        return None

    def _sample(self, u: Tensor, generator: torch.Generator | None) -> Tensor:
        return k_subset_sample(u, self.k, generator=generator)


@register_solver(KSubset, Euclidean)
def _(subset: KSubset, f: Regularizer, u: Tensor) -> Tensor:
    return separable.capped_simplex(u, subset.k)


@register_solver(KSubset, CategoricalEntropy)
def _(subset: KSubset, f: Regularizer, u: Tensor) -> Tensor:
    return separable.capped_softmax(u, subset.k)


@register_solver(KSubset, BinaryEntropy)
def _(subset: KSubset, f: Regularizer, u: Tensor) -> Tensor:
    return separable.k_subset_sigmoid(u, subset.k)


@register_solver(KSubset, ExponentialFamilyEntropy)
def _(subset: KSubset, f: Regularizer, u: Tensor) -> Tensor:
    return k_subset.marginals(u, k_subset.exactly(u, subset.k), subset.k)


@register_solver(KSubset, TsallisEntropy)
def _(subset: KSubset, f: TsallisEntropy, u: Tensor) -> Tensor:
    return entmax(f, u, subset.k)


@register_solver(KSubset, SeparableRegularizer)
def _(subset: KSubset, f: SeparableRegularizer, u: Tensor) -> Tensor:
    return box_optimum(f, u, subset.k)
