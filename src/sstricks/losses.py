"""Losses that fit parameters to given vertices, each with the gradient "prediction minus truth"."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from sstricks.errors import check_floating, check_integer, invalid, joint_shape
from sstricks.estimators.estimator import Law, check_law
from sstricks.regularizers import ExponentialFamilyEntropy, Regularizer
from sstricks.solvers.registry import Solver, solver_for
from sstricks.structures.structure import Structure
from sstricks.tricks import StochasticArgmaxTrick
from sstricks.utilities import Gumbel

Reduction = Literal["none", "mean", "sum"]


class _FenchelYoung(nn.Module):
    def __init__(self, structure: Structure, reduction: Reduction) -> None:
        super().__init__()
        if not isinstance(structure, Structure):
            raise invalid("structure", repr(structure), "a structure such as sst.KSubset(n, k)", "It comes first.")
        if reduction not in ("none", "mean", "sum"):
            raise invalid("reduction", repr(reduction), "'none', 'mean' or 'sum'", "As in torch's losses.")
        self.structure, self.reduction = structure, reduction

    def extra_repr(self) -> str:
        """The structure."""
        return repr(self.structure)

    def _checked(self, u: Tensor, y: Tensor) -> None:
        batch = self.structure.check_shape("u", check_floating("u", u))
        mine = self.structure.check_shape("y", check_floating("y", y))
        joint_shape("y", mine, batch, "utilities")

    def _inner(self, u: Tensor, x: Tensor) -> Tensor:
        """uᵀx of scaled utilities, −∞ where x has an absent coordinate."""
        events = tuple(range(-len(self.structure.event_shape), 0))
        return torch.where(x != 0, u * x.detach(), 0.0).sum(events)

    def _reduced(self, value: Tensor) -> Tensor:
        return value if self.reduction == "none" else value.mean() if self.reduction == "mean" else value.sum()


class FenchelYoungLoss(_FenchelYoung):
    r"""The Fenchel–Young loss of a structure and a regularizer (Blondel, Martins and Niculae 2020).

    .. math:: L(u, y) = f^*(u) + f(y) - u^\top y \ge 0, \qquad
        f^*(u) = \max_{x \in \operatorname{conv} \mathcal{X}} u^\top x - f(x), \qquad \nabla_u L = x(u) - y

    It is convex in u, zero where the softmax x(u) is y, and +∞ where y has an absent coordinate. With
    `ExponentialFamilyEntropy` it is −log p(y), the loss of a conditional random field; with `Euclidean` that of
    SparseMAP. It can be differentiated twice in u.

    Args:
        structure: 𝒳.
        regularizer: f.
        reduction: "mean", "sum" or "none" over the batch, as in torch.
        solver: What to use instead of the solver registered for the pair (𝒳, f).

    Raises:
        NoSolverError: No solver is registered for the pair, and none was given.
        ValueError: The reduction is none of these.

    Example:
        >>> loss = sst.FenchelYoungLoss(sst.OneHot(3), sst.ExponentialFamilyEntropy())
        >>> u = torch.tensor([1.0, 0.0, -1.0], requires_grad=True)
        >>> value = loss(u, torch.tensor([1.0, 0.0, 0.0]))
        >>> value, torch.nn.functional.cross_entropy(u, torch.tensor(0))
        (tensor(0.4076, grad_fn=<MeanBackward0>), tensor(0.4076, grad_fn=<NllLossBackward0>))
        >>> value.backward()
        >>> u.grad
        tensor([-0.3348,  0.2447,  0.0900])
    """

    def __init__(
        self,
        structure: Structure,
        regularizer: Regularizer,
        *,
        reduction: Reduction = "mean",
        solver: Solver | None = None,
    ) -> None:
        super().__init__(structure, reduction)
        solver_for(structure, regularizer, solver)
        self.regularizer, self.solver = regularizer, solver

    def extra_repr(self) -> str:
        """Structure and regularizer."""
        return f"{super().extra_repr()}, {self.regularizer!r}"

    def forward(self, u: Tensor, y: Tensor) -> Tensor:
        """The loss, () or (*batch).

        Args:
            u: Utilities, shape (*batch, *event_shape).
            y: Vertices, or points of conv 𝒳, shape (*batch, *event_shape). Under `ExponentialFamilyEntropy` f(y) is
                taken to be 0, as it is at vertices; at other points the loss lacks that constant.

        Raises:
            ValueError: u or y does not fit the structure.
        """
        self._checked(u, y)
        x = self.structure.softmax(u, 1.0, self.regularizer, solver=self.solver)
        s = self.structure.scaled(u.detach(), 1.0)
        if isinstance(self.regularizer, ExponentialFamilyEntropy):
            conjugate, at_y = self.structure.log_partition(s), 0.0
        else:
            with torch.no_grad():
                conjugate = self._inner(s, x) - self.regularizer(x, self.structure)
            at_y = self.regularizer(y, self.structure)
        gap = _Gap.apply(u, y, x - y, (conjugate - self._inner(s, y)).to(u.dtype))
        return self._reduced(gap + at_y)  # pyright: ignore[reportOperatorIssue]


class PerturbedFenchelYoungLoss(_FenchelYoung):
    r"""The Fenchel–Young loss of a perturbed argmax (Berthet et al. 2020): for any structure with an argmax.

    .. math:: L(\theta, y) = \mathbb{E} \Big[ \max_{x \in \mathcal{X}} U^\top x \Big] - \theta^\top y, \qquad
        \nabla_\theta L = \mathbb{E}[X(U)] - y, \quad U = \theta + \sigma Z

    The expectation is a mean over `samples` draws, without bias in value and gradient. The value lacks a constant that
    depends on y alone, so it may be negative.

    Args:
        structure: 𝒳.
        samples: How many utilities are drawn for each example.
        utility: The random utility as a function of θ, of which θ is the location.
        reduction: "mean", "sum" or "none" over the batch, as in torch.

    Raises:
        ValueError: `samples` is below 1, or the reduction none of these.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> loss = sst.PerturbedFenchelYoungLoss(sst.SpanningTree.complete(3), samples=1000)
        >>> theta = torch.zeros(3, requires_grad=True)
        >>> loss(theta, torch.tensor([1.0, 1.0, 0.0])).backward()
        >>> (theta.grad - torch.tensor([-1 / 3, -1 / 3, 2 / 3])).abs().max() < 0.05
        tensor(True)
    """

    def __init__(
        self, structure: Structure, samples: int = 1, utility: Law = Gumbel, *, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(structure, reduction)
        self.samples = check_integer("samples", samples, "A mean takes one at least.", low=1)
        self.utility = check_law(utility)

    def forward(self, theta: Tensor, y: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """The loss, () or (*batch).

        Args:
            theta: θ, shape (*batch, *event_shape).
            y: Vertices, or points of conv 𝒳, shape (*batch, *event_shape).
            generator: Where the randomness comes from, if not from torch's default generator.

        Raises:
            ValueError: θ or y does not fit the structure.
        """
        self._checked(theta, y)
        trick = StochasticArgmaxTrick(self.structure, self.utility(theta))
        with torch.no_grad():
            u = trick.sample_utility(torch.Size((self.samples,)), generator)
            x = trick.vertex(u)
            value = self._inner(u, x).mean(0) - self._inner(self.structure.scaled(theta, 1.0), y)
        gap = _Gap.apply(theta, y, x.mean(0) - y, value.to(theta.dtype))
        assert isinstance(gap, Tensor)
        return self._reduced(gap)


class _Gap(torch.autograd.Function):
    # f*(u) − uᵀy, whose gradient is x(u) − y in u, by the envelope theorem: x maximises uᵀx − f(x), so that it need not
    # be differentiated, and f' need not be finite at it. The gradient in y is −u. Second derivatives are those of x.
    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor, y: Tensor, gap: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        u, y, gap, _ = inputs
        ctx.save_for_backward(u, gap)
        ctx.save_for_forward(u, gap)
        ctx.shape, ctx.events = y.shape, tuple(range(output.dim() - gap.dim(), 0))

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        u, gap = ctx.saved_tensors
        weight = grad[0][(..., *[None] * len(ctx.events))]
        in_y = torch.where(u > -torch.inf, -u, 0.0) * weight
        return (weight * gap).sum_to_size(u.shape), in_y.sum_to_size(ctx.shape), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        u, gap = ctx.saved_tensors
        slopes = (gap, torch.where(u > -torch.inf, -u, 0.0))
        terms = [slope * tangent for slope, tangent in zip(slopes, tangents[:2], strict=True) if tangent is not None]
        return torch.stack(torch.broadcast_tensors(*terms)).sum((0, *ctx.events))
