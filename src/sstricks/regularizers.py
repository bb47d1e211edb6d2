from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from math import inf
from typing import Any, final

import torch
from torch import Tensor

from sstricks.errors import check_number, check_tensor, invalid
from sstricks.ops import separable_optimum, tsallis
from sstricks.ops.costs import BINARY, CATEGORICAL, COSTS, EUCLIDEAN
from sstricks.ops.density import UNIT, Domain
from sstricks.ops.operator import is_readable
from sstricks.ops.oracles import Handled, Oracle


class Regularizer(Handled, ABC):
    """A strictly convex f on conv 𝒳, which turns the argmax of Uᵀx into the soft argmax of Uᵀx − t·f(x) (Def. 2).

    Two regularizers are equal if they have one class and equal parameters; of tensors, only the same one is equal.
    """

    @abstractmethod
    def __call__(self, x: Tensor, structure: Oracle | None = None) -> Tensor:
        """f(x), shape (*batch), of points x of conv 𝒳, shape (*batch, *event_shape)."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in _parameters(self).items())})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Regularizer) or type(self) is not type(other):
            return False
        mine, theirs = _parameters(self), _parameters(other)
        return mine.keys() == theirs.keys() and all(_equal(mine[name], theirs[name]) for name in mine)

    def __hash__(self) -> int:
        return hash(type(self))


def _parameters(f: Regularizer) -> dict[str, Any]:
    return {name: value for name, value in vars(f).items() if not name.startswith("_")}


def _equal(a: object, b: object) -> bool:
    return a is b or (isinstance(a, Hashable) and not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b)


class SeparableRegularizer(Regularizer):
    r"""An f that is a sum over coordinates, :math:`f(x) = \sum_i h(x_i)`, with a strictly convex h on [0, 1].

    A subclass needs only `density`, in differentiable torch. Every structure with a solver for `SeparableRegularizer`
    then takes it: `OneHot`, `Subset` and `KSubset` find the one multiplier of their sum, `SpanningTree` one for each
    set of nodes that holds as many edges as it may, `Arborescence` one for each node as well, the others use
    `sst.FrankWolfe`. Gradients reach the tensors that the density depends on, so that f may be learnt; one parameter
    for each example has shape (*batch, 1), one for each coordinate (n,). Solvers use h', h'' and the inverse of h',
    which are found from the density. Closed forms are faster: override `slope`, `curvature` and `inverse_slope`, all
    three or some.

    For structures whose vertices are not of zeros and ones alone, set the class's `domain` to where h is defined and
    strictly convex, if that is more than [0, 1]: (0, inf) or (-inf, inf).

    A class that overrides `density` does not inherit the other three, which belong to another h.

    Example:
        >>> class Hellinger(sst.SeparableRegularizer):
        ...     def density(self, x):
        ...         return -2 * x.sqrt()
        >>> sst.OneHot(3).softmax(torch.tensor([1.0, 0.0, 0.0]), 1.0, Hellinger())
        tensor([0.6140, 0.1930, 0.1930])
    """

    domain: Domain = UNIT
    """Where h is strictly convex."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.domain[0] not in (-inf, 0) or cls.domain[1] not in (1, inf):
            raise invalid(
                "domain", cls.domain, "(0, 1), (0, inf), (-inf, 1) or (-inf, inf)", "Shift or stretch the density."
            )
        if "density" in vars(cls):
            for name in {"slope", "curvature", "inverse_slope"} - vars(cls).keys():
                setattr(cls, name, getattr(SeparableRegularizer, name))

    @abstractmethod
    def density(self, x: Tensor) -> Tensor:
        """h(x), coordinate by coordinate, for x in [0, 1], shape (*batch, n)."""

    def slope(self, x: Tensor) -> Tensor:
        """h'(x) for x in (0, 1), shape of x, differentiable."""
        return torch.func.grad(lambda y: self.density(y).sum())(x)

    def curvature(self, x: Tensor) -> Tensor:
        """h''(x) for x in (0, 1), shape of x, differentiable."""
        return torch.func.grad(lambda y: self.slope(y).sum())(x)

    @torch.no_grad()
    def inverse_slope(self, y: Tensor) -> Tensor:
        """The x in [0, 1] with h'(x) = y, 0 or 1 where all slopes are above or below y; shape of y, no gradient."""
        return separable_optimum.inverse(self._derivatives, y, torch.full_like(y, 0.5))

    def inverse_slope_near(self, x: Tensor, y: Tensor) -> Tensor:
        """`inverse_slope` of y, which is found sooner from an x near it if it has no closed form."""
        if type(self).inverse_slope is SeparableRegularizer.inverse_slope:
            return separable_optimum.inverse(self._derivatives, y, x)
        return self.inverse_slope(y)

    def _derivatives(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """h'(x) and h''(x) for Newton steps, without gradient, in a fifth of the time that `torch.func.grad` takes."""
        mine = {type(self).slope, type(self).curvature}
        if mine != {SeparableRegularizer.slope, SeparableRegularizer.curvature}:
            return self.slope(x), self.curvature(x)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.density(x).sum(), x, create_graph=True)
            (curvature,) = torch.autograd.grad(slope.sum(), x)
        return slope.detach(), curvature

    def __call__(self, x: Tensor, structure: Oracle | None = None) -> Tensor:
        """f(x), shape (*batch).

        Args:
            x: Points of conv 𝒳, shape (*batch, *event_shape).
            structure: 𝒳, which says how many dimensions one point has, and which coordinates are absent. Without it x
                is one vector, shape (n,), or several, shape (batch, n).

        Raises:
            ValueError: x does not fit the structure, or there is none and x has more than two dimensions.

        Example:
            >>> matchings = sst.Matching(2)
            >>> sst.Euclidean()(torch.eye(2).expand(5, 2, 2), matchings)
            tensor([1., 1., 1., 1., 1.])
        """
        if structure is not None:
            return self._value_on(structure, x)
        if check_tensor("x", x).dim() not in {1, 2}:
            raise invalid(
                "x",
                f"shape {tuple(x.shape)} without a structure",
                "shape (n,) or (batch, n)",
                "Write f(x, structure), which says how many dimensions one point has.",
            )
        return self.density(x).sum(-1)

    @property
    def batch_shape(self) -> torch.Size:
        """The batch shape of the parameters, as far as they are tensors that are attributes of f."""
        like = next((value for value in vars(self).values() if isinstance(value, Tensor)), None)
        return torch.Size() if like is None else self.density(like.new_full((1,), 0.5)).shape[:-1]

    def _value_on(self, structure: Oracle, x: Tensor) -> Tensor:
        if not isinstance(structure, Oracle):
            raise invalid("structure", repr(structure), "a structure", "Pass an instance, as in f(x, sst.OneHot(3)).")
        structure.check_shape("x", x)
        depth = len(structure.event_shape)
        x = x.flatten(-depth)
        if structure.mask is None:
            return self.density(x).sum(-1)
        present = structure.placed("mask", x.device).flatten(-depth)
        return torch.where(present, self.density(torch.where(present, x, 0.5)), 0.0).sum(-1)


