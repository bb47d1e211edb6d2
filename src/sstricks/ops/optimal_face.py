r"""Derivatives on the optimal face of conv 𝒳, from argmax alone.

While u moves a little, the optimum of :math:`u^\top x - \sum_i h(x_i)` stays in the relative interior of one face, the
one on which :math:`w = u - \nabla f(x)` is largest. With its directions in the columns of B, those normal to it in N
(BᵀN = 0, both orthonormal), and S = diag(1/h''(x)), the first-order conditions Nᵀdx = 0 and Bᵀ(du − S⁻¹dx) = 0 give

.. math:: J = B (B^\top S^{-1} B)^{-1} B^\top = S - S N (N^\top S N)^{-1} N^\top S.

The second form is used: where h is infinitely steep, 1/h'' is zero and h'' is infinite. J is symmetric, so that it is
its own backward; it is a differentiable function of x, so that it can be differentiated again.

**The whole face** counts, not only the vertices that carry weight. Let d be normal to all directions known so far. If
the face has another one, d is not constant on it for almost every d, so that the best vertex under w + εd or under
w − εd has left the affine hull of those known. When random d yield nothing new, nothing is missing.
"""

import torch
from torch import Tensor

from sstricks.ops.active_start import PORTION
from sstricks.ops.operator import operator
from sstricks.ops.oracles import best_vertices

# Of squared lengths of unit vectors' parts: what is smaller is rounding.
RANK = 1e-9
# The same of the part of a difference of 0-1 vectors that lies outside of a space spanned by others.
_NEW = 1e-6
# How many random directions to try at once.
_CHANCES = 8


@operator("sstricks::face_normals", core=(2, 1), output_core=2, waits=True)
def face_normals(frame: Tensor, w: Tensor, number: int) -> Tensor:
    """An orthonormal basis N of the directions normal to the face of conv 𝒳 on which wᵀx is largest.

    Args:
        frame: Any matrix of the shape of the result, (n, n).
        w: The objective, shape (*batch, n); −∞ where a coordinate is absent.
        number: The number of an argmax oracle.

    Returns:
        N in the first columns, zeros in the others, shape (*batch, n, n).
    """
    portion = max(1, PORTION // (2 * w.shape[-1] ** 2 + 1))
    parts = [_normals(number, w[at : at + portion]) for at in range(0, len(w), portion)]
    return torch.cat(parts) if parts else torch.zeros_like(frame)


def _normals(number: int, w: Tensor) -> Tensor:
    rows, n = w.shape
    finite = torch.where(w == -torch.inf, 0.0, w)
    eps = torch.finfo(w.dtype).eps
    best = best_vertices(number, w)
    # More than the rounding of a sum, less than any difference that matters.
    nudge = eps**0.625 + 512 * eps * (best * finite).abs().amax(-1)
    known = w.new_zeros(rows, n, n)  # orthonormal directions in the first rows
    rank = torch.zeros(rows, dtype=torch.int64, device=w.device)
    generator = torch.Generator(w.device).manual_seed(0)
    here = torch.arange(rows, device=w.device)
    while len(here):
        used = min(n, int(rank.max()) + 2 * _CHANCES)
        frame, near = known[here, :used], nudge[here, None]
        d = torch.randn(_CHANCES, n, dtype=w.dtype, device=w.device, generator=generator)
        d = d - d @ frame.mT @ frame
        d = torch.cat([d, -d], -2) * near.unsqueeze(-1)
        v = best_vertices(number, (w[here].unsqueeze(-2) + d).reshape(-1, n)).reshape(d.shape)
        ahead = v - best[here].unsqueeze(-2)
        behind = (ahead @ finite[here].unsqueeze(-1)).squeeze(-1).abs() / ahead.abs().amax(-1).clamp(min=1.0)
        fresh = rank[here]
        for direction, tied in zip(ahead.unbind(-2), (behind <= 16 * n * near).unbind(-1), strict=True):
            left = direction.unsqueeze(-2)
            for _ in range(2):  # once is not enough in floating point
                left = left - left @ frame.mT @ frame
            size = left.square().sum(-1)
            new = tied & (size.squeeze(-1) > _NEW)
            unit = torch.where(new.unsqueeze(-1), left.squeeze(-2) * size.clamp(min=_NEW).rsqrt(), 0.0)
            frame = frame.scatter_add(-2, fresh.clamp(max=used - 1)[:, None, None].expand(-1, 1, n), unit.unsqueeze(-2))
            fresh = fresh + new
        known[here, :used] = frame
        grown = fresh > rank[here]
        rank[here] = fresh
        here = here[grown & (fresh < n)]
    # Where a matrix ends in columns of zeros, all further columns of Q are normal to those before.
    across = torch.arange(n, device=w.device) >= rank.unsqueeze(-1)
    return torch.linalg.qr(known[:, : int(rank.max())].mT, mode="complete").Q * across.unsqueeze(-2)


@operator("sstricks::on_face", core=(1, 1, 1, 1, 2))
def on_face(u: Tensor, x: Tensor, slope: Tensor, spread: Tensor, normals: Tensor) -> Tensor:
    """The point x, with the derivative of x + J(u − h'(x)): a step of Newton's method on the face.

    Args:
        u: Scaled utilities, shape (*batch, n).
        x: Their optimum, shape (*batch, n).
        slope: h'(x).
        spread: 1/h''(x), and 0 where x cannot vary.
        normals: Orthonormal normals of the face, or zeros, shape (*batch, n, m).
    """
    return x.clone()


def _along(spread: Tensor, normals: Tensor, g: Tensor) -> Tensor:
    """J g."""
    # What does not vary on the face has exactly zero slope.
    varies = (1 - normals.square().sum(-1) > RANK).to(g.dtype)
    s = spread * varies
    sn = s.unsqueeze(-1) * normals
    matrix = normals.mT @ sn
    # Columns of zeros stand apart; where all of a block is at steep ends, the matrix is as good as singular.
    ridge = (1 - normals.square().sum(-2)).clamp(min=0.0).round() + 4 * torch.finfo(g.dtype).eps
    rhs = (sn * g.unsqueeze(-1)).sum(-2)
    solved = torch.linalg.solve(matrix + torch.diag_embed(ridge), rhs.unsqueeze(-1))
    return s * g - (sn @ solved).squeeze(-1)


# The derivative of the step: J does not depend on its factors where u − h'(x) is normal to the face, as J N = 0. So
# there is no gradient in them; but that of J g, in the next derivative, there is.
@on_face.symmetric
def _(
    needs: tuple[bool, ...],
    grad: Tensor,
    y: Tensor,
    u: Tensor,
    x: Tensor,
    slope: Tensor,
    spread: Tensor,
    normals: Tensor,
) -> tuple[Tensor, Tensor, Tensor, None, None]:
    along = _along(spread, normals, grad)
    return along, grad, -along, None, None


# Locally, the face does not change.
@face_normals.backward
def _(
    needs: tuple[bool, ...], grad: Tensor, normals: Tensor, frame: Tensor, w: Tensor, number: int
) -> tuple[None, None]:
    return None, None
