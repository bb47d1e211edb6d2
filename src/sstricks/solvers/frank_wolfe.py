from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from sstricks.errors import check_integer, check_positive, invalid
from sstricks.ops.active_set import mix
from sstricks.ops.frank_wolfe import check_convergence, frank_wolfe
from sstricks.ops.optimal_face import face_normals, on_face
from sstricks.regularizers import SeparableRegularizer
from sstricks.solvers.registry import declare_iterative, register_solver
from sstricks.solvers.separable import code_of, differentiable, differentiable_weights, domain_on, in_batch_of

if TYPE_CHECKING:
    from sstricks.structures.structure import Structure


class Solution(NamedTuple):
    """What `FrankWolfe.solve` found."""

    point: Tensor
    """The point of conv 𝒳, shape (*batch, *event_shape)."""
    gap: Tensor
    """Its duality gap, a bound on how much better the optimum is, shape (*batch)."""
    steps: Tensor
    """How many steps it took, shape (*batch)."""
    vertices: Tensor
    """The active vertices, shape (*batch, slots, *event_shape); as many slots as the row with the most of them takes,
    zero in empty ones."""
    weights: Tensor
    """Their weights, shape (*batch, slots), positive where a slot is taken: the point is their mixture.

    Their gradient in u is that of the optimum over the affine hull of the active vertices, as sparse marginalisation
    needs it (Correia et al. 2020): :math:`\\sum_j \\lambda_j L(v_j)` can be differentiated. It is exact unless another
    vertex is about to become active."""


class FrankWolfe:
    r"""Solves any structure under any separable regularizer with nothing but its argmax (App. B; Sec. 5).

    .. math:: x = \sum_j \lambda_j v_j, \quad v_j \in \mathcal{X}; \qquad
              \text{gap} = \max_{v \in \mathcal{X}} (u - \nabla f(x))^\top (v - x)

    A fully corrective Frank–Wolfe (active-set) method: each step adds the vertex that is best for the gradient and
    takes a Newton step in the weights of all. SparseMAP (Niculae et al. 2018) is the Euclidean case. The result is
    always a point of conv 𝒳. Its gradient is exact: with H = ∇²f and B the directions of the optimal face, which is
    found by argmax too, :math:`dx = B (B^\top H B)^{-1} B^\top du/t`; it can be differentiated again.

    Vertices may be of any numbers, of the order of one, on which f is defined: `SeparableRegularizer.domain`.

    Coordinates that the entropies make smaller than 10⁻¹⁴ may be returned as 0; the gap is that of the point before.

    Args:
        max_steps: After how many steps to give up.
        tol: The duality gap to reach, beyond what rounding allows at the scale of u/t.

    Raises:
        ValueError: max_steps or tol is not positive.

    Warns:
        ConvergenceWarning: Where the gap is larger than tol after all; it says how large.

    Example:
        >>> trees = sst.SpanningTree.complete(3)
        >>> u = torch.tensor([1.0, 0.5, 0.0])
        >>> trees.softmax(u, 1.0, sst.Euclidean(), solver=sst.FrankWolfe())
        tensor([1.0000, 0.7500, 0.2500])
        >>> sst.FrankWolfe().solve(trees, sst.Euclidean(), u).vertices.sum(0)
        tensor([2., 1., 1.])
    """

    def __init__(self, max_steps: int = 1000, tol: float = 1e-13) -> None:
        self.max_steps = check_integer("max_steps", max_steps, "A problem of dimension d takes about 2d.", low=1)
        self.tol = check_positive("tol", tol, "The default asks for all that rounding leaves.")

    def __repr__(self) -> str:
        return f"FrankWolfe(max_steps={self.max_steps}, tol={self.tol})"

    def __call__(self, structure: Structure, regularizer: SeparableRegularizer, u: Tensor) -> Tensor:
        """The optimum, shape and dtype of u, differentiable in u.

        Args:
            structure: 𝒳.
            regularizer: f.
            u: Scaled utilities U/t, shape (*batch, *event_shape), −∞ where a coordinate is absent.

        Raises:
            ValueError: f is not separable, or not defined on all of conv 𝒳, or the argmax of a `LinearOracle` is wrong.
        """
        code = _code(regularizer)
        flat, is_wanted = in_batch_of(regularizer, u.flatten(-len(structure.event_shape)))
        batch, n = flat.shape[:-1], flat.shape[-1]
        pair = torch.stack([flat, flat], -2).detach()
        found = frank_wolfe(pair, structure.handle(), code, list(batch), self.max_steps, self.tol)
        x, pull = found.unbind(-2)
        if is_wanted:
            frame = torch.zeros(n, n, dtype=u.dtype, device=u.device)
            normals = face_normals(frame, pull, structure.handle())
            x = differentiable(
                regularizer, flat, x, lambda *args: on_face(*args, normals), domain_on(structure, regularizer)
            )
        return x.reshape(*batch, *structure.event_shape)

    def solve(self, structure: Structure, regularizer: SeparableRegularizer, u: Tensor) -> Solution:
        """The optimum with its duality gap, and its active vertices with their weights, which are differentiable in u.

        Args:
            structure: 𝒳.
            regularizer: f.
            u: Scaled utilities U/t, shape (*batch, *event_shape).

        Raises:
            NotImplementedError: Forward mode; gradients are by reverse mode only.
            ValueError: f is not separable, u does not fit 𝒳, or the argmax of a `LinearOracle` is wrong.
        """
        if forward_ad._current_level >= 0:
            raise NotImplementedError("solve: found forward mode; take jacrev, or softmax with solver=FrankWolfe().")
        scaled, event = structure.scaled(u, 1.0), structure.event_shape
        code = _code(regularizer)
        flat, is_wanted = in_batch_of(regularizer, scaled.flatten(-len(event)))
        batch, n = flat.shape[:-1], flat.shape[-1]
        found = mix(
            structure.handle(), flat.detach().reshape(batch.numel(), n), code, list(batch), self.max_steps, self.tol
        )
        check_convergence(found, self.tol)
        slots = found.weights.shape[-1]
        vertices = found.vertices.reshape(*batch, slots, n)
        weights = found.weights.reshape(*batch, slots)
        if is_wanted:
            weights = differentiable_weights(regularizer, flat, vertices, weights, domain_on(structure, regularizer))
        return Solution(
            found.point.to(u.dtype).reshape(*batch, *event),
            found.gap.reshape(batch),
            found.steps.reshape(batch),
            vertices.to(u.dtype).reshape(*batch, slots, *event),
            weights.to(u.dtype),
        )


def register_frank_wolfe(structure: type[Structure]) -> None:
    """Register the active-set method as the solver of a structure under every separable regularizer."""
    register_solver(structure, SeparableRegularizer)(FrankWolfe())
    declare_iterative(structure, SeparableRegularizer, "active set")


def _code(regularizer: SeparableRegularizer) -> int:
    if not isinstance(regularizer, SeparableRegularizer):
        raise invalid(
            "regularizer",
            repr(regularizer),
            "a SeparableRegularizer, such as sst.Euclidean()",
            "sst.FrankWolfe needs the slopes of its density.",
        )
    return code_of(regularizer)
