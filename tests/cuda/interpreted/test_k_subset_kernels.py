import math

import pytest
import torch

from sstricks.ops import k_subset as operators
from sstricks.ops.cuda import k_subset as launchers

SIZES = pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 1), (2, 2), (5, 1), (7, 3), (8, 7), (9, 9), (13, 4)])


def bounds(k: int) -> torch.Tensor:
    """One size, several or none, each row its own."""
    low = torch.tensor([k - 1, k, 0, 0, k, k, k // 2, 0])
    high = torch.tensor([k, k, 0, k, k, k, k, k - 1])
    return torch.stack([low, high], -1)


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
    u, within = utilities(n, k), bounds(k)
    torch.testing.assert_close(
        launchers.marginals(u, within, k), operators.marginals.twin(u, within, k), rtol=0, atol=1e-13
    )


@SIZES
def test_marginals_jvp_equals_twin(n: int, k: int):
    u, within = utilities(n, k), bounds(k)
    g = torch.randn(u.shape, dtype=torch.float64)
    found, expected = launchers.marginals_jvp(u, g, within, k), operators.marginals_jvp.twin(u, g, within, k)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@SIZES
def test_log_partition_equals_twin(n: int, k: int):
    u, within = utilities(n, k), bounds(k)
    torch.testing.assert_close(
        launchers.log_partition(u, within, k), operators.log_partition.twin(u, within, k), rtol=1e-14, atol=1e-12
    )


@SIZES
def test_sample_equals_twin(n: int, k: int):
    u, within = utilities(n, k), bounds(k)
    uniform = torch.rand(u.shape, dtype=torch.float64)
    assert torch.equal(launchers.sample(u, uniform, within, k), operators.sample.twin(u, uniform, within, k))


def test_an_invalid_row_is_nan_and_no_other():
    u = utilities(7, 3)
    u[2] = math.nan
    invalid = [row == 2 for row in range(len(u))]
    ones, three = torch.ones_like(u), bounds(3)
    for found in (
        launchers.marginals(u, three, 3),
        launchers.marginals_jvp(u, ones, three, 3),
        launchers.sample(u, ones / 2, three, 3),
    ):
        assert found.isnan().all(-1).tolist() == found.isnan().any(-1).tolist() == invalid
    assert launchers.log_partition(u, three, 3).isnan().tolist() == invalid


def test_more_rows_than_programs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launchers, "programs", lambda rows, numbers: 3)
    u, two = utilities(5, 2), bounds(2)
    torch.testing.assert_close(launchers.marginals(u, two, 2), operators.marginals.twin(u, two, 2), rtol=0, atol=1e-13)
