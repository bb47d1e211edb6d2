"""Eq. 56 against exact gradients."""

import pytest
import torch
import torch.autograd.forward_ad as fw

import sstricks as sst
from cases import PAIR_CASES, Case
from laws import assert_near
from test_errors import check

DIRECT = [case for case in PAIR_CASES if not case.iterative]


def gradients(case: Case, u: torch.Tensor, t: torch.Tensor, g: torch.Tensor, solver=None) -> tuple[torch.Tensor, ...]:
    u, t = u.clone().requires_grad_(), t.clone().requires_grad_()
    x = case.structure.softmax(u, t, case.regularizer, solver=solver)
    return x.detach(), *torch.autograd.grad(x, (u, t), g)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("case", DIRECT, ids=str)
def test_gradients_are_near_the_exact_ones(case: Case, scale: float):
    u, t = case.utilities(3), torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    g = scale * case.utilities(3, seed=1)
    exact, found = gradients(case, u, t, g), gradients(case, u, t, g, sst.FiniteDifference())
    assert torch.equal(found[0], exact[0])
    for a, b in zip(found[1:], exact[1:], strict=True):
        assert_near(a / scale, b / scale, 1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_step_of_ones_own_is_that_of_the_paper(dtype: torch.dtype):
    case = next(c for c in DIRECT if isinstance(c.regularizer, sst.BinaryEntropy))
    u, g, eps = case.utilities(dtype=dtype), case.utilities(seed=1, dtype=dtype), 1e-2
    _, found, _ = gradients(case, u, torch.tensor(1.0, dtype=dtype), g, sst.FiniteDifference(eps=eps))
    there, back = (case.softmax(u.double() + s * eps * g.double(), 1.0) for s in (1, -1))
    assert_near(found, (there - back) / (2 * eps), 1e-5 if dtype == torch.float32 else 1e-13)


def test_error_falls_with_the_square_of_the_step():
    case = next(c for c in DIRECT if isinstance(c.regularizer, sst.ExponentialFamilyEntropy))
    u, t, g = case.utilities(), torch.tensor(1.0, dtype=torch.float64), case.utilities(seed=1)
    exact = gradients(case, u, t, g)[1]
    errors = [(gradients(case, u, t, g, sst.FiniteDifference(eps=e))[1] - exact).norm() for e in (1e-1, 1e-2)]
    assert 50 < errors[0] / errors[1] < 200


def test_any_solver_may_be_wrapped_even_one_without_a_gradient():
    def numbed(structure: sst.Structure, regularizer: sst.Regularizer, u: torch.Tensor) -> torch.Tensor:
        return sst.FrankWolfe()(structure, regularizer, u.detach())

    case = next(c for c in PAIR_CASES if c.iterative and isinstance(c.regularizer, sst.BinaryEntropy))
    u, t, g = case.utilities(2), torch.ones(2, dtype=torch.float64), case.utilities(2, seed=1)
    found = gradients(case, u, t, g, sst.FiniteDifference(numbed))
    for a, b in zip(found, gradients(case, u, t, g), strict=True):
        assert_near(a, b, 1e-8)


def test_masked_coordinates_and_zero_gradients():
    u = torch.tensor([0.3, -torch.inf, 0.1, 1.0], dtype=torch.float64, requires_grad=True)
    x = sst.KSubset(4, 2).softmax(u, 1.0, sst.ExponentialFamilyEntropy(), solver=sst.FiniteDifference())
    (du,) = torch.autograd.grad(x[0], u, retain_graph=True)
    assert du.isfinite().all()
    assert du[1] == 0
    assert torch.count_nonzero(torch.autograd.grad(0 * x.sum(), u)[0]) == 0


def test_a_second_derivative_is_refused():
    u = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    x = sst.OneHot(3).softmax(u, 1.0, sst.BinaryEntropy(), solver=sst.FiniteDifference())
    with pytest.raises(RuntimeError, match="once only"):
        torch.autograd.grad(x[0], u, create_graph=True)


def test_forward_mode_is_refused():
    def softmax(u: torch.Tensor) -> torch.Tensor:
        return sst.OneHot(3).softmax(u, 1.0, sst.BinaryEntropy(), solver=sst.FiniteDifference())

    u = torch.zeros(3, dtype=torch.float64)
    with pytest.raises(NotImplementedError, match="forward mode"):
        torch.func.jvp(softmax, (u,), (u,))
    with fw.dual_level(), pytest.raises(NotImplementedError, match="forward mode"):
        softmax(fw.make_dual(u, u))


def test_bad_step():
    check(lambda: sst.FiniteDifference(eps=0.0), "eps", "0.0", "> 0")
