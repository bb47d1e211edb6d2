"""Closed-form divergences between different families of utilities; torch has those among Gumbel and Normal.

All are −H(p) − E_p[log q]. A normal q asks for the mean and the variance of p; a Gumbel q for the mean and for
E[exp(−U/β)], which is infinite where the lower tail of p is too heavy. A negative exponential q has no mass above 0, so
that every p on the whole line is infinitely far from it. The pairs that are left out need an exponential integral or
worse: average p.log_prob(u) − q.log_prob(u) over samples u of p.
"""

import math

import torch
from torch import Tensor
from torch.distributions import Gumbel, Normal, register_kl

from sstricks.utilities.logistic import Logistic
from sstricks.utilities.negative_exponential import NegativeExponential


@register_kl(Logistic, Normal)
@register_kl(NegativeExponential, Normal)
def _(p: Logistic | NegativeExponential, q: Normal) -> Tensor:
    square = p.variance + (p.mean - q.loc).square()
    return square / (2 * q.scale.square()) + q.scale.log() + math.log(2 * math.pi) / 2 - p.entropy()


@register_kl(Logistic, Gumbel)
def _(p: Logistic, q: Gumbel) -> Tensor:
    ratio = p.scale / q.scale
    light = ratio < 1
    angle = math.pi * torch.where(light, ratio, 0.5)
    moment = torch.exp((q.loc - p.loc) / q.scale) * angle / angle.sin()
    return _from_gumbel(p, q, torch.where(light, moment, torch.inf))


@register_kl(NegativeExponential, Gumbel)
def _(p: NegativeExponential, q: Gumbel) -> Tensor:
    product = p.rate * q.scale
    light = product > 1
    safe = torch.where(light, product, 2.0)
    moment = torch.exp(q.loc / q.scale) * safe / (safe - 1)
    return _from_gumbel(p, q, torch.where(light, moment, torch.inf))


def _from_gumbel(p: Logistic | NegativeExponential, q: Gumbel, moment: Tensor) -> Tensor:
    """The divergence from a Gumbel(μ, β), given E[exp(−(U − μ)/β)]."""
    return (p.mean - q.loc) / q.scale + moment + q.scale.log() - p.entropy()


@register_kl(Gumbel, NegativeExponential)
@register_kl(Logistic, NegativeExponential)
@register_kl(Normal, NegativeExponential)
def _(p: Gumbel | Logistic | Normal, q: NegativeExponential) -> Tensor:
    return torch.full_like(torch.broadcast_tensors(p.loc, q.rate)[0], torch.inf)