@final
class Euclidean(SeparableRegularizer):
    """f(x) = ½‖x‖²: the relaxation is the Euclidean projection of u/t onto conv 𝒳, sparse in general (Sec. 5).

    Example:
        >>> sst.OneHot(3).softmax(torch.tensor([1.0, 0.5, -2.0]), 1.0, sst.Euclidean())
        tensor([0.7500, 0.2500, 0.0000])
    """

    domain = COSTS[EUCLIDEAN].domain

    def density(self, x: Tensor) -> Tensor:
        """h(x) = x²/2."""
        return x.square() / 2

    def slope(self, x: Tensor) -> Tensor:
        """h'(x) = x."""
        return x

    def curvature(self, x: Tensor) -> Tensor:
        """h''(x) = 1."""
        return torch.ones_like(x)

    def inverse_slope(self, y: Tensor) -> Tensor:
        """min(max(y, 0), 1)."""
        return y.clamp(0, 1)


@final
class CategoricalEntropy(SeparableRegularizer):
    """f(x) = Σ x log x − x: the negative entropy of the coordinates (Sec. 5).

    Where Σx is constant on 𝒳 this differs from the paper's Σ x log x by a constant; on Subset it makes the closed form
    min(1, exp(u/t)) of App. B.3 true.

    Example:
        >>> sst.Subset(2).softmax(torch.tensor([1.0, -1.0]), 1.0, sst.CategoricalEntropy())
        tensor([1.0000, 0.3679])
    """

    domain = COSTS[CATEGORICAL].domain

    def density(self, x: Tensor) -> Tensor:
        """h(x) = x log x − x, and 0 at 0."""
        return torch.xlogy(x, x) - x

    def slope(self, x: Tensor) -> Tensor:
        """h'(x) = log x."""
        return x.log()

    def curvature(self, x: Tensor) -> Tensor:
        """h''(x) = 1/x."""
        return 1 / x

    def inverse_slope(self, y: Tensor) -> Tensor:
        """min(exp(y), 1)."""
        return y.clamp(max=0).exp()


@final
class BinaryEntropy(SeparableRegularizer):
    """f(x) = Σ x log x + (1−x) log(1−x): the negative entropy of independent coins with means x (Sec. 5).

    Example:
        >>> sst.Subset(2).softmax(torch.tensor([0.0, -1.0]), 1.0, sst.BinaryEntropy())
        tensor([0.5000, 0.2689])
    """

    domain = COSTS[BINARY].domain

    def density(self, x: Tensor) -> Tensor:
        """h(x) = x log x + (1−x) log(1−x), and 0 at 0 and 1."""
        return torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)

    def slope(self, x: Tensor) -> Tensor:
        """h'(x) = log x − log(1−x)."""
        return x.logit()

    def curvature(self, x: Tensor) -> Tensor:
        """h''(x) = 1/(x(1−x))."""
        return 1 / (x * (1 - x))

    def inverse_slope(self, y: Tensor) -> Tensor:
        """σ(y)."""
        return y.sigmoid()


