"""Soft ranks and sorts, forward and backward, beside compiled peers; and the argmax."""

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


def _problem(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(BATCH, n, generator=generator), torch.randn(BATCH, n, generator=generator)


def _torchsort(name: str, kind: str, u: Tensor, g: Tensor, strength: float) -> Contender:
    def make():
        import torchsort

        function = getattr(torchsort, name)
        return forward_backward(lambda v: function(v, regularization=kind, regularization_strength=strength), u, g)

    return Contender.installed("torchsort (C++)", "torchsort", "torchsort, with a compiler", make)


def _fast_soft_sort(name: str, kind: str, u: Tensor, g: Tensor, strength: float) -> Contender:
    def make():
        from fast_soft_sort import pytorch_ops

        function = getattr(pytorch_ops, name)
        return forward_backward(lambda v: function(v, regularization=kind, regularization_strength=strength), u, g)

    return Contender.installed("fast-soft-sort (Numba)", "fast_soft_sort", "fast-soft-sort, not on PyPI", make)


def rank(n: int, entropic: bool) -> Contest:
    """Soft ranks and a vector–Jacobian product, of standard normal numbers at a temperature that pools a few."""
    (u, g), t = _problem(n), 1.0 / n
    orders, f = sst.Permutahedron(n), sst.CategoricalEntropy() if entropic else sst.Euclidean()
    given = ("soft_rank", "kl" if entropic else "l2", u, g, t)
    contenders = [
        Contender(OURS, forward_backward(lambda v: orders.softmax(v, t, f), u, g)),
        _torchsort(*given),
        _fast_soft_sort(*given),
    ]
    judge = None if entropic or n > 1000 else rank_judge(u, g, t)  # its tables have n² entries
    work = f"soft rank, {'entropic' if entropic else 'Euclidean'}, fwd+bwd"
    return Contest(work, {"n": n, "batch": BATCH}, contenders, judge=judge)


def sort(n: int) -> Contest:
    """A soft sort under the Euclidean regularizer and a vector–Jacobian product."""
    (u, g), t = _problem(n), 1.0
    given = ("soft_sort", "l2", u, g, t)
    contenders = [
        Contender(OURS, forward_backward(lambda v: F.soft_sort(v, t), u, g)),
        _torchsort(*given),
        _fast_soft_sort(*given),
    ]
    return Contest("soft sort, Euclidean, fwd+bwd", {"n": n, "batch": BATCH}, contenders)
