import functools
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor
from torch._functorch.utils import unwrap_dead_wrappers
from torch.autograd import Function, forward_ad

from sstricks.errors import InvalidRows

_PLAIN = {Tensor, torch.nn.Parameter}
Backward = Callable[..., tuple[Tensor | None, ...]]
Tangent = Callable[..., Tensor | None]
Sizes = typing.Sequence[int]  # torch 2.6 knows an operator's list of numbers by no other name


def is_eager(*tensors: Tensor) -> bool:
    """Whether these are ordinary tensors in ordinary eager execution: no compilation, transformation or mode.

    Then an operator's kernel may be called without the dispatcher, which takes longer than the kernels of small
    problems.
    """
    if torch.compiler.is_compiling():
        return False
    return (
        all(map(_is_plain, tensors))
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
    )


def _is_plain(t: Tensor) -> bool:
    """Whether a tensor has memory, and its numbers stand there with their signs."""
    if type(t) not in _PLAIN or is_legacy_batchedtensor(t) or t.is_neg():
        return False
    return not torch._is_zerotensor(t)  # pyright: ignore[reportPrivateImportUsage]


def is_readable(tensor: Tensor) -> bool:
    """Whether the values of a tensor can be looked at, now and without waiting for a device."""
    return is_eager(tensor) and tensor.device.type == "cpu"


_asked: ContextVar[bool | None] = ContextVar("asked", default=None)


@contextmanager
def checking(asked: bool | None) -> Iterator[None]:
    """Within, what `is_checked` says of every tensor; None leaves it to the device.

    Args:
        asked: What a user said with `validate_args`.
    """
    token = _asked.set(asked)
    try:
        yield
    finally:
        _asked.reset(token)


def is_checked(tensor: Tensor) -> bool:
    """Whether a row that is invalid is complained of, and does not just become NaN.

    If nobody says otherwise (see `checking`), on the CPU it is. To look at values on a device means to wait for it,
    which is done only when torch is asked where NaN comes from, by `torch.autograd.set_detect_anomaly(True)`.
    """
    if (asked := _asked.get()) is not None:
        return asked
    return tensor.device.type == "cpu" or torch.is_anomaly_enabled()


def is_differentiated(*tensors: Tensor) -> bool:
    """Whether a derivative of what becomes of these tensors may be asked for, in reverse or in forward mode."""
    return forward_ad._current_level >= 0 or (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))


