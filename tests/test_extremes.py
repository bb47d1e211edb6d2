"""Law 6: utilities of any scale, against fifty digits computed for the very numbers that are given."""

import math
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sstricks as sst
from brute_force import exact, scaled
from cases import CASES, PAIR_CASES, PROBLEMS, Case, truth
from graphs import complete, random_connected
from laws import TOLERANCE, assert_near, assert_slope, true_value
from polytopes import tree_cut_excess
from problems import KSubsetProblem, tree_problem
from recursions import k_subset_probability, k_subset_slope, tree_edge_probability, tree_edge_slope
from utilities_at_extremes import PATTERNS, clusters_in_clusters, hierarchy, uniform

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
SIZES = pytest.mark.parametrize("case", [c for c in CASES if c.problem.size > 1], ids=str)
LARGER_TREES = [Case(tree_problem(random_connected(6, 6, seed=4)), sst.ExponentialFamilyEntropy())]


def assert_exact(case: Case, u: torch.Tensor, temperature: torch.Tensor, g: torch.Tensor) -> None:
    """Value, t·J g and t·dx/dt are within the promise; the last is a product with u/t, so relative to its size."""
    if case.iterative:
        assert_good_or_warned(case, u, temperature, g)
        return
    u, t = u.clone().requires_grad_(), temperature.clone().requires_grad_()
    x = case.softmax(u, t)
    assert_near(x, true_value(case, u, t.detach()), TOLERANCE[u.dtype])
    assert case.problem.outside(x.detach().double().numpy()) <= TOLERANCE[u.dtype]
    du, dt = torch.autograd.grad((x * g).sum(), (u, t))
    assert_slope(case, du.double() * t.item(), u, t.detach(), g)
    s = u.detach().double() / t.item()
    expected = -(du.double() @ torch.where(torch.isfinite(s), s, 0.0)).item()
    assert math.isclose(dt.item() * t.item(), expected * t.item(), abs_tol=_size(s) * TOLERANCE[u.dtype])


def assert_good_or_warned(case: Case, u: torch.Tensor, temperature: torch.Tensor, g: torch.Tensor) -> None:
    """The active-set method: in the hull in any case, and no vertex is better unless it warns of that."""
    vertices = torch.from_numpy(case.problem.vertices).double()
    vertices = vertices[~(vertices[:, u == -math.inf] > 0).any(-1)]
    if not len(vertices):  # what is left of a graph is a smaller one
        return
    u, t = u.clone().requires_grad_(), temperature.clone().requires_grad_()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        x = case.softmax(u, t)
    assert all(w.category is sst.ConvergenceWarning for w in caught)
    assert case.problem.outside(x.detach().double().numpy()) <= TOLERANCE[u.dtype]
    assert all(slope.isfinite().all() for slope in torch.autograd.grad((x * g).sum(), (u, t)))
    assert callable(case.regularizer)
    s = u.detach().double() / t.item()
    s, point = torch.where(s.isfinite(), s, 0.0), x.detach().double().clamp(0, 1)
    behind = ((vertices - point) @ s) - case.regularizer(vertices) + case.regularizer(point)
    assert caught or behind.max() <= TOLERANCE[u.dtype] * _size(s)


def _size(s: torch.Tensor) -> float:
    return max(1.0, s[torch.isfinite(s)].abs().max().item())


