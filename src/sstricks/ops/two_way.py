r"""The two-way fit: what a row effect and a column effect can explain of a table (the analysis of variance).

With A the matrix that adds a row vector p and a column vector −q to a table, :math:`(A(p, q))_{ij} = p_i - q_j`, and
D = diag(d) for weights d ≥ 0, this is :math:`A (A^\top D A)^+ A^\top k`. AᵀDA is the Laplacian of the bipartite graph
whose edge ij has the conductance d_ij; rows and columns that have no effect are the ground. It is solved by
eliminating nodes, first the columns, :math:`w_{ik} = \sum_j d_{ij} d_{kj} / \sum_i d_{ij}`, then the rows (star–mesh),
which subtracts nothing, so that weak links keep their digits; a component without ground has one free constant, taken
as zero at its last node. Links weaker than 10⁻¹⁸ are none.

**Backward.** F(k) = A L⁺ Aᵀ k is symmetric in k. Since dL⁺ = −L⁺ (dL) L⁺, the derivative in d of hᵀF(k) is −F(h)∘F(k).
"""

import torch
from torch import Tensor

from sstricks.ops.operator import operator
from sstricks.ops.threads import over_rows

NEGLIGIBLE = 1e-18


def solve(
    d: Tensor, rows: Tensor, columns: Tensor, damping: Tensor, rho: Tensor, gamma: Tensor
) -> tuple[Tensor, Tensor]:
    """Solve (L + damping) (p, q) = (ρ, γ) on the rows and columns that are marked; zero on the others.

    Args:
        d: Conductances, shape (batch, n, m).
        rows: The rows that have an effect, shape (batch, n).
        columns: The columns that have one, shape (batch, m).
        damping: What joins each node to the ground, shape (batch, 1).
        rho: The right side of rows, shape (batch, n).
        gamma: The right side of columns, shape (batch, m).

    Returns:
        p of shape (batch, n) and q of shape (batch, m).
    """
    n = d.shape[-2]
    total = d.sum(-2) + damping
    inverse = torch.where(columns & (total > 0), 1 / total, 0.0)
    ground = d.masked_fill(rows.unsqueeze(-1), 0.0).sum(-2) + damping
    d_rows = d.masked_fill(~rows.unsqueeze(-1), 0.0)
    share = d_rows * inverse.unsqueeze(-2)
    w = share @ d_rows.mT
    loss = damping + d_rows.masked_fill(columns.unsqueeze(-2), 0.0).sum(-1) + (share @ ground.unsqueeze(-1)).squeeze(-1)
    right = rho + (share @ gamma.unsqueeze(-1)).squeeze(-1)
    later = torch.ones(n, n, dtype=torch.bool, device=d.device).triu(1)
    w = w.masked_fill(~later, 0.0)
    totals = []
    for i in range(n):
        sum_ = loss[:, i] + w[:, i].sum(-1)
        totals.append(torch.where(rows[:, i] & (sum_ > 0), sum_, torch.inf))
        factor = w[:, i] / totals[i].unsqueeze(-1)
        loss = loss + factor * loss[:, i : i + 1]
        right = right + factor * right[:, i : i + 1]
        w = w + (factor.unsqueeze(-1) * w[:, i].unsqueeze(-2)).masked_fill(~later, 0.0)
    p = torch.zeros_like(right)
    for i in reversed(range(n)):
        p[:, i] = (right[:, i] + (w[:, i] * p).sum(-1)) / totals[i]
    return p, inverse * (gamma + (d_rows * p.unsqueeze(-1)).sum(-2))


@operator("sstricks::two_way_fit", core=(2, 2, 1, 1), output_core=2)
def fit(d: Tensor, k: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The table A(AᵀDA)⁺Aᵀk, shape (*batch, n, m).

    Args:
        d: Weights ≥ 0, shape (*batch, n, m).
        k: A table, shape (*batch, n, m).
        rows: Which rows have an effect, shape (*batch, n).
        columns: Which columns have one, shape (*batch, m).
    """
    d = torch.where(d > NEGLIGIBLE, d, 0.0)
    p, q = solve(d, rows, columns, d.new_zeros(len(d), 1), k.sum(-1), -k.sum(-2))
    return p.unsqueeze(-1) - q.unsqueeze(-2)


@fit.cpu
def _(d: Tensor, k: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    from sstricks.ops.kernels.two_way import fits as kernel

    out = torch.empty_like(d)
    work = 0.3 * d.shape[1] ** 2 * d.shape[2]
    over_rows(kernel, len(d), work, *(x.numpy() for x in (d, k, rows, columns)), out.numpy())
    return out


@fit.backward
def _(
    needs: tuple[bool, ...], grad: Tensor, out: Tensor, d: Tensor, k: Tensor, rows: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor, None, None]:
    back = fit(d, grad, rows, columns)
    return -back * out, back, None, None