class Operator:
    """A torch operator that every transformation understands.

    The function given is the pure-torch twin: it serves every device without a kernel of its own and is the
    reference for those that have one. From it, and from what is attached below, come a `torch.library` custom
    operator (opaque to `torch.compile`, with a batching rule), an `autograd.Function` around it (what
    `torch.func.grad` and `jvp` need, since gradients registered on custom operators do not compose with them, and have
    no forward mode), and another one around the bare kernel of the device, for ordinary eager calls.

    Arguments are first the tensors, then plain numbers. A tensor has `core` trailing dimensions that belong to one
    problem, and any leading ones, which broadcast; `None` marks a tensor that all problems share (an edge list).

    An operator that waits for its device is tagged, so that `torch.compile` leaves it out of CUDA graphs.
    """

    _tangent: Tangent

    def __init__(
        self,
        name: str,
        twin: Callable[..., Tensor],
        core: tuple[int | None, ...],
        output_core: int,
        dtype: Callable[..., torch.dtype] | None,
        waits: bool,
    ) -> None:
        self.twin = twin
        self.dtype = dtype
        self.core = core
        self.output_core = output_core
        self.__name__ = twin.__name__
        self.__doc__ = twin.__doc__
        on_any = self._by_rows(self._on_valid_rows(twin))
        self._kernels = {"cpu": on_any, "cuda": on_any}
        unsafe = getattr(torch.Tag, "cudagraph_unsafe", None)  # which torch has from 2.8 on
        tags: dict[str, Any] = {"tags": (unsafe,)} if waits and unsafe is not None else {}
        self.library_op = torch.library.custom_op(name, on_any, mutates_args=(), **tags)
        self.library_op.register_fake(self._fake)
        self.library_op.register_vmap(self._vmap)
        self._eager: type[Function] | None = None
        self._function: type[Function] | None = None

    def __call__(self, *args: Any) -> Tensor:
        """Apply the operator."""
        tensors = args[: len(self.core)]
        if is_eager(*tensors) and (kernel := self._kernels.get(tensors[0].device.type)):
            if self._eager is None or not is_differentiated(*tensors):
                return kernel(*args)
            return self._eager.apply(*args)
        if self._function is None:
            return self.library_op(*args)
        if torch.compiler.is_compiling():
            if forward_ad._current_level >= 0:
                raise NotImplementedError(
                    f"{self.__name__}: found forward mode in torch.compile, which drops tangents of custom operators. "
                    "Call torch.func.jvp of a function that is not compiled."
                )
            return self.library_op(*args)
        return self._function.apply(*args)

    def cpu(self, kernel: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Attach the CPU kernel: same signature as the twin, and always exactly one leading dimension."""
        self._attach("cpu", self._on_valid_rows(kernel))
        return kernel

    def cuda(self, kernel: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Attach what launches the CUDA kernel: as for the CPU, and without waiting for the device.

        It imports Triton when it is first called. An invalid row becomes NaN, the others are what they would be
        without it.
        """

        @functools.wraps(kernel)
        def on_its_device(*rows: Any) -> Tensor:
            with torch.cuda.device_of(rows[0]):  # Triton launches on the current one
                return kernel(*rows)

        self._attach("cuda", on_its_device)
        return kernel

    def _attach(self, device: str, kernel: Callable[..., Tensor]) -> None:
        self._kernels[device] = self._by_rows(kernel)
        self.library_op.register_kernel(device)(self._kernels[device])

    def _on_valid_rows(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """On the CPU, if nobody asked for complaints, the function with NaN for the rows that it would complain of.

        It sees a valid row in their place. Rows that are NaN from end to end are what another operator found invalid.
        """
        numbers = [i for i, core in enumerate(self.core) if core]

        def invalid(output: Tensor) -> float:  # what is computed with a number that stands for a place is NaN anyhow
            return torch.nan if output.is_floating_point() else 0

        @functools.wraps(function)
        def on_valid_rows(*args: Any) -> Tensor:
            if is_checked(args[0]) or args[0].device.type != "cpu" or not len(args[0]):
                return function(*args)
            every = torch.arange(len(args[0]))
            wrong = torch.zeros_like(every, dtype=torch.bool)
            for x in (args[i] for i in numbers if args[i].shape[1:].numel()):
                wrong |= x.isnan().flatten(1).all(1)
            while not wrong.all():
                at = torch.where(wrong, (~wrong).long().argmax(), every)
                rows = (x if core is None else x[at] for x, core in zip(args, self.core, strict=False))
                try:
                    with checking(True):
                        output = function(*rows, *args[len(self.core) :])
                except InvalidRows as error:
                    wrong |= error.rows
                else:
                    return output.index_fill(0, wrong.nonzero().squeeze(1), invalid(output))
            output = self._fake(*args)
            return output.fill_(invalid(output))

        return on_valid_rows

    def backward(self, rule: Backward) -> Backward:
        """Attach the gradient. Forward mode transposes it, unless a rule for the tangent is attached as well.

        Args:
            rule: `rule(needs, grad, output, *args)` returns a gradient, or None, for each tensor argument; `needs` says
                which of them are wanted.
        """
        tensors = len(self.core)
        library_op = self.library_op
        self._tangent = functools.partial(_transposed, rule)

        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
            saved = *inputs[:tensors], output
            ctx.save_for_backward(*saved)
            ctx.save_for_forward(*saved)
            ctx.numbers = inputs[tensors:]
            ctx.asked = None if torch.compiler.is_compiling() else _asked.get()
            ctx.set_materialize_grads(False)

        def apply_rule(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
            if grad is None:
                return (None,) * len(ctx.needs_input_grad)
            # What torch.func.vjp returns runs after it, when the tensors that it saved are wrapped for nothing.
            *inputs, output = unwrap_dead_wrappers(ctx.saved_tensors)
            with nullcontext() if ctx.asked is None else checking(ctx.asked):
                grads = rule(ctx.needs_input_grad, grad, output, *inputs, *ctx.numbers)
            return (*grads, *[None] * len(ctx.numbers))

        def apply_tangent(ctx: Any, *tangents: Tensor | None) -> Tensor | None:
            # Torch turns forward mode off, so that what was saved does not propagate the tangents that are dealt with
            # here. That would turn it off for enclosing calls of torch.func.jvp, too.
            *inputs, output = (forward_ad.unpack_dual(t).primal for t in ctx.saved_tensors)
            lead = output.shape[: output.dim() - self.output_core]
            tangents = tuple(self._expanded(tangents[:tensors], lead))
            with forward_ad._set_fwd_grad_enabled(True):
                return self._tangent(tangents, output, *self._expanded(inputs, lead), *ctx.numbers)

        def eager_forward(ctx: Any, *args: Any) -> Tensor:
            output = self._kernels[args[0].device.type](*args)
            setup_context(ctx, args, output)
            return output

        rules = {"backward": staticmethod(apply_rule), "jvp": staticmethod(apply_tangent)}
        self._eager = type(f"{self.__name__}_eager", (Function,), {"forward": staticmethod(eager_forward), **rules})
        library_op.register_autograd(apply_rule, setup_context=setup_context)
        members = {
            "forward": staticmethod(lambda *args: library_op(*args)),
            "setup_context": staticmethod(setup_context),
            "vmap": staticmethod(self._vmap),
        }
        self._function = type(f"{self.__name__}_function", (Function,), members | rules)
        return rule

    def symmetric(self, rule: Backward) -> Backward:
        """Attach the gradient of an operator with symmetric Jacobians, for which the same rule gives the tangent.

        Args:
            rule: As for `backward`. Tensors of another shape than the result's must have no gradient.
        """
        self.backward(rule)
        self._tangent = functools.partial(_along, rule)
        return rule

    def tangent(self, rule: Tangent) -> Tangent:
        """Attach a rule for the tangent that takes less time than transposing the gradient. It comes after `backward`.

        Args:
            rule: `rule(tangents, output, *args)` returns the tangent of the result; constants have None.
        """
        self._tangent = rule
        return rule

    def _leading(self, tensors: tuple[Tensor, ...]) -> torch.Size:
        """The batch dimensions that the leading dimensions of all tensors broadcast to."""
        leads = [t.shape[: t.dim() - c] for t, c in zip(tensors, self.core, strict=True) if c is not None]
        longest = max(leads, key=len)
        if all(not lead or lead == longest for lead in leads):
            return longest
        return torch.broadcast_shapes(*leads)

    def _expanded(self, tensors: Sequence[Any], lead: torch.Size) -> list[Any]:
        """The tensors with all the leading dimensions; what is None stays so."""
        expanded = []
        for tensor, core in zip(tensors, self.core, strict=True):
            if tensor is not None and core is not None and tensor.shape[: tensor.dim() - core] != lead:
                tensor = tensor.expand(lead + tensor.shape[tensor.dim() - core :])
            expanded.append(tensor)
        return expanded

    def _by_rows(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The function on arguments laid out as one contiguous row per problem, its result in the caller's shape."""

        @functools.wraps(function)
        def on_rows(*args: Any) -> Tensor:
            tensors, numbers = args[: len(self.core)], args[len(self.core) :]
            lead = self._leading(tensors)
            rows = []
            for tensor, core in zip(tensors, self.core, strict=True):
                if core is not None:
                    shape = tensor.shape[tensor.dim() - core :]
                    if tensor.shape[: tensor.dim() - core] != lead:
                        tensor = tensor.expand(lead + shape)
                    if len(lead) != 1:
                        tensor = tensor.reshape(lead.numel(), *shape)
                    tensor = tensor.contiguous()
                rows.append(tensor)
            if self.core[0] and 0 in rows[0].shape[1:]:
                return self._fake(*args).zero_()  # of a graph of one node, the empty vector, and log Z = 0
            output = function(*rows, *numbers)
            return output if len(lead) == 1 else output.reshape(lead + output.shape[1:])

        return on_rows

    def _fake(self, *args: Any) -> Tensor:
        first = args[0]
        event = first.shape[first.dim() - self.output_core :] if self.output_core else ()
        return first.new_empty(
            (*self._leading(args[: len(self.core)]), *event), dtype=self.dtype(*args) if self.dtype else None
        )

    def _vmap(self, info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
        tensors, numbers = args[: len(self.core)], args[len(self.core) :]
        # The mapped dimension must come to lie left of every leading dimension, also of those that a tensor lacks.
        depth = max(
            tensor.dim() - core - (dim is not None)
            for tensor, core, dim in zip(tensors, self.core, in_dims, strict=False)
            if core is not None
        )
        moved = []
        for tensor, core, dim in zip(tensors, self.core, in_dims, strict=False):
            if dim is None:
                moved.append(tensor)
                continue
            if core is None:
                raise ValueError(
                    f"{self.__name__}: vmap over a tensor that all problems share (an edge list) is not defined; "
                    "expected in_dims=None for it. Pad to one edge list and use mask= instead."
                )
            tensor = tensor.movedim(dim, 0)
            missing = depth - (tensor.dim() - 1 - core)
            moved.append(tensor.reshape(tensor.shape[0], *[1] * missing, *tensor.shape[1:]))
        return self(*moved, *numbers), 0


def _gradient(rule: Backward, i: int, output: Tensor, args: tuple[Any, ...], h: Tensor) -> Tensor:
    """Jᵀh for the Jacobian J in the argument number i."""
    grad = rule(tuple(j == i for j in range(len(args))), h, output, *args)[i]
    return torch.zeros_like(args[i]) if grad is None else grad


def _along(rule: Backward, tangents: tuple[Tensor | None, ...], output: Tensor, *args: Any) -> Tensor | None:
    """The sum of Jt over the arguments that have a tangent t, where J is symmetric: one of another shape has no J."""
    given = [(i, t) for i, t in enumerate(tangents) if t is not None and t.shape == output.shape]
    return functools.reduce(torch.add, [_gradient(rule, i, output, args, t) for i, t in given]) if given else None


def _transposed(rule: Backward, tangents: tuple[Tensor | None, ...], output: Tensor, *args: Any) -> Tensor:
    """The sum of Jt over the arguments that have a tangent t: the gradient, in h, of the inner product of t and Jᵀh."""
    zeros = torch.zeros_like(output)
    parts = [
        torch.func.vjp(functools.partial(_gradient, rule, i, output, args), zeros)[1](t)[0]
        for i, t in enumerate(tangents)
        if t is not None
    ]
    return functools.reduce(torch.add, parts)


def operator(
    name: str,
    *,
    core: tuple[int | None, ...],
    output_core: int = 1,
    dtype: Callable[..., torch.dtype] | None = None,
    waits: bool = False,
) -> Callable[[Callable[..., Tensor]], Operator]:
    """Turn a pure-torch function into an `Operator`; see there for `core`.

    Args:
        name: The operator's name, with its namespace.
        core: For each tensor argument, how many dimensions one problem has.
        output_core: The same for the result.
        dtype: `dtype(*args)` is the result's, if that is not the first argument's.
        waits: Whether it looks at values on a device.
    """
    return lambda twin: Operator(name, twin, core, output_core, dtype, waits)
