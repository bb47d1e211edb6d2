"""Matchings: argmax beside scipy's and lapx's, Sinkhorn to a residual of 1e-6 beside POT's, with the gradient."""

from collections.abc import Callable
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import sstricks as sst
from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.score import forward_backward

ARGMAX = ((20, 128, 1.5e-3), (100, 128, 25e-3))
SINKHORN = ((20, 128, 10e-3),)
TEMPERATURE = 0.5


def run(seconds: float) -> list[Row]:
    """Hold every contest of this subject."""
    contests = [argmax(*size) for size in ARGMAX] + [sinkhorn(*size) for size in SINKHORN] + [sinkhorn(20, 128, bins=1)]
    return [row for contest in contests for row in contest.hold(seconds)]


def utilities(batch: int, n: int) -> Tensor:
    """Standard Gumbel."""
    return -torch.empty(batch, n, n).exponential_(generator=torch.Generator().manual_seed(0)).log()


def scipy_loop(u: Tensor) -> Tensor:
    """One call of scipy's assignment for each table."""
    x = torch.zeros_like(u)
    for table, weights in zip(x, u.numpy(), strict=True):
        table[linear_sum_assignment(weights, maximize=True)] = 1.0
    return x


def argmax(n: int, batch: int, target: float) -> Contest:
    """The maximum-weight perfect matching of standard Gumbel utilities."""
    matching, u = sst.Matching(n), utilities(batch, n)
    best = (scipy_loop(u) * u).sum((-1, -2))
    contenders = [
        Contender(OURS, lambda: matching.argmax(u)),
        Contender("scipy linear_sum_assignment, loop", lambda: scipy_loop(u)),
        Contender.installed("lapx lapjv, loop", "lap", "lapx", lambda: lambda: _lapx_loop(u)),
    ]

    def judge(x: Tensor) -> dict[str, float | None]:
        return {"weight": ((x * u).sum((-1, -2)) - best).abs().max().item()}

    return Contest("matching argmax", {"n": n, "batch": batch}, contenders, target, judge)


def sinkhorn(n: int, batch: int, target: float | None = None, bins: int = 0) -> Contest:
    """The categorical-entropy relaxation and its gradient; with `bins` = 1, everybody has a dustbin at utility 0."""
    matching = sst.Matching(n, dustbins=bins == 1)
    u = torch.nn.functional.pad(utilities(batch, n), (0, bins, 0, bins))
    g = torch.randn(u.shape, generator=torch.Generator().manual_seed(1))

    def ours(v: Tensor) -> Tensor:
        return matching.softmax(v, TEMPERATURE, sst.CategoricalEntropy())

    contenders = [
        Contender(OURS, forward_backward(ours, u, g)),
        Contender("unrolled log-domain sweeps until 1e-6", forward_backward(lambda v: _sweeps(v, n), u, g)),
    ]
    if not bins:
        pot = Contender.installed("POT sinkhorn_log, loop", "ot", "POT", lambda: forward_backward(_pot_loop, u, g))
        contenders.append(pot)

    def residual(output: Any) -> dict[str, float | None]:
        x = output[0] if isinstance(output, tuple) else output
        sums = {"column sums": x.sum(-2), "row sums": x.sum(-1)}
        return {name: (found[..., :n] - 1).abs().max().item() for name, found in sums.items()}

    name = f"Sinkhorn {'with dustbins ' * bins}fwd+bwd"
    return Contest(name, {"n": n, "batch": batch}, contenders, target, residual)


def _sweeps(u: Tensor, n: int) -> Tensor:
    """The first n rows and columns are normalised in turns; dustbins, which come after them, have what they get."""
    bins = u.shape[-1] - n
    corner = torch.zeros_like(u[0], dtype=torch.bool)
    corner[n:, n:] = True
    log_x = (u / TEMPERATURE).masked_fill(corner, -1e9)
    pad = torch.nn.functional.pad
    for _ in range(1000):  # single precision may not get to 1e-6
        log_x = log_x - pad(log_x[..., :n].logsumexp(-2, keepdim=True), (0, bins))
        log_x = log_x - pad(log_x[..., :n, :].logsumexp(-1, keepdim=True), (0, 0, 0, bins))
        if (log_x.detach()[..., :n].exp().sum(-2) - 1).abs().max() < 1e-6:
            break
    return log_x.exp()


def _pot_loop(u: Tensor) -> Tensor:
    import ot

    ones = torch.ones(u.shape[-1], dtype=u.dtype)
    solve: Callable[..., Tensor] = ot.sinkhorn
    return torch.stack(
        [solve(ones, ones, -v, TEMPERATURE, method="sinkhorn_log", stopThr=1e-6, numItermax=1000) for v in u]
    )


def _lapx_loop(u: Tensor) -> Tensor:
    import lap

    x = torch.zeros_like(u)
    rows = torch.arange(u.shape[-1])
    for table, weights in zip(x, u.numpy(), strict=True):
        table[rows, torch.from_numpy(lap.lapjv(-weights)[1]).long()] = 1.0
    return x
