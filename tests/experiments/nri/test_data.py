import networkx as nx
import numpy as np
import pytest
import torch

import sstricks as sst
from sstricks.experiments.nri.data import make_splits, simulate, spring_step


def networkx_step(positions: np.ndarray, graph: nx.Graph) -> np.ndarray:
    laid_out = nx.spring_layout(graph, pos=dict(enumerate(positions)), iterations=1)
    return np.stack([laid_out[node] for node in range(len(positions))])


@pytest.mark.parametrize("num_nodes", [2, 5, 10])
def test_ten_steps_are_networkx(num_nodes):
    generator = torch.Generator().manual_seed(num_nodes)
    edges = simulate(8, num_nodes, 2, generator=generator).edges
    adjacency = sst.SpanningTree.complete(num_nodes).to_adjacency(edges.double())
    positions = torch.randn(8, num_nodes, 2, generator=generator, dtype=torch.float64)
    expected = positions.numpy().copy()
    for _ in range(10):
        positions = spring_step(positions, adjacency)
        for example, matrix in enumerate(adjacency.numpy()):
            expected[example] = networkx_step(expected[example], nx.from_numpy_array(matrix))
        np.testing.assert_allclose(positions.numpy(), expected, atol=1e-12)


def test_coincident_nodes_stay_finite_as_in_networkx():
    positions = torch.zeros(3, 2, dtype=torch.float64)
    positions[2, 0] = 1
    adjacency = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=torch.float64)
    expected = networkx_step(positions.numpy().copy(), nx.from_numpy_array(adjacency.numpy()))
    np.testing.assert_allclose(spring_step(positions, adjacency).numpy(), expected, atol=1e-12)


def test_consecutive_frames_are_one_step_apart():
    layouts = simulate(20, 10, 10, generator=torch.Generator().manual_seed(0))
    adjacency = sst.SpanningTree.complete(10).to_adjacency(layouts.edges.double())
    following = spring_step(layouts.positions[:, :-1].double(), adjacency.unsqueeze(1))
    torch.testing.assert_close(following.float(), layouts.positions[:, 1:], atol=2e-6, rtol=0)


def test_the_first_frame_is_an_output_of_the_layout():
    positions = simulate(50, generator=torch.Generator().manual_seed(0)).positions
    assert positions.dtype == torch.float32
    torch.testing.assert_close(positions.abs().amax((-2, -1)), torch.ones(50, 10))
    torch.testing.assert_close(positions.mean(-2), torch.zeros(50, 10, 2), atol=1e-6, rtol=0)


def test_edges_are_spanning_trees_with_the_prior_s_frequencies():
    layouts = simulate(4000, 4, 2, generator=torch.Generator().manual_seed(0))
    assert layouts.edges.dtype == torch.bool
    assert sst.SpanningTree.complete(4).contains(layouts.edges.float()).all()
    # The first two edges of Kruskal's algorithm are a uniform pair. It is a matching of the 4 nodes in 3 of 15 cases,
    # all of which end as a path; else it leaves a node for which 3 edges compete, of which one makes a star. So a star
    # comes up with probability 12/15 / 3 = 4/15, more than 4/16 of the uniform distribution.
    degrees = sst.SpanningTree.complete(4).to_adjacency(layouts.edges.float()).sum(-1)
    stars = (degrees.amax(-1) == 3).float().mean().item()
    assert abs(stars - 4 / 15) < 0.02


def test_splits_follow_their_seed_and_do_not_overlap():
    splits = make_splits(6, 5, 4, 5, 3, seed=7)
    again = make_splits(9, 5, 4, 5, 3, seed=7)
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [6, 5, 4]
    torch.testing.assert_close(splits.test.positions, again.test.positions, atol=0, rtol=0)
    assert not torch.equal(splits.train.positions[:4], splits.test.positions)
    assert not torch.equal(splits.test.positions, make_splits(6, 5, 4, 5, 3, seed=8).test.positions)


def test_the_same_generator_state_gives_the_same_layouts():
    first, second = (simulate(3, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first.positions, second.positions)
    assert torch.equal(first.edges, second.edges)


@pytest.mark.parametrize(("num_examples", "num_nodes", "num_frames"), [(1, 1, 5), (1, 5, 1), (-1, 5, 5)])
def test_sizes_that_make_no_sense_are_refused(num_examples, num_nodes, num_frames):
    with pytest.raises(ValueError, match="expected at least"):
        simulate(num_examples, num_nodes, num_frames)


def test_every_seed_chooses_a_data_set():
    small, large = (make_splits(2, 1, 1, 4, 3, seed) for seed in (0, 10**30))
    assert not torch.equal(small.train.positions, large.train.positions)
    assert torch.equal(large.test.positions, make_splits(2, 1, 1, 4, 3, 10**30).test.positions)
