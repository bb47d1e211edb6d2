import math

import pytest
import torch
from torch import Tensor

from sstricks.ops import assignment as assignments
from sstricks.ops import matching as operators
from sstricks.ops.cuda import assignment as assignment_launchers
from sstricks.ops.cuda import matching as launchers

SHAPES = pytest.mark.parametrize(
    ("n", "m", "partial"), [(1, 1, False), (5, 5, False), (4, 6, False), (5, 5, True), (3, 5, True)]
)


def utilities(n: int, m: int) -> Tensor:
    """Of any range, with ties, and without some pairs."""
    u = torch.randn(6, n, m, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u[1] *= 1e6
    u[2] = u[2].round()
    u[3] = u[3].round().clamp(-1, 0)
    u[4] = 0
    u[5, u[5] < -0.3] = -math.inf
    u[5].diagonal().fill_(0.1)
    return u


@SHAPES
def test_argmax_equals_that_of_the_cpu(n: int, m: int, partial: bool):
    u = utilities(n, m)
    assert torch.equal(assignment_launchers.assignment(u, partial, False), assignments.assignment(u, partial, False))


def test_argmax_of_many_ties_equals_that_of_the_cpu():
    u = torch.randint(-1, 2, (6, 7, 7)).double()
    for partial in (False, True):
        assert torch.equal(
            assignment_launchers.assignment(u, partial, False), assignments.assignment(u, partial, False)
        )


def test_invalid_tables_are_nan():
    u = torch.randn(4, 3, 3, dtype=torch.float64)
    u[0, :2, 1:] = -math.inf  # one column for two rows
    u[1, 0, 0] = math.nan
    u[2, 1] = u[2, :, 1] = -math.inf  # a row and a column less
    u[3, :, 1] = -math.inf  # two columns for three rows
    found = assignment_launchers.assignment(u, False, False)
    assert found.isnan().flatten(1).all(-1).tolist() == [True, True, False, False]
    assert torch.equal(found[2:], assignments.assignment(u[2:], False, False))


def relaxed(u: Tensor, response: int, partial: bool) -> tuple[Tensor, Tensor]:
    return launchers.matching_softmax(u, response, partial, False, 1e-14 * u.shape[-1], 1e-10, 300)


@SHAPES
@pytest.mark.parametrize("response", [0, 1, 2])
def test_relaxations_equal_those_of_the_cpu(n: int, m: int, partial: bool, response: int):
    u = utilities(n, m)
    u[4, :, -1] = 1.0 if (n, m) == (1, 1) else -math.inf
    found, residual = relaxed(u, response, partial)
    torch.testing.assert_close(found, operators.matching_softmax(u, response, partial, False), rtol=0, atol=1e-12)
    assert residual.max() < 1e-11


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 4)])
@pytest.mark.parametrize("response", [0, 1, 2])
def test_dustbins_equal_those_of_the_cpu(n: int, m: int, response: int):
    u = utilities(n, m)
    u[5, -1, :-1] = u[5, :-1, -1] = 0.5
    u[4, :, 0] = -math.inf
    assert torch.equal(assignment_launchers.assignment(u, False, True), assignments.assignment(u, False, True))
    found, residual = launchers.matching_softmax(u, response, False, True, 1e-14 * m, 1e-10, 300)
    torch.testing.assert_close(found, operators.matching_softmax(u, response, False, True), rtol=0, atol=1e-12)
    assert residual.max() < 1e-11
    alone = u[[0, 1, 5]]  # without ties
    found, residual = launchers.matching_softmax(alone, response, False, True, 1e-14 * m, -1.0, 0)
    assert torch.equal(found, assignments.assignment(alone, False, True))  # what there is if it does not converge
    u[0, 0, -1] = -math.inf
    u[1, -1, 0] = math.nan
    for invalid in (
        launchers.matching_softmax(u, response, False, True, 1e-10, 1e-10, 9)[0],
        assignment_launchers.assignment(u, False, True),
    ):
        assert invalid.isnan().flatten(1).all(-1).tolist() == [True, True, False, False, False, False]


def test_two_way_fit_equals_that_of_the_cpu():
    d = torch.rand(3, 4, 6, dtype=torch.float64)
    d[1] *= torch.rand(4, 6) > 0.5
    d[2] *= 10.0 ** torch.randint(-25, 1, (4, 6))
    rows, columns = torch.rand(3, 4) > 0.2, torch.rand(3, 6) > 0.2
    k = d * torch.randn(3, 4, 6)
    torch.testing.assert_close(
        launchers.fit(d, k, rows, columns), operators.fit(d, k, rows, columns), rtol=1e-9, atol=1e-12
    )
    k[0, 0, 0] = math.nan
    assert launchers.fit(d, k, rows, columns).isnan().flatten(1).all(-1).tolist() == [True, False, False]


def test_relaxations_of_invalid_tables_are_nan():
    u = torch.randn(3, 3, 3, dtype=torch.float64)
    u[0, :2, 1:] = -math.inf
    u[1, 0, 0] = math.nan
    found, residual = relaxed(u, 1, False)
    assert found.isnan().flatten(1).all(-1).tolist() == [True, True, False]
    assert (residual < 0).tolist() == [True, True, False]
