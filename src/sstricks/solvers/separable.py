"""What all solvers of separable regularizers share: the optimum as a function of u and of the parameters of f."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sstricks.errors import invalid, joint_shape
from sstricks.ops import arborescence_optimum as arborescences
from sstricks.ops import projective_optimum as projective
from sstricks.ops import tree_optimum as operators
from sstricks.ops import tsallis
from sstricks.ops.costs import BINARY, CATEGORICAL, EUCLIDEAN
from sstricks.ops.density import UNIT, Domain, interior
from sstricks.ops.operator import is_differentiated, is_eager
from sstricks.ops.optimal_face import on_face
from sstricks.ops.oracles import Oracle
from sstricks.ops.separable_optimum import separable_optimum
from sstricks.regularizers import (
    BinaryEntropy,
    CategoricalEntropy,
    Euclidean,
    Regularizer,
    SeparableRegularizer,
    TsallisEntropy,
)

_CODES: dict[type[Regularizer], int] = {Euclidean: EUCLIDEAN, CategoricalEntropy: CATEGORICAL, BinaryEntropy: BINARY}


def box_optimum(f: SeparableRegularizer, u: Tensor, k: int) -> Tensor:
    """The maximiser of uᵀx − f(x) on {x ∈ [0, 1]ⁿ : Σx = k}, or on all of [0, 1]ⁿ if k is 0.

    Args:
        f: A regularizer.
        u: Scaled utilities, shape (*batch, n).
        k: What x sums to; 0 if it may sum to anything.

    Returns:
        Shape (*batch, n), differentiable in u and in the parameters of f.
    """
    u, is_wanted = in_batch_of(f, u)
    x, n = separable_optimum(u.detach(), f.handle(), k, list(u.shape[:-1])), u.shape[-1]
    normals = u.new_full((n, 1), n**-0.5) if k else u.new_zeros(n, 0)
    return differentiable(f, u, x, lambda *args: on_face(*args, normals)) if is_wanted else x


def log_box_optimum(f: CategoricalEntropy | BinaryEntropy, u: Tensor, x: Tensor, k: int) -> Tensor:
    r"""The logarithm of x, the maximiser of `box_optimum`, also where x is too small for a floating-point number.

    The optimum is :math:`x_i = r(u_i - \tau)` with the response r of `sstricks.ops.matching` and one multiplier τ. Find
    that from a coordinate far from 0. Let u be in descending order.

    *Categorical entropy*, r = min(1, exp). If n > k, the cap holds at most k − 1 coordinates, and the others share a
    sum of at least 1, so that :math:`x_k \ge 1/n` and :math:`\tau = u_k - \log x_k`. (If n = k, all are 1, and so they
    are with this τ.)

    *Binary entropy*, r = σ. That the sum is k means that the first k coordinates lack as much as the others have,
    :math:`F(\tau) = \log \sum_{i > k} \sigma(u_i - \tau) - \log \sum_{i \le k} \sigma(\tau - u_i) = 0`. Newton's method
    solves it, from what x says of τ where that is not too small, and elsewhere from the solution of
    :math:`\log \sum_{i > k} e^{u_i - \tau} = \log \sum_{i \le k} e^{\tau - u_i}`, which differs by a factor of
    :math:`x_{k+1}`. Two steps know the first and second derivatives.

    Args:
        f: The regularizer.
        u: Scaled utilities, shape (*batch, n).
        x: The optimum, differentiable in u.
        k: What x sums to, at least 1.
    """
    here = u > -torch.inf
    if isinstance(f, CategoricalEntropy):
        kth = u.topk(k).indices[..., -1:]
        tau = u.gather(-1, kth) - x.gather(-1, kth).log()
        return torch.where(here, u - tau, -torch.inf).clamp(max=0)
    if k == u.shape[-1]:
        return torch.where(here, 0.0, u)
    top, order = u.sort(-1, descending=True)
    second, value = top[..., k : k + 1], x.detach().gather(-1, order[..., k : k + 1])
    alone = second == -torch.inf  # no more than k are present, and these are 1
    most, rest = torch.where(alone, 0.0, top).split([k, top.shape[-1] - k], -1)
    small = value < 1e-6
    cold = (rest.logsumexp(-1, keepdim=True) - (-most).logsumexp(-1, keepdim=True)) / 2
    warm = rest[..., :1] - torch.where(small | alone, 0.5, value).logit()
    tau = torch.where(small, cold, warm).detach()
    for _ in range(2):
        inside, missing = logsigmoid(rest - tau), logsigmoid(tau - most)
        slope = (inside.softmax(-1) * (tau - rest).sigmoid()).sum(-1, keepdim=True)
        slope = slope + (missing.softmax(-1) * (most - tau).sigmoid()).sum(-1, keepdim=True)
        tau = tau + (inside.logsumexp(-1, keepdim=True) - missing.logsumexp(-1, keepdim=True)) / slope
    return torch.where(here, logsigmoid(torch.where(here & ~alone, u - tau, torch.inf)), -torch.inf)


def tree_optimum(f: SeparableRegularizer, u: Tensor, edges: Tensor, nodes: int, forest: bool) -> Tensor:
    """The maximiser of uᵀx − f(x) on the hull of the spanning trees of a graph.

    Args:
        f: A regularizer.
        u: Scaled utilities, shape (*batch, E).
        edges: The two ends of every edge, shape (2, E).
        nodes: The number of nodes.
        forest: Whether the graph may be disconnected; x is then in the hull of its spanning forests.

    Returns:
        Shape (*batch, E), differentiable in u and in the parameters of f.
    """
    u, is_wanted = in_batch_of(f, u)
    pair = torch.stack([u, u], -2).detach()
    x, blocks = operators.tree_optimum(pair, edges, nodes, forest, code_of(f), list(u.shape[:-1])).unbind(-2)
    return differentiable(f, u, x, lambda *args: operators.on_blocks(*args, blocks)) if is_wanted else x


def arborescence_optimum(
    f: SeparableRegularizer,
    u: Tensor,
    edges: Tensor,
    nodes: int,
    single: bool,
    oracle: Oracle,
    max_steps: int,
    tol: float,
) -> Tensor:
    """The maximiser of uᵀx − f(x) on the hull of the arborescences of a graph from node 0.

    Args:
        f: A regularizer.
        u: Scaled utilities, shape (*batch, E).
        edges: The tail and the head of every edge, shape (2, E).
        nodes: The number of nodes.
        single: Whether the root has a single child.
        oracle: The structure.
        max_steps: After how many steps of the active-set method, where that is needed, to give up.
        tol: The duality gap that it is to reach.

    Returns:
        Shape (*batch, E), differentiable in u and in the parameters of f.
    """
    u, is_wanted = in_batch_of(f, u)
    frame = u.new_zeros(u.shape[-1], 1 + 2 * nodes if is_wanted else 1)
    settings = single, oracle.handle(), f.handle(), code_of(f), list(u.shape[:-1]), max_steps, tol
    found = arborescences.arborescence_optimum(frame, u.detach(), edges, nodes, *settings)
    x, normals = found[..., 0], found[..., 1:]
    return differentiable(f, u, x, lambda *args: on_face(*args, normals)) if is_wanted else x


def projective_optimum(f: SeparableRegularizer, u: Tensor, nodes: int, single: bool) -> Tensor:
    """The maximiser of uᵀx − f(x) on the hull of the projective trees from node 0.

    Args:
        f: A regularizer.
        u: Scaled utilities, shape (*batch, (n−1)²).
        nodes: The number of nodes n.
        single: Whether the root has a single child.

    Returns:
        Shape (*batch, (n−1)²), differentiable in u and in the parameters of f.
    """
    u, is_wanted = in_batch_of(f, u)
    edges = u.shape[-1]
    frame = u.new_zeros(edges + projective.hyperedges(nodes) if is_wanted else edges)
    settings = nodes, single, f.handle(), code_of(f), list(u.shape[:-1])
    found = projective.projective_optimum(frame, u.detach(), *settings)
    x, weights = found[..., :edges], found[..., edges:]
    return differentiable(f, u, x, lambda *args: projective.on_flow(*args, weights, nodes)) if is_wanted else x


def code_of(f: SeparableRegularizer) -> int:
    """By what operators find a regularizer: which of `COSTS` it is, or its handle."""
    return _CODES[type(f)] if type(f) in _CODES else f.handle()


def entmax(f: TsallisEntropy, u: Tensor, k: int) -> Tensor:
    """As `box_optimum`, directly.

    Args:
        f: The regularizer.
        u: Scaled utilities, shape (*batch, n).
        k: What x sums to; 0 if it may sum to anything.
    """
    alpha = f.alpha_like(u)
    joint_shape("alpha", alpha.shape, u.shape[:-1], "utilities")
    return tsallis.entmax(u, alpha, k)


def in_batch_of(f: SeparableRegularizer, u: Tensor) -> tuple[Tensor, bool]:
    """The utilities in the batch shape that they and the parameters of f broadcast to, and if a gradient may be asked.

    Raises:
        ValueError: They do not broadcast.
    """
    try:
        density = f.density(torch.full_like(u, 0.5))
        if not isinstance(density, Tensor) or density.shape[-1:] != u.shape[-1:]:
            found = f"shape {tuple(density.shape)}" if isinstance(density, Tensor) else repr(density)
            remedy = "Return one number for each coordinate, as in x**2, and not their sum."
            raise invalid(
                "density", f"{found} for x of shape {tuple(u.shape)}", "h(x), coordinate by coordinate", remedy
            )
        expanded = u.expand(density.shape)
    except RuntimeError as error:
        raise invalid(
            "regularizer",
            f"{f!r} ({error})",
            f"parameters that broadcast with {tuple(u.shape)}, the shape of the flattened utilities",
            "One for each example has shape (*batch, 1); the alpha of TsallisEntropy has shape (*batch).",
        ) from error
    return expanded, not is_eager(u) or is_differentiated(u, density)


def domain_on(structure: Oracle, f: SeparableRegularizer) -> Domain:
    """Where the coordinates of points of conv 𝒳 are, as far as solvers are concerned."""
    return UNIT if structure.is_binary else f.domain


def differentiable(
    f: SeparableRegularizer, u: Tensor, x: Tensor, step: Callable[..., Tensor], domain: Domain = UNIT
) -> Tensor:
    r"""The optimum x, as a function of u and of the parameters θ of f.

    It is two steps of Newton's method on the optimal face, :math:`x \leftarrow x + J (u - h'(x))`, which change nothing
    but know their derivatives: those of the first, :math:`dx = J (du - \partial_\theta h' d\theta)`, are exact; each
    further step doubles the order up to which they are.

    Args:
        f: A regularizer.
        u: Scaled utilities, shape (*batch, n).
        x: The optimum, shape (*batch, n), without gradient.
        step: From u, x, h'(x) and 1/h''(x), or 0 where x cannot vary, to x + J(u − h'(x)).
        domain: Outside of which x cannot vary.
    """
    for _ in range(2):
        inside = interior(x, domain)
        within = torch.where(inside, x, 0.5)
        spread = torch.where(inside, 1 / f.curvature(within), 0.0)
        x = step(u, x, f.slope(within), spread)
    return x


def differentiable_weights(
    f: SeparableRegularizer, u: Tensor, vertices: Tensor, weights: Tensor, domain: Domain = UNIT
) -> Tensor:
    r"""The weights λ of active vertices V, of which the optimum is :math:`x = V^\top \lambda`, as a function of u.

    As in `differentiable`, it is two steps of Newton's method, which change nothing but know their derivatives: with
    H = ∇²f(x), :math:`(V H V^\top + 1 1^\top)\, d\lambda = V (u - \nabla f(x)) - \mu 1`, :math:`1^\top d\lambda = 0`.

    Args:
        f: A regularizer.
        u: Scaled utilities, shape (*batch, n).
        vertices: Affinely independent vertices, shape (*batch, slots, n), zero in empty slots.
        weights: Their weights, shape (*batch, slots), zero in empty slots, without gradient.
        domain: At the ends of which all active vertices are alike.
    """
    taken = (weights > 0).to(u.dtype).unsqueeze(-1)
    value = weights
    for _ in range(2):
        x = (weights.unsqueeze(-2) @ vertices).squeeze(-2)
        inside = interior(x.detach(), domain)
        within = torch.where(inside, x, 0.5)
        g = torch.where(inside, u - f.slope(within), 0.0)
        h = torch.where(inside, f.curvature(within), 0.0)
        matrix = (vertices * h.unsqueeze(-2)) @ vertices.mT + taken @ taken.mT + torch.diag_embed(1 - taken.squeeze(-1))
        solved = torch.linalg.solve(matrix, torch.cat([vertices @ g.unsqueeze(-1), taken], -1)) * taken
        step, unit = solved.unbind(-1)
        step = step - unit * (step.sum(-1, keepdim=True) / unit.sum(-1, keepdim=True))
        weights = weights + step
    return value + (weights - weights.detach())
