"""Every kernel compiles without a device, and keeps what it works on in registers."""

from collections.abc import Callable

import pytest
import torch

pytest.importorskip("triton")
from launches import compiles, recorded

ROWS = 2


def scaled(dtype: torch.dtype, n: int, masked: bool) -> None:
    from sstricks.ops.cuda.scaled import scaled, scaled_backward

    u, t = torch.empty(ROWS, n, dtype=dtype), torch.empty(ROWS, dtype=torch.float64)
    mask = torch.empty(ROWS, n if masked else 0, dtype=torch.bool)
    scaled_backward(scaled(u, t, mask, 1), u, t, mask)


CALLS: dict[str, Callable[[], None]] = {
    "scaled": lambda: scaled(torch.float32, 350, False),
    "scaled-bfloat16-masked": lambda: scaled(torch.bfloat16, 5000, True),
}


@pytest.mark.parametrize("name", CALLS)
def test_kernels_compile_and_stay_in_registers(name: str):
    with recorded() as launches:
        CALLS[name]()
    assert launches
    for launch in launches:
        compiles(launch)
