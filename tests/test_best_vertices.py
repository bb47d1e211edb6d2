import pytest
import torch

import sstricks as sst

STRUCTURES = [
    sst.OneHot(4),
    sst.OneHot(1),
    sst.Subset(3),
    sst.KSubset(5, 2),
    sst.ChainKSubset(4, 2),
    sst.SpanningTree.complete(4),
    sst.Arborescence.complete(3, root=1),
    sst.ProjectiveArborescence(4),
    sst.Path.alignment(2, 2),
    sst.Matching(3),
    sst.KSubset(5, 2, mask=torch.tensor([True, True, False, True, True])),
]


def utilities(structure, *batch):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*batch, *structure.event_shape, dtype=torch.float64, generator=generator)


def support_and_values(structure, u):
    support = structure.enumerate_support().double()
    return support, (support * u.unsqueeze(-1 - len(structure.event_shape))).flatten(-len(structure.event_shape)).sum(
        -1
    )


@pytest.mark.parametrize("structure", STRUCTURES, ids=repr)
def test_k_best_are_those_of_the_enumeration(structure):
    u = utilities(structure, 3)
    support, values = support_and_values(structure, u)
    k = min(8, len(support) + 2)
    found = structure.k_best(u, k)
    assert found.vertices.shape == (3, k, *structure.event_shape)
    expected = values.sort(descending=True).values[:, :k]
    expected = torch.nn.functional.pad(expected, (0, k - expected.shape[1]), value=-torch.inf)
    torch.testing.assert_close(found.values, expected)
    possible = found.values > -torch.inf
    assert structure.contains(found.vertices[possible]).all()
    for row, number in zip(found.vertices, possible.sum(-1), strict=True):
        assert len(row[:number].unique(dim=0)) == number
    assert torch.equal(found.vertices[:, 0], structure.argmax(u))


@pytest.mark.parametrize("structure", STRUCTURES, ids=repr)
def test_max_marginals_are_those_of_the_enumeration(structure):
    u = utilities(structure, 2)
    support, values = support_and_values(structure, u)
    has = support.bool().unsqueeze(0)
    every = torch.where(has, values.view(*values.shape, *[1] * len(structure.event_shape)), -torch.inf)
    torch.testing.assert_close(structure.max_marginals(u), every.amax(1))


def test_infinite_utilities_and_batches_of_masks():
    u = torch.tensor([[0.0, 1.0, -torch.inf, 2.0], [torch.inf, 0.0, 0.0, 1.0]])
    subset = sst.KSubset(4, 2, mask=torch.tensor([[True] * 4, [True, True, True, False]]))
    vertices = subset.k_best(u, 3).vertices
    assert vertices[0].tolist() == [[0, 1, 0, 1], [1, 0, 0, 1], [1, 1, 0, 0]]
    assert vertices[1].tolist() == [[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 0]]


@pytest.mark.parametrize("structure", STRUCTURES, ids=repr)
@pytest.mark.parametrize("stand_in", [-1e16, -1e30, torch.finfo(torch.float32).min])
def test_finite_stand_ins_for_minus_infinity_lose_no_digits(structure, stand_in):
    u = utilities(structure)
    u.view(-1)[0] = stand_in
    _, values = support_and_values(structure, u)
    expected = values.sort(descending=True).values[:4]
    found = structure.k_best(u, 4).values[: len(expected)]
    torch.testing.assert_close(found, expected)
    expected = torch.where(structure.enumerate_support().bool(), values.view(-1, *[1] * u.dim()), -torch.inf).amax(0)
    torch.testing.assert_close(structure.max_marginals(u), expected)


def test_a_vertex_with_a_coordinate_at_plus_infinity_is_worth_as_much():
    u = torch.tensor([torch.inf, 0.0, 1.0])
    trees = sst.SpanningTree.complete(3)
    assert trees.max_marginals(u).tolist() == [torch.inf] * 3
    found = trees.k_best(u, 3)
    assert found.values.tolist() == [torch.inf, torch.inf, 1.0]
    assert found.vertices.tolist() == [[1, 0, 1], [1, 1, 0], [0, 1, 1]]


def test_more_vertices_than_there_are_take_no_longer():
    found = sst.KSubset(3, 2).k_best(torch.tensor([1.0, 2.0, 4.0]), 10**6)
    assert found.values[:4].tolist() == [6.0, 5.0, 3.0, -torch.inf]
    assert found.vertices[3:].count_nonzero() == 0
    assert found.vertices.shape == (10**6, 3)


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match="k: found 0"):
        sst.OneHot(3).k_best(torch.zeros(3), 0)
