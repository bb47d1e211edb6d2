"""E.F. k-subset marginals by the O(nk) dynamic program in logs (App. B.4), and the backward passes of App. D.1."""

from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-2


def log_partition(u: Tensor, k: int, at_least: int | None = None) -> Tensor:
    """Log Σ exp(u·x) over subsets of at_least to k of u (*batch, n), k by default: a step of Python per coordinate.

    Only the counts that can be reached are carried, so that no −∞ enters the autograd graph.
    """
    counts = torch.zeros_like(u[..., :1])
    for u_i in u.split(1, dim=-1):
        with_i = counts + u_i
        merged = torch.logaddexp(counts[..., 1:], with_i[..., :-1])
        counts = torch.cat([counts[..., :1], merged, with_i[..., -1:]], dim=-1)[..., : k + 1]
    return counts[..., k if at_least is None else at_least :].logsumexp(-1)


def unrolled(u: Tensor, k: int, at_least: int | None = None) -> Tensor:
    """Marginals by autograd; their backward differentiates the unrolled program once more."""
    with torch.enable_grad():
        theta = u if u.requires_grad else u.detach().requires_grad_()
        return torch.autograd.grad(log_partition(theta, k, at_least).sum(), theta, create_graph=True)[0]


class FiniteDifferences(torch.autograd.Function):
    """Marginals whose backward is (X_t(U + εg) − X_t(U − εg)) / 2ε (eq. 56)."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, k: int) -> Tensor:
        """Solve once, without a graph."""
        ctx.save_for_backward(u)
        ctx.k = k
        return solve(u, k)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        """Solve twice more."""
        (u,) = ctx.saved_tensors
        ahead, behind = solve(u + EPSILON * g, ctx.k), solve(u - EPSILON * g, ctx.k)
        return (ahead - behind) / (2 * EPSILON), None


def finite_differences(u: Tensor, k: int) -> Tensor:
    """Marginals with the backward pass of eq. 56."""
    return FiniteDifferences.apply(u, k)


def solve(u: Tensor, k: int) -> Tensor:
    """Return the marginals without a graph."""
    with torch.enable_grad():
        theta = u.detach().requires_grad_()
        return torch.autograd.grad(log_partition(theta, k).sum(), theta)[0]
