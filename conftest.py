from importlib.util import find_spec

import pytest
import torch

import sstricks

SEED = 7
# Where there is no Triton, its kernels cannot be looked through for doctests.
collect_ignore_glob = [] if find_spec("triton") else ["src/sstricks/ops/cuda/*"]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Every test begins with the same random numbers, before its fixtures, whatever ran in the process before it.

    And with arguments of distributions checked, which torch.compile turns off for the rest of the process.
    """
    torch.manual_seed(SEED)
    torch.distributions.Distribution.set_default_validate_args(True)


@pytest.fixture(autouse=True)
def _names(doctest_namespace: dict[str, object]) -> None:
    """What every doctest takes as imported."""
    doctest_namespace.update(torch=torch, sst=sstricks, F=sstricks.functional)
