"""Soft ranks and sorts, forward and backward, beside compiled peers."""

from collections.abc import Callable
from importlib import import_module

import torch
from torch import Tensor

import sstricks as sst
from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.score import forward_backward, rank_judge
from sstricks import functional as F

BATCH = 128
SIZES = (10, 100, 1000, 5000)


def run(seconds: float) -> list[Row]:
    """Hold every contest of this subject."""
    contests = [rank(n, entropic) for n in SIZES for entropic in (False, True)] + [sort(n) for n in SIZES]
    return [row for contest in contests for row in contest.hold(seconds)]


def _problem(n: int, scale: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(BATCH, n, generator=generator), torch.randn(BATCH, n, generator=generator)


def _peers(name: str, kind: str, u: Tensor, g: Tensor) -> list[Contender]:
    def call(module: str) -> Callable[[], object]:
        function = getattr(import_module(module), name)
        return forward_backward(lambda v: function(v, regularization=kind), u, g)

    return [
        Contender.installed("torchsort (C++)", "torchsort", "torchsort", lambda: call("torchsort")),
        Contender.installed(
            "fast-soft-sort (Numba)",
            "fast_soft_sort",
            "git+https://github.com/google-research/fast-soft-sort",
            lambda: call("fast_soft_sort.pytorch_ops"),
        ),
    ]


def rank(n: int, entropic: bool) -> Contest:
    """Soft ranks and a vector–Jacobian product, of normal numbers so far apart that a few share a block."""
    u, g = _problem(n, n)
    orders, f = sst.Permutahedron(n), sst.CategoricalEntropy() if entropic else sst.Euclidean()
    given = ("soft_rank", "kl" if entropic else "l2", u, g)
    contenders = [
        Contender(OURS, forward_backward(lambda v: orders.softmax(v, 1.0, f), u, g)),
        *_peers(*given),
    ]
    judge = None if entropic or n > 1000 else rank_judge(u, g)  # its tables have n² entries
    work = f"soft rank, {'entropic' if entropic else 'Euclidean'}, fwd+bwd"
    return Contest(work, {"n": n, "batch": BATCH}, contenders, judge=judge)


def sort(n: int) -> Contest:
    """A soft sort under the Euclidean regularizer and a vector–Jacobian product."""
    u, g = _problem(n, 1.0)
    given = ("soft_sort", "l2", u, g)
    contenders = [
        Contender(OURS, forward_backward(lambda v: F.soft_sort(v), u, g)),
        *_peers(*given),
    ]
    return Contest("soft sort, Euclidean, fwd+bwd", {"n": n, "batch": BATCH}, contenders)
