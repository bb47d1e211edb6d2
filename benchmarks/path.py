"""Paths: log Z of linear chains and of alignments with its gradient, and the best path."""

import torch
from torch import Tensor

import sstricks as sst
from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.naive import path as naive
from benchmarks.score import Judge, forward_backward, path_judge, weight_judge

STEPS, CLASSES, LENGTH, BATCH = 100, 10, 50, 32
RANGES = (1.0, 1e3)


def run(seconds: float) -> list[Row]:
    """Hold every contest of this subject."""
    contests = [chain(width) for width in RANGES] + [alignment(width) for width in RANGES] + [argmax()]
    return [row for contest in contests for row in contest.hold(seconds)]


def _utilities(paths: sst.Path, width: float) -> Tensor:
    return width * torch.rand(BATCH, *paths.event_shape, generator=torch.Generator().manual_seed(0))


def _judge(paths: sst.Path, u: Tensor) -> Judge:
    g = torch.randn(u.shape, generator=torch.Generator().manual_seed(1))
    return path_judge(u, g, paths.edges, paths.sink)


def chain(width: float) -> Contest:
    """Log Z of a linear-chain CRF and its gradient, for utilities spread evenly over the given range."""
    paths = sst.Path.linear_chain(STEPS, CLASSES)
    u, ones = _utilities(paths, width), torch.ones(BATCH)
    contenders = [
        Contender(OURS, forward_backward(paths.log_partition, u, ones)),
        Contender(
            "naive: forward algorithm in logs, unrolled",
            forward_backward(lambda v: naive.chain(v, STEPS, CLASSES), u, ones),
        ),
        Contender.installed(
            "torch-struct LinearChainCRF",
            "torch_struct",
            "torch-struct==0.5",
            lambda: forward_backward(lambda v: _crf(v).partition, u, ones),
        ),
    ]
    parameters = {"steps": STEPS, "classes": CLASSES, "batch": BATCH, "range": width}
    return Contest("linear chain log Z fwd+bwd", parameters, contenders, judge=_judge(paths, u))


def alignment(width: float) -> Contest:
    """Log Z of the alignments of two sequences and its gradient."""
    paths = sst.Path.alignment(LENGTH, LENGTH)
    u, ones = _utilities(paths, width), torch.ones(BATCH)
    contenders = [
        Contender(OURS, forward_backward(paths.log_partition, u, ones)),
        Contender(
            "naive: program in logs by antidiagonals, unrolled",
            forward_backward(lambda v: naive.alignment(v, LENGTH, LENGTH), u, ones),
        ),
        Contender("torch-struct AlignmentCRF", None, "needs genbmm, which is not on PyPI"),
    ]
    parameters = {"n": LENGTH, "m": LENGTH, "batch": BATCH, "range": width}
    return Contest("alignment log Z fwd+bwd", parameters, contenders, judge=_judge(paths, u))


def argmax() -> Contest:
    """The best labelling of a linear chain."""
    paths = sst.Path.linear_chain(STEPS, CLASSES)
    u = _utilities(paths, 5.0)
    contenders = [
        Contender(OURS, lambda: paths.argmax(u)),
        Contender.installed(
            "torch-struct LinearChainCRF",
            "torch_struct",
            "torch-struct==0.5",
            lambda: lambda: _edges(_crf(u.clone().requires_grad_()).argmax),  # without, it fails
        ),
    ]
    parameters = {"steps": STEPS, "classes": CLASSES, "batch": BATCH}
    best = paths.softmax(u.double(), 1e-7, sst.ExponentialFamilyEntropy()).round()
    return Contest("linear chain argmax", parameters, contenders, judge=weight_judge(u, best))


def _crf(u: Tensor):
    """The same model: their pairs have the later label first, and the first of them the first label's utility too."""
    import torch_struct

    pairs = u[:, CLASSES:].unflatten(-1, (STEPS - 1, CLASSES, CLASSES))
    first = torch.cat([pairs[:, :1] + u[:, None, :CLASSES, None], pairs[:, 1:]], 1)
    return torch_struct.LinearChainCRF(first.mT)


def _edges(x: Tensor) -> Tensor:
    return torch.cat([x[:, 0].sum(-2), x.mT.flatten(1)], -1)
