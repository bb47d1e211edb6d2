"""Structures as objects: further masks, devices, copies, reprs, and graphs of one node in a batch."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch

import sstricks as sst
from cases import PAIR_CASES, Case
from laws import assert_near

CASES = pytest.mark.parametrize("case", PAIR_CASES, ids=str)
ONE_EACH = pytest.mark.parametrize("case", {type(c.structure): c for c in PAIR_CASES}.values(), ids=str)
GRAPHS = pytest.mark.parametrize("case", [c for c in PAIR_CASES if c.is_of_trees], ids=str)
TREES = pytest.mark.parametrize(
    "trees",
    [sst.SpanningTree.complete(4), sst.Arborescence.complete(4, root=2), sst.ProjectiveArborescence(4)],
    ids=repr,
)


def kept(case: Case) -> torch.Tensor:
    """Masks that leave something: all but each single coordinate of the first vertex, where any vertex is left then."""
    masks = ~torch.eye(case.problem.size, dtype=torch.bool)
    return torch.stack([m for m in [torch.ones_like(masks[0]), *masks] if case.problem.feasible(m.numpy())])


@ONE_EACH
def test_argmax_under_infinities_is_in_the_masked_structure(case: Case):
    keep = kept(case)
    u = case.utilities(len(keep)).masked_fill(~keep, -math.inf)
    x = case.structure.argmax(u)
    masked = case.structure.masked(u > -math.inf)
    assert masked.contains(x).all()
    assert type(masked) is type(case.structure)
    assert torch.equal(masked.argmax(case.utilities(len(keep))), x)


@TREES
def test_trees_of_the_nodes_that_infinities_leave(trees):
    present = torch.tensor([True, False, True, True])
    u = torch.zeros(trees.event_shape).masked_fill(~trees.edge_mask(present), -math.inf)
    x, masked = trees.argmax(u), trees.masked(u > -math.inf)
    assert not trees.contains(x)
    assert masked.contains(x)
    assert not masked.contains(torch.zeros_like(x))
    assert len(masked.enumerate_support()) == round(masked.log_partition(torch.zeros(trees.event_shape)).exp().item())


@ONE_EACH
def test_two_masks_are_one(case: Case):
    keep = kept(case)
    two = case.problem.build(keep[-1]).masked(keep[0]).masked(keep[-1])
    assert two.mask is not None
    assert two.mask.tolist() == keep[-1].tolist()
    batch = case.problem.build(keep[-1]).masked(keep[-1].expand(2, -1))
    assert batch.batch_shape == (2,)
    u = case.utilities(2)
    assert torch.equal(batch.argmax(u), two.argmax(u))
    assert case.structure.mask is None or case.structure.mask.shape == case.structure.event_shape


def test_further_masks_are_checked():
    with pytest.raises(ValueError, match=r"mask: found a graph in several components, expected a connected graph"):
        sst.SpanningTree.complete(4).masked(torch.tensor([True, False, False, False, False, True]))
    with pytest.raises(ValueError, match="mask: found too few present coordinates in row 0, expected at least 2"):
        sst.KSubset(3, 2, mask=torch.tensor([True, True, False])).masked(torch.tensor([True, False, True]))
    with pytest.raises(ValueError, match=r"mask: found shape \(3, 3\), .* \(2,\)"):
        sst.OneHot(3, mask=torch.ones(2, 3) > 0).masked(torch.ones(3, 3) > 0)


@GRAPHS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("spelling", ["mask", "-inf"])
def test_graph_of_one_node_in_a_batch(case: Case, spelling: str, dtype: torch.dtype):
    keep = torch.tensor([True, False, True]).unsqueeze(-1).expand(3, case.problem.size)
    u = case.utilities(3, dtype=dtype)
    structure = case.problem.build(keep) if spelling == "mask" else case.structure
    given = (u if spelling == "mask" else u.masked_fill(~keep, -math.inf)).requires_grad_()
    t = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    x = structure.softmax(given, t, case.regularizer)
    du, dt = torch.autograd.grad((x * case.utilities(3, seed=1)).sum(), (given, t))
    assert torch.count_nonzero(x[1]) == torch.count_nonzero(du[1]) == 0
    assert dt.isfinite()
    assert_near(x[::2], case.softmax(u[::2], 0.7), 1e-6)
    for value in (structure.argmax(given), *[f(given) for f in (structure.sample,) if case.has_family]):
        assert torch.count_nonzero(value[1]) == 0
        assert case.problem.build(keep).contains(value).all()
    if case.has_family:
        for function in (structure.log_partition, structure.entropy):
            value = function(given)
            assert value[1] == 0
            (slope,) = torch.autograd.grad(value.sum(), given)
            assert torch.count_nonzero(slope[1]) == 0
            assert slope.isfinite().all()


@TREES
def test_one_node_alone(trees):
    alone = trees.masked(torch.zeros(trees.event_shape, dtype=torch.bool))
    assert alone.enumerate_support().tolist() == [[0.0] * trees.event_shape[0]]
    assert alone.contains(torch.zeros(trees.event_shape))
    assert not alone.contains(torch.ones(trees.event_shape))
    assert alone.log_partition(torch.randn(2, *trees.event_shape)).tolist() == [0.0, 0.0]


@TREES
def test_edge_masks_from_lengths(trees):
    present = torch.arange(4) < torch.tensor([[1], [2], [4]])
    if isinstance(trees, sst.Arborescence):
        present = present.roll(2, -1)  # the root first
    mask = trees.edge_mask(present)
    assert trees.masked(mask).argmax(torch.zeros(trees.event_shape)).sum(-1).tolist() == [0, 1, 3]
    for row, nodes in zip(mask, present.tolist(), strict=True):
        assert row.tolist() == [nodes[i] and nodes[j] for i, j in trees.edges.T.tolist()]


def test_parallel_edges_in_one_direction_are_welcome():
    trees = sst.SpanningTree(torch.tensor([[0, 0, 2], [1, 1, 1]]), 3)
    assert round(trees.log_partition(torch.zeros(3)).exp().item()) == 2


@ONE_EACH
def test_a_structure_on_a_device_has_its_own_tensors(case: Case):
    structure = case.problem.build(kept(case)[-1])
    there = structure.to("meta")
    assert type(there) is type(structure)
    assert there.mask is not None
    assert structure.mask is not None
    assert there.mask.device.type == "meta"
    assert structure.mask.device.type == "cpu"
    own = structure.to("cpu")
    for tensor in [v for v in vars(own).values() if isinstance(v, torch.Tensor)]:
        tensor.zero_()
    u = case.utilities(2)
    assert torch.equal(structure.argmax(u), case.problem.build(kept(case)[-1]).argmax(u))
    assert structure.mask.any()


@CASES
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_copies_and_pickles_solve(case: Case, how):
    structure = case.problem.build(kept(case)[-1])
    other = how(structure)
    u = case.utilities(2)
    assert repr(other) == repr(structure)
    assert torch.equal(other.argmax(u), structure.argmax(u))
    x = structure.softmax(u, 0.5, case.regularizer)
    assert torch.equal(other.softmax(u, 0.5, case.regularizer), x)
    if how is not copy.copy:
        other.mask.zero_()
        del other
        assert torch.equal(structure.softmax(u, 0.5, case.regularizer), x)


def test_reprs():
    mask = torch.ones(3, 4, dtype=torch.bool)
    square = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
    assert repr(sst.KSubset(4, 2)) == "KSubset(4, 2)"
    assert repr(sst.KSubset(4, 2, mask=mask)) == "KSubset(4, 2, mask of shape (3, 4))"
    assert repr(sst.OneHot(4, mask=mask)) == "OneHot(4, mask of shape (3, 4))"
    assert repr(sst.Subset(4, mask=mask[0])) == "Subset(4, mask of shape (4,))"
    assert repr(sst.ChainKSubset(4, 2)) == "ChainKSubset(4, 2)"
    assert repr(sst.Matching(2, 3, partial=True)) == "Matching(2, 3, partial=True)"
    assert repr(sst.Matching(2, mask=mask[:2, :2])) == "Matching(2, mask of shape (2, 2))"
    assert repr(sst.SpanningTree(square, 4, mask=mask)) == "SpanningTree(4 edges, 4 nodes, mask of shape (3, 4))"
    assert repr(sst.Arborescence.complete(3, root=1)) == "Arborescence(4 edges, 3 nodes, root 1)"
    assert repr(sst.Path(square[:, :3])) == "Path(3 edges, from 0 to 3)"
    assert repr(sst.ProjectiveArborescence(3, mask=mask)) == "ProjectiveArborescence(3, mask of shape (3, 4))"
    assert repr(sst.LinearOracle(torch.relu, (4,), mask=mask)) == "LinearOracle(relu, (4,), mask of shape (3, 4))"


def test_subclasses_are_named():
    class Committee(sst.KSubset):
        pass

    assert repr(Committee(4, 2)) == "Committee(4, 2)"
    assert type(Committee(4, 2).masked(torch.ones(4) > 0)) is Committee
