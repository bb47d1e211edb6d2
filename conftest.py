from importlib.util import find_spec

import pytest
import torch

import sstricks

SEED = 7
# Where there is no Triton, its kernels cannot be looked through for doctests.
collect_ignore_glob = [] if find_spec("triton") else ["src/sstricks/ops/cuda/*"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the law suite run on a GPU."""
    parser.addoption("--device", help="where structures of the law suite work, as in --device cuda; the oracles do not")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the device before cases are built."""
    if (device := config.getoption("--device")) is not None:
        from devices import choose

        choose(device)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes a minute: at the end one worker would wait for the other."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


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
