"""Law 8: absent coordinates, by mask or by utilities of -inf; padded batches; and what +inf means."""

import math
from dataclasses import replace
from itertools import product

import networkx as nx
import numpy as np
import pytest
import torch

import sstricks as sst
from brute_force import MP, exact, scaled, to_numpy
from cases import OPTION_CASES, PAIR_CASES, Case
from graphs import complete, random_connected
from hull_optimum import HullOptimum
from laws import assert_near, tangent_of
from problems import tree_problem

EXTRA_TREES = [
    Case(tree_problem(edges), sst.ExponentialFamilyEntropy()) for edges in (complete(5), random_connected(6, 5, seed=1))
]
MASKABLE = pytest.mark.parametrize("case", [*PAIR_CASES, *OPTION_CASES, *EXTRA_TREES], ids=str)
PAIRS = pytest.mark.parametrize("case", PAIR_CASES, ids=str)
T = 0.7


def masks(case: Case, count: int) -> torch.Tensor:
    """Random masks that leave something, but not everything."""
    rng = np.random.default_rng(case.problem.size)
    found = []
    while len(found) < count:
        keep = rng.random(case.problem.size) < 0.7
        if not keep.all() and case.problem.feasible(keep):
            found.append(torch.from_numpy(keep))
    return torch.stack(found)


def on_kept(case: Case, u: torch.Tensor, keep: torch.Tensor, t: torch.Tensor):
    """Value and both gradients of the smaller problem, with zeros at the absent coordinates."""
    small = u[keep].clone().requires_grad_()
    t = t.clone().requires_grad_()
    x = case.restrict(keep.numpy()).softmax(small, t)
    du, dt = torch.autograd.grad((x * weights(u)[keep]).sum(), (small, t))
    return spread(x.detach(), keep), spread(du, keep), dt


