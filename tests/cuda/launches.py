"""What a launcher would launch, found without a device: its kernels are recorded, and can be compiled."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

_TYPES = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int16: "i16",
    torch.int8: "i8",
    torch.uint8: "u8",
    torch.bool: "i1",
}


@dataclass(frozen=True)
class Launch:
    """One kernel as it would be compiled, and how many programs of it there are."""

    kernel: Any
    grid: tuple[int, ...]
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    options: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, kernel: Any, grid: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Launch:
        given = dict(zip(kernel.arg_names, args, strict=False)) | kwargs
        signature, constants = {}, {}
        for parameter in kernel.params:
            if parameter.name not in given:
                constants[parameter.name] = parameter.default
            elif parameter.is_constexpr:
                constants[parameter.name] = given[parameter.name]
            else:
                signature[parameter.name] = _type(given[parameter.name])
        options = {name: value for name, value in kwargs.items() if name not in kernel.arg_names}
        signature |= dict.fromkeys(constants, "constexpr")
        order = kernel.arg_names
        return cls(
            kernel,
            tuple(grid),
            tuple((name, signature[name]) for name in order),
            tuple(constants.items()),
            tuple(options.items()),
        )


def _type(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return "*" + _TYPES[value.dtype]
    return {bool: "i1", int: "i32", float: "fp32"}[type(value)]


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """Collect launches instead of making them; what kernels should write stays as it was allocated."""
    from triton.runtime.jit import JITFunction

    launches: list[Launch] = []

    def record(kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        launches.append(Launch.of(kernel, grid, args, kwargs))

    with patch.object(JITFunction, "run", record):
        yield launches


@dataclass(frozen=True)
class Compiled:
    """What the assembler says of a kernel: registers of a thread, and bytes that do not fit into them."""

    registers: int
    spilled: int
    shared: int


def compiles(launch: Launch, spilled: int = 0) -> None:
    """Assert that a kernel compiles for the devices that are still sold, and spills no more bytes than said."""
    for capability in (80, 90):
        found = compiled(launch, capability)
        assert found.spilled <= spilled, f"{launch.kernel.__name__} spills {found.spilled} bytes on {capability}"


@cache
def compiled(launch: Launch, capability: int) -> Compiled:
    """Compile for a device of some compute capability, such as 90 for 9.0."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    source = ASTSource(fn=launch.kernel, signature=dict(launch.signature), constexprs=dict(launch.constants))
    done = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=dict(launch.options))
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(done.asm["cubin"])
        file.flush()
        usage = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    registers, stack = (int(re.search(rf"{what}:(\d+)", usage)[1]) for what in ("REG", "STACK"))
    return Compiled(registers, stack, done.metadata.shared)
