"""A kernel goes through Triton once for each kind of arguments."""

from collections.abc import Callable
from typing import Any

import torch

from sstricks.ops.cuda.blocks import launch


class Kernel:
    """Stands for what `triton.jit` returns; `compiles` says whether a launch returns something compiled."""

    def __init__(self, compiles: bool) -> None:
        self.compiles = compiles
        self.asked: list[tuple[Any, ...]] = []
        self.direct: list[tuple[Any, ...]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., Any]:
        def start(*args: Any, **options: Any) -> Any:
            self.asked.append((grid, args, options))
            return Compiled(self) if self.compiles else None

        return start


class Compiled:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *args: self.kernel.direct.append((grid, args))


def test_triton_is_asked_once_for_each_kind_of_arguments():
    kernel, x = Kernel(True), torch.zeros(64, dtype=torch.float64)
    launch(kernel, 3, (x, 5), (True, 16), 2)
    launch(kernel, 4, (x, 6), (True, 16), 2)
    assert [call[:2] for call in kernel.asked] == [((3,), (x, 5, True, 16))]
    assert kernel.direct == [((4, 1, 1), (x, 6, True, 16))]


def test_arguments_of_another_kind_are_compiled_for_anew():
    kernel, x = Kernel(True), torch.zeros(64, dtype=torch.float64)
    kinds = [
        ((x, 5), (True,), 1),
        ((x, 5), (False,), 1),
        ((x, 5), (True,), 2),
        ((x.float(), 5), (True,), 1),
        ((x[1:], 5), (True,), 1),  # at no multiple of 16 bytes
        ((x, 2**40), (True,), 1),
    ]
    for args, constants, warps in 2 * kinds:
        launch(kernel, 1, args, constants, warps)
    assert len(kernel.asked) == len(kernel.direct) == len(kinds)


def test_what_is_interpreted_goes_through_triton_each_time():
    kernel, x = Kernel(False), torch.zeros(1)
    for _ in range(2):
        launch(kernel, 1, (x,), (), 1)
    assert len(kernel.asked) == 2
