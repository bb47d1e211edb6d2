"""Samples of the argmax tricks follow the laws of the paper (App. B), by chi-square tests with fixed seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch.distributions import Distribution, Gumbel

import sstricks as sst
from brute_force import one_hot_vertices, subset_vertices
from graphs import SQUARE_WITH_DIAGONAL, Edges, complete
from sampling_processes import k_subset_probabilities, kruskal_probabilities

RARE = 1e-4  # the chance that a right sampler is refused, were the seed not fixed


def draw(structure: sst.Structure, utility: Distribution, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return sst.StochasticArgmaxTrick(structure, utility).sample((20_000,), generator=generator)


def assert_distributed(samples: torch.Tensor, vertices: np.ndarray, probabilities: np.ndarray) -> None:
    """Pearson's chi-square test over the vertices."""
    assert math.isclose(probabilities.sum(), 1, abs_tol=1e-9)
    index = {tuple(row): i for i, row in enumerate(vertices.tolist())}
    counts = np.bincount([index[tuple(row)] for row in samples.int().tolist()], minlength=len(vertices))
    expected = probabilities * len(samples)
    assert expected.min() > 5
    assert chisquare(counts, expected).pvalue > RARE


def test_gumbel_max():
    loc = torch.tensor([0.0, 1.0, -1.0, 0.5])
    samples = draw(sst.OneHot(4), Gumbel(loc, 1.0), seed=0)
    assert_distributed(samples, one_hot_vertices(4), torch.softmax(loc.double(), -1).numpy())


def test_chi_square_notices_a_wrong_law():
    loc = torch.tensor([0.0, 1.0, -1.0, 0.5])
    samples = draw(sst.OneHot(4), Gumbel(1.2 * loc, 1.0), seed=0)
    with pytest.raises(AssertionError):
        assert_distributed(samples, one_hot_vertices(4), torch.softmax(loc.double(), -1).numpy())


def test_logistic_subsets_are_independent_coins():
    loc = torch.tensor([0.3, -1.0, 1.0])
    samples = draw(sst.Subset(3), sst.Logistic(loc), seed=1)
    p = torch.sigmoid(loc.double()).numpy()
    vertices = subset_vertices(3)
    assert_distributed(samples, vertices, np.where(vertices > 0, p, 1 - p).prod(-1))


def test_gumbel_top_k_is_sampling_without_replacement():
    loc = torch.tensor([0.0, 1.0, -1.0, 0.5, 0.2])
    samples = draw(sst.KSubset(5, 2), Gumbel(loc, 1.0), seed=2)
    assert_distributed(samples, *k_subset_probabilities(loc, 2))


@pytest.mark.parametrize(("edges", "num_nodes"), [(complete(4), 4), (SQUARE_WITH_DIAGONAL, 4)], ids=["K4", "diagonal"])
def test_gumbel_spanning_trees_follow_kruskals_process(edges: Edges, num_nodes: int):
    loc = torch.linspace(-0.8, 0.8, len(edges))
    trees = sst.SpanningTree(torch.tensor(edges).T, num_nodes)
    samples = draw(trees, Gumbel(loc, 1.0), seed=3)
    assert_distributed(samples, *kruskal_probabilities(edges, num_nodes, np.exp(loc.double().numpy())))
