"""Separable regularizers on spanning trees from argmax alone: the active-set method and plain Frank–Wolfe, unrolled."""

from collections.abc import Callable

import torch
from torch import Tensor

import sstricks as sst
from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.score import forward_backward

NODES, BATCH = 10, 32
UNROLLED = (10, 100)
SLOPES: dict[sst.SeparableRegularizer, Callable[[Tensor], Tensor]] = {
    sst.Euclidean(): lambda x: x,
    sst.CategoricalEntropy(): lambda x: x.clamp(min=1e-12).log(),
    sst.BinaryEntropy(): lambda x: x.clamp(1e-12, 1 - 1e-12).logit(),
}


def run(seconds: float) -> list[Row]:
    """Hold every contest of this subject."""
    return [row for f in SLOPES for row in softmax(f).hold(seconds)]


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
