"""E.F. correlated k-subsets by the dynamic program in logs (App. B.5), and the backward passes of App. D.6."""

from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-2
NEVER = -1e9


def log_partition(u: Tensor, k: int) -> Tensor:
    """Log Σ exp(u·x) over the correlated k-subsets, for u (*batch, 2n − 1): one step of Python per item."""
    n = (u.shape[-1] + 1) // 2
    never = torch.full_like(u[..., :1], NEVER)
    left = torch.cat([torch.zeros_like(never), never.expand(*never.shape[:-1], k)], dim=-1)
    taken = never.expand(left.shape)
    for i in range(n):
        pair = u[..., n + i - 1, None] if i else torch.zeros_like(never)
        grown = _either(left, taken + pair)[..., :-1] + u[..., i, None]
        left, taken = _either(left, taken), torch.cat([never, grown], dim=-1)
    return _either(left[..., k], taken[..., k])


def _either(a: Tensor, b: Tensor) -> Tensor:
    """torch.logaddexp has no finite second derivative beside `NEVER`."""
    return torch.stack(torch.broadcast_tensors(a, b)).logsumexp(0)


def crf_log_partition(u: Tensor, k: int) -> Tensor:
    """The same by torch-struct: a linear-chain CRF whose labels are (items so far, whether the last was taken)."""
    from torch_struct import LinearChainCRF

    n = (u.shape[-1] + 1) // 2
    count = torch.arange(k + 1).repeat(2)
    taken = torch.arange(2).repeat_interleave(k + 1)
    legal = count[:, None] == count + taken[:, None]  # to (row) from (column)
    barrier = torch.where(legal, 0.0, NEVER)
    edges = barrier + u[:, 1:n, None, None] * taken[:, None] + u[:, n:, None, None] * (taken[:, None] * taken)
    start = torch.where(count == taken, 0.0, NEVER) + u[:, 0, None] * taken
    end = torch.where(count == k, 0.0, NEVER)
    first = torch.nn.functional.pad(start[:, None, None, :], (0, 0, 0, 0, 0, n - 2))
    last = torch.nn.functional.pad(end[None, None, :, None], (0, 0, 0, 0, n - 2, 0))
    return LinearChainCRF(edges + first + last).partition


def unrolled(u: Tensor, k: int, program: Any = log_partition) -> Tensor:
    """Marginals by autograd; their backward differentiates the unrolled program once more."""
    with torch.enable_grad():
        theta = u if u.requires_grad else u.detach().requires_grad_()
        return torch.autograd.grad(program(theta, k).sum(), theta, create_graph=True)[0]


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
        return (solve(u + EPSILON * g, ctx.k) - solve(u - EPSILON * g, ctx.k)) / (2 * EPSILON), None


def finite_differences(u: Tensor, k: int) -> Tensor:
    """Marginals with the backward pass of eq. 56."""
    return FiniteDifferences.apply(u, k)


def solve(u: Tensor, k: int) -> Tensor:
    """Return the marginals without a graph."""
    with torch.enable_grad():
        theta = u.detach().requires_grad_()
        return torch.autograd.grad(log_partition(theta, k).sum(), theta)[0]
