"""Soft ranks and sorts: what the laws do not say, since they know the ranks 1, …, n alone."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import sstricks as sst
from permutahedron_problem import PermutahedronProblem
from sstricks import functional as F
from sstricks.ops import permutahedron as ops
from test_errors import check

REGULARIZERS = pytest.mark.parametrize("f", [sst.Euclidean(), sst.CategoricalEntropy()], ids=repr)
VALUES = [
    torch.tensor([0.5, 3.0, 2.5, 0.0, 1.0]),
    torch.tensor([2.0, 2.0, 7.0, 1.0, 1.0]),
    torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0]),
    torch.tensor([1e-3, 1e3, 1.0, 0.0, 0.0]),
    torch.tensor([1.5, 1.5, 1.5, 1.5, 1.5]),
]


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@REGULARIZERS
@pytest.mark.parametrize("values", VALUES, ids=lambda v: str(v.tolist()))
def test_orders_of_any_values(values: torch.Tensor, f: sst.SeparableRegularizer):
    orders, u = sst.Permutahedron(5, values), numbers(20, 5)
    support = torch.tensor(list(set(itertools.permutations(values.tolist())))).double()
    assert sorted(orders.enumerate_support().tolist()) == sorted(support.float().tolist())
    assert orders.contains(support.float()).all()
    assert not orders.contains(support + 0.25).any()
    best = orders.argmax(u)
    assert torch.equal((best * u).sum(-1), (u @ support.T).amax(-1)) or torch.allclose(
        (best * u).sum(-1), (u @ support.T).amax(-1), rtol=0, atol=1e-12
    )
    for scale in (0.1, 1.0, 10.0):
        x = orders.softmax(scale * u, 1.0, f)
        pull = scale * u - f.slope(x.clamp(min=1e-300))
        lead = (pull @ support.T).amax(-1) - (pull * x).sum(-1)  # the duality gap
        assert (lead <= 1e-9 * (1 + pull.abs().amax(-1) * float(values.max()))).all()
        top = x.sort(descending=True).values.cumsum(-1) - values.double().sort(descending=True).values.cumsum(-1)
        assert (top <= 1e-9 * float(values.max())).all()
        assert (top[:, -1].abs() <= 1e-9 * float(values.max())).all()


def test_negative_values():
    values = torch.tensor([-1.0, 0.0, 4.0])
    orders, u = sst.Permutahedron(3, values), numbers(7, 3)
    shifted = sst.Permutahedron(3, values + 1)
    torch.testing.assert_close(
        orders.softmax(u, 0.5, sst.Euclidean()), shifted.softmax(u, 0.5, sst.Euclidean()) - 1, rtol=0, atol=1e-12
    )
    check(lambda: orders.softmax(u, 1.0, sst.CategoricalEntropy()), "regularizer", "the value -1", ">= 0")


@REGULARIZERS
def test_frank_wolfe_agrees(f: sst.SeparableRegularizer):
    orders, u = sst.Permutahedron(6), numbers(4, 6).requires_grad_()
    direct, asked = (orders.softmax(u, 0.7, f, solver=solver) for solver in (None, sst.FrankWolfe()))
    torch.testing.assert_close(direct, asked, rtol=0, atol=1e-7)
    g = numbers(4, 6, seed=1)
    slopes = [torch.autograd.grad((x * g).sum(), u)[0] for x in (direct, asked)]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-6)
    x = orders.softmax(u, 0.7, sst.TsallisEntropy(1.5), solver=sst.FrankWolfe())
    assert (sst.duality_gap(orders, sst.TsallisEntropy(1.5), x, u, 0.7) < 1e-8).all()
    check(
        lambda: orders.softmax(u, 1.0, sst.BinaryEntropy(), solver=sst.FrankWolfe()),
        "regularizer",
        "vertex",
        "interval",
    )


def test_what_cannot_be_had_says_why():
    orders, u = sst.Permutahedron(3), numbers(3)
    for call in (orders.log_partition, orders.sample, orders.marginals, orders.entropy):
        with pytest.raises(sst.NoSolverError, match="permanent"):
            call(u)
    with pytest.raises(sst.NoSolverError, match="FrankWolfe"):
        orders.softmax(u, 1.0, sst.BinaryEntropy())
    with pytest.raises(NotImplementedError, match="zeros and ones"):
        orders.max_marginals(u)
    check(lambda: sst.Permutahedron(0), "n", "0", "1")
    check(lambda: sst.Permutahedron(3, torch.ones(2)), "values", "(2,)", "3 numbers")
    check(lambda: sst.Permutahedron(2, torch.tensor([0.0, math.inf])), "values", "[0.0, inf]", "whose sum is finite")
    check(lambda: sst.Permutahedron(2, mask=torch.zeros(2, dtype=torch.bool)), "mask", "too few", "at least 1")
    assert repr(sst.Permutahedron(3)) == "Permutahedron(3)"
    assert repr(sst.Permutahedron(2, torch.tensor([2.0, 0.5]))) == "Permutahedron(2, values from 0.5 to 2)"


@REGULARIZERS
@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize("width", [1.0, 1e6])
def test_large_ones(n: int, width: float, f: sst.SeparableRegularizer):
    """The optimum is monotone in u, in the hull, and constant in v = u − h'(x) where it is not at a face."""
    u = width * numbers(3, n)
    u[1] = (u[1] / width).round() * width  # with ties
    x = sst.Permutahedron(n).softmax(u, 1.0, f)
    order = u.sort(-1, descending=True).indices
    x, v = x.gather(-1, order), (u - f.slope(x)).gather(-1, order)
    slack = torch.arange(n, 0, -1).double().cumsum(-1) - x.cumsum(-1)
    assert (slack > -1e-9 * n).all()
    assert (slack[:, -1].abs() < 1e-9 * n).all()
    assert (x[:, 1:] <= x[:, :-1] + 1e-9).all()
    fall = v[:, :-1] - v[:, 1:]
    assert (fall > -1e-9 * width).all()
    assert (fall[slack[:, :-1] > 1e-6].abs() < 1e-8 * max(1.0, 1e-2 * width)).all()


