import pytest
import torch

import sstricks


@pytest.fixture(autouse=True)
def _names(doctest_namespace: dict[str, object]) -> None:
    """What every doctest takes as imported."""
    doctest_namespace.update(torch=torch, sst=sstricks, F=sstricks.functional)
