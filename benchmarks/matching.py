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
    contests = [argmax(*size) for size in ARGMAX] + [sinkhorn(*size) for size in SINKHORN] + [dustbins(20, 128)]
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


def sinkhorn(n: int, batch: int, target: float) -> Contest:
    """The categorical-entropy relaxation and its gradient."""
    matching, u = sst.Matching(n), utilities(batch, n)
    g = torch.randn(u.shape, generator=torch.Generator().manual_seed(1))

    def ours(v: Tensor) -> Tensor:
        return matching.softmax(v, TEMPERATURE, sst.CategoricalEntropy())

    contenders = [
        Contender(OURS, forward_backward(ours, u, g)),
        Contender("unrolled log-domain sweeps until 1e-6", forward_backward(_sweeps, u, g)),
        Contender.installed("POT sinkhorn_log, loop", "ot", "POT", lambda: forward_backward(_pot_loop, u, g)),
    ]
    return Contest("Sinkhorn fwd+bwd", {"n": n, "batch": batch}, contenders, target, _residual)


def dustbins(n: int, batch: int) -> Contest:
    """The same with a dustbin for every row and column, at utility 0."""
    matching = sst.Matching(n, dustbins=True)
    u = torch.nn.functional.pad(utilities(batch, n), (0, 1, 0, 1))
    g = torch.randn(u.shape, generator=torch.Generator().manual_seed(1))

    def ours(v: Tensor) -> Tensor:
        return matching.softmax(v, TEMPERATURE, sst.CategoricalEntropy())

    contenders = [
        Contender(OURS, forward_backward(ours, u, g)),
        Contender("unrolled log-domain sweeps until 1e-6", forward_backward(_sweeps_with_dustbins, u, g)),
    ]
    parameters = {"n": n, "batch": batch}
    return Contest("Sinkhorn with dustbins fwd+bwd", parameters, contenders, judge=_residual_without_dustbins)


def _residual_without_dustbins(output: Any) -> dict[str, float | None]:
    x = output[0] if isinstance(output, tuple) else output
    sums = x.sum(-2)[..., :-1], x.sum(-1)[..., :-1]
    return {name: (sum_ - 1).abs().max().item() for name, sum_ in zip(("column sums", "row sums"), sums, strict=True)}


def _sweeps_with_dustbins(u: Tensor) -> Tensor:
    """SuperGlue's: whole rows and columns but the last are normalised; both dustbins have what they get."""
    corner = torch.zeros_like(u[0], dtype=torch.bool)
    corner[-1, -1] = True
    log_x = (u / TEMPERATURE).masked_fill(corner, -1e9)
    pad = torch.nn.functional.pad
    for _ in range(1000):
        log_x = log_x - pad(log_x[..., :-1].logsumexp(-2, keepdim=True), (0, 1))
        log_x = log_x - pad(log_x[..., :-1, :].logsumexp(-1, keepdim=True), (0, 0, 0, 1))
        if (log_x.detach()[..., :-1].exp().sum(-2) - 1).abs().max() < 1e-6:
            break
    return log_x.exp()


def _residual(output: Any) -> dict[str, float | None]:
    x = output[0] if isinstance(output, tuple) else output
    return {"column sums": (x.sum(-2) - 1).abs().max().item(), "row sums": (x.sum(-1) - 1).abs().max().item()}


def _sweeps(u: Tensor) -> Tensor:
    log_x = u / TEMPERATURE
    for _ in range(1000):  # single precision may not get to 1e-6
        log_x = log_x - log_x.logsumexp(-2, keepdim=True)
        log_x = log_x - log_x.logsumexp(-1, keepdim=True)
        if (log_x.detach().exp().sum(-2) - 1).abs().max() < 1e-6:
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
