"""Arborescences of complete graphs: argmax, and the exponential-family marginals with their gradient."""

import networkx as nx
import numpy as np
import torch
from torch import Tensor

import sstricks as sst
from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.score import forward_backward, weight_judge

RANGES = (1.0, 50.0, 1e3, 1e6)
ARGMAX = ((10, 128, 0.4e-3), (50, 128, 4e-3))
MARGINALS = ((10, 128, None), (50, 100, 7e-3))
FAMILY = sst.ExponentialFamilyEntropy()


def run(seconds: float) -> list[Row]:
    """Hold every contest of this subject."""
    contests = [argmax(*size) for size in ARGMAX]
    contests += [softmax(*size, r, single_root=s) for size in MARGINALS for r in RANGES for s in (False, True)]
    return [row for contest in contests for row in contest.hold(seconds)]


def argmax(num_nodes: int, batch: int, target: float) -> Contest:
    """The maximum arborescence of standard Gumbel utilities."""
    trees = sst.Arborescence.complete(num_nodes)
    generator = torch.Generator().manual_seed(0)
    u = -torch.empty(batch, trees.edges.shape[1]).exponential_(generator=generator).log()
    contenders = [
        Contender(OURS, lambda: trees.argmax(u)),
        Contender.installed(
            "ufal.chu_liu_edmonds, loop",
            "ufal",
            "ufal.chu-liu-edmonds",
            lambda: lambda: _ufal(u, trees.edges, num_nodes),
        ),
        Contender("networkx, loop over 2", lambda: _networkx(u[:2], trees.edges)),
    ]
    best = trees.argmax(u) if num_nodes > 10 else _networkx(u, trees.edges)
    judge = weight_judge(u, best)
    parameters = {"nodes": num_nodes, "batch": batch}
    return Contest("arborescence argmax", parameters, contenders, target, lambda x: judge(x) if len(x) == batch else {})


def softmax(num_nodes: int, batch: int, target: float | None, width: float, *, single_root: bool) -> Contest:
    """Marginals at t = 1 and their gradient, for uniform utilities of the given range."""
    trees = sst.Arborescence.complete(num_nodes, single_root=single_root)
    generator = torch.Generator().manual_seed(0)
    u = width * torch.rand(batch, trees.edges.shape[1], generator=generator)
    g = torch.randn(u.shape, generator=generator)
    truth = forward_backward(lambda v: trees.softmax(v, 1.0, FAMILY), u.double(), g.double())()

    def judge(output: tuple[Tensor, Tensor]) -> dict[str, float | None]:
        errors = (float((a.double() - b).abs().max()) for a, b in zip(output, truth, strict=True))
        return {
            name: error if np.isfinite(error) else None
            for name, error in zip(("value", "gradient"), errors, strict=True)
        }

    contenders = [
        Contender(OURS, forward_backward(lambda v: trees.softmax(v, 1.0, FAMILY), u, g)),
        Contender.installed(
            "torch-struct NonProjectiveDependencyCRF",
            "torch_struct",
            "torch-struct==0.5",
            lambda: forward_backward(lambda v: _torch_struct(v, trees.edges, num_nodes, not single_root), u, g),
        ),
    ]
    parameters = {"nodes": num_nodes, "batch": batch, "range": width}
    subject = "E.F. arborescence, single root, fwd+bwd" if single_root else "E.F. arborescence fwd+bwd"
    return Contest(subject, parameters, contenders, target, judge)


def _ufal(u: Tensor, edges: Tensor, num_nodes: int) -> Tensor:
    from ufal.chu_liu_edmonds import chu_liu_edmonds

    scores = np.full((len(u), num_nodes, num_nodes), np.nan)
    scores[:, edges[1], edges[0]] = u.numpy()
    parents = torch.tensor([chu_liu_edmonds(matrix)[0] for matrix in scores])
    return (parents[:, edges[1]] == edges[0]).to(u.dtype)


def _networkx(u: Tensor, edges: Tensor) -> Tensor:
    pairs = edges.T.tolist()
    x = torch.zeros_like(u)
    number = {tuple(pair): e for e, pair in enumerate(pairs)}
    for b, weights in enumerate(u.tolist()):
        graph = nx.DiGraph()
        graph.add_weighted_edges_from((i, j, w) for (i, j), w in zip(pairs, weights, strict=True))
        x[b, [number[edge] for edge in nx.maximum_spanning_arborescence(graph).edges]] = 1
    return x


def potentials(u: Tensor, edges: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """What torch-struct takes, with the edges from the root, node 0, on the diagonal; and where in it each edge is."""
    i, j = edges[0] - 1, edges[1] - 1
    at = torch.where(edges[0] == 0, j, i) * (num_nodes - 1) + j
    flat = u.new_zeros(len(u), (num_nodes - 1) ** 2).index_copy(-1, at, u)
    return flat.unflatten(-1, (num_nodes - 1, num_nodes - 1)), at


def _torch_struct(u: Tensor, edges: Tensor, num_nodes: int, multiroot: bool) -> Tensor:
    import torch_struct

    matrices, at = potentials(u, edges, num_nodes)
    return torch_struct.NonProjectiveDependencyCRF(matrices, multiroot=multiroot).marginals.flatten(1)[:, at]
