"""Projective dependency trees: argmax, and the exponential-family marginals with their gradient."""

import torch
from torch import Tensor

import sstricks as sst
from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.score import forward_backward, projective_judge, weight_judge

RANGES = (1.0, 50.0, 1e3, 1e6)
SIZES = ((10, 128, 3e-3), (20, 100, 10e-3))


def run(seconds: float) -> list[Row]:
    """Hold every contest of this subject."""
    contests = [argmax(nodes, batch) for nodes, batch, _ in SIZES]
    contests += [softmax(*size, width) for size in SIZES for width in RANGES]
    return [row for contest in contests for row in contest.hold(seconds)]


def argmax(nodes: int, batch: int) -> Contest:
    """The best projective tree of standard Gumbel utilities."""
    trees = sst.ProjectiveArborescence(nodes)
    u = -torch.empty(batch, (nodes - 1) ** 2).exponential_(generator=torch.Generator().manual_seed(0)).log()
    # the marginals of utilities this far apart are the argmax: an independent way to it, in float64
    best = trees.softmax(u.double(), 1e-7, sst.ExponentialFamilyEntropy()).round()
    contenders = [
        Contender(OURS, lambda: trees.argmax(u)),
        Contender.installed(
            "torch-struct DependencyCRF",
            "torch_struct",
            "torch-struct==0.5",
            lambda: lambda: _edges(_crf(u.clone().requires_grad_(), trees).argmax, trees),  # without, it fails
        ),
    ]
    return Contest("projective tree argmax", {"nodes": nodes, "batch": batch}, contenders, None, weight_judge(u, best))


def softmax(nodes: int, batch: int, target: float, width: float) -> Contest:
    """Marginals at t = 1 and their gradient, for utilities spread evenly over the given range."""
    trees, family = sst.ProjectiveArborescence(nodes), sst.ExponentialFamilyEntropy()
    u = width * torch.rand(batch, (nodes - 1) ** 2, generator=torch.Generator().manual_seed(0))
    g = torch.randn(u.shape, generator=torch.Generator().manual_seed(1))

    def ours(v: Tensor) -> Tensor:
        return trees.softmax(v, 1.0, family)

    def theirs(v: Tensor) -> Tensor:
        return _edges(_crf(v, trees).marginals, trees)

    contenders = [
        Contender(OURS, forward_backward(ours, u, g)),
        Contender.installed(
            "torch-struct DependencyCRF",
            "torch_struct",
            "torch-struct==0.5",
            lambda: forward_backward(theirs, u, g),
        ),
    ]
    parameters = {"nodes": nodes, "batch": batch, "range": width}
    return Contest("E.F. projective tree fwd+bwd", parameters, contenders, target, projective_judge(u, g, trees.edges))


def _crf(u: Tensor, trees: sst.ProjectiveArborescence):
    """The same model: their nodes are all but the root, whose edges stand on the diagonal."""
    import torch_struct

    arcs = trees.to_adjacency(u)
    return torch_struct.DependencyCRF(arcs[:, 1:, 1:] + torch.diag_embed(arcs[:, 0, 1:]), multiroot=True)


def _edges(x: Tensor, trees: sst.ProjectiveArborescence) -> Tensor:
    head, dependent = trees.edges
    return x[:, torch.where(head > 0, head, dependent) - 1, dependent - 1]
