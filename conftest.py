import pytest
import torch

import sstricks

SEED = 7


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Every test begins with the same random numbers, before its fixtures, whatever ran in the process before it."""
    torch.manual_seed(SEED)


@pytest.fixture(autouse=True)
def _names(doctest_namespace: dict[str, object]) -> None:
    """What every doctest takes as imported."""
    doctest_namespace.update(torch=torch, sst=sstricks, F=sstricks.functional)
