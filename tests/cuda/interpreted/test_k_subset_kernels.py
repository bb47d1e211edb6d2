import math

import pytest
import torch

from sstricks.ops import k_subset as operators
from sstricks.ops.cuda import k_subset as launchers

SIZES = pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 1), (2, 2), (5, 1), (7, 3), (8, 7), (9, 9), (13, 4)])


def utilities(n: int, k: int) -> torch.Tensor:
    """Rows of which some tie, some are extreme, and some have no choice."""
    u = torch.randn(8, n, dtype=torch.float64)
    u[1] *= 1e4
    u[2] = u[2].round()
    u[3] = 0.0
    u[4] *= 1e200
    u[5, k:] = -math.inf
    u[6, : (n - k) // 2] = -math.inf
    u[7] = torch.arange(n).double() * 1000
    return u


@SIZES
def test_marginals_equal_twin(n: int, k: int):
    u = utilities(n, k)
    torch.testing.assert_close(launchers.marginals(u, k), operators.marginals.twin(u, k), rtol=0, atol=1e-13)


@SIZES
def test_marginals_jvp_equals_twin(n: int, k: int):
    u = utilities(n, k)
    g = torch.randn(u.shape, dtype=torch.float64)
    found, expected = launchers.marginals_jvp(u, g, k), operators.marginals_jvp.twin(u, g, k)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@SIZES
def test_log_partition_equals_twin(n: int, k: int):
    u = utilities(n, k)
    torch.testing.assert_close(
        launchers.log_partition(u, k), operators.log_partition.twin(u, k), rtol=1e-14, atol=1e-12
    )


@SIZES
def test_sample_equals_twin(n: int, k: int):
    u = utilities(n, k)
    uniform = torch.rand(u.shape, dtype=torch.float64)
    assert torch.equal(launchers.sample(u, uniform, k), operators.sample.twin(u, uniform, k))


def test_an_invalid_row_is_nan_and_no_other():
    u = utilities(7, 3)
    u[2] = math.nan
    invalid = [row == 2 for row in range(len(u))]
    ones = torch.ones_like(u)
    for found in (launchers.marginals(u, 3), launchers.marginals_jvp(u, ones, 3), launchers.sample(u, ones / 2, 3)):
        assert found.isnan().all(-1).tolist() == found.isnan().any(-1).tolist() == invalid
    assert launchers.log_partition(u, 3).isnan().tolist() == invalid


def test_more_rows_than_programs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launchers, "programs", lambda rows, numbers: 3)
    u = utilities(5, 2)
    torch.testing.assert_close(launchers.marginals(u, 2), operators.marginals.twin(u, 2), rtol=0, atol=1e-13)
