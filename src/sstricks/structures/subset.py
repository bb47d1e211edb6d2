from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from sstricks.functional.checks import check_n
from sstricks.regularizers import (
    BinaryEntropy,
    CategoricalEntropy,
    Euclidean,
    ExponentialFamilyEntropy,
    Regularizer,
    SeparableRegularizer,
    TsallisEntropy,
)
from sstricks.solvers.registry import register_solver
from sstricks.solvers.separable import box_optimum, entmax
from sstricks.structures.structure import Structure


class Subset(Structure):
    r"""The subsets of n items, as indicator vectors (App. B.3).

    .. math:: \mathcal{X} = \{0, 1\}^n

    Args:
        n: The number of items.
        mask: False where an item is absent, shape (*batch, n).

    Example:
        >>> sst.Subset(3).argmax(torch.tensor([1.0, -1.0, 0.5]))
        tensor([1., 0., 1.])
    """

    _may_have_unused_coordinates = False

    def __init__(self, n: int, mask: Tensor | None = None) -> None:
        n = check_n(n)
        super().__init__((n,), mask, at_least=1)
        self.n = n

    def _arguments(self) -> str:
        return f"{self.n}"

    def _argmax(self, u: Tensor) -> Tensor:
        return (u > 0).to(u.dtype).masked_fill(u.isnan(), torch.nan)

    def _contains(self, x: Tensor) -> Tensor:
        return torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device)

    def _candidates(self) -> int:
        return 2**self.n

    def _support(self) -> Tensor:
        return torch.tensor(list(product((0, 1), repeat=self.n)))

    def _log_partition(self, u: Tensor) -> Tensor:
        return softplus(u, threshold=40.0).sum(-1)

    def _log_softmax(self, u: Tensor, regularizer: Regularizer) -> Tensor | None:
        if isinstance(regularizer, CategoricalEntropy):
            return u.clamp(max=0)
        return logsigmoid(u) if isinstance(regularizer, BinaryEntropy | ExponentialFamilyEntropy) else None

    def _sample(self, u: Tensor, generator: torch.Generator | None) -> Tensor:
        chosen = torch.rand(u.shape, dtype=u.dtype, device=u.device, generator=generator) < u.sigmoid()
        return chosen.to(u.dtype).masked_fill(u.isnan(), torch.nan)


@register_solver(Subset, Euclidean)
def _(subset: Structure, f: Regularizer, u: Tensor) -> Tensor:
    return u.clamp(0, 1)


@register_solver(Subset, CategoricalEntropy)
def _(subset: Structure, f: Regularizer, u: Tensor) -> Tensor:
    return u.clamp(max=0).exp()


@register_solver(Subset, ExponentialFamilyEntropy)
@register_solver(Subset, BinaryEntropy)
def _(subset: Structure, f: Regularizer, u: Tensor) -> Tensor:
    return u.sigmoid()


@register_solver(Subset, TsallisEntropy)
def _(subset: Structure, f: TsallisEntropy, u: Tensor) -> Tensor:
    return entmax(f, u, 0)


@register_solver(Subset, SeparableRegularizer)
def _(subset: Structure, f: SeparableRegularizer, u: Tensor) -> Tensor:
    return box_optimum(f, u, 0)