def in_dtype(s: np.ndarray, t: float, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """u and t in the dtype, with u/t close to s; what they then are exactly is what the truth is computed for."""
    return torch.tensor(s * t, dtype=torch.float64).to(dtype), torch.tensor(t, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("case", [c for c in CASES if c.problem.size > 1] + LARGER_TREES, ids=str)
def test_pattern(case: Case, pattern: str, dtype: torch.dtype):
    rng = np.random.default_rng(zlib.crc32(f"{case}{pattern}".encode()))
    for t in (1e-4, 1.0):
        u, temperature = in_dtype(PATTERNS[pattern](case.problem.size, rng), t, dtype)
        assert_exact(case, u, temperature, torch.tensor(rng.uniform(-1, 1, case.problem.size), dtype=dtype))


@DTYPES
@pytest.mark.parametrize("case", [case for case in PAIR_CASES if not case.iterative], ids=str)
def test_float_temperature(case: Case, dtype: torch.dtype):
    """A Python float is taken at its double-precision value."""
    u = torch.tensor(clusters_in_clusters(case.problem.size, np.random.default_rng(0)) * 1e-4).to(dtype)
    assert_near(case.softmax(u, 1e-4), true_value(case, u, 1e-4), TOLERANCE[dtype])


@DTYPES
@pytest.mark.parametrize("case", PAIR_CASES, ids=str)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_levels(case: Case, dtype: torch.dtype, data: st.DataObject):
    level = st.sampled_from([0.0, 1.0, -30.0, -1e3, 1e3, -1e6, 1e6, 7e5, -math.inf])
    jitter = st.sampled_from([0.0, 1e-12, -1e-3, 1e-3, 0.5]) | st.floats(-40, 40, width=32)
    rows = data.draw(st.lists(st.tuples(level, jitter), min_size=case.problem.size, max_size=case.problem.size))
    s = np.array([a + b for a, b in rows]) * data.draw(st.sampled_from([1.0, 0.5]))
    t = data.draw(st.sampled_from([1e-4, 0.01, 1.0, 50.0]))
    if not (case.problem.vertices[:, ~np.isfinite(s)] == 0).all(-1).any():  # without padding, which is another problem
        s = np.where(np.isfinite(s), s, 0.0)
    u, temperature = in_dtype(s, t, dtype)
    if not case.iterative and (u.isfinite() & ~_is_smooth(case, u, temperature)).any():
        return
    assert_exact(case, u, temperature, torch.linspace(-1, 1, case.problem.size, dtype=dtype))


def _is_smooth(case: Case, u: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Slopes at an exact kink may differ from both one-sided slopes of a direction; ``test_pattern`` covers ties."""
    forward, backward = case.truth.slopes(scaled(u, t), exact(torch.linspace(-1, 1, u.numel(), dtype=u.dtype)))
    return torch.tensor([abs(a - b) < 1e-12 for a, b in zip(forward, backward, strict=True)])


@DTYPES
@pytest.mark.parametrize("stand_in", [-1e9, -1e30, "smallest"])
@pytest.mark.parametrize("case", PAIR_CASES, ids=str)
def test_finite_stand_ins_for_minus_infinity(case: Case, stand_in: float | str, dtype: torch.dtype):
    """What users write for masked coordinates elsewhere; the rest must not lose a digit to them."""
    if isinstance(case.structure, sst.Permutahedron):
        pytest.skip("whatever is present has a value")
    value = torch.finfo(dtype).min if stand_in == "smallest" else stand_in
    keep = torch.from_numpy(case.problem.vertices[0] == 1)  # leaves something; in a tree, one more edge for a choice
    keep[int((~keep).nonzero()[0])] = True
    for t in (1e-4, 1.0):
        u = case.utilities(dtype=dtype).abs() * t
        filled = u.masked_fill(~keep, value).requires_grad_()
        x = case.softmax(filled, torch.tensor(t, dtype=dtype))
        absent, g = u.masked_fill(~keep, -math.inf), case.utilities(dtype=dtype, seed=1)
        assert_near(x, true_value(case, absent, torch.tensor(t, dtype=dtype)), TOLERANCE[dtype])
        (du,) = torch.autograd.grad((x * g).sum(), filled)
        assert_slope(case, du.double() * torch.tensor(t, dtype=dtype).item(), absent, torch.tensor(t, dtype=dtype), g)


@pytest.mark.parametrize("case", PAIR_CASES, ids=str)
def test_the_coldest_temperatures_are_the_argmax(case: Case):
    """Far beyond any range that a relaxation needs, it is still its limit."""
    for t in (1e-12, 1e-30, 1e-300, 5e-324):
        for dtype in (torch.float64, torch.float32):
            u = case.utilities(3, dtype=dtype).requires_grad_()
            given = torch.tensor(t, dtype=torch.float64, requires_grad=True)
            x = case.softmax(u, given)
            assert_near(x, case.structure.argmax(u), TOLERANCE[dtype])
            for gradient in torch.autograd.grad(x.sum(), (u, given)):
                assert gradient.isfinite().all()


@pytest.mark.parametrize("case", PAIR_CASES, ids=str)
def test_extreme_double_backward_is_finite(case: Case):
    rng = np.random.default_rng(0)
    for pattern in PATTERNS.values():
        u, t = in_dtype(pattern(case.problem.size, rng), 1e-4, torch.float64)
        u, t = u.requires_grad_(), t.requires_grad_()
        first = torch.autograd.grad(case.softmax(u, t)[0], (u, t), create_graph=True)
        second = torch.autograd.grad(sum((g.sum() for g in first), torch.zeros(())), (u, t), allow_unused=True)
        assert all(g is None or g.isfinite().all() for g in second)


@pytest.mark.parametrize("case", PAIR_CASES, ids=str)
def test_log_partition_at_any_scale(case: Case):
    if not case.has_family:
        return
    rng = np.random.default_rng(0)
    family = truth(case.problem, sst.ExponentialFamilyEntropy())
    for pattern in PATTERNS.values():
        u = torch.tensor(pattern(case.problem.size, rng), requires_grad=True)
        value = case.structure.log_partition(u)
        assert math.isclose(value.item(), float(family.log_partition(exact(u))), rel_tol=1e-12, abs_tol=1e-9)
        (gradient,) = torch.autograd.grad(value, u)
        assert_near(gradient, true_value(Case(case.problem, sst.ExponentialFamilyEntropy()), u, 1.0), 1e-9)


SCALES = {
    "range-1e3": lambda n, rng: uniform(n, 1e3, rng),
    "range-1e6": lambda n, rng: uniform(n, 1e6, rng),
    "hierarchy": hierarchy,
    "clusters": clusters_in_clusters,
}


def undecided(x: torch.Tensor, count: int) -> list[int]:
    """The coordinates furthest from 0 and 1, where errors show."""
    return (x.detach() - 0.5).abs().argsort()[:count].tolist()


@DTYPES
@pytest.mark.parametrize("scale", SCALES)
def test_fifty_nodes(scale: str, dtype: torch.dtype):
    edges, rng = complete(50), np.random.default_rng(5)
    u, t = in_dtype(SCALES[scale](len(edges), rng), 1e-4, dtype)
    u.requires_grad_()
    g = torch.tensor(rng.uniform(-1, 1, len(edges)), dtype=dtype)
    structure = sst.SpanningTree.complete(50)
    x = structure.softmax(u, t, sst.ExponentialFamilyEntropy())
    (du,) = torch.autograd.grad((x * g).sum(), u)
    s, direction = scaled(u, t), exact(g)
    for e in undecided(x, 3) + rng.integers(len(edges), size=2).tolist():
        assert abs(x[e].item() - tree_edge_probability(s, edges, 50, e)) <= TOLERANCE[dtype]
        assert abs(du[e].item() * t.item() - tree_edge_slope(s, direction, edges, 50, e)) <= TOLERANCE[dtype]
    inside = x.detach().double().numpy()
    tolerance = TOLERANCE[dtype] * 49
    assert inside.min() >= 0
    assert inside.max() <= 1 + TOLERANCE[dtype]
    assert abs(inside.sum() - 49) <= tolerance
    for size in rng.integers(2, 49, size=200):
        group = frozenset(rng.choice(50, size, replace=False).tolist())
        assert tree_cut_excess(inside, edges, group) <= tolerance
    cold = structure.softmax(u.detach(), 1e-30, sst.ExponentialFamilyEntropy())
    if scale == "range-1e6" and dtype == torch.float64:
        assert_near(cold, structure.argmax(u), 1e-9)


@DTYPES
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("n", "k"), [(60, 1), (60, 10), (60, 59), (350, 10)])
def test_large_k_subset(n: int, k: int, scale: str, dtype: torch.dtype):
    rng = np.random.default_rng(6)
    u, t = in_dtype(SCALES[scale](n, rng), 1e-4, dtype)
    u.requires_grad_()
    g = torch.tensor(rng.uniform(-1, 1, n), dtype=dtype)
    x = sst.KSubset(n, k).softmax(u, t, sst.ExponentialFamilyEntropy())
    (du,) = torch.autograd.grad((x * g).sum(), u)
    s, direction = scaled(u, t), exact(g)
    for i in undecided(x, 3) + rng.integers(n, size=2).tolist():
        assert abs(x[i].item() - k_subset_probability(s, k, i)) <= TOLERANCE[dtype]
        assert abs(du[i].item() * t.item() - k_subset_slope(s, direction, k, i)) <= TOLERANCE[dtype]
    assert abs(x.sum().item() - k) <= TOLERANCE[dtype] * k


@DTYPES
@pytest.mark.parametrize("regularizer", [sst.Euclidean(), sst.CategoricalEntropy(), sst.BinaryEntropy()], ids=repr)
def test_large_separable(regularizer: sst.Regularizer, dtype: torch.dtype):
    rng = np.random.default_rng(7)
    for scale in SCALES.values():
        case = Case(KSubsetProblem(40, 7), regularizer)
        u, t = in_dtype(scale(40, rng), 1e-4, dtype)
        assert_exact(case, u, t, torch.tensor(rng.uniform(-1, 1, 40), dtype=dtype))


def test_every_problem_is_small_enough_to_enumerate():
    assert all(problem.count < 2000 for problems in PROBLEMS.values() for problem in problems)
