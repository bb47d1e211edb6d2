"""Laws 10 and 11 for the operators underneath, found by watching which ones the public calls dispatch to."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import sstricks.ops
from cases import OPTION_CASES, PAIR_CASES, Case
from laws import assert_near
from sstricks import functional as F
from sstricks.ops.operator import Operator
from utilities_at_extremes import PATTERNS, np

REACHED = (*PAIR_CASES, *OPTION_CASES)
PAIRS = pytest.mark.parametrize("case", REACHED, ids=str)


class Recorder(TorchDispatchMode):
    """Keeps every call of an operator of this package, and counts all others."""

    def __init__(self):
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []
        self.others = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "sstricks":
            self.calls.append((func, args))
        else:
            self.others += 1
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Call:
    """One operator with arguments that a public function passed to it."""

    func: Any
    args: tuple[Any, ...]

    @property
    def operator(self) -> Operator:
        return OPERATORS[self.func]

    @property
    def signature(self) -> tuple[Any, ...]:
        """Which operator, and of what kind its arguments are."""
        kinds = ((a.dtype, a.dim(), a.numel() > 0) if isinstance(a, torch.Tensor) else type(a) for a in self.args)
        return self.func, *kinds

    def expanded(self) -> list[Any]:
        """The tensors as the kernels want them: one row for each problem."""
        tensors = self.args[: len(self.operator.core)]
        owned = [(t, c) for t, c in zip(tensors, self.operator.core, strict=True) if c is not None]
        lead = torch.broadcast_shapes(*(t.shape[: t.dim() - c] for t, c in owned))
        rows = {
            id(t): t.expand(*lead, *t.shape[t.dim() - c :]).reshape(lead.numel(), *t.shape[t.dim() - c :])
            for t, c in owned
        }
        return [rows.get(id(a), a) for a in self.args]


def _operators() -> dict[Any, Operator]:
    modules = [importlib.import_module(m.name) for m in pkgutil.iter_modules(sstricks.ops.__path__, "sstricks.ops.")]
    found = {value for module in modules for value in vars(module).values() if isinstance(value, Operator)}
    return {op.library_op._opoverload: op for op in found}


OPERATORS = _operators()


def record(case: Case, u: torch.Tensor) -> list[Call]:
    """One call of each operator that values, gradients and second gradients of the case pass through."""
    u = u.clone().requires_grad_()
    t = torch.full((len(u),), 0.7, dtype=u.dtype).requires_grad_()
    with Recorder() as recorder:
        x = case.softmax(u, t)
        weights = torch.linspace(-1, 1, u.shape[-1], dtype=u.dtype)
        (du,) = torch.autograd.grad((x * weights).sum(), u, create_graph=True)
        if du.requires_grad:
            torch.autograd.grad((du * weights.flip(0)).sum(), u, allow_unused=True)
        case.structure.argmax(u)
        if case.has_family:
            torch.autograd.grad(case.structure.log_partition(u).sum(), u)
        case.structure.contains(x)
        if case.has_family:
            case.structure.sample(u)
    return [Call(func, tuple(detached(a) for a in args)) for func, args in dict(recorder.calls).items()]


def detached(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def differentiable(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


@pytest.mark.parametrize("gradients", [False, True])
def test_opcheck(gradients: bool):
    """Each operator once for each number of dimensions and dtype of its arguments that public calls give it."""
    calls = {call.signature: call for case in REACHED for call in record(case, case.utilities(3))}
    for call in calls.values():
        args = tuple(a.clone().requires_grad_() if gradients and differentiable(a) else a for a in call.args)
        torch.library.opcheck(call.func, args)


@PAIRS
def test_tangents_agree_with_gradients(case: Case):
    """For the Jacobian J in each argument and any h, t: (h, Jt) by forward mode is (Jᵀh, t) by reverse mode."""
    generator = torch.Generator().manual_seed(0)
    for call in record(case, case.utilities(3)):
        if not call.func(*call.args).is_floating_point():
            continue  # numbers of things
        wanted = [i for i, a in enumerate(call.args) if differentiable(a)]
        primals = tuple(call.args[i] for i in wanted)

        def function(*tensors: torch.Tensor, call: Call = call, wanted: list[int] = wanted) -> torch.Tensor:
            args = dict(enumerate(call.args)) | dict(zip(wanted, tensors, strict=True))
            return call.operator(*args.values())

        tangents = tuple(torch.randn(a.shape, dtype=a.dtype, generator=generator) for a in primals)
        output, tangent = torch.func.jvp(function, primals, tangents)
        h = torch.randn(output.shape, dtype=output.dtype, generator=generator)
        gradients = torch.func.vjp(function, *primals)[1](h)
        assert tangent.dtype == output.dtype
        expected = sum((g * t).sum() for g, t in zip(gradients, tangents, strict=True))
        assert_near((h * tangent).sum(), torch.as_tensor(expected), 1e-9)


@PAIRS
@pytest.mark.parametrize("pattern", ["ordinary", *PATTERNS])
def test_kernel_equals_twin(case: Case, pattern: str):
    rng = np.random.default_rng(0)
    rows = [PATTERNS[pattern](case.problem.size, rng) for _ in range(4)] if pattern in PATTERNS else None
    u = case.utilities(4) if rows is None else torch.from_numpy(np.stack(rows))
    for call in record(case, u):
        kernel, twin = call.func(*call.args), call.operator.twin(*call.expanded())
        assert kernel.dtype == twin.dtype
        if kernel.is_floating_point():
            scale = max(1.0, kernel[kernel.isfinite()].abs().max().item())
            assert_near(kernel, twin.reshape(kernel.shape), 1e-9 * scale)
        else:
            assert torch.equal(kernel, twin.reshape(kernel.shape))


@PAIRS
def test_twins_do_not_loop_over_the_batch(case: Case):
    """Exactly as many torch calls for ten copies of a batch, whose iterations take as many steps, as for one."""
    u = case.utilities(4)
    for few, many in zip(record(case, u), record(case, u.repeat(10, 1)), strict=True):
        assert few.func == many.func
        counts = []
        for call in (few, many):
            with Recorder() as recorder:
                call.operator.twin(*call.expanded())
            counts.append(recorder.others)
        # The step at which an iteration is within rounding may differ with the order of summation.
        assert counts[0] == counts[1] or (case.iterative and counts[1] < 1.5 * counts[0])


def test_every_operator_is_reached_by_some_public_call():
    dtypes = (torch.float32, torch.float64)
    reached = {call.func for case in REACHED for t in dtypes for call in record(case, case.utilities(3, dtype=t))}
    with Recorder() as recorder:
        F.capped_simplex(torch.zeros(100, 400), 3)  # large enough for conversions of our own
        with pytest.raises(ValueError, match="self-loop"):  # structures refuse it when they are made
            F.maximum_spanning_tree(torch.zeros(1), torch.tensor([[1], [1]]), 2)
        F.soft_sort(torch.zeros(3), entropic=True)  # the other one sorts by Permutahedron's operators
        F.maximum_path(torch.zeros(1), torch.tensor([[0], [1]]))  # structures make the schedule when they are made
    assert reached | {func for func, _ in recorder.calls} == set(OPERATORS)