@pytest.mark.parametrize("entropic", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 33, 129, 300])
def test_blocks_are_those_of_the_twin(n: int, entropic: bool):
    generator = torch.Generator().manual_seed(n)
    for scale in (1e-3, 1.0, 30.0, 1e6, 1e17):
        u = torch.randn(12, n, dtype=torch.float64, generator=generator)
        u[4:] = (3 * u[4:]).round() / 3
        u[8:, 1:] = u[8:, 1:].masked_fill(torch.rand(4, n - 1, generator=generator) < 0.3, -math.inf)
        for values in (torch.arange(n, 0, -1), torch.randn(n, generator=generator).exp().sort(descending=True).values):
            w = values.double().expand(12, n)
            w = w.log() if entropic else w
            assert torch.equal(ops.blocks(scale * u, w, entropic), ops.blocks.twin(scale * u, w, entropic))
            assert torch.equal(ops.arrange(scale * u, w), ops.arrange.twin(scale * u, w))


def test_sorting_of_long_rows():
    """By bytes: of all signs and sizes, with ties, which go to the lower index, and with what is sorted already."""
    rows = numbers(6, 400)
    rows[1] = (2 * rows[1]).round()
    rows[2] = rows[2].sort().values
    rows[3] = rows[3].sort(descending=True).values
    rows[4] *= torch.logspace(-300, 300, 400, dtype=torch.float64)
    rows[5] = torch.where(rows[5] > 0, 0.0, -0.0)
    found = sst.Permutahedron(400).argmax(rows)
    assert found.tolist() == [stable_ranks(row) for row in rows.numpy()]
    narrow = rows[:4].float()
    assert sst.Permutahedron(400).argmax(narrow).tolist() == [stable_ranks(row) for row in narrow.numpy()]


def stable_ranks(row: np.ndarray) -> list[float]:
    x = np.empty(len(row))
    x[np.argsort(-row, kind="stable")] = np.arange(len(row), 0, -1)
    return x.tolist()


def test_infinities():
    n = 1500  # where 1000 more than all finite utilities is not enough
    u = numbers(n)
    u[[3, 7]], u[5] = math.inf, -math.inf
    for f in (sst.Euclidean(), sst.CategoricalEntropy()):
        x = sst.Permutahedron(n).softmax(u, 1.0, f)
        torch.testing.assert_close(x[[3, 7]], torch.tensor([n - 1.5, n - 1.5]).double())
        assert x[5] == 0
        rest = torch.ones(n, dtype=torch.bool)
        rest[[3, 5, 7]] = False
        torch.testing.assert_close(x[rest], sst.Permutahedron(n - 3).softmax(u[rest], 1.0, f))
    assert torch.equal(F.soft_rank(u), sst.Permutahedron(n).softmax(u, 1.0, sst.Euclidean()))


