"""A device without the hardware: tensors that hold their numbers on the CPU and obey CUDA's rules.

`with EmulatedDevice() as device:` makes torch's device "meta" stand for a GPU. Tensors on it cannot be mixed with those
of the CPU where CUDA would refuse them, and what would launch a kernel or wait for the device is counted, in backward
passes too. An operator of this package with a CUDA kernel is stood in for by its twin, and counts what its launcher
would launch.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import traceback
from collections import Counter
from typing import Any
from unittest.mock import patch

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

import sstricks.ops
from launches import recorded
from sstricks.ops.operator import Operator, checking, is_checked

DEVICE = torch.device("meta")
# Calls that only hand out memory, and those for which torch launches several kernels.
FREE = {"empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided", "detach", "alias", "lift_fresh"}
FREE |= {"resize_", "_unsafe_view", "_reshape_alias", "set_", "_local_scalar_dense"}
SEVERAL = {"sort": 5, "topk": 3, "logsumexp": 7, "scatter": 2, "scatter_add": 2, "index_put": 2, "masked_fill": 2}
SEVERAL |= {"constant_pad_nd": 2, "_linalg_solve_ex": 5, "linalg_lu_factor_ex": 4, "linalg_cholesky_ex": 3}
SEVERAL |= {"nonzero": 3, "select_backward": 2, "slice_backward": 2, "randn": 2, "eye": 2}
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal", "bincount"}
WAITS |= {"_linalg_eigh", "_linalg_check_errors"}
COPIES = {"_to_copy", "copy_", "_copy_from"}
INDEXES = {"index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_"}


class OnDevice(torch.Tensor):
    """A tensor on the emulated device."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __repr__(self) -> str:
        return f"OnDevice({self.held})"

    def tolist(self) -> Any:
        current().wait("tolist")
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return current().__torch_dispatch__(func, types, args, kwargs)


_current: list[EmulatedDevice] = []
_torch_tensor = torch.tensor


def _tensor(data: Any, *, device: Any = None, **options: Any) -> torch.Tensor:
    if device is None or torch.device(device).type != DEVICE.type:
        return _torch_tensor(data, device=device, **options)
    current().wait("copy of numbers")
    return OnDevice(_torch_tensor(data, **options))


def current() -> EmulatedDevice:
    assert _current, "a tensor of the emulated device outside of it"
    return _current[-1]


class EmulatedDevice(TorchDispatchMode):
    """Counts `launches` by name, and `waits` by what waited and where; `called` are the operators of this package."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        self.launches: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.called: set[Any] = set()

    def __enter__(self) -> EmulatedDevice:
        _current.append(self)
        self._patch = patch("torch.tensor", _tensor)  # which no mode sees
        self._patch.start()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._patch.stop()
        _current.pop()

    def put(self, x: torch.Tensor) -> torch.Tensor:
        """A leaf on the device, with the numbers of x."""
        return OnDevice(x.detach().clone()).requires_grad_(x.requires_grad)

    def wait(self, what: str) -> None:
        ours = [frame for frame in traceback.extract_stack() if "/sstricks/" in frame.filename]
        self.waits[f"{what} at {ours[-1].filename}:{ours[-1].lineno}" if ours else what] += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [a for a in pytree.tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor)]
        here = [t for t in tensors if isinstance(t, OnDevice)]
        created = kwargs.get("device") is not None and torch.device(kwargs["device"]).type == DEVICE.type
        if not here and not created:
            return func(*args, **kwargs)
        if func.namespace == "sstricks":
            self.called.add(func)
            return self._operator(OPERATORS[func], args)
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:
                return func.decompose(*args, **kwargs)
        name = func._schema.name.split("::")[1]
        self._check(func, name, tensors, args)
        return self._run(func, name, args, kwargs)

    def _operator(self, operator: Operator, args: tuple[Any, ...]) -> Any:
        launcher = operator._kernels["cuda"]
        if inspect.unwrap(launcher) is operator.twin:
            with self, torch.no_grad():
                return launcher(*args)
        strangers = [a for a in args if isinstance(a, torch.Tensor) and not isinstance(a, OnDevice)]
        assert not strangers, f"{operator.__name__}: a pointer to the CPU's memory, of shape {strangers[0].shape}"
        held = pytree.tree_map_only(OnDevice, lambda t: t.held, args)
        with checking(False), recorded() as launches, Launches() as others:
            launcher(*held)
        self.launches[operator.__name__] += len(launches)
        self.launches += others.counter
        with checking(is_checked(args[0])):
            return OnDevice(operator._by_rows(operator.twin)(*held))

    def _check(self, func: Any, name: str, tensors: list[torch.Tensor], args: tuple[Any, ...]) -> None:
        """Refuse what CUDA would."""
        strangers = [t for t in tensors if not isinstance(t, OnDevice)]
        if name in COPIES or not strangers:
            return
        if name in INDEXES and isinstance(args[0], OnDevice):
            self.wait("copy of an index")
            return
        if any(t.dim() > 0 for t in strangers) or len(strangers) == len(tensors):
            shapes = [tuple(t.shape) for t in strangers]
            raise RuntimeError(f"{func}: expected all tensors on one device, found shapes {shapes} on the CPU")

    def _run(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        held_args, held_kwargs = pytree.tree_map_only(OnDevice, lambda t: t.held, (args, dict(kwargs)))
        if held_kwargs.get("device") is not None:
            held_kwargs["device"] = torch.device("cpu")
        if name == "_to_copy":
            arrives = kwargs.get("device") is None or torch.device(kwargs["device"]).type == DEVICE.type
            if arrives != isinstance(args[0], OnDevice):
                self.wait("copy between devices")
        else:
            arrives = True
        if name == "copy_" and isinstance(args[0], OnDevice) != isinstance(args[1], OnDevice):
            self.wait("copy between devices")
        if name in WAITS or (name in INDEXES and any(_is_mask(i) for i in args[1])):
            self.wait(name)
        out = func(*held_args, **held_kwargs)
        self.launches += launched(func, out)
        if func._schema.is_mutable and args and isinstance(args[0], OnDevice):
            return args[0]
        return pytree.tree_map_only(torch.Tensor, OnDevice, out) if arrives else out


class Launches(TorchDispatchMode):
    """Counts what torch would launch."""

    def __init__(self) -> None:
        super().__init__()
        self.counter: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.counter += launched(func, out)
        return out


def launched(func: Any, out: Any) -> Counter[str]:
    """The kernels of one call of a torch operator."""
    name = func._schema.name.split("::")[1]
    if func.is_view or name in FREE or (isinstance(out, torch.Tensor) and out.numel() == 0):
        return Counter()
    return Counter({name: SEVERAL.get(name, 1)})


def _is_mask(index: Any) -> bool:
    return isinstance(index, torch.Tensor) and index.dtype == torch.bool


def _operators() -> dict[Any, Operator]:
    found = {value for module in MODULES for value in vars(module).values() if isinstance(value, Operator)}
    return {op.library_op._opoverload: op for op in found}


MODULES = [importlib.import_module(m.name) for m in pkgutil.iter_modules(sstricks.ops.__path__, "sstricks.ops.")]
OPERATORS = _operators()
