"""What holds of every structure under every regularizer; each law takes a Case and fails with an AssertionError."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.autograd.forward_ad as fw
from scipy.stats import chisquare
from torch.func import hessian, jacfwd, jacrev, jvp

import sstricks as sst
from brute_force import ExponentialFamily, best_value, exact, scaled, to_numpy
from cases import PAIR_CASES, Case
from utilities_at_extremes import hostile

Law = Callable[[Case], None]
Tensors = tuple[torch.Tensor, ...]
Mode = Callable[..., Callable[..., Any]]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}
LAWS: list[Law] = []
LAWS_OF_STRUCTURES: list[Law] = []


def law(statement: Law) -> Law:
    LAWS.append(statement)
    return statement


def law_of_structures(statement: Law) -> Law:
    """A law that no regularizer has a part in: one case of each problem is enough."""
    LAWS_OF_STRUCTURES.append(statement)
    return statement


def true_value(case: Case, u: torch.Tensor, temperature: torch.Tensor | float) -> torch.Tensor:
    return torch.from_numpy(to_numpy(case.truth.value(scaled(u, temperature))))


def assert_near(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual.double(), expected.double(), rtol=0, atol=tolerance)


def assert_slope(case: Case, slope: torch.Tensor, u: torch.Tensor, t: torch.Tensor | float, g: torch.Tensor) -> None:
    """t·J g is the truth, or lies between its one-sided values where the solution has a kink."""
    behind, ahead = (torch.from_numpy(to_numpy(s)) for s in case.truth.slopes(scaled(u, t), exact(g)))
    tolerance = TOLERANCE[u.dtype]
    nearest = slope.double().clamp(torch.minimum(behind, ahead), torch.maximum(behind, ahead))
    assert_near(slope, nearest, tolerance)


@law_of_structures
def argmax_is_a_vertex_of_the_best_value(case: Case) -> None:
    for dtype in (torch.float64, torch.float32):
        u = case.utilities(20, dtype=dtype).requires_grad_()
        x = case.structure.argmax(u)
        assert x.dtype == dtype
        assert x.shape == u.shape
        assert not x.requires_grad
        assert case.structure.contains(x).tolist() == [True] * 20
        for row, utilities in zip(x.double().numpy(), u.detach().double().numpy(), strict=True):
            assert (case.problem.vertices == row).all(-1).any()
            assert math.isclose(row @ utilities, best_value(case.problem.vertices, utilities), abs_tol=1e-12)


@law_of_structures
def ties_go_to_the_lower_coordinate(case: Case) -> None:
    generator = torch.Generator().manual_seed(0)
    u = torch.randint(-1, 2, (20, case.problem.size), generator=generator).double()
    expected = np.stack([case.problem.argmax(row) for row in u.numpy()])
    assert case.structure.argmax(u).tolist() == expected.tolist()


@law_of_structures
def contains_accepts_the_vertices_and_nothing_else(case: Case) -> None:
    corners = np.array(list(itertools.product((0.0, 1.0), repeat=case.problem.size)))
    known = {tuple(row) for row in case.problem.vertices.tolist()}
    expected = [tuple(row) in known for row in corners.astype(int).tolist()]
    x = torch.from_numpy(corners)
    assert case.structure.contains(x).tolist() == expected
    assert not case.structure.contains(x / 2 + 0.25).any()
    assert not case.structure.contains(torch.full_like(x[0], math.nan))


@law_of_structures
def the_support_is_enumerated_once(case: Case) -> None:
    support = case.structure.enumerate_support()
    assert support.shape == (case.problem.count, *case.structure.event_shape)
    rows = sorted(support.int().tolist())
    assert rows == sorted(case.problem.vertices.tolist())


@law_of_structures
def the_partition_function_counts_and_its_gradient_is_the_marginals(case: Case) -> None:
    if not case.has_family:
        with pytest.raises(sst.NoSolverError):
            case.structure.log_partition(case.utilities())
        return
    zeros = torch.zeros(case.problem.size, dtype=torch.float64)
    assert math.isclose(case.structure.log_partition(zeros), math.log(case.problem.count), abs_tol=1e-12)
    u = case.utilities().requires_grad_()
    family = ExponentialFamily(case.problem.vertices)
    value = case.structure.log_partition(u)
    assert math.isclose(value.item(), float(family.log_partition(exact(u))), abs_tol=1e-11)
    (gradient,) = torch.autograd.grad(value, u)
    assert_near(gradient, torch.from_numpy(to_numpy(family.value(exact(u)))), 1e-9)


@law
def the_relaxation_stays_in_the_hull(case: Case) -> None:
    for dtype, tolerance in TOLERANCE.items():
        for scale in (0.1, 1.0, 10.0, 1e4):
            x = case.softmax(case.utilities(5, dtype=dtype) * scale, 1.0)
            assert x.dtype == dtype
            assert case.problem.outside(x.double().numpy()) <= tolerance


@law
def any_finite_utilities_give_a_point_of_the_hull(case: Case) -> None:
    """Mixtures of scales and ties, to the largest and the smallest numbers, at temperatures of any size."""
    rows = 6 if case.iterative else 60
    for dtype, tolerance in TOLERANCE.items():
        u, t = hostile(case, rows, dtype)
        u.requires_grad_()
        t.requires_grad_()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sst.ConvergenceWarning)
            x = case.softmax(u, t)
            gradients = torch.autograd.grad((x * case.utilities(dtype=dtype)).sum(), (u, t))
        assert case.problem.outside(x.detach().double().numpy()) <= tolerance
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert case.structure.contains(case.structure.argmax(u)).all()
        if case.has_family:
            assert case.structure.contains(case.structure.sample(u)).all()
            for function in (case.structure.log_partition, case.structure.entropy):
                value = function(u)
                assert not value.isnan().any()
                assert torch.autograd.grad(value.sum(), u)[0].isfinite().all()


@law
def the_relaxation_is_the_optimum(case: Case) -> None:
    for u, t in zip(case.utilities(4), (0.2, 0.7, 1.0, 5.0), strict=True):
        assert_near(case.softmax(u, t), true_value(case, u, t), 1e-9)


@law
def no_mixture_of_vertices_beats_the_relaxation(case: Case) -> None:
    if not isinstance(case.regularizer, sst.SeparableRegularizer):
        return
    rng = np.random.default_rng(0)
    mixtures = torch.from_numpy(rng.dirichlet(np.ones(case.problem.count), size=50) @ case.problem.vertices)
    mixtures = mixtures.clamp(max=float(case.problem.vertices.max()))  # what the sums round to above it
    u, t = case.utilities(), 0.5
    x = case.softmax(u, t)
    best = x @ u - t * case.regularizer(x)
    assert (mixtures @ u - t * case.regularizer(mixtures) <= best + 1e-9).all()


@law
def the_duality_gap_certifies_the_relaxation(case: Case) -> None:
    if not isinstance(case.regularizer, sst.SeparableRegularizer):
        return
    u, t = case.utilities(4), torch.tensor([0.2, 0.7, 1.0, 5.0], dtype=torch.float64)
    structure = case.structure
    x = case.softmax(u, t)
    assert sst.duality_gap(structure, case.regularizer, x, u, t).max() <= 1e-8
    for scale in (30.0, 1e3):  # where entropies make coordinates of which few digits are left
        far = scale * u
        bound = sst.duality_gap(structure, case.regularizer, case.softmax(far, 1.0), far)
        assert (bound <= 1e-7 * far.abs().amax(-1)).all()
    # Of any other point it bounds the loss.
    other = structure.argmax(-u)
    best, found = ((y * u).sum(-1) - t * case.regularizer(y) for y in (x, other))
    assert (sst.duality_gap(structure, case.regularizer, other, u, t) >= best - found - 1e-9).all()


@law
def the_regularizer_has_one_value_for_each_point(case: Case) -> None:
    f, structure = case.regularizer, case.structure
    if not isinstance(f, sst.SeparableRegularizer):
        return
    x = case.softmax(case.utilities(2, 3), 0.7).requires_grad_()
    value = f(x, structure)
    assert value.shape == (2, 3)
    depth = len(structure.event_shape)
    present = torch.ones_like(x, dtype=torch.bool) if structure.mask is None else structure.mask.flatten(-depth)
    assert_near(value, torch.where(present, f.density(x), 0.0).sum(-1), 1e-12)  # absent coordinates do not count
    for i, j in itertools.product(range(2), range(3)):
        assert_near(f(x[i, j], structure), value[i, j], 1e-12)
    (slope,) = torch.autograd.grad(value.sum(), x)
    inside = (x > 1e-6) & (x < float(case.problem.vertices.max()) - 1e-6)
    torch.testing.assert_close(slope[inside], f.slope(x[inside]), rtol=1e-9, atol=1e-9)


@law
def cold_is_the_argmax(case: Case) -> None:
    u = case.utilities(5)
    assert_near(case.softmax(u, 1e-6), case.structure.argmax(u), 1e-9)


@law
def zero_temperature_is_the_argmax_with_no_gradient(case: Case) -> None:
    u = case.utilities(3).requires_grad_()
    for t in (0, 0.0, torch.tensor(0.0, dtype=torch.float64)):
        assert torch.equal(case.softmax(u, t), case.structure.argmax(u))
    mixed = torch.tensor([0.0, 0.5, 0.0], dtype=torch.float64, requires_grad=True)
    x = case.softmax(u, mixed)
    assert torch.equal(x[::2], case.structure.argmax(u)[::2])
    assert_near(x[1], case.softmax(u[1], 0.5), 1e-12)
    g = torch.rand(u.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    du, dt = torch.autograd.grad((x * g).sum(), (u, mixed))
    assert torch.count_nonzero(du[::2]) == 0
    assert torch.count_nonzero(dt[::2]) == 0
    tangent = tangent_of(case.softmax, (u.detach(), mixed.detach()), (g, torch.ones_like(mixed.detach())))
    assert torch.count_nonzero(tangent[::2]) == 0
    assert torch.count_nonzero(tangent_of(lambda v: case.softmax(v, 0.0), (u.detach(),), (g,))) == 0
    assert_slope(case, du[1] * 0.5, u[1], 0.5, g[1])


@law
def hot_is_the_minimum_of_the_regularizer(case: Case) -> None:
    u = case.utilities()
    assert_near(case.softmax(u, 1e10), true_value(case, torch.zeros_like(u), 1.0), 1e-9)


@law
def gradients_are_right(case: Case) -> None:
    u = case.utilities(2).requires_grad_()
    t = torch.tensor([0.7, 1.3], dtype=torch.float64, requires_grad=True)
    # The whole Jacobian of the first problem of each pair, a random projection where one call takes many steps, of the
    # other problems, and of second derivatives.
    direct = case in PAIR_CASES and not case.iterative
    whole = {"check_batched_forward_grad": True} if direct else {"fast_mode": True}
    assert torch.autograd.gradcheck(case.softmax, (u, t), check_forward_ad=True, **whole)
    assert torch.autograd.gradgradcheck(case.softmax, (u, t), fast_mode=True)


@law
def gradients_agree_with_the_exact_derivative(case: Case) -> None:
    t = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    u = case.utilities().requires_grad_()
    g = case.utilities(seed=1)
    du, dt = torch.autograd.grad((case.softmax(u, t) * g).sum(), (u, t))
    assert_slope(case, du * t.detach(), u, t.detach(), g)
    assert math.isclose(dt.item(), -(du @ u.detach()).item() / t.item(), abs_tol=1e-9)  # x is a function of u/t


@law_of_structures
def log_partition_gradients_are_right(case: Case) -> None:
    if not case.has_family:
        return
    u = case.utilities(2).requires_grad_()
    assert torch.autograd.gradcheck(case.structure.log_partition, u, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(case.structure.log_partition, u)


def tangent_of(function: Callable[..., torch.Tensor], primals: Tensors, tangents: Tensors) -> torch.Tensor:
    """The directional derivative, by `torch.func.jvp` and by dual numbers, which must agree."""
    _, tangent = jvp(function, primals, tangents)
    with fw.dual_level():
        duals = [fw.make_dual(p, t) for p, t in zip(primals, tangents, strict=True)]
        dual = fw.unpack_dual(function(*duals)).tangent
    assert_near(torch.zeros_like(tangent) if dual is None else dual, tangent, 1e-12)
    return tangent


@law
def forward_mode_equals_reverse_mode(case: Case) -> None:
    u, t = case.utilities(), torch.tensor(0.7, dtype=torch.float64)
    du, dt = case.utilities(seed=1), torch.tensor(0.3, dtype=torch.float64)
    in_u, in_t = jacrev(case.softmax, argnums=(0, 1))(u, t)
    assert_near(tangent_of(case.softmax, (u, t), (du, dt)), in_u @ du + in_t * dt, 1e-9)
    assert_near(tangent_of(lambda v: case.softmax(v, 0.7), (u,), (du,)), in_u @ du, 1e-9)
    assert_near(tangent_of(lambda s: case.softmax(u, s), (t,), (dt,)), in_t * dt, 1e-9)
    for forward, reverse in zip(jacfwd(case.softmax, argnums=(0, 1))(u, t), (in_u, in_t), strict=True):
        assert_near(forward, reverse, 1e-9)


@law_of_structures
def forward_mode_of_the_exponential_family_equals_reverse_mode(case: Case) -> None:
    if not case.has_family:
        return
    u, du = case.utilities(2), case.utilities(2, seed=1)
    for function in (case.structure.log_partition, case.structure.entropy):
        jacobian = jacrev(function)(u)
        assert_near(jacfwd(function)(u), jacobian, 1e-9)
        assert_near(tangent_of(function, (u,), (du,)), (jacobian * du).sum((-2, -1)), 1e-9)
        assert_near(hessian(function)(u), jacrev(jacrev(function))(u), 1e-9)


@law
def hessians_are_the_same_in_all_modes(case: Case) -> None:
    u, t = case.utilities(), torch.tensor(0.7, dtype=torch.float64)
    weights = case.utilities(seed=2)

    def loss(u: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        x = case.softmax(u, t)
        return (x * weights).sum() + (x * x).sum()

    def blocks(outer: Mode, inner: Mode) -> torch.Tensor:
        found = outer(inner(loss, argnums=(0, 1)), argnums=(0, 1))(u, t)
        return torch.cat([torch.cat([block.flatten() for block in row]) for row in found])

    expected = blocks(jacrev, jacrev)
    for outer, inner in ((jacfwd, jacrev), (jacrev, jacfwd), (jacfwd, jacfwd)):
        assert_near(blocks(outer, inner), expected, 1e-8)
    direction = case.utilities(seed=1)
    with fw.dual_level():
        v = u.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(fw.make_dual(v, direction), t), v, create_graph=True)
        along = fw.unpack_dual(gradient).tangent
    n = u.numel()
    assert_near(along.detach(), expected[: n * n].reshape(n, n) @ direction, 1e-8)


@law
def the_jacobian_is_symmetric_positive_semidefinite(case: Case) -> None:
    for u in case.utilities(3):
        jacobian = torch.autograd.functional.jacobian(lambda v: case.softmax(v, 0.8), u)
        assert isinstance(jacobian, torch.Tensor)
        assert_near(jacobian, jacobian.mT, 1e-9)
        assert torch.linalg.eigvalsh((jacobian + jacobian.mT) / 2).min() >= -1e-9


@law
def a_batch_is_a_loop(case: Case) -> None:
    u = case.utilities(2, 3).requires_grad_()
    t = torch.linspace(0.3, 2.0, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()
    x = case.softmax(u, t)
    g = case.utilities(2, 3, seed=1)
    gradients = torch.autograd.grad((x * g).sum(), (u, t))
    vertices = case.structure.argmax(u)
    log_z = case.structure.log_partition(u) if case.has_family else None
    assert case.structure.contains(vertices).shape == (2, 3)
    for i, j in itertools.product(range(2), range(3)):
        one, temperature = u[i, j].detach().requires_grad_(), t[i, j].detach().requires_grad_()
        alone = case.softmax(one, temperature)
        assert_near(x[i, j], alone, 1e-12)
        du, dt = torch.autograd.grad((alone * g[i, j]).sum(), (one, temperature))
        assert_near(gradients[0][i, j], du, 1e-12)
        assert_near(gradients[1][i, j], dt, 1e-12)
        assert torch.equal(vertices[i, j], case.structure.argmax(one))
        if log_z is not None:
            assert log_z.shape == (2, 3)
            assert_near(log_z[i, j], case.structure.log_partition(one), 1e-12)


@law
def layout_and_batch_shape_do_not_matter(case: Case) -> None:
    u = case.utilities(3, 2)
    turned = u.transpose(0, 1)
    assert_near(case.softmax(turned, 1.0), case.softmax(u, 1.0).transpose(0, 1), 1e-12)
    assert torch.equal(case.structure.argmax(turned), case.structure.argmax(u).transpose(0, 1))
    same = u[0, 0].expand(4, 1, case.problem.size)
    assert_near(case.softmax(same, 1.0), case.softmax(u[0, 0], 1.0).expand_as(same), 1e-12)
    assert case.softmax(u[:0], 1.0).shape == case.structure.argmax(u[:0]).shape == (0, 2, case.problem.size)
    every_other = torch.stack((u, u + 1), -1).flatten(-2)[..., ::2]
    assert_near(case.softmax(every_other, 1.0), case.softmax(u, 1.0), 1e-12)


@law
def temperatures_broadcast_against_the_batch(case: Case) -> None:
    u = case.utilities(2, 3)
    t = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    assert_near(case.softmax(u, t), case.softmax(u, t.expand(2, 3)), 1e-12)
    assert_near(case.softmax(u, t[:2, None]), case.softmax(u, t[:2, None].expand(2, 3)), 1e-12)
    assert_near(case.softmax(u[0, 0], t), case.softmax(u[0, 0].expand(3, -1), t), 1e-12)
    assert_near(case.softmax(u, t[0]), case.softmax(u, 0.5), 1e-12)


@law
def inputs_are_left_alone(case: Case) -> None:
    u, t = case.utilities(3), torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    copies = u.clone(), t.clone()
    case.softmax(u, t)
    case.structure.argmax(u)
    if case.has_family:
        case.structure.log_partition(u)
        case.structure.sample(u)
    assert torch.equal(u, copies[0])
    assert torch.equal(t, copies[1])


@law_of_structures
def entropy_is_that_of_the_exponential_family(case: Case) -> None:
    if not case.has_family:
        with pytest.raises(sst.NoSolverError):
            case.structure.entropy(case.utilities())
        return
    u = case.utilities(2).requires_grad_()
    for row, value in zip(u, case.structure.entropy(u), strict=True):
        heights = torch.from_numpy(case.problem.vertices).double() @ row.detach()
        assert math.isclose(value.item(), torch.distributions.Categorical(logits=heights).entropy(), abs_tol=1e-10)
    assert torch.autograd.gradcheck(case.structure.entropy, u, check_forward_ad=True)


@law_of_structures
def samples_follow_the_exponential_family(case: Case) -> None:
    generator = torch.Generator().manual_seed(1)
    if not case.has_family:
        with pytest.raises(sst.NoSolverError):
            case.structure.sample(case.utilities())
        return
    u = 0.5 * case.utilities()
    samples = case.structure.sample(u, (20_000,), generator=generator)
    assert case.structure.contains(samples).all()
    index = {tuple(row): i for i, row in enumerate(case.problem.vertices.tolist())}
    counts = np.bincount([index[tuple(row)] for row in samples.int().tolist()], minlength=len(index))
    heights = case.problem.vertices @ u.numpy()
    p = np.exp(heights - heights.max())
    expected = p / p.sum() * len(samples)
    often = expected > 5
    counts, expected = (np.append(v[often], v[~often].sum()) for v in (counts, expected))
    kept = expected > 0
    assert chisquare(counts[kept], expected[kept]).pvalue > 1e-4 if kept.sum() > 1 else True


@law_of_structures
def samples_are_independent_and_come_from_the_generator(case: Case) -> None:
    if not case.has_family or len(case.problem.vertices) == 1:
        return
    u = 0.1 * case.utilities().float()
    u = u.expand(2, *u.shape)  # one memory for both rows
    torch.manual_seed(4)
    first, second = (case.structure.sample(u, (40,)) for _ in range(2))
    assert first.dtype == u.dtype
    assert first.shape == (40, *u.shape)
    assert not torch.equal(first, second)
    assert not torch.equal(first[:, 0], first[:, 1])
    generator = torch.Generator().manual_seed(4)
    assert torch.equal(case.structure.sample(u, (40,), generator=generator), first)
    assert torch.equal(case.structure.sample(u, (40,), generator=generator), second)
    assert case.structure.sample(u, (0, 2)).shape == (0, 2, *u.shape)


@law_of_structures
def samples_of_sure_things_are_the_argmax(case: Case) -> None:
    """Those of which one vertex is e^50 times as likely as any other: at a scale of 10⁴, not all are."""
    if not case.has_family:
        return
    vertices = torch.from_numpy(case.problem.vertices).double()
    for scale in (1e4, 1e6):
        u = scale * case.utilities(20)
        heights = (u @ vertices.T).sort(descending=True).values
        sure = u[(heights[:, :1] - heights[:, 1:] > 50).all(-1)]
        assert len(sure) > 10
        assert torch.equal(case.structure.sample(sure), case.structure.argmax(sure))
    assert case.structure.sample(case.utilities(3, 0), (2,)).shape == (2, 3, 0, case.problem.size)
