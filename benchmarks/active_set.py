"""Separable regularizers on trees: graphs divided into blocks and nearest points, against loops around an argmax."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import sstricks as sst
from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.score import forward_backward

NODES, BATCH = 10, 32
UNROLLED = (10, 100)
# Nodes, rows, and what we want to take in seconds under an entropy, and under Euclidean().
TREES = ((10, 128, (0.1, 0.02)), (20, 32, (0.3, 0.06)), (50, 1, (0.2, 0.2)))
# Nodes, rows
ARBORESCENCES = ((10, 32), (25, 4))
PROJECTIVE = ((10, 32), (20, 4), (30, 1))  # 50 nodes take most of a minute
TEMPERATURES = (1.0, 0.2)
SLOPES: dict[sst.SeparableRegularizer, Callable[[Tensor], Tensor]] = {
    sst.Euclidean(): lambda x: x,
    sst.CategoricalEntropy(): lambda x: x.clamp(min=1e-12).log(),
    sst.BinaryEntropy(): lambda x: x.clamp(1e-12, 1 - 1e-12).logit(),
}


def run(seconds: float) -> list[Row]:
    """Hold every contest of this subject."""
    contests = [softmax(f) for f in SLOPES]
    contests += [
        forward(sst.SpanningTree.complete(nodes), rows, f, target[isinstance(f, sst.Euclidean)])
        for nodes, rows, target in TREES
        for f in SLOPES
    ]
    contests += [
        forward(trees, rows, f, None, t)
        for trees, rows in [
            *((sst.Arborescence.complete(nodes), rows) for nodes, rows in ARBORESCENCES),
            *((sst.ProjectiveArborescence(nodes), rows) for nodes, rows in PROJECTIVE),
        ]
        for f in (sst.CategoricalEntropy(), sst.BinaryEntropy())
        for t in TEMPERATURES
    ]
    contests += [forward(sst.Arborescence.complete(25), 1, sst.Euclidean(), 0.03)]
    return [row for contest in contests for row in contest.hold(seconds)]


def forward(
    structure: sst.SpanningTree | sst.Arborescence | sst.ProjectiveArborescence,
    rows: int,
    f: sst.SeparableRegularizer,
    target: float | None,
    t: float = 1.0,
) -> Contest:
    """The relaxation of Gumbel utilities alone; nearest points also by Wolfe's method in NumPy."""
    generator = torch.Generator().manual_seed(0)
    u = -torch.empty(rows, *structure.event_shape, dtype=torch.float64).exponential_(generator=generator).log()

    def judge(x: Tensor) -> dict[str, float | None]:
        return {"duality gap": float(sst.duality_gap(structure, f, x, u, t).max())}

    contenders = [Contender(OURS, lambda: structure.softmax(u, t, f))]
    if isinstance(f, sst.Euclidean):
        contenders.append(
            Contender("naive: Wolfe in NumPy", lambda: torch.stack([wolfe(structure, row / t) for row in u]))
        )
    parameters = {"nodes": structure.num_nodes, "batch": rows, "t": t}
    return Contest(f"{f!r} on {type(structure).__name__} forward", parameters, contenders, target, judge)


def wolfe(structure: sst.Structure, u: Tensor) -> Tensor:
    """The nearest point of the hull: Wolfe's method around the same argmax, without any factor kept."""
    vertices, weights = [structure.argmax(u).numpy()], np.ones(1)
    while True:
        x = weights @ np.stack(vertices)
        g = u.numpy() - x
        v = structure.argmax(torch.from_numpy(g)).numpy()
        if g @ (v - x) <= 1e-10:
            return torch.from_numpy(x)
        vertices, weights = [*vertices, v], np.append(weights, 0.0)
        while True:
            stacked = np.stack(vertices)
            system = np.linalg.inv(stacked @ stacked.T + 1.0)
            free, unit = system @ (stacked @ u.numpy()), system.sum(-1)
            ahead = free + unit * (1 - free.sum()) / unit.sum()
            if (ahead > 0).all():
                weights = ahead
                break
            length = min(w / (w - a) for w, a in zip(weights, ahead, strict=True) if a <= 0)
            weights = weights + length * (ahead - weights)
            kept = weights > 1e-12
            vertices, weights = [v for v, k in zip(vertices, kept, strict=True) if k], weights[kept]


def softmax(regularizer: sst.SeparableRegularizer) -> Contest:
    """The relaxation at t = 1 of Gumbel utilities, and its gradient."""
    trees = sst.SpanningTree.complete(NODES)
    slope = SLOPES[regularizer]
    generator = torch.Generator().manual_seed(0)
    u = -torch.empty(BATCH, *trees.event_shape, dtype=torch.float64).exponential_(generator=generator).log()
    g = torch.randn(u.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def ours(v: Tensor) -> Tensor:
        return trees.softmax(v, 1.0, regularizer)

    def unrolled(steps: int) -> Callable[[Tensor], Tensor]:
        def relax(v: Tensor) -> Tensor:
            x = torch.full_like(v, (NODES - 1) / v.shape[-1])
            for step in range(steps):
                vertex = trees.argmax((v - slope(x)).detach())
                # The vertex has no gradient: only the step's length, chosen by one Newton step along it, has one.
                ahead = vertex - x
                curvature = torch.func.jvp(slope, (x.detach(),), (ahead.detach(),))[1]
                length = ((v - slope(x)) * ahead).sum(-1) / (curvature * ahead).sum(-1).clamp(min=1e-12)
                x = x + length.clamp(0, 1 - 1 / (step + 2)).unsqueeze(-1) * ahead
            return x

        return relax

    def judge(output: tuple[Tensor, Tensor]) -> dict[str, float | None]:
        x = output[0]
        pull = u - slope(x)
        return {"duality gap": float(((trees.argmax(pull) - x) * pull).sum(-1).max())}

    contenders = [Contender(OURS, forward_backward(ours, u, g))]
    contenders += [
        Contender(f"naive: {steps} steps, unrolled", forward_backward(unrolled(steps), u, g)) for steps in UNROLLED
    ]
    parameters = {"nodes": NODES, "batch": BATCH}
    return Contest(f"{regularizer!r} on spanning trees fwd+bwd", parameters, contenders, None, judge)
