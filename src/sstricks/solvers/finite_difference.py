from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from sstricks.errors import check_number, invalid
from sstricks.regularizers import Regularizer
from sstricks.solvers.registry import Solver, check_solver, solver_for

if TYPE_CHECKING:
    from sstricks.structures.structure import Structure


class FiniteDifference:
    r"""Any solver, differentiated by central differences in the direction of the gradient (App. D.1, eq. 56).

    .. math:: \frac{dL}{du} \approx \frac{x(u + \varepsilon g) - x(u - \varepsilon g)}{2 \varepsilon}, \qquad
              g = \frac{\partial L}{\partial x}

    in scaled utilities u = U/t. It needs nothing of the solver but its value, twice more, since the Jacobian is
    symmetric. The error is O(ε²‖g‖³) where x is smooth, plus the error of the values over ε; across a kink (Euclidean
    regularizers) it is a mean of the two sides. The paper's App. D.6 trains top-k models so; the solvers registered
    here all have exact gradients, and need it only where a solver of one's own has none. It can be
    differentiated once only, in reverse mode, and not by torch.func.

    Args:
        solver: What to differentiate; by default the solver registered for the pair.
        eps: The ε of eq. 56. By default the cube root of the machine precision (6e-6 in float64, in which solvers work)
            over the largest |g| of each example, which balances the two errors whatever the scale of the loss.

    Raises:
        ValueError: eps is not positive, or the solver cannot be called.

    Example:
        >>> u = torch.tensor([1.0, 0.5, 0.0], requires_grad=True)
        >>> x = sst.KSubset(3, 2).softmax(u, 1.0, sst.ExponentialFamilyEntropy(), solver=sst.FiniteDifference())
        >>> x[0].backward()
        >>> u.grad
        tensor([ 0.1516, -0.0572, -0.0944])
    """

    def __init__(self, solver: Solver | None = None, eps: float | None = None) -> None:
        expected, remedy = "a number > 0, or None", "None chooses a step by the precision."
        if eps is not None and not check_number("eps", eps, expected, remedy) > 0:
            raise invalid("eps", repr(eps), expected, remedy)
        if solver is not None:
            check_solver(solver)
        self.solver = solver
        self.eps = eps

    def __repr__(self) -> str:
        return f"FiniteDifference({self.solver!r}, eps={self.eps})"

    def __call__(self, structure: Structure, regularizer: Regularizer, u: Tensor) -> Tensor:
        """The point that the solver finds, shape and dtype of u, differentiable in u.

        Args:
            structure: 𝒳.
            regularizer: f.
            u: Scaled utilities U/t, shape (*batch, *event_shape), −∞ where a coordinate is absent.

        Raises:
            NotImplementedError: Derivatives are taken in forward mode.
        """
        if forward_ad._current_level >= 0:
            raise NotImplementedError(
                "sst.FiniteDifference: found forward mode, expected reverse mode. Use a solver with an exact gradient, "
                "such as sst.FrankWolfe()."
            )
        solver = solver_for(structure, regularizer, self.solver)
        return _Difference.apply(u, lambda v: solver(structure, regularizer, v), self.eps, len(structure.event_shape))


class _Difference(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, solve: Any, eps: float | None, depth: int) -> Tensor:
        ctx.save_for_backward(u)
        ctx.solve, ctx.eps, ctx.depth = solve, eps, depth
        return solve(u)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (grad,) = grads
        if torch.is_grad_enabled():
            raise RuntimeError(
                "sst.FiniteDifference can be differentiated once only: found create_graph=True. Use a solver with an "
                "exact gradient, such as sst.FrankWolfe()."
            )
        (u,) = ctx.saved_tensors
        if ctx.eps is None:
            largest = grad.abs().flatten(-ctx.depth).amax(-1).reshape(*grad.shape[: -ctx.depth], *[1] * ctx.depth)
            eps = torch.finfo(u.dtype).eps ** (1 / 3) / torch.where(largest > 0, largest, 1.0)
        else:
            eps = torch.full((), ctx.eps, dtype=u.dtype, device=u.device)
        there, back = ctx.solve(u + eps * grad), ctx.solve(u - eps * grad)
        return (there - back) / (2 * eps), None, None, None
