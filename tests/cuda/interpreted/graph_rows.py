"""Small graphs, and utilities of their edges: one row for each thing that can be difficult."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from graphs import DOUBLED_TRIANGLE, Edges, complete, random_connected


def both_ways(edges: Edges) -> Edges:
    return edges + [(b, a) for a, b in edges]


UNDIRECTED: dict[str, Edges] = {
    "complete": complete(5),
    "parallel": DOUBLED_TRIANGLE,
    "sparse": random_connected(7, 4, seed=0),
}
DIRECTED: dict[str, Edges] = {
    "complete": both_ways(complete(5)),
    "parallel": both_ways(DOUBLED_TRIANGLE),
    "sparse": both_ways(random_connected(7, 4, seed=0)),
}


def tensors(edges: Edges) -> tuple[Tensor, int]:
    """The edge list and the number of nodes."""
    found = torch.tensor(edges).T.contiguous()
    return found, int(found.max()) + 1


def utilities(edges: Tensor) -> Tensor:
    """Of any range, with ties, without the last node, and with edges that all trees need and that are far below."""
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(10, edges.shape[1], dtype=torch.float64, generator=generator)
    u[1] *= 30
    u[2] *= 1e6
    u[3] = (2 * u[3]).round()
    u[4] = 0
    u[5] = torch.where((edges == edges.max()).any(0), -math.inf, u[5])
    u[6, 0] = 2e6
    u[7] = (u[7] * 2).round() * 1e13
    u[8] = torch.where((edges == 0).any(0), u[8].round() - 1e38, u[8])
    u[9] = torch.where((edges == 0).any(0), -1e30, (u[9] * 2).round() * 1e8)
    return u