def test_masked_values_are_the_largest():
    values, mask = torch.tensor([1.0, 10.0, 100.0]), torch.tensor([[True, False, True], [True, True, True]])
    orders = sst.Permutahedron(3, values, mask=mask)
    assert orders.argmax(torch.tensor([2.0, 1.0, 3.0])).tolist() == [[1, 0, 10], [10, 1, 100]]
    assert orders.contains(torch.tensor([10.0, 0.0, 1.0])).tolist() == [True, False]
    alone = sst.Permutahedron(3, values, mask=mask[0])
    assert sorted(alone.enumerate_support().tolist()) == [[1, 0, 10], [10, 0, 1]]


@pytest.mark.parametrize("entropic", [False, True])
class TestFunctions:
    def test_soft_rank_is_the_structures_softmax(self, entropic: bool):
        u, t = numbers(3, 8), torch.tensor([0.1, 1.0, 5.0]).double()
        f = sst.CategoricalEntropy() if entropic else sst.Euclidean()
        torch.testing.assert_close(F.soft_rank(u, t, entropic=entropic), sst.Permutahedron(8).softmax(u, t, f))
        assert F.soft_rank(u.half(), 0.5, entropic=entropic).dtype == torch.float16
        assert F.soft_rank(u[:0], 0.5, entropic=entropic).shape == (0, 8)

    def test_soft_sort_is_the_optimum(self, entropic: bool):
        """The relaxation of the orders of u (or of exp(u)) for the utilities 1, …, n."""
        u, rho = numbers(3, 5), torch.arange(1, 6).double()
        f = sst.CategoricalEntropy() if entropic else sst.Euclidean()
        for t in (0.1, 1.0, 7.0):
            for row, found in zip(u, F.soft_sort(u, t, entropic=entropic), strict=True):
                orders = sst.Permutahedron(5, row.exp() if entropic else row)
                expected = orders.softmax(rho, t, f)
                torch.testing.assert_close(found.exp() if entropic else found, expected)
        assert torch.equal(F.soft_sort(u, 1e-9, entropic=entropic), u.sort().values)
        assert torch.equal(F.soft_sort(1e6 * u, 1e-9, entropic=entropic), (1e6 * u).sort().values)

    def test_derivatives(self, entropic: bool):
        u = numbers(2, 6).requires_grad_()
        t = torch.tensor([0.3, 2.0], dtype=torch.float64, requires_grad=True)
        for function in (F.soft_rank, F.soft_sort):

            def call(u, t, function=function):
                return function(u, t, entropic=entropic)

            assert torch.autograd.gradcheck(call, (u, t), check_forward_ad=True, check_batched_grad=True)
            assert torch.autograd.gradgradcheck(call, (u, t))

    def test_compiled_and_mapped(self, entropic: bool):
        u = numbers(3, 5)
        for function in (F.soft_rank, F.soft_sort):

            def call(u, function=function):
                return function(u, 0.7, entropic=entropic)

            torch.compiler.reset()
            torch.testing.assert_close(torch.compile(call, fullgraph=True, backend="aot_eager")(u), call(u))
            torch.testing.assert_close(torch.func.vmap(call)(u), call(u))
            torch.testing.assert_close(
                torch.func.vmap(torch.func.jacrev(call))(u), torch.func.vmap(torch.func.jacfwd(call))(u)
            )


def test_tricks():
    torch.manual_seed(0)
    theta = numbers(4).requires_grad_()
    trick = sst.StochasticSoftmaxTrick(sst.Permutahedron(4), sst.Gumbel(theta), 0.5, sst.Euclidean())
    draw = trick.draw((5,))
    assert trick.support.check(draw.relaxed).all()
    assert sst.StochasticArgmaxTrick(sst.Permutahedron(4), sst.Gumbel(theta)).support.check(draw.discrete).all()
    x = sst.StraightThrough(trick).rsample((5,))
    assert PermutahedronProblem(4).outside(x.detach().numpy()) == 0
    assert (torch.autograd.grad(x[:, 0].sum(), theta)[0] != 0).any()


def test_rows_that_are_nearly_alike_are_sorted():
    """So that the upper bytes of the numbers say little of their order."""
    near = 1000 + 1e-9 * numbers(3, 700)
    assert sst.Permutahedron(700).argmax(near).tolist() == [stable_ranks(row) for row in near.numpy()]
