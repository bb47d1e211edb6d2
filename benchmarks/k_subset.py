"""k-subsets: exponential-family marginals with their gradient, the Euclidean projection, and the top k."""

import torch
from torch import Tensor

import sstricks as sst
from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.naive import k_subset as naive
from benchmarks.score import forward_backward, subset_judge, weight_judge

SIZE, COUNT, BATCH = 350, 10, 100
PARAMETERS = {"n": SIZE, "k": COUNT, "batch": BATCH}
RANGES = (1.0, 50.0, 1e3, 1e6)


def run(seconds: float) -> list[Row]:
    """Hold every contest of this subject."""
    contests = [marginals(width) for width in RANGES] + [at_most(), projection(), argmax()]
    return [row for contest in contests for row in contest.hold(seconds)]


def _problem(width: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(BATCH, SIZE, generator=generator) * width
    # a tie of order one at the threshold, whatever the range
    close = u.topk(COUNT + 5).indices[:, COUNT - 5 :]
    middle = u.gather(-1, close).mean(-1, keepdim=True)
    u = u.scatter(-1, close, middle + torch.rand(close.shape, generator=generator))
    return u, torch.randn(u.shape, generator=generator)


def marginals(width: float) -> Contest:
    """Inclusion probabilities at t = 1 and their gradient, for utilities of the given range."""
    subsets, family = sst.KSubset(SIZE, COUNT), sst.ExponentialFamilyEntropy()
    u, g = _problem(width)
    contenders = [
        Contender(OURS, forward_backward(lambda v: subsets.softmax(v, 1.0, family), u, g)),
        Contender(
            "naive: log-space program, finite differences",
            forward_backward(lambda v: naive.finite_differences(v, COUNT), u, g),
        ),
        Contender("naive: log-space program, unrolled", forward_backward(lambda v: naive.unrolled(v, COUNT), u, g)),
    ]
    return Contest("E.F. k-subset fwd+bwd", {**PARAMETERS, "range": width}, contenders, 6e-3, subset_judge(u, g, COUNT))


def at_most() -> Contest:
    """The same of all subsets of at most k items."""
    subsets, family = sst.BoundedSubset(SIZE, at_most=COUNT), sst.ExponentialFamilyEntropy()
    u, g = _problem(1.0)
    contenders = [
        Contender(OURS, forward_backward(lambda v: subsets.softmax(v, 1.0, family), u, g)),
        Contender("naive: log-space program, unrolled", forward_backward(lambda v: naive.unrolled(v, COUNT, 0), u, g)),
    ]
    return Contest("E.F. at most k fwd+bwd", {**PARAMETERS}, contenders)


def projection() -> Contest:
    """Euclidean projection onto the capped simplex and its gradient."""
    subsets, euclidean = sst.KSubset(SIZE, COUNT), sst.Euclidean()
    u, g = _problem(5.0)
    contenders = [
        Contender(OURS, forward_backward(lambda v: subsets.softmax(v, 1.0, euclidean), u, g)),
        Contender.installed("entmax.budget_bisect", "entmax", "entmax", lambda: forward_backward(_budget_bisect, u, g)),
    ]
    return Contest("Euclidean k-subset fwd+bwd", {**PARAMETERS}, contenders, 1.5e-3)


def argmax() -> Contest:
    """The k largest of n."""
    subsets = sst.KSubset(SIZE, COUNT)
    u, _ = _problem(5.0)

    def top_k() -> Tensor:
        return torch.zeros_like(u).scatter_(-1, u.topk(COUNT).indices, 1.0)

    contenders = [Contender(OURS, lambda: subsets.argmax(u)), Contender("torch.topk, scattered", top_k)]
    return Contest("k-subset argmax", {**PARAMETERS}, contenders, judge=weight_judge(u, top_k()))


def _budget_bisect(u: Tensor) -> Tensor:
    import entmax

    return entmax.budget_bisect(u, budget=COUNT)