@final
class TsallisEntropy(SeparableRegularizer):
    r"""The negative Tsallis entropy, whose relaxation on `OneHot` is α-entmax (Peters, Niculae & Martins 2019).

    .. math:: f(x) = \sum_i \frac{x_i^\alpha - x_i}{\alpha (\alpha - 1)}

    The limit α → 1 is Σ x log x, so that α = 1 gives softmax on `OneHot` and α = 2 sparsemax. For α > 1 the relaxation
    is sparse; the larger α is, the nearer it is to a vertex. α may be learnt: gradients in it are exact, at 1 too.

    Args:
        alpha: α > 0, a number, or a tensor that broadcasts with the batch, as temperatures do: for a batch of shape
            (batch, heads), shape (heads,) is one α for each head.

    Raises:
        ValueError: α is not a finite number > 0.

    Example:
        >>> u = torch.tensor([1.0, 0.5, -2.0])
        >>> sst.OneHot(3).softmax(u, 1.0, sst.TsallisEntropy(1.5))
        tensor([0.6740, 0.3260, 0.0000])
        >>> alpha = torch.tensor([1.0, 1.5, 2.0], requires_grad=True)
        >>> sst.OneHot(3).softmax(u, 1.0, sst.TsallisEntropy(alpha))[:, 0]
        tensor([0.6037, 0.6740, 0.7500], grad_fn=<SelectBackward0>)
    """

    domain = (0.0, inf)

    def __init__(self, alpha: Tensor | float) -> None:
        expected, remedy = "a finite number > 0, or a floating tensor", "1 is softmax on OneHot, 2 sparsemax."
        if isinstance(alpha, Tensor):
            if not alpha.is_floating_point():
                raise invalid("alpha", f"dtype {alpha.dtype}", expected, "Write alpha.float().")
            if is_readable(alpha) and not ((alpha > 0) & (alpha < inf)).all():
                raise invalid("alpha", f"{alpha!r}", expected, remedy)
        elif not 0 < check_number("alpha", alpha, expected, remedy) < inf:
            raise invalid("alpha", repr(alpha), expected, remedy)
        self.alpha = alpha

    def __repr__(self) -> str:
        return f"TsallisEntropy({self.alpha!r})"

    @property
    def batch_shape(self) -> torch.Size:
        """That of α."""
        return self.alpha.shape if isinstance(self.alpha, Tensor) else torch.Size()

    def alpha_like(self, x: Tensor) -> Tensor:
        """α in the dtype and on the device of x, shape () or that of the batch."""
        return self.alpha.to(x) if isinstance(self.alpha, Tensor) else x.new_full((), self.alpha)

    def density(self, x: Tensor) -> Tensor:
        """h(x) = (x^α − x)/(α(α−1)), and x log x at α = 1."""
        alpha = self.alpha_like(x).unsqueeze(-1)
        inside = torch.where(x > 0, x, 1.0)
        return inside * tsallis.log(inside, alpha - 1) / alpha

    def slope(self, x: Tensor) -> Tensor:
        """h'(x) = (x^(α−1) − 1)/(α−1) + 1/α."""
        alpha = self.alpha_like(x).unsqueeze(-1)
        return tsallis.log(x, alpha - 1) + 1 / alpha

    def curvature(self, x: Tensor) -> Tensor:
        """h''(x) = x^(α−2)."""
        return ((self.alpha_like(x).unsqueeze(-1) - 2) * x.log()).exp()

    @torch.no_grad()
    def inverse_slope(self, y: Tensor) -> Tensor:
        """[1 + (α−1)(y − 1/α)]₊^(1/(α−1)), at most 1."""
        alpha = self.alpha_like(y).unsqueeze(-1)
        return tsallis.exp(y - 1 / alpha, alpha - 1)


class ExponentialFamilyEntropy(Regularizer):
    """f = A*, the conjugate of the log-partition function: the relaxation is the marginals at u/t (eq. 8).

    Example:
        >>> sst.KSubset(3, 2).softmax(torch.zeros(3), 1.0, sst.ExponentialFamilyEntropy())
        tensor([0.6667, 0.6667, 0.6667])
    """

    def __call__(self, x: Tensor, structure: Oracle | None = None) -> Tensor:
        """Not known at a point alone: raises and says what to use.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "ExponentialFamilyEntropy: A*(x) is not known at a point x alone. At the marginals of natural parameters u "
            "it is -structure.entropy(u); at a vertex it is 0."
        )
