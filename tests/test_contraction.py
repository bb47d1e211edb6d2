"""Contraction with lists of edges, which sparse graphs have, against contraction with matrices."""

import numpy as np
import pytest
import torch

from laws import assert_near
from sstricks.ops import arborescence
from test_arborescences import random_rooted
from utilities_at_extremes import MIXTURES, PATTERNS

MORE = 60  # absent nodes, which make a graph sparse


def rooted(nodes: int, extra: int, seed: int) -> torch.Tensor:
    edges, root = random_rooted(nodes, extra, seed)
    return arborescence.rooted(torch.tensor(edges).T.contiguous(), root)


@pytest.mark.parametrize("seed", range(60))
def test_the_same_trees_with_ties_and_far_apart(seed: int):
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(2, 12))
    edges = rooted(nodes, int(rng.integers(nodes * nodes)), seed)
    u = np.stack([rng.choice(mixture, edges.shape[1]) for mixture in MIXTURES for _ in range(3)])
    u[::3] += rng.normal(size=u[::3].shape)
    u = torch.tensor(u.clip(-1e300, 1e300))
    trees = arborescence.maximum_arborescence(u, edges, nodes)
    assert (trees.sum(-1) == nodes - 1).all()
    assert torch.equal(arborescence.maximum_arborescence(u, edges, nodes + MORE), trees)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_same_law(pattern: str):
    rng = np.random.default_rng(0)
    for seed in range(3):
        edges = rooted(8, 20, seed)
        u = torch.tensor(PATTERNS[pattern](edges.shape[1], rng))
        for name in ("log_partition", "marginals"):
            few, many = (getattr(arborescence, name)(u, edges, nodes) for nodes in (8, 8 + MORE))
            assert_near(few, many, 1e-9 * max(1.0, float(few.abs().max()) * 1e-4))


def test_unreached_nodes_of_a_sparse_graph_are_counted():
    edges = torch.tensor([[0, 2, 3, 1], [1, 3, 2, 0]])
    with pytest.raises(ValueError, match="misses"):
        arborescence.maximum_arborescence(torch.zeros(1, 4, dtype=torch.float64), edges, 4 + MORE)