def spread(values: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    return torch.zeros(keep.shape, dtype=values.dtype).masked_scatter(keep, values)


def weights(u: torch.Tensor) -> torch.Tensor:
    return torch.linspace(-1, 1, u.shape[-1], dtype=u.dtype)


@MASKABLE
@pytest.mark.parametrize("spelling", ["mask", "-inf", "both"])
def test_each_mask_is_the_smaller_problem(case: Case, spelling: str):
    for keep, u in zip(masks(case, 4), case.utilities(4), strict=True):
        structure = case.structure if spelling == "-inf" else case.problem.build(keep)
        given = u if spelling == "mask" else u.masked_fill(~keep, -math.inf)
        given, t = given.clone().requires_grad_(), torch.tensor(T, dtype=torch.float64, requires_grad=True)
        x = structure.softmax(given, t, case.regularizer)
        expected, du, dt = on_kept(case, u, keep, t.detach())
        assert torch.count_nonzero(x[~keep]) == 0
        assert_near(x, expected, 1e-12)
        gradients = torch.autograd.grad((x * weights(u)).sum(), (given, t))
        assert torch.count_nonzero(gradients[0][~keep]) == 0
        assert_near(gradients[0], du, 1e-12)
        assert_near(gradients[1], dt, 1e-12)
        small = case.restrict(keep.numpy()).structure
        assert torch.equal(structure.argmax(given), spread(small.argmax(u[keep]), keep))
        if not case.has_family:
            continue
        assert_near(structure.log_partition(given), small.log_partition(u[keep]), 1e-12)
        (marginals,) = torch.autograd.grad(structure.log_partition(given), given)
        assert torch.count_nonzero(marginals[~keep]) == 0


@MASKABLE
@pytest.mark.parametrize("masked", [True, False], ids=["mask", "infinity"])
def test_tangents_with_absent_coordinates(case: Case, masked: bool):
    keep, u, du = masks(case, 3), case.utilities(3), case.utilities(3, seed=1)
    structure = case.problem.build(keep) if masked else case.structure
    given = u if masked else torch.where(keep, u, -torch.inf)
    t = torch.tensor(T, dtype=torch.float64)

    def softmax(v: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return structure.softmax(v, s, case.regularizer)

    tangent = tangent_of(softmax, (given, t), (du, torch.ones_like(t)))
    in_u, in_t = torch.func.jacrev(softmax, argnums=(0, 1))(given, t)
    assert torch.count_nonzero(tangent[~keep]) == 0
    assert_near(tangent, torch.einsum("aibj,bj->ai", in_u, du) + in_t, 1e-9)
    if case.has_family:
        for function in (structure.log_partition, structure.entropy):
            expected = torch.einsum("abj,bj->a", torch.func.jacrev(function)(given), du)
            assert_near(tangent_of(function, (given,), (du,)), expected, 1e-9)


@MASKABLE
def test_one_mask_for_each_example(case: Case):
    keep, u = masks(case, 4), case.utilities(4)
    structure = case.problem.build(keep)
    assert structure.batch_shape == (4,)
    assert structure.event_shape == (case.problem.size,)
    t = torch.linspace(0.5, 2, 4, dtype=torch.float64)
    x = structure.softmax(u, t, case.regularizer)
    vertices = structure.argmax(u)
    log_z = structure.log_partition(u) if case.has_family else None
    for i in range(4):
        alone = case.problem.build(keep[i])
        assert_near(x[i], alone.softmax(u[i], t[i], case.regularizer), 1e-12)
        assert torch.equal(vertices[i], alone.argmax(u[i]))
        if log_z is not None:
            assert_near(log_z[i], alone.log_partition(u[i]), 1e-12)
    assert structure.contains(vertices).tolist() == [True] * 4
    more = case.utilities(3, 4)
    assert_near(structure.softmax(more, t, case.regularizer)[1], structure.softmax(more[1], t, case.regularizer), 1e-12)


@MASKABLE
def test_a_batch_of_masks_broadcasts_against_one_utility(case: Case):
    keep, u = masks(case, 3), case.utilities()
    structure = case.problem.build(keep)
    expected = structure.softmax(u.expand(3, -1), T, case.regularizer)
    assert_near(structure.softmax(u, T, case.regularizer), expected, 1e-12)
    assert torch.equal(structure.argmax(u), structure.argmax(u.expand(3, -1)))
    vertex = torch.from_numpy(case.problem.vertices[0]).double()
    assert torch.equal(structure.contains(vertex), structure.contains(vertex.expand(3, -1)))


@MASKABLE
def test_a_mask_changes_what_is_contained_and_counted(case: Case):
    for keep in masks(case, 4):
        structure, small = case.problem.build(keep), case.problem.restrict(keep.numpy())
        allowed = {tuple(spread(torch.from_numpy(row).double(), keep).tolist()) for row in small.vertices}
        assert {tuple(row) for row in structure.enumerate_support().double().tolist()} == allowed
        vertices = torch.from_numpy(case.problem.vertices).double()
        inside = structure.contains(vertices).tolist()
        assert inside == [tuple(row) in allowed for row in vertices.tolist()]
        assert structure.contains(torch.tensor(sorted(allowed))).all()
        if not case.has_family:
            continue
        zeros = torch.zeros(case.problem.size, dtype=torch.float64)
        assert math.isclose(structure.log_partition(zeros), math.log(small.count), abs_tol=1e-12)


@MASKABLE
@pytest.mark.parametrize("filler", [1e30, -1e30, math.inf, math.nan])
def test_what_is_behind_the_mask_does_not_matter(case: Case, filler: float):
    keep, u = masks(case, 2)[1], case.utilities()
    structure = case.problem.build(keep)
    filled = u.masked_fill(~keep, filler).requires_grad_()
    x = structure.softmax(filled, T, case.regularizer)
    assert_near(x, structure.softmax(u, T, case.regularizer), 1e-12)
    assert torch.equal(structure.argmax(filled), structure.argmax(u))
    (gradient,) = torch.autograd.grad((x * weights(u)).sum(), filled)
    assert torch.count_nonzero(gradient[~keep]) == 0
    assert gradient.isfinite().all()


@PAIRS
def test_second_derivatives_are_finite_and_zero_at_absent_coordinates(case: Case):
    keep = masks(case, 1)[0]
    for structure, absent in ((case.problem.build(keep), 0.0), (case.structure, -math.inf)):
        u = case.utilities().masked_fill(~keep, absent).requires_grad_()
        scalar = (structure.softmax(u, T, case.regularizer) * weights(u)).sum()
        (du,) = torch.autograd.grad(scalar, u, create_graph=True)
        if not du.requires_grad:  # the Euclidean one is piecewise linear
            continue
        (second,) = torch.autograd.grad((du * weights(u).flip(0)).sum(), u)
        assert second.isfinite().all()
        assert torch.count_nonzero(second[~keep]) == 0


def test_padded_batch_of_complete_graphs():
    """Graphs of 2 to 5 nodes in one batch: an edge is present when both its nodes are."""
    edges = torch.tensor(complete(5)).T
    sizes = torch.tensor([2, 3, 4, 5])
    mask = (edges[1] < sizes[:, None]) & (edges[0] < sizes[:, None])
    trees = sst.SpanningTree(edges, 5, mask=mask)
    u = torch.randn(4, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    log_counts = trees.log_partition(torch.zeros_like(u))
    assert_near(log_counts.exp(), torch.tensor([1.0, 3.0, 16.0, 125.0]), 1e-9)
    x = trees.softmax(u, 0.5, sst.ExponentialFamilyEntropy())
    assert_near(x.sum(-1), sizes - 1, 1e-12)
    assert trees.argmax(u).sum(-1).tolist() == [1, 2, 3, 4]
    for i, n in enumerate(sizes.tolist()):
        alone = sst.SpanningTree.complete(n)
        assert_near(x[i][mask[i]], alone.softmax(u[i][mask[i]], 0.5, sst.ExponentialFamilyEntropy()), 1e-12)
        assert torch.equal(trees.argmax(u)[i][mask[i]], alone.argmax(u[i][mask[i]]))
    adjacency = trees.to_adjacency(x)
    assert torch.equal(adjacency, adjacency.mT)
    assert torch.count_nonzero(adjacency[0, 2:]) == 0


@MASKABLE
def test_plus_infinity_is_certain(case: Case):
    """Where all coordinates at +inf fit in one vertex, the result is the limit of raising them together."""
    for i, vertex in enumerate(case.problem.vertices[:3]):
        chosen = torch.from_numpy(np.cumsum(vertex) * vertex == 1)  # the first coordinate of the vertex, if any
        if i == 2:
            chosen = torch.from_numpy(vertex == 1)  # all of them
        u = case.utilities().masked_fill(chosen, math.inf).requires_grad_()
        t = torch.tensor(T, dtype=torch.float64, requires_grad=True)
        x = case.softmax(u, t)
        raised, limit = u.detach().masked_fill(chosen, 1e9), case.truth
        if isinstance(limit, HullOptimum):  # which is for ordinary ranges: all vertices that have them
            limit = replace(limit, vertices=limit.vertices[(limit.vertices[:, chosen.numpy()] == 1).all(-1)])
            raised = u.detach().masked_fill(chosen, 0.0)
        assert_near(x, torch.from_numpy(to_numpy(limit.value(scaled(raised, T)))), 1e-9)
        assert (x[chosen] == case.problem.vertices.max()).all()
        du, dt = torch.autograd.grad((x * weights(u)).sum(), (u, t))
        slope, _ = limit.slopes(scaled(raised, T), exact(weights(u)))
        assert_near(du * T, torch.from_numpy(to_numpy(slope)), 1e-9)
        assert torch.count_nonzero(du[chosen]) == 0
        assert dt.isfinite()
        assert (case.structure.argmax(u)[chosen] == case.problem.vertices.max()).all()


@MASKABLE
@pytest.mark.parametrize("size", [1e5, -1e20])
def test_plus_infinity_comes_before_whatever_is_finite(case: Case, size: float):
    """Also before all that must be left, or be taken, for its sake."""
    for vertex in torch.from_numpy(case.problem.vertices == 1):
        for chosen in (vertex, vertex & (vertex.cumsum(-1) == 1)):
            u = (size * case.utilities().abs()).masked_fill(chosen, math.inf)
            most = float(case.problem.vertices.max())
            assert (case.structure.argmax(u)[chosen] == most).all()
            x = case.structure.softmax(u, 1.0, case.regularizer)
            assert_near(x[chosen], torch.full((int(chosen.sum()),), most), 1e-9)


@MASKABLE
def test_more_infinities_than_fit_still_give_a_point_of_the_hull(case: Case):
    u = torch.full((case.problem.size,), math.inf, dtype=torch.float64, requires_grad=True)
    x = case.softmax(u, T)
    assert case.problem.outside(x.detach().numpy()) <= 1e-9
    assert case.structure.argmax(u).tolist() == case.problem.argmax(u.detach().numpy()).tolist()
    (gradient,) = torch.autograd.grad((x * weights(u)).sum(), u)
    assert gradient.isfinite().all()


@PAIRS
def test_infinite_partition_function(case: Case):
    if not case.has_family:
        return
    u = case.utilities()
    u[0] = math.inf
    assert case.structure.log_partition(u) == math.inf


def test_an_edge_at_plus_infinity_that_no_tree_has():
    """An edge back to where all paths come from is in no tree; neither is one that would cross what must be there."""
    back = sst.Arborescence(torch.tensor([[0, 1, 2, 0], [1, 2, 1, 2]]), 3, mask=torch.tensor([True, True, True, False]))
    u = torch.tensor([0.5, 0.25, math.inf, math.inf])
    assert back.log_partition(u) == 0.75
    hidden = sst.Arborescence(torch.tensor([[0, 1, 2, 0], [1, 2, 1, 2]]), 3)
    assert hidden.log_partition(torch.tensor([0.5, 0.25, math.inf, -math.inf])) == 0.75
    assert hidden.log_partition(torch.tensor([0.5, 0.25, math.inf, 0.0])) == math.inf
    trees = sst.ProjectiveArborescence(3)
    rows = torch.tensor([[0.5, -math.inf, 0.25, math.inf], [0.5, 0.0, 0.25, math.inf]])
    assert trees.log_partition(rows).tolist() == [0.75, math.inf]
    assert torch.func.vmap(trees.log_partition)(rows).tolist() == [0.75, math.inf]


def test_a_structure_of_ones_own_with_a_coordinate_that_no_vertex_has():
    class First(sst.Structure):
        """The first of two, always."""

        def _argmax(self, u: torch.Tensor) -> torch.Tensor:
            return torch.tensor([1.0, 0.0]).to(u).expand(u.shape)

        def _contains(self, x: torch.Tensor) -> torch.Tensor:
            return (x == torch.tensor([1.0, 0.0])).all(-1)

        def _candidates(self) -> int:
            return 1

        def _support(self) -> torch.Tensor:
            return torch.tensor([[1.0, 0.0]])

        def _log_partition(self, u: torch.Tensor) -> torch.Tensor:
            return u[..., 0]

    first = First((2,), None, at_least=1)
    rows = torch.tensor([[0.5, math.inf], [math.inf, 0.0], [math.inf, math.inf]])
    assert first.log_partition(rows).tolist() == [0.5, math.inf, math.inf]


def test_minus_infinity_is_exact_in_the_oracle():
    assert MP.exp(exact(torch.tensor([-math.inf]))[0]) == 0


@pytest.mark.parametrize(
    ("trees", "root"),
    [
        (sst.ProjectiveArborescence(3), 0),
        (sst.Arborescence.complete(3, root=1), 1),
        (sst.Arborescence(torch.tensor([[1, 0, 0, 2, 0], [2, 1, 1, 1, 2]]), 3), 0),
    ],
    ids=str,
)
def test_every_mask_without_a_tree_is_found(trees, root: int):
    """Among three nodes every tree is projective, so that a tree is there where the root reaches all present nodes."""
    edges = trees.edges.T.tolist()
    masks = [torch.tensor(mask) for mask in product((False, True), repeat=len(edges))]
    accepted = 0
    for mask in masks:
        graph = nx.DiGraph([edge for edge, here in zip(edges, mask, strict=True) if here and edge[1] != root])
        batch = torch.stack([torch.ones_like(mask), mask])
        if set(graph.nodes) <= {root} or (root in graph and set(graph.nodes) == {root} | nx.descendants(graph, root)):
            trees.masked(batch)
            accepted += 1
        else:
            with pytest.raises(ValueError, match="mask"):
                trees.masked(batch)
    assert 1 < accepted < len(masks)
