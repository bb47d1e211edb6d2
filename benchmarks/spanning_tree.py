"""Spanning trees of complete graphs: argmax, and the exponential-family marginals with their gradient."""

import torch
from torch import Tensor

import sstricks as sst
from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.naive import kruskal, laplacian
from benchmarks.score import forward_backward, tree_judge, weight_judge

RANGES = (1.0, 50.0, 1e3, 1e6)
ARGMAX = ((10, 128, 0.2e-3), (50, 128, 2e-3))
MARGINALS = ((10, 128, 1e-3), (50, 100, 7e-3))


def run(seconds: float) -> list[Row]:
    """Hold every contest of this subject."""
    contests = [argmax(*size) for size in ARGMAX] + [softmax(*size, r) for size in MARGINALS for r in RANGES]
    return [row for contest in contests for row in contest.hold(seconds)]


def utilities(batch: int, edges: Tensor, num_nodes: int, width: float) -> Tensor:
    """Heavy clusters joined by light edges, at five levels across `width` that every tree needs, plus noise.

    Nodes fall into groups 0 to 4. Edges within a group are heaviest, those between two groups the lighter the later
    the later group: within a range of one all is noise, beyond it the Laplacian is nearly singular.
    """
    generator = torch.Generator().manual_seed(0)
    noise = min(width, 1.0)
    group = torch.rand(batch, num_nodes, generator=generator).argsort(-1) % 5
    a, b = group[:, edges[0]], group[:, edges[1]]
    level = torch.where(a == b, 1.0, 1 - torch.maximum(a, b) / 4)
    return (width - noise) * level + noise * torch.rand(level.shape, generator=generator)


def argmax(num_nodes: int, batch: int, target: float) -> Contest:
    """The maximum spanning tree of standard Gumbel utilities."""
    trees = sst.SpanningTree.complete(num_nodes)
    edges = torch.triu_indices(num_nodes, num_nodes, 1)
    generator = torch.Generator().manual_seed(0)
    u = -torch.empty(batch, edges.shape[1]).exponential_(generator=generator).log()
    contenders = [
        Contender(OURS, lambda: trees.argmax(u)),
        Contender("naive: batched Kruskal, edge by edge", lambda: kruskal.batched_kruskal(u, edges, num_nodes)),
        Contender("scipy.sparse.csgraph, loop", lambda: kruskal.scipy_loop(u, edges, num_nodes)),
        Contender("networkx, loop", lambda: kruskal.networkx_loop(u, edges, num_nodes)),
        Contender.installed(
            "rustworkx, loop", "rustworkx", "rustworkx", lambda: lambda: _rustworkx(u, edges, num_nodes)
        ),
    ]
    judge = weight_judge(u, kruskal.scipy_loop(u, edges, num_nodes))
    return Contest("spanning tree argmax", {"nodes": num_nodes, "batch": batch}, contenders, target, judge)


def softmax(num_nodes: int, batch: int, target: float, width: float) -> Contest:
    """Marginals at t = 1 and their gradient, for utilities of the given range."""
    trees, family = sst.SpanningTree.complete(num_nodes), sst.ExponentialFamilyEntropy()
    edges = torch.triu_indices(num_nodes, num_nodes, 1)
    u = utilities(batch, edges, num_nodes, width)
    g = torch.randn(u.shape, generator=torch.Generator().manual_seed(1))

    def ours(v: Tensor) -> Tensor:
        return trees.softmax(v, 1.0, family)

    def clipped(v: Tensor) -> Tensor:
        return laplacian.marginals(v, edges, num_nodes)

    def unclipped(v: Tensor) -> Tensor:
        return laplacian.marginals(v, edges, num_nodes, clip=None)

    contenders = [
        Contender(OURS, forward_backward(ours, u, g)),
        Contender("naive: log-determinant, clip 15", forward_backward(clipped, u, g)),
        Contender("naive: log-determinant, no clip", forward_backward(unclipped, u, g)),
        Contender("naive: the same in float64", forward_backward(unclipped, u.double(), g.double())),
        Contender.installed(
            "torch-struct NonProjectiveDependencyCRF",
            "torch_struct",
            "torch-struct==0.5",
            lambda: forward_backward(lambda v: _torch_struct(v, edges, num_nodes), u, g),
        ),
    ]
    parameters = {"nodes": num_nodes, "batch": batch, "range": width}
    return Contest("E.F. spanning tree fwd+bwd", parameters, contenders, target, tree_judge(u, g, edges, num_nodes))


def _rustworkx(u: Tensor, edges: Tensor, num_nodes: int) -> Tensor:
    import rustworkx

    pairs = edges.T.tolist()
    x = torch.zeros_like(u)
    for b, weights in enumerate(u.tolist()):
        graph = rustworkx.PyGraph()
        graph.add_nodes_from(range(num_nodes))
        graph.add_edges_from([(i, j, (w, e)) for e, ((i, j), w) in enumerate(zip(pairs, weights, strict=True))])
        tree = rustworkx.minimum_spanning_edges(graph, weight_fn=lambda label: -label[0])
        x[b, [label[1] for _, _, label in tree]] = 1
    return x


def _torch_struct(u: Tensor, edges: Tensor, num_nodes: int) -> Tensor:
    """Directed trees with symmetric weights and a uniform root: their two directions add up to the undirected tree."""
    import torch_struct

    flat = u.new_zeros(len(u), num_nodes * num_nodes).index_copy(-1, edges[0] * num_nodes + edges[1], u)
    upper = flat.unflatten(-1, (num_nodes, num_nodes))
    directed = torch_struct.NonProjectiveDependencyCRF(upper + upper.mT, multiroot=False).marginals
    return (directed + directed.mT)[:, edges[0], edges[1]]
