from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Regularizer:
    """A strongly convex f on conv 𝒳, which turns the argmax of Uᵀx into the soft argmax of Uᵀx − t·f(x) (Def. 2)."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


class SeparableRegularizer(Regularizer, ABC):
    """An f that is a sum over coordinates, f(x) = Σᵢ h(xᵢ)."""

    @abstractmethod
    def density(self, x: Tensor) -> Tensor:
        """h(x), coordinate by coordinate, for x in [0, 1]."""

    def __call__(self, x: Tensor) -> Tensor:
        """f(x), shape (*batch), of points of shape (*batch, n)."""
        return self.density(x).sum(-1)


class Euclidean(SeparableRegularizer):
    """f(x) = ½‖x‖²: the relaxation is the Euclidean projection of u/t onto conv 𝒳, sparse in general (Sec. 5).

    Example:
        >>> sst.OneHot(3).softmax(torch.tensor([1.0, 0.5, -2.0]), 1.0, sst.Euclidean())
        tensor([0.7500, 0.2500, 0.0000])
    """

    def density(self, x: Tensor) -> Tensor:
        """h(x) = x²/2."""
        return x.square() / 2


class CategoricalEntropy(SeparableRegularizer):
    """f(x) = Σ x log x − x: the negative entropy of the coordinates (Sec. 5).

    Where Σx is constant on 𝒳 this differs from the paper's Σ x log x by a constant; on Subset it makes the closed form
    min(1, exp(u/t)) of App. B.3 true.

    Example:
        >>> sst.Subset(2).softmax(torch.tensor([1.0, -1.0]), 1.0, sst.CategoricalEntropy())
        tensor([1.0000, 0.3679])
    """

    def density(self, x: Tensor) -> Tensor:
        """h(x) = x log x − x, and 0 at 0."""
        return torch.xlogy(x, x) - x


class BinaryEntropy(SeparableRegularizer):
    """f(x) = Σ x log x + (1−x) log(1−x): the negative entropy of independent coins with means x (Sec. 5).

    Example:
        >>> sst.Subset(2).softmax(torch.tensor([0.0, -1.0]), 1.0, sst.BinaryEntropy())
        tensor([0.5000, 0.2689])
    """

    def density(self, x: Tensor) -> Tensor:
        """h(x) = x log x + (1−x) log(1−x), and 0 at 0 and 1."""
        return torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)


class ExponentialFamilyEntropy(Regularizer):
    """f = A*, the conjugate of the log-partition function: the relaxation is the marginals at u/t (eq. 8).

    Example:
        >>> sst.KSubset(3, 2).softmax(torch.zeros(3), 1.0, sst.ExponentialFamilyEntropy())
        tensor([0.6667, 0.6667, 0.6667])
    """
