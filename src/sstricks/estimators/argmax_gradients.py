"""Gradients that stand in for that of the argmax, which is zero wherever it exists."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sstricks.errors import check_number, check_positive, invalid
from sstricks.estimators.estimator import Law, UtilitySampler
from sstricks.regularizers import Euclidean
from sstricks.solvers import Solver
from sstricks.solvers.registry import solver_for
from sstricks.structures.structure import Structure
from sstricks.utilities import Gumbel


class ArgmaxEstimator(UtilitySampler):
    """Vertices, the argmax of a utility, with a gradient that is made from that of the loss at them."""

    def through(self, u: Tensor) -> Tensor:
        """The argmax of u, with `gradient` in place of its own."""
        return _Argmax.apply(u, self)  # pyright: ignore[reportReturnType]

    def present(self, u: Tensor) -> Tensor:
        """Which coordinates there are."""
        present, mask = u > -torch.inf, self.structure.mask
        return present if mask is None else present & self.structure.placed("mask", u.device)

    @abstractmethod
    def gradient(self, u: Tensor, x: Tensor, g: Tensor) -> Tensor:
        """What stands in for the gradient in u, given g, that of the loss in x = argmax u, all of one shape."""


class _Argmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, estimator: ArgmaxEstimator) -> Tensor:
        x = estimator.structure.argmax(u)
        ctx.estimator = estimator
        ctx.save_for_backward(u, x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]  # once_differentiable hides the names
        u, x = ctx.saved_tensors
        present = ctx.estimator.present(u)  # an absent coordinate has no gradient, whatever the loss makes of its zero
        found = ctx.estimator.gradient(u, x, torch.where(present, grad[0], 0.0))
        return torch.where(present, found, 0.0), None


class Blackbox(ArgmaxEstimator):
    r"""The gradient of a piecewise linear interpolation of the loss (Vlastelica et al. 2020).

    .. math:: \nabla_\theta L \approx \frac{1}{\lambda} \big( x(\theta) - x(\theta - \lambda g) \big),
        \qquad x(\theta) = \operatorname{argmax}_{x \in \mathcal{X}} \theta^\top x, \quad g = \nabla_x L(x(\theta))

    It is exact for the loss :math:`\theta \mapsto L`, linearised at x and smoothed over steps of length λ. One argmax
    more than the forward pass; λ trades how often it is not zero against how true it is.

    Args:
        structure: 𝒳.
        strength: λ > 0.
        utility: A random utility as a function of θ, in place of θ itself; `IMLE` has one by default.

    Raises:
        ValueError: λ is not positive.

    Example:
        >>> theta = torch.tensor([1.0, 0.8, 0.0], requires_grad=True)
        >>> x = sst.estimators.Blackbox(sst.OneHot(3), strength=1.0)(theta)
        >>> (x @ torch.tensor([1.0, 0.0, 0.0])).backward()
        >>> x.detach(), theta.grad
        (tensor([1., 0., 0.]), tensor([ 1., -1.,  0.]))
    """

    def __init__(self, structure: Structure, strength: float = 1.0, utility: Law | None = None) -> None:
        super().__init__(structure, utility)
        self.strength = check_positive("strength", strength, _USUAL)

    def gradient(self, u: Tensor, x: Tensor, g: Tensor) -> Tensor:
        """The quotient (x − argmax(u − λg)) / λ."""
        return (x - self.structure.argmax(u - self.strength * g)) / self.strength

    def extra_repr(self) -> str:
        """Structure and λ."""
        return f"{super().extra_repr()}, strength={self.strength}"


class IMLE(Blackbox):
    r"""Implicit maximum likelihood estimation (Niepert, Minervini and Franceschi 2021): `Blackbox` under noise.

    .. math:: \nabla_\theta \, \mathbb{E}[L(X)] \approx \frac{1}{\lambda} \big( X(U) - X(U - \lambda g) \big),
        \qquad U = \theta + \varepsilon

    With the same noise in both. The law of X is that of the perturbed argmax, as in the paper of this package. The
    authors' package does not divide by λ; here the estimate is of a derivative, whatever λ is.

    Args:
        structure: 𝒳.
        strength: λ > 0, of the step to the target distribution.
        utility: The random utility as a function of θ. The authors recommend `SumOfGamma` for subsets of size k.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> theta = torch.zeros(6, requires_grad=True)
        >>> trees = sst.estimators.IMLE(sst.SpanningTree.complete(4), strength=2.0)
        >>> trees(theta, (100,))[..., 0].mean().backward()
        >>> theta.grad.argmax()
        tensor(0)
    """

    def __init__(self, structure: Structure, strength: float = 1.0, utility: Law = Gumbel) -> None:
        super().__init__(structure, strength, utility)


class AIMLE(ArgmaxEstimator):
    r"""Adaptive I-MLE (Minervini, Franceschi and Niepert 2023): central differences, whose step finds itself.

    .. math:: \nabla_\theta \, \mathbb{E}[L(X)] \approx \frac{1}{2 \lambda}
        \big( X(U + \lambda g) - X(U - \lambda g) \big), \qquad \lambda = \beta \, \frac{\|U\|}{\|g\|}

    Each backward pass in training multiplies β by 1 + rate if the moving average of the number of coordinates that are
    not zero in a gradient is below `target`, and divides by it otherwise. (The paper adds and subtracts; a factor finds
    any order of magnitude.) β is a buffer, saved with the module.

    Args:
        structure: 𝒳.
        target: How many coordinates of a gradient shall not be zero, on average.
        rate: How fast β changes, in (0, 1).
        utility: The random utility as a function of θ.

    Raises:
        ValueError: `target` is not positive, or `rate` outside (0, 1).

    Example:
        >>> _ = torch.manual_seed(0)
        >>> subsets = sst.estimators.AIMLE(sst.KSubset(5, 2), target=1.0)
        >>> theta = torch.zeros(5, requires_grad=True)
        >>> for _ in range(10):
        ...     subsets(theta, (8,))[..., 0].sum().backward()
        >>> subsets.beta != 1.0
        tensor(True)
    """

    beta: Tensor
    average: Tensor

    def __init__(
        self, structure: Structure, target: float = 1.0, rate: float = 0.01, utility: Law | None = Gumbel
    ) -> None:
        super().__init__(structure, utility)
        self.target = check_positive("target", target, _USUAL)
        if not 0 < (rate := check_number("rate", rate, "a number in (0, 1)", _SMALL)) < 1:
            raise invalid("rate", repr(rate), "a number in (0, 1)", _SMALL)
        self.rate = rate
        self.register_buffer("beta", torch.ones(()))
        self.register_buffer("average", torch.full((), self.target))

    def gradient(self, u: Tensor, x: Tensor, g: Tensor) -> Tensor:
        """The quotient (argmax(u + λg) − argmax(u − λg)) / 2λ with λ = β‖u‖/‖g‖; β changes."""
        length = _norm(g, self.structure)
        step = self.beta.to(u.dtype) * _norm(torch.where(u.isfinite(), u, 0.0), self.structure)
        step = torch.where(length > 0, step / length, 1.0)
        step = torch.where(step > 0, step, 1.0)
        difference = self.structure.argmax(u + step * g) - self.structure.argmax(u - step * g)
        self._adapt((difference != 0).to(torch.float32))
        return difference / (2 * step)

    @torch.no_grad()
    def _adapt(self, changed: Tensor) -> None:
        events = len(self.structure.event_shape)
        self.average.lerp_(changed.flatten(-events).sum(-1).mean().to(self.average), 0.1)
        self.beta.mul_(torch.where(self.average < self.target, 1 + self.rate, 1 / (1 + self.rate)))

    def extra_repr(self) -> str:
        """Structure, target and rate."""
        return f"{super().extra_repr()}, target={self.target}, rate={self.rate}"


class Identity(ArgmaxEstimator):
    r"""The gradient as if the argmax were the identity, after a projection of θ (Sahoo et al. 2023).

    .. math:: \nabla_\theta L \approx \frac{1}{\|c\|} \Big( I - \frac{c c^\top}{\|c\|^2} \Big)
        \Big( g - \bar g \Big), \qquad c = \theta - \bar\theta

    A constant added to θ, and a positive factor, change no argmax of a structure whose vertices all have the same
    number of ones, so the gradient is freed of what would change θ in these directions alone. Only the factor remains
    where that number varies, as with `Subset`; two argmax calls, of ones and of minus ones, tell.

    Args:
        structure: 𝒳.
        center: Whether to take out the mean; the mean of absent coordinates is left out. By default where it changes no
            argmax.
        normalize: Whether to take out the norm.
        utility: A random utility as a function of θ, in place of θ itself.

    Example:
        >>> theta = torch.tensor([1.0, 0.0, -1.0], requires_grad=True)
        >>> x = sst.estimators.Identity(sst.OneHot(3))(theta)
        >>> (x @ torch.tensor([0.0, 1.0, 0.0])).backward()
        >>> theta.grad
        tensor([-0.2357,  0.4714, -0.2357])
    """

    def __init__(
        self, structure: Structure, *, center: bool | None = None, normalize: bool = True, utility: Law | None = None
    ) -> None:
        super().__init__(structure, utility)
        self.center = _has_one_size(structure) if center is None else center
        self.normalize = normalize

    def gradient(self, u: Tensor, x: Tensor, g: Tensor) -> Tensor:
        """The vector–Jacobian product of the projection."""
        events = tuple(range(-len(self.structure.event_shape), 0))
        present = self.present(u) & u.isfinite()
        count = present.sum(events, keepdim=True).clamp(min=1)

        def centred(v: Tensor) -> Tensor:
            v = torch.where(present, v, 0.0)
            return torch.where(present, v - v.sum(events, keepdim=True) / count, 0.0) if self.center else v

        c, g = centred(u), centred(g)
        if not self.normalize:
            return g
        length = _norm(c, self.structure)
        # At the origin, as at the start of a training, no factor is known.
        length = torch.where(length > 0, length, 1.0)
        c = c / length
        return (g - c * (c * g).sum(events, keepdim=True)) / length


class SPIGOT(ArgmaxEstimator):
    r"""The structured projection of intermediate gradients (Peng et al. 2018; Mihaylova et al. 2020).

    .. math:: \nabla_\theta L \approx x - \Pi_{\operatorname{conv} \mathcal{X}} (x - \eta g)

    A step of projected gradient descent from x within the polytope, taken for the gradient.

    Args:
        structure: 𝒳.
        step: η > 0.
        solver: Of the projection, where none is registered for `Euclidean`.
        utility: A random utility as a function of θ, in place of θ itself.

    Raises:
        NoSolverError: The structure has no registered projection, and no solver was given.
        ValueError: η is not positive.

    Example:
        >>> theta = torch.tensor([1.0, 0.8, 0.0], requires_grad=True)
        >>> x = sst.estimators.SPIGOT(sst.OneHot(3))(theta)
        >>> (x @ torch.tensor([1.0, 0.0, 0.0])).backward()
        >>> theta.grad
        tensor([ 0.6667, -0.3333, -0.3333])
    """

    def __init__(
        self, structure: Structure, step: float = 1.0, *, solver: Solver | None = None, utility: Law | None = None
    ) -> None:
        super().__init__(structure, utility)
        self.step = check_positive("step", step, _USUAL)
        solver_for(structure, Euclidean(), solver)
        self.solver = solver

    def gradient(self, u: Tensor, x: Tensor, g: Tensor) -> Tensor:
        """The step that projected gradient descent takes, x − Π(x − ηg)."""
        target = torch.where(u > -torch.inf, x - self.step * g, u)
        return x - self.structure.softmax(target, 1.0, Euclidean(), solver=self.solver)

    def extra_repr(self) -> str:
        """Structure and η."""
        return f"{super().extra_repr()}, step={self.step}"


_SMALL = "0.01 is a good beginning."
_USUAL = "Of the order of the utilities' differences."


def _has_one_size(structure: Structure) -> bool:
    ones = torch.ones(structure.event_shape)
    largest, smallest = (structure.argmax(u).flatten(-ones.dim()).sum(-1) for u in (ones, -ones))
    return torch.equal(largest, smallest)


def _norm(v: Tensor, structure: Structure) -> Tensor:
    events = tuple(range(-len(structure.event_shape), 0))
    largest = v.abs().amax(events, keepdim=True).clamp(min=torch.finfo(v.dtype).tiny)  # its square may overflow
    return largest * torch.linalg.vector_norm(v / largest, dim=events, keepdim=True)
