"""Correlated k-subsets: exponential-family marginals with their gradient, and the argmax."""

import torch
from torch import Tensor

import sstricks as sst
from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.naive import chain as naive
from benchmarks.score import chain_judge, forward_backward, weight_judge

SIZE, COUNT, BATCH = 350, 10, 100
RANGES = (1.0, 50.0, 1e3, 1e6)
SMALL_SIZE, SMALL_COUNT, SMALL_BATCH = 60, 5, 20  # what torch-struct does in about a second


def run(seconds: float) -> list[Row]:
    """Hold every contest of this subject."""
    contests = [marginals(width) for width in RANGES] + [small(), argmax()]
    return [row for contest in contests for row in contest.hold(seconds)]


def _problem(width: float, n: int, k: int, batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    items = torch.rand(batch, n, generator=generator) * width
    # a tie of order one at the threshold, whatever the range
    close = items.topk(k + k // 2).indices[:, k - k // 2 :]
    middle = items.gather(-1, close).mean(-1, keepdim=True)
    items = items.scatter(-1, close, middle + torch.rand(close.shape, generator=generator))
    u = torch.cat([items, torch.randn(batch, n - 1, generator=generator)], -1)
    return u, torch.randn(u.shape, generator=generator)


def marginals(width: float) -> Contest:
    """Marginals of items and pairs at t = 1 and their gradient, for utilities of the given range."""
    chains, family = sst.ChainKSubset(SIZE, COUNT), sst.ExponentialFamilyEntropy()
    u, g = _problem(width, SIZE, COUNT, BATCH)
    contenders = [
        Contender(OURS, forward_backward(lambda v: chains.softmax(v, 1.0, family), u, g)),
        Contender(
            "naive: log-space program, finite differences",
            forward_backward(lambda v: naive.finite_differences(v, COUNT), u, g),
        ),
        Contender("naive: log-space program, unrolled", forward_backward(lambda v: naive.unrolled(v, COUNT), u, g)),
    ]
    parameters = {"n": SIZE, "k": COUNT, "batch": BATCH, "range": width}
    return Contest("E.F. chain k-subset fwd+bwd", parameters, contenders, 20e-3, chain_judge(u, g, COUNT))


def small() -> Contest:
    """The same at a size that a general linear-chain CRF, whose labels are (count, last), can do."""
    n, k, batch = SMALL_SIZE, SMALL_COUNT, SMALL_BATCH
    chains, family = sst.ChainKSubset(n, k), sst.ExponentialFamilyEntropy()
    u, g = _problem(1.0, n, k, batch)
    contenders = [
        Contender(OURS, forward_backward(lambda v: chains.softmax(v, 1.0, family), u, g)),
        Contender("naive: log-space program, unrolled", forward_backward(lambda v: naive.unrolled(v, k), u, g)),
        Contender.installed(
            "torch-struct LinearChainCRF",
            "torch_struct",
            "torch-struct==0.5",
            lambda: forward_backward(lambda v: naive.unrolled(v, k, naive.crf_log_partition), u, g),
        ),
    ]
    parameters = {"n": n, "k": k, "batch": batch, "range": 1.0}
    return Contest("E.F. chain k-subset fwd+bwd", parameters, contenders, judge=chain_judge(u, g, k))


def argmax() -> Contest:
    """The best correlated k-subset."""
    chains = sst.ChainKSubset(SIZE, COUNT)
    u, _ = _problem(5.0, SIZE, COUNT, BATCH)

    def viterbi() -> Tensor:
        """The subgradient of the log-space program, cold."""
        return naive.solve(1e4 * u.double(), COUNT).round().float()

    contenders = [Contender(OURS, lambda: chains.argmax(u)), Contender("naive: cold log-space program", viterbi)]
    parameters = {"n": SIZE, "k": COUNT, "batch": BATCH}
    return Contest("chain k-subset argmax", parameters, contenders, judge=weight_judge(u, chains.argmax(u)))
