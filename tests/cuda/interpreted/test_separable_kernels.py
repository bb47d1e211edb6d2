import math

import pytest
import torch

from sstricks.ops import separable as operators
from sstricks.ops.costs import BINARY, CATEGORICAL, EUCLIDEAN
from sstricks.ops.cuda import separable as launchers

OPERATORS = {
    EUCLIDEAN: operators.capped_simplex,
    CATEGORICAL: operators.capped_softmax,
    BINARY: operators.k_subset_sigmoid,
}
LINKS = pytest.mark.parametrize("link", OPERATORS)
SIZES = pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 1), (7, 1), (7, 3), (7, 6), (7, 7), (40, 5)])


def utilities(n: int, k: int) -> torch.Tensor:
    """Rows of which some tie, some are extreme, and some have no choice."""
    u = torch.randn(9, n, dtype=torch.float64)
    u[1] *= 1e4
    u[2] = u[2].round()
    u[3] = 0.0
    u[4] *= 1e300
    u[5, k:] = -math.inf
    u[6, : n - k] = -math.inf
    u[7] = u[7].sign() * 1e-300
    u[8] = torch.arange(n).double() * 1000
    return u


@SIZES
@LINKS
def test_solve_equals_twin(link: int, n: int, k: int):
    u = utilities(n, k)
    found, expected = launchers.solve(link, u, k), OPERATORS[link].twin(u, k)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


@LINKS
def test_projection_equals_twin(link: int):
    x = OPERATORS[link].twin(utilities(7, 3), 3)
    g = torch.randn(x.shape, dtype=torch.float64)
    found, expected = launchers.projection(x, g, link), operators.projection.twin(x, g, link)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


@SIZES
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_top_k_equals_twin(dtype: torch.dtype, n: int, k: int):
    u = utilities(n, k).to(dtype)
    assert torch.equal(launchers.top_k(u, k), operators.top_k.twin(u, k))


@LINKS
def test_an_invalid_row_is_nan_and_no_other(link: int):
    u = utilities(7, 3)
    u[2] = math.nan
    invalid = [row == 2 for row in range(len(u))]
    x = launchers.solve(link, u, 3)
    assert x.isnan().all(-1).tolist() == x.isnan().any(-1).tolist() == invalid
    assert launchers.projection(x, torch.ones_like(x), link).isnan().all(-1).tolist() == invalid
    chosen = launchers.top_k(u, 3)
    assert chosen.isnan().all(-1).tolist() == chosen.isnan().any(-1).tolist() == invalid
