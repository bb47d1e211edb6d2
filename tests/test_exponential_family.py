"""ExponentialFamily against a list of all vertices with their probabilities."""

from __future__ import annotations

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, OneHotCategorical, kl_divergence

import sstricks as sst
from brute_force import MP, exact
from brute_force import ExponentialFamily as Exact
from cases import CASES, Case
from laws import assert_near

FAMILIES = [case for case in CASES if isinstance(case.regularizer, sst.ExponentialFamilyEntropy)]
FIRST = list({type(case.structure): case for case in reversed(FAMILIES)}.values())
EACH = pytest.mark.parametrize("case", FAMILIES, ids=str)
ONE_OF_EACH = pytest.mark.parametrize("case", FIRST, ids=str)
INF = math.inf


def vertices(case: Case) -> torch.Tensor:
    return torch.from_numpy(case.problem.vertices).double()


def listed(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of the rows of x, by normalising over them: −∞ for those with an absent coordinate."""
    heights = (x * torch.where(u > -INF, u, 0.0)).sum(-1).masked_fill((x * (u == -INF)).any(-1), -INF)
    return heights.log_softmax(-1)


def random_mask(case: Case) -> torch.Tensor:
    """One that leaves a vertex of the whole problem, but not all coordinates."""
    rng = np.random.default_rng(case.problem.size)
    while True:
        keep = rng.random(case.problem.size) < 0.75
        if not keep.all() and case.problem.feasible(keep) and (case.problem.vertices @ ~keep == 0).any():
            return torch.from_numpy(keep)


def maskable(cases: list[Case]) -> list[Case]:
    """Those with a coordinate that some vertex does without."""
    return [case for case in cases if case.problem.size > 1 and not case.problem.vertices.all(0).all()]


@EACH
def test_log_prob_is_that_of_the_list(case: Case):
    u = case.utilities(3)
    family = sst.ExponentialFamily(case.structure, u)
    found = family.log_prob(vertices(case).unsqueeze(1))
    assert found.shape == (case.problem.count, 3)
    assert_near(found, torch.stack([listed(vertices(case), row) for row in u], -1), 1e-12)


@EACH
@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_log_prob_at_a_large_range(case: Case, scale: float):
    u = scale * case.utilities()
    x = vertices(case)
    log_z = Exact(case.problem.vertices).log_partition(exact(u))
    expected = [float(MP.fdot(exact(row), exact(u)) - log_z) for row in x]
    found = sst.ExponentialFamily(case.structure, u).log_prob(x)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-9 * scale)
    assert (found <= 0).all()


@EACH
def test_what_is_no_vertex_has_no_mass(case: Case):
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=case.problem.size)), dtype=torch.float64)
    u = case.utilities().requires_grad_()
    family = sst.ExponentialFamily(case.structure, u)
    found = family.log_prob(corners)
    assert math.isclose(found.exp().sum().item(), 1, abs_tol=1e-12)
    assert torch.equal(found > -INF, case.structure.contains(corners))
    nan, unchecked = torch.full_like(corners, math.nan), sst.ExponentialFamily(case.structure, u, validate_args=False)
    for other in (corners / 2 + 0.25, corners + 2, nan, torch.full_like(corners, INF)):
        assert (unchecked.log_prob(other) == -INF).all()
        (gradient,) = torch.autograd.grad(unchecked.log_prob(other).sum(), u)
        assert torch.count_nonzero(gradient) == 0
    with pytest.raises(ValueError, match="value: found NaN"):
        family.log_prob(nan)


@EACH
def test_the_score_is_the_vertex_minus_the_marginals(case: Case):
    u = case.utilities().requires_grad_()
    for x in vertices(case)[:4]:
        family = sst.ExponentialFamily(case.structure, u)
        (score,) = torch.autograd.grad(family.log_prob(x), u)
        assert_near(score, x - family.mean, 1e-12)
    assert torch.autograd.gradcheck(lambda u: sst.ExponentialFamily(case.structure, u).log_prob(x), u)
    assert torch.autograd.gradgradcheck(lambda u: sst.ExponentialFamily(case.structure, u).log_prob(x), u)


@EACH
def test_moments_are_those_of_the_list(case: Case):
    u = case.utilities(2).requires_grad_()
    family = sst.ExponentialFamily(case.structure, u)
    x = vertices(case)
    p = torch.stack([listed(x, row) for row in u.detach()]).exp()
    mean = p @ x
    assert_near(family.mean, mean, 1e-12)
    assert_near(family.variance, p @ x.square() - mean.square(), 1e-12)
    assert_near(family.stddev.square(), family.variance, 1e-12)
    assert_near(family.entropy(), -torch.xlogy(p, p).sum(-1), 1e-10)
    assert_near(family.perplexity(), family.entropy().exp(), 1e-10)
    assert torch.equal(family.log_prob(family.mode), family.log_prob(x.unsqueeze(1)).amax(0))
    for moment in (lambda d: d.mean, lambda d: d.variance, lambda d: d.entropy()):
        assert torch.autograd.gradcheck(lambda u, moment=moment: moment(sst.ExponentialFamily(case.structure, u)), u)


@pytest.mark.parametrize("case", maskable(FAMILIES), ids=str)
@pytest.mark.parametrize("spelling", ["mask", "-inf", "both"])
def test_absent_coordinates(case: Case, spelling: str):
    keep, u = random_mask(case), case.utilities()
    structure = case.structure if spelling == "-inf" else case.problem.build(keep)
    given = u.clone() if spelling == "mask" else u.masked_fill(~keep, -INF)
    given.requires_grad_()
    family, x = sst.ExponentialFamily(structure, given), vertices(case)
    expected = listed(x, u.masked_fill(~keep, -INF))
    found = family.log_prob(x)
    assert torch.equal(found == -INF, (x * ~keep).any(-1))
    assert_near(found.exp(), expected.exp(), 1e-12)
    assert_near(family.mean, expected.exp() @ x, 1e-12)
    for row, log_p in zip(x, found, strict=True):
        (score,) = torch.autograd.grad(log_p, given, retain_graph=True)
        assert_near(score, torch.where(keep, row - family.mean, 0.0) if log_p > -INF else torch.zeros_like(u), 1e-12)
    assert (family.log_prob(family.sample((50,))) > -INF).all()
    assert family.support.check(family.sample((50,))).all()
    assert math.isfinite(family.entropy().item())


def test_utilities_of_minus_infinity_that_remove_a_node():
    """What is left is a smaller graph, and its trees are the vertices."""
    u = torch.tensor([1.0, -INF, 0.3, -INF, 0.2, -INF])  # of the pairs, those without node 2
    family = sst.ExponentialFamily(sst.SpanningTree.complete(4), u)
    small = sst.ExponentialFamily(sst.SpanningTree.complete(3), torch.tensor([1.0, 0.3, 0.2]))
    x = small.enumerate_support()
    wide = torch.zeros(3, 6).index_copy(-1, torch.tensor([0, 2, 4]), x)
    torch.testing.assert_close(family.log_prob(wide), small.log_prob(x))
    assert family.support.check(family.sample((20,))).all()
    torch.testing.assert_close(kl_divergence(family, family), torch.zeros(()))


@pytest.mark.parametrize("case", maskable(FIRST), ids=str)
def test_coordinates_at_plus_infinity_are_taken_before_any_other(case: Case):
    x, rng = vertices(case), np.random.default_rng(0)
    for _ in range(5):
        u = case.utilities()
        sure = torch.from_numpy(rng.random(case.problem.size) < 0.4)
        u = u.masked_fill(sure, INF)
        most = (x @ sure.double()).max()
        heights = (x @ torch.where(sure, 0.0, u)).masked_fill(x @ sure.double() < most, -INF)
        expected = heights.log_softmax(-1)
        family = sst.ExponentialFamily(case.structure, u)
        found = family.log_prob(x)
        assert torch.equal(found > -INF, expected > -INF)
        assert_near(found.exp(), expected.exp(), 1e-9)
        assert_near(family.mean, expected.exp() @ x, 1e-9)
        assert (family.log_prob(family.sample((20,))) > -INF).all()


def by_list(p: sst.ExponentialFamily, q: sst.ExponentialFamily, x: torch.Tensor) -> torch.Tensor:
    """Σ p (log p − log q) over the vertices."""
    log_p, log_q = p.log_prob(x), q.log_prob(x)
    some = log_p > -INF
    return torch.where(some, log_p.exp() * (torch.where(some, log_p, 0.0) - log_q), 0.0).sum(0)


@EACH
def test_divergence_is_that_of_the_list(case: Case):
    u, v = case.utilities(2), case.utilities(2, seed=1)
    p, q = (sst.ExponentialFamily(case.structure, w) for w in (u, v))
    x = vertices(case).unsqueeze(1)
    found = kl_divergence(p, q)
    assert found.shape == (2,)
    assert_near(found, by_list(p, q, x), 1e-11)
    assert_near(kl_divergence(p, p), torch.zeros(2), 1e-12)
    assert (kl_divergence(p, p) >= 0).all()
    cross = -(p.log_prob(x).exp() * q.log_prob(x)).sum(0)
    assert_near(found + p.entropy(), cross, 1e-10)
    if case.problem.count > 1:
        assert torch.autograd.gradcheck(
            lambda u, v: kl_divergence(*(sst.ExponentialFamily(case.structure, w) for w in (u, v))),
            (u.requires_grad_(), v.requires_grad_()),
        )


@ONE_OF_EACH
def test_the_second_derivative_of_the_divergence_is_the_covariance(case: Case):
    """Also where the divergence is zero, which rounding may make negative."""
    u, x = case.utilities(), vertices(case)
    p = sst.ExponentialFamily(case.structure, u)
    hessian = torch.autograd.functional.hessian(lambda v: kl_divergence(p, sst.ExponentialFamily(case.structure, v)), u)
    probabilities = listed(x, u).exp()
    centred = x - probabilities @ x
    assert_near(hessian, (centred * probabilities.unsqueeze(-1)).mT @ centred, 1e-10)


@pytest.mark.parametrize("case", maskable(FIRST), ids=str)
def test_divergence_under_masks_and_infinities(case: Case):
    """Finite where p has no mass that q lacks, infinite elsewhere; any of ±∞ on either side."""
    rng, x = np.random.default_rng(1), vertices(case)
    finite = 0
    for _ in range(60):
        pair = []
        for _ in range(2):
            kind = torch.from_numpy(rng.choice([0.0, INF, -INF], p=[0.7, 0.15, 0.15], size=case.problem.size))
            pair.append(case.utilities(seed=int(rng.integers(100))) + kind)
        if any((x @ (u == -INF).double()).min() > 0 for u in pair):
            continue
        p, q = (sst.ExponentialFamily(case.structure, u) for u in pair)
        expected = by_list(p, q, x)
        finite += bool(expected < INF)
        assert_near(kl_divergence(p, q), expected, 1e-9)
    assert finite > 3


@pytest.mark.parametrize("case", maskable(FIRST), ids=str)
def test_divergence_and_its_gradient_are_finite_under_equal_masks(case: Case):
    keep = random_mask(case)
    u, v = case.utilities().requires_grad_(), case.utilities(seed=1).requires_grad_()
    masked = case.problem.build(keep)
    by_mask = kl_divergence(*(sst.ExponentialFamily(masked, w) for w in (u, v)))
    by_utility = kl_divergence(*(sst.ExponentialFamily(case.structure, w.masked_fill(~keep, -INF)) for w in (u, v)))
    assert_near(by_mask, by_utility, 1e-12)
    for value in (by_mask, by_utility):
        for gradient in torch.autograd.grad(value, (u, v)):
            assert gradient.isfinite().all()
            assert torch.count_nonzero(gradient[~keep]) == 0


def test_divergence_from_what_rarely_has_a_mass():
    """The missing edge has a probability that no float holds, and p still has mass where q has none."""
    u = torch.tensor([1e4, 1e4, 0.0], dtype=torch.float64)
    p = sst.ExponentialFamily(sst.SpanningTree.complete(3), u)
    q = sst.ExponentialFamily(sst.SpanningTree.complete(3), torch.tensor([0.0, 0.0, -INF], dtype=torch.float64))
    assert kl_divergence(p, q) == INF
    assert kl_divergence(q, p) < INF


def test_an_edge_that_is_in_no_tree_may_be_missing():
    """Node 1 is reached from node 2 alone, so that the edge 1 → 2 is in no tree and q loses nothing with it."""
    edges = torch.tensor([[0, 2, 1], [2, 1, 2]])
    trees = sst.Arborescence(edges, 3)
    p = sst.ExponentialFamily(trees, torch.zeros(3))
    q = sst.ExponentialFamily(trees, torch.tensor([0.0, 0.0, -INF]))
    assert kl_divergence(p, q) == kl_divergence(q, p) == 0


def test_divergence_of_thousands_of_coordinates():
    """q is sure of one coordinate, of which p does without if it is sure of more than it can take."""
    n, at = 5000, torch.arange(5000)
    subsets = sst.KSubset(n, 200)
    q = sst.ExponentialFamily(subsets, torch.zeros(n).masked_fill(at == 0, INF))
    for sure, infinite in ((300, True), (200, False)):
        p = sst.ExponentialFamily(subsets, torch.zeros(n).masked_fill(at < sure, INF))
        assert (kl_divergence(p, q) == INF) == infinite


def test_divergence_of_different_structures():
    p = sst.ExponentialFamily(sst.KSubset(4, 2), torch.zeros(4))
    for other in (sst.KSubset(4, 3), sst.Subset(4)):
        with pytest.raises(ValueError, match=r"structure: found KSubset\(4, 2\) and .*same structure"):
            kl_divergence(p, sst.ExponentialFamily(other, torch.zeros(4)))
    for make in (lambda: sst.ProjectiveArborescence(4), lambda: sst.Path.segmentation(4, 2)):
        p, q = (sst.ExponentialFamily(make(), torch.zeros(make().event_shape)) for _ in "pq")
        assert kl_divergence(p, q) == 0
    square = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
    twin, other = square.clone(), square[:, [0, 2, 1, 3]]
    p = sst.ExponentialFamily(sst.SpanningTree(square, 4), torch.zeros(4))
    assert kl_divergence(p, sst.ExponentialFamily(sst.SpanningTree(twin, 4), torch.zeros(4))) == 0
    with pytest.raises(ValueError, match="same structure"):
        kl_divergence(p, sst.ExponentialFamily(sst.SpanningTree(other, 4), torch.zeros(4)))


def test_one_hot_and_subset_are_those_of_torch():
    u = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    one = sst.ExponentialFamily(sst.OneHot(3), u)
    theirs = OneHotCategorical(logits=u)
    x = torch.eye(3, dtype=torch.float64)
    assert_near(one.log_prob(x), theirs.log_prob(x), 1e-12)
    assert_near(one.entropy(), theirs.entropy(), 1e-12)
    assert_near(one.variance, theirs.variance, 1e-12)
    coins = sst.ExponentialFamily(sst.Subset(3), u)
    x = coins.enumerate_support().double()
    assert_near(coins.log_prob(x), Bernoulli(logits=u).log_prob(x).sum(-1), 1e-12)


def test_families_that_are_intractable():
    with pytest.raises(sst.NoSolverError, match=r"found Matching.*permanents, which are #P-hard"):
        sst.ExponentialFamily(sst.Matching(3), torch.zeros(3, 3))
    with pytest.raises(sst.NoSolverError, match=r"found LinearOracle"):
        sst.ExponentialFamily(sst.LinearOracle(torch.ones_like, (3,)), torch.zeros(3))


def test_bad_parameters():
    for u, found in ((torch.tensor([0.0, math.nan]), "NaN"), (torch.zeros(3), r"shape \(3,\)"), ([0.0], "list")):
        with pytest.raises(ValueError, match=f"u: found .*{found}"):
            sst.ExponentialFamily(sst.OneHot(2), u)
    with pytest.raises(ValueError, match="structure: found 'trees'"):
        sst.ExponentialFamily("trees", torch.zeros(3))
    family = sst.ExponentialFamily(sst.OneHot(2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"value: found shape \(3, 2\)"):
        family.log_prob(torch.eye(2)[[0, 1, 1]])
    with pytest.raises(ValueError, match="sample_shape: found 3"):
        family.sample(3)
    with pytest.raises(ValueError, match="batch_shape: found"):
        family.expand((3,))


@ONE_OF_EACH
def test_it_keeps_the_contract_of_distributions(case: Case):
    class Own(sst.ExponentialFamily):
        colour = "red"

    u = case.utilities(3).requires_grad_()
    family = Own(case.structure, u)
    family.note = "kept"
    assert (family.batch_shape, family.event_shape) == ((3,), case.structure.event_shape)
    wide = family.expand((2, 3))
    assert (type(wide), wide.note, wide.batch_shape) == (Own, "kept", (2, 3))
    assert wide.sample((4,)).shape == (4, 2, 3, *case.structure.event_shape)
    assert torch.equal(wide.log_prob(wide.mode), family.log_prob(family.mode).expand(2, 3))
    assert wide.mean.shape == (2, 3, *case.structure.event_shape)
    assert family.enumerate_support(expand=False).shape == (case.problem.count, 1, *case.structure.event_shape)
    assert family.enumerate_support().shape == (case.problem.count, 3, *case.structure.event_shape)
    assert not family.has_rsample
    plain = sst.ExponentialFamily(case.structure, u.detach())
    for twin in (copy.copy(plain), copy.deepcopy(plain), pickle.loads(pickle.dumps(plain))):
        drawn = (d.sample((5,), generator=torch.Generator().manual_seed(0)) for d in (plain, twin))
        assert torch.equal(*drawn)
    for question in (family.cdf, family.icdf):
        with pytest.raises(NotImplementedError, match="more than one number"):
            question(family.mode)


def test_subclasses_with_a_constructor_of_their_own_expand_by_their_own_rule():
    class Trees(sst.ExponentialFamily):
        def __init__(self, u):
            super().__init__(sst.SpanningTree.complete(3), u)

    with pytest.raises(NotImplementedError, match="expand"):
        Trees(torch.zeros(3)).expand((2,))


@ONE_OF_EACH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(case: Case, dtype: torch.dtype):
    u = case.utilities(3, dtype=dtype)
    family, wide = (sst.ExponentialFamily(case.structure, w) for w in (u, u.double()))
    for narrow, exactly in (
        (family.mean, wide.mean),
        (family.variance, wide.variance),
        (family.entropy(), wide.entropy()),
        (family.log_prob(family.mode), wide.log_prob(wide.mode)),
        (kl_divergence(family, family.expand((3,))), torch.zeros(3)),
    ):
        assert narrow.dtype == dtype
        torch.testing.assert_close(narrow.double(), exactly.to(dtype).double(), atol=1e-6, rtol=1e-6)
    assert family.sample().dtype == family.mode.dtype == dtype
    for of_vertex in (torch.int64, torch.bool, torch.float64):
        assert family.log_prob(family.mode.to(of_vertex)).dtype == torch.promote_types(of_vertex, dtype)


def test_masks_that_differ_in_a_batch():
    mask = torch.tensor([[True, True, False], [True, True, True]])
    family = sst.ExponentialFamily(sst.OneHot(3, mask=mask), torch.zeros(3))
    assert family.batch_shape == (2,)
    torch.testing.assert_close(family.mean, mask / mask.sum(-1, keepdim=True))
    torch.testing.assert_close(family.log_prob(torch.tensor([1.0, 0, 0])), -mask.sum(-1).float().log())
    uniform = sst.ExponentialFamily(sst.OneHot(3), torch.zeros(3))
    torch.testing.assert_close(kl_divergence(family, uniform), torch.tensor([1.5, 1.0]).log())
    assert kl_divergence(uniform, family).tolist() == [INF, 0.0]


def everything(case: Case, u: torch.Tensor, v: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    p, q = (sst.ExponentialFamily(case.structure, w) for w in (u, v))
    parts = torch.stack([p.log_prob(x), q.log_prob(x), p.entropy(), kl_divergence(p, q)], -1)
    return torch.cat([parts, p.mean, p.variance, p.mode], -1)


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert torch.equal(found.isinf(), expected.isinf())
    assert_near(torch.where(found.isinf(), 0.0, found), torch.where(found.isinf(), 0.0, expected), 1e-9)


@pytest.mark.parametrize("case", maskable(FIRST), ids=str)
def test_what_cannot_look_at_values_finds_the_same(case: Case):
    """Under vmap and in a compiled graph, whatever the parameters are."""
    torch.compiler.reset()
    rng, x = np.random.default_rng(2), vertices(case)
    rows = []
    while len(rows) < 12:
        kind = torch.from_numpy(rng.choice([0.0, INF, -INF], p=[0.8, 0.1, 0.1], size=case.problem.size))
        if (x @ (kind == -INF).double()).min() == 0:
            rows.append(case.utilities(seed=len(rows)) + kind)
    u, v = torch.stack(rows).chunk(2)
    x = x[torch.from_numpy(rng.integers(len(x), size=len(u)))]
    expected = everything(case, u, v, x)
    assert expected.isinf().any()
    same(torch.func.vmap(lambda *row: everything(case, *row))(u, v, x), expected)
    compiled = torch.compile(lambda *batch: everything(case, *batch), fullgraph=True, backend="aot_eager")
    same(compiled(u, v, x), expected)


@ONE_OF_EACH
def test_per_example_gradients(case: Case):
    u, v, x = case.utilities(3), case.utilities(3, seed=1), case.structure.argmax(case.utilities(3, seed=2))

    def loss(u: torch.Tensor, v: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return everything(case, u, v, x).sum()

    expected = torch.stack([torch.func.grad(loss)(*row) for row in zip(u, v, x, strict=True)])
    assert_near(torch.func.vmap(torch.func.grad(loss))(u, v, x), expected, 1e-10)


@pytest.mark.parametrize("structure", [sst.SpanningTree.complete(4), sst.Arborescence.complete(4)], ids=repr)
def test_the_support_of_a_graph_that_lacks_a_node_is_that_of_the_smaller_graph(structure):
    u = torch.zeros(structure.edges.shape[1]).masked_fill((structure.edges == 3).any(0), -torch.inf)
    for family in (sst.ExponentialFamily(structure, u), sst.ExponentialFamily(structure, u.expand(2, -1))):
        trees = family.enumerate_support()
        assert len(trees) == 3
        assert family.support.check(trees).all()
        assert_near(family.log_prob(trees).exp().sum(0), torch.ones(family.batch_shape), 1e-6)
