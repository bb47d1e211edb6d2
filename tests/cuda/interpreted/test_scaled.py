import math
from unittest.mock import patch

import pytest
import torch

from sstricks.ops import scaled as operators
from sstricks.ops.cuda import scaled as launchers

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
MASKS = pytest.mark.parametrize("masked", [False, True])


@pytest.fixture(autouse=True)
def _no_complaints():
    """A twin on the CPU would complain of rows that a device returns as NaN."""
    with patch.object(operators, "is_checked", return_value=False):
        yield


def problem(dtype: torch.dtype, masked: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows of which each has something that others have not."""
    u = torch.randn(8, 9, dtype=torch.float64)
    u[0, 1] = u[0, 4] = math.inf
    u[1, 2] = -math.inf
    u[2, 3] = math.nan
    u[3] = -math.inf
    u[4] *= 1e30
    t = torch.tensor([1.0, 0.5, 1.0, 2.0, 1e-4, 0.0, math.nan, 1e-300], dtype=torch.float64)
    mask = torch.rand(8, 9) > 0.2 if masked else torch.ones(8, 0, dtype=torch.bool)
    return u.to(dtype), t, mask


@MASKS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_scaled_equals_twin(dtype: torch.dtype, masked: bool):
    u, t, mask = problem(dtype, masked)
    found, expected = launchers.scaled(u, t, mask, 2), operators.scaled.twin(u, t, mask, 2)
    torch.testing.assert_close(found, expected, rtol=1e-15, atol=0, equal_nan=True)
    nan_there = not masked or bool(mask[2, 3])
    assert found.isnan().all(-1).tolist() == [False, False, nan_there, True, False, True, True, False]


@MASKS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_scaled_backward_equals_twin(dtype: torch.dtype, masked: bool):
    u, t, mask = problem(dtype, masked)
    t = t.nan_to_num(1.0)
    grad = torch.randn(8, 9, dtype=torch.float64)
    found, expected = launchers.scaled_backward(grad, u, t, mask), operators.scaled_backward.twin(grad, u, t, mask)
    cut = 2**-7 if dtype == torch.bfloat16 else 1e-15  # the interpreter cuts bits off where it should round
    torch.testing.assert_close(found, expected, rtol=cut, atol=0)


def test_gradient_of_an_invalid_row_is_nan():
    u, t, mask = problem(torch.float32, False)
    grad = torch.randn(8, 9, dtype=torch.float64)
    grad[3] = math.nan
    assert launchers.scaled_backward(grad, u, t, mask).isnan().all(-1).tolist() == [row == 3 for row in range(8)]


def test_rows_longer_than_a_block():
    u, t, mask = torch.randn(2, 2500), torch.tensor([1.0, 0.3], dtype=torch.float64), torch.ones(2, 0, dtype=torch.bool)
    u[0, 2400] = math.inf
    found, expected = launchers.scaled(u, t, mask, 1), operators.scaled.twin(u, t, mask, 1)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
    grad = torch.randn(2, 2500, dtype=torch.float64)
    found, expected = launchers.scaled_backward(grad, u, t, mask), operators.scaled_backward.twin(grad, u, t, mask)
    torch.testing.assert_close(found, expected, rtol=1e-15, atol=0)
