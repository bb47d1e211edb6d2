r"""α-entmax with Σx = k: one multiplier, found by Newton's method (Peters, Niculae & Martins 2019).

With β = α − 1 and the Tsallis logarithm :math:`\log_\beta x = (x^\beta - 1)/\beta`, whose limit at β = 0 is log x,

.. math:: h(x) = \frac{x \log_\beta x}{\alpha}, \quad h'(x) = \log_\beta x + \frac1\alpha, \quad
          h''(x) = x^{\alpha - 2}, \quad \log_\beta^{-1} z = [1 + \beta z]_+^{1/\beta}.

The optimum of :math:`u^\top x - \sum_i h(x_i)` subject to Σx = k is :math:`x_i = \min(\log_\beta^{-1}(u_i + \nu), 1)`:
the constant 1/α is a part of ν.

**Newton's method** is applied to :math:`\log_\beta (S/k)`, S(ν) = Σx. If nothing is capped, :math:`S^\beta` is a
1/β-norm of 1 + β(u + ν): it is nearly linear in ν, and log S is exactly so at β = 0. For α > 2 the slope of x is
infinite where x becomes positive, and ν may not have the digits to say what x is there; the last x then lies between
those of two neighbouring ν.

**Backward.** Where 0 < x < 1, :math:`du + d\nu = s^{-1} dx + \ell\, d\alpha` with :math:`s = x^{2-\alpha}` and
:math:`\ell = \partial_\beta \log_\beta x`. With Σ dx = 0 this is

.. math:: dx = J (du - \ell\, d\alpha), \qquad J = \operatorname{diag}(s) - s s^\top / \textstyle\sum s,

so that the gradients are Jg in u and −ℓᵀJg in α. Both are differentiable functions of x and α. On the cube alone, where
there is no ν, J = diag(s), and ℓ is less by 1/α².
"""

import torch
from torch import Tensor

from sstricks.errors import invalid
from sstricks.ops.operator import operator
from sstricks.ops.separable import NO_KINK, kth_largest, meet_sum
from sstricks.ops.threads import over_rows

# A series is used below this, up to the power that is rounding then.
_SMALL = 0.5
_TERMS = 16
# β nearer to zero than this is as good as zero.
_LEAST = 1e-30
# What no slope dx/du exceeds: for α > 2 that of a small x is about x^(2−α).
_STEEPEST = 1e150


