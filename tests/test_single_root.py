"""Trees whose root has one child: random multigraphs by enumeration, larger ones by determinants, hostile utilities."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sstricks as sst
from arborescence_problem import complete_directed, single_root_problem
from brute_force import ExponentialFamily, float_marginals
from laws import assert_near
from sstricks.estimators.trace import check_has_trace
from sstricks.ops import arborescence as operators
from sstricks.ops import projective_arborescence as projective
from test_arborescences import normals, random_rooted
from test_contraction import MORE
from test_errors import check
from utilities_at_extremes import PATTERNS

ENTROPY = sst.ExponentialFamilyEntropy()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    nodes=st.integers(2, 6), extra=st.integers(0, 9), seed=st.integers(0, 2**20), scale=st.sampled_from([1, 40, 1e4])
)
def test_random_multigraphs(nodes: int, extra: int, seed: int, scale: float):
    edges, root = random_rooted(nodes, extra, seed)
    problem = single_root_problem(edges, root)
    if not len(problem.vertices):
        with pytest.raises(ValueError, match="through one child"):
            problem.build()
        return
    u = scale * normals(len(edges), seed)
    ties = torch.from_numpy(np.random.default_rng(seed).integers(-1, 2, (4, len(edges)))).double()
    structure = problem.build()
    for row in (u, *ties):
        assert structure.argmax(row).tolist() == problem.argmax(row.numpy()).tolist()
        assert_near(structure.marginals(row), torch.from_numpy(float_marginals(problem.vertices, row.numpy())), 1e-9)
        log_z = torch.logsumexp(torch.from_numpy(problem.vertices).double() @ row, 0)
        torch.testing.assert_close(structure.log_partition(row), log_z, rtol=1e-13, atol=1e-12)
    assert round(structure.log_partition(torch.zeros_like(u)).exp().item()) == problem.count
    assert sorted(structure.enumerate_support().int().tolist()) == sorted(problem.vertices.tolist())
    assert structure.contains(structure.sample(u, (20,))).all()
    rooted = operators.rooted(torch.tensor(edges).T.contiguous(), root)
    assert torch.equal(operators.maximum_arborescence(ties, rooted, nodes + MORE, True), structure.argmax(ties))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_hostile_utilities(pattern: str):
    problem, rng = single_root_problem(complete_directed(4)), np.random.default_rng(0)
    trees, oracle = problem.build(), ExponentialFamily(problem.vertices)
    u = torch.from_numpy(np.stack([PATTERNS[pattern](problem.size, rng) for _ in range(10)]))
    expected = torch.stack([torch.from_numpy(np.asarray(oracle.value(row), dtype=np.float64)) for row in u.numpy()])
    assert_near(trees.marginals(u), expected, 1e-9)
    sparse = operators.single_root(trees.scaled(u, 1.0), trees.edges, 4 + MORE, 45.0)
    assert_near(operators.marginals(sparse, trees.edges, 4 + MORE), expected, 1e-9)


@pytest.mark.parametrize(("nodes", "rows"), [(30, 3), (30, 9), (70, 2), (70, 9)])
def test_the_determinant_with_a_row_of_root_weights(nodes: int, rows: int):
    """Koo, Globerson, Carreras, Collins 2007, eq. 7; at a small range it is exact enough."""
    trees = sst.Arborescence.complete(nodes, single_root=True)
    u, g = normals(trees.edges.shape[1], 0, rows).requires_grad_(), normals(trees.edges.shape[1], 1, rows)

    def log_z(u: torch.Tensor) -> torch.Tensor:
        weights = trees.to_adjacency(u.exp())
        inner = weights[:, 1:, 1:]
        laplacian = torch.diag_embed(inner.sum(-2)) - inner
        return torch.logdet(torch.cat([weights[:, :1, 1:], laplacian[:, 1:]], -2))

    assert_near(trees.log_partition(u), log_z(u), 1e-9)
    (expected,) = torch.autograd.grad(log_z(u).sum(), u, create_graph=True)
    x = trees.marginals(u)
    assert_near(x, expected, 1e-11)
    (slope,), (true,) = (torch.autograd.grad(value, u, g) for value in (x, expected))
    assert_near(slope, true, 1e-10)
    assert trees.contains(trees.sample(u, (20,))).all()


@pytest.mark.parametrize("projective", [False, True])
def test_sentences_of_many_lengths_share_a_batch(projective: bool):
    def build(n: int) -> sst.Arborescence | sst.ProjectiveArborescence:
        kind = sst.ProjectiveArborescence if projective else sst.Arborescence.complete
        return kind(n, single_root=True)

    sizes = torch.tensor([1, 2, 3, 5])
    trees = build(5).of_nodes(sizes)
    u = 3 * normals(16, 0, 4)
    assert trees.contains(trees.sample(u, (50,))).all()
    assert trees.contains(trees.argmax(u)).all()
    for i, n in enumerate(sizes.tolist()):
        alone, here = build(n), trees.edge_mask(sizes)[i]
        assert torch.equal(trees.argmax(u)[i][here], alone.argmax(u[i][here]))
        assert_near(trees.marginals(u)[i][here], alone.marginals(u[i][here]), 1e-12)
        assert_near(trees.log_partition(u)[i], alone.log_partition(u[i][here]), 1e-12)
        for f in (sst.Euclidean(), sst.BinaryEntropy()):
            assert_near(trees.softmax(u, 1.0, f)[i][here], alone.softmax(u[i][here], 1.0, f), 1e-8)


def test_errors():
    u = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, -torch.inf, -torch.inf]])
    for call in (
        sst.Arborescence.complete(3, single_root=True).argmax,
        sst.Arborescence.complete(3, single_root=True).marginals,
        sst.Arborescence.complete(3, single_root=True).log_partition,
    ):
        check(lambda call=call: call(u), "u", "row 1", "a child of the root")
    check(lambda: sst.ProjectiveArborescence(3, single_root=True).sample(u), "u", "row 1", "at least one tree")
    with pytest.raises(ValueError, match="mask"):
        sst.ProjectiveArborescence(3, mask=torch.tensor([True, True, False, False]), single_root=True)


def test_a_child_far_behind_another():
    """The best child of the root is behind by more than the others' utilities can show beside it."""
    trees = sst.Arborescence.complete(4, single_root=True)
    u = torch.tensor([-1e200, -1e200, -2e200, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], dtype=torch.float64)
    x = trees.marginals(u)
    assert_near(x[:3].sum(), torch.tensor(1.0, dtype=torch.float64), 1e-12)
    support = trees.enumerate_support().double()
    near = u.clone()
    near[:3] = torch.tensor([0.0, 0.0, -torch.inf], dtype=torch.float64)
    weight = torch.where(support[:, 2] > 0, 0.0, (support @ near.clamp(min=-1e3)).exp())
    assert_near(x, (weight / weight.sum()) @ support, 1e-12)