def _series(w: Tensor, coefficients: list[float]) -> Tensor:
    total = torch.full_like(w, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * w + c
    return total


_FACTORIALS = torch.arange(1.0, _TERMS + 2, dtype=torch.float64).cumprod(0).tolist()  # 1!, 2!, …
_EXPM1 = [1 / f for f in _FACTORIALS]  # (e^w − 1)/w = Σ wⁿ/(n+1)!
_RATE = [(n + 1) / f for n, f in enumerate(_FACTORIALS[1:])]  # its derivative, Σ (n+1) wⁿ/(n+2)!


def log(x: Tensor, beta: Tensor) -> Tensor:
    """The Tsallis logarithm (x^β − 1)/β, log x at β = 0; differentiable in both arguments."""
    natural = x.log()
    w = beta * natural
    small = w.abs() < _SMALL
    near = natural * _series(torch.where(small, w, 0.0), _EXPM1)
    return torch.where(small, near, torch.where(small, 1.0, w).expm1() / torch.where(small, 1.0, beta))


def _log_rate(x: Tensor, beta: Tensor) -> Tensor:
    """∂log_β(x)/∂β, differentiable in both arguments."""
    natural = x.log()
    w = beta * natural
    small = w.abs() < _SMALL
    near = natural.square() * _series(torch.where(small, w, 0.0), _RATE)
    far, by = torch.where(small, 1.0, w), torch.where(small, 1.0, beta)
    return torch.where(small, near, (far * far.exp() - far.expm1()) / by.square())


def exp(z: Tensor, beta: Tensor) -> Tensor:
    """The inverse of `log`, [1 + βz]₊^(1/β), at most 1; without gradient."""
    beta = _nonzero(beta)
    return ((beta * z.clamp(max=0)).clamp(min=-1).log1p() / beta).exp()


def _nonzero(beta: Tensor) -> Tensor:
    return torch.where(beta.abs() < _LEAST, _LEAST, beta)


def _check(alpha: Tensor) -> None:
    valid = (alpha > 0) & (alpha < torch.inf)
    if not valid.all():
        found = alpha[~valid].flatten()[0].item()
        raise invalid("alpha", found, "finite numbers > 0", "Learn log(alpha), or log(alpha - 1) to stay above 1.")


@operator("sstricks::entmax", core=(1, 0), waits=True)
def entmax(u: Tensor, alpha: Tensor, k: int) -> Tensor:
    """The maximiser of uᵀx − Σ(x^α − x)/(α(α−1)) on {x ∈ [0, 1]ⁿ : Σx = k}, or on [0, 1]ⁿ; shape (*batch, n).

    Args:
        u: Scaled utilities, shape (*batch, n).
        alpha: α > 0, shape (*batch).
        k: What x sums to; 0 if it may sum to anything.

    Raises:
        ValueError: Some α is not a finite number > 0.
    """
    _check(alpha)
    if k == 0:
        return exp(u - 1 / alpha.unsqueeze(-1), (alpha - 1).unsqueeze(-1))
    beta = _nonzero(alpha - 1).unsqueeze(-1)
    # At ν = 0 the k largest are 1; at log_β(1/n) the others are at most 1/n each.
    low = log(torch.full_like(u[..., :1], 1 / u.shape[-1]), beta)
    high = torch.full_like(low, 0.1)  # at its end no Newton step would be taken
    return meet_sum(
        lambda z: exp(z, beta),
        lambda x: _slope(x, alpha),
        u - kth_largest(u, k),
        k,
        low,
        high,
        lambda total, slope, k: total / slope * log(k / total, beta),
    )


def _slope(x: Tensor, alpha: Tensor) -> Tensor:
    """dx/du, which is x^(2−α) where 0 < x < 1, else 0; differentiable in both arguments."""
    inside = (x > 0) & (x < 1)
    power = (2 - alpha).unsqueeze(-1) * torch.where(inside, x, 1.0).log()
    return torch.where(inside, power.exp().clamp(max=_STEEPEST), 0.0)


@entmax.cpu
def _(u: Tensor, alpha: Tensor, k: int) -> Tensor:
    from sstricks.ops.kernels.separable import entmax as kernel

    if k == 0:
        return entmax.twin(u, alpha, k)
    _check(alpha)
    out = torch.empty_like(u)
    over_rows(kernel, len(u), 40.0 * u.shape[1], k, u.numpy(), alpha.numpy(), _LEAST, NO_KINK, out.numpy())
    return out


@entmax.backward
def _(
    needs: tuple[bool, ...], grad: Tensor, x: Tensor, u: Tensor, alpha: Tensor, k: int
) -> tuple[Tensor, Tensor | None]:
    s = _slope(x, alpha)
    along = s * grad if k == 0 else _projected(s, grad)
    grad_alpha = None
    if needs[1]:
        alpha = alpha.unsqueeze(-1)
        rate = _log_rate(torch.where(s > 0, x, 1.0), alpha - 1) - (1 / alpha.square() if k == 0 else 0.0)
        grad_alpha = -(rate * along).sum(-1).sum_to_size(alpha.shape[:-1])
    return along.sum_to_size(u.shape), grad_alpha


def _projected(s: Tensor, g: Tensor) -> Tensor:
    """(diag(s) − s sᵀ/Σs) g, where some s may be much larger than the others."""
    # A constant in g does not matter. Less that of the largest s, its rounding is not multiplied by that s.
    g = g - g.gather(-1, s.argmax(-1, keepdim=True))
    total = s.sum(-1, keepdim=True)
    return s * (g - (s * g).sum(-1, keepdim=True) / torch.where(total > 0, total, 1.0))