def test_twins_of_projective_trees():
    u, g = 3 * normals(25, 0, 9), normals(25, 1, 9)
    u[0], u[1], u[2] = u[0] * 1e6, u[1].round(), 0.0
    u[3] = torch.where((projective.edge_ends(6) == 2).any(0), -torch.inf, u[3])
    uniforms = torch.rand(9, 3 * projective.size(6), dtype=torch.float64)
    for operator, args in (
        (projective.marginals, (u,)),
        (projective.marginals_jvp, (u, g)),
        (projective.log_partition, (u,)),
        (projective.maximum_projective_arborescence, (u,)),
        (projective.drawn, (u, uniforms)),
    ):
        torch.testing.assert_close(operator.twin(*args, 6, True), operator(*args, 6, True), rtol=1e-12, atol=1e-9)


def test_races_do_not_find_it():
    trees = sst.Arborescence.complete(3, single_root=True)
    with pytest.raises(ValueError, match="single_root"):
        check_has_trace("structure", trees, sst.NegativeExponential)


def test_representation():
    assert "single root" in repr(sst.Arborescence.complete(3, single_root=True))
    assert "single root" in repr(sst.ProjectiveArborescence(3, single_root=True))


@pytest.mark.parametrize("single_root", [False, True])
def test_labels_are_parallel_edges(single_root: bool):
    """Projective trees have them by number, others by their list; of both, a chain is the same."""
    labels, edges = 3, torch.tensor([[0, 1], [1, 2]])
    arcs = edges.repeat_interleave(labels, -1)
    trees = sst.Arborescence(arcs, 3, single_root=single_root)
    projective = sst.ProjectiveArborescence(3, num_labels=labels, single_root=single_root)
    here = ((projective.edges[0] == 0) & (projective.edges[1] == 1)) | (projective.edges[0] == 1)
    u = 3 * normals(2 * labels, 0, 5)
    wide = torch.full((5, 4 * labels), -torch.inf, dtype=u.dtype).masked_scatter(here.expand(5, -1), u)
    share = u.unflatten(-1, (2, labels)).softmax(-1).flatten(-2)
    log_z = u.unflatten(-1, (2, labels)).logsumexp(-1).sum(-1)
    for structure, values, at in ((trees, u, slice(None)), (projective, wide, here)):
        assert_near(structure.log_partition(values), log_z, 1e-12)
        assert_near(structure.marginals(values)[:, at], share, 1e-12)
        best = u.unflatten(-1, (2, labels)).argmax(-1)
        assert torch.equal(structure.argmax(values)[:, at].unflatten(-1, (2, labels)).argmax(-1), best)
    ties = projective.argmax(torch.zeros(4 * labels))
    assert ties.nonzero().flatten().tolist() == [0, 2 * labels] if single_root else [0, labels]


def test_labels_of_any_size_and_none():
    u = torch.zeros(2, 4 * 2)
    u[1, :4] = torch.tensor([-torch.inf, 5.0, 1e4, -torch.inf])
    trees = sst.ProjectiveArborescence(3, num_labels=2)
    u = u.requires_grad_()
    x = trees.marginals(u)
    assert x[1, [0, 3]].tolist() == [0, 0]
    (slope,) = torch.autograd.grad(x[1, 1] + trees.log_partition(u).sum(), u)
    assert slope.isfinite().all()
    with pytest.raises(ValueError, match="num_labels"):
        sst.ProjectiveArborescence(3, num_labels=0)
    alone = sst.ProjectiveArborescence(1, num_labels=4, single_root=True)
    assert alone.argmax(torch.zeros(2, 0)).shape == alone.sample(torch.zeros(2, 0)).shape == (2, 0)
    assert alone.log_partition(torch.zeros(2, 0)).tolist() == [0, 0]
    assert alone.enumerate_support().shape == (1, 0)


@pytest.mark.parametrize("f", [ENTROPY, sst.Euclidean(), sst.CategoricalEntropy(), sst.BinaryEntropy()])
def test_graphs_of_one_node(f: sst.Regularizer):
    for trees in (
        sst.Arborescence.complete(1, single_root=True),
        sst.ProjectiveArborescence(1, single_root=True),
        sst.SpanningTree.complete(1, forest=True),
    ):
        u = torch.zeros(3, 0, requires_grad=True)
        for x in (trees.argmax(u), trees.softmax(u, 0.5, f), trees.sample(u)):
            assert x.shape == (3, 0)
        assert_near(trees.log_partition(u), torch.zeros(3), 1e-12)
        assert trees.contains(u).all()
        assert trees.enumerate_support().shape == (1, 0)
