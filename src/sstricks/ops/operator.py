import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

_PLAIN = {Tensor, torch.nn.Parameter}
Backward = Callable[..., tuple[Tensor | None, ...]]


def is_eager(*tensors: Tensor) -> bool:
    """Whether these are ordinary tensors in ordinary eager execution: no compilation, transformation or mode.

    Then an operator's kernel may be called without the dispatcher, which takes longer than the kernels of small
    problems.
    """
    if torch.compiler.is_compiling():
        return False
    return (
        all(type(t) in _PLAIN for t in tensors)
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
    )


def is_readable(tensor: Tensor) -> bool:
    """Whether the values of a tensor can be looked at, now and without waiting for a device."""
    return is_eager(tensor) and tensor.device.type == "cpu"


def is_checked(tensor: Tensor) -> bool:
    """Whether a row that is invalid is complained of, and does not just become NaN.

    On the CPU it is. To look at values on a device means to wait for it, which is done only when torch is asked where
    NaN comes from, by `torch.autograd.set_detect_anomaly(True)`.
    """
    return tensor.device.type == "cpu" or torch.is_anomaly_enabled()


class Operator:
    """A torch operator that every transformation understands.

    The function given is the pure-torch twin: it serves every device without a kernel of its own and is the
    reference for those that have one. From it, and from what is attached below, come a `torch.library` custom
    operator (opaque to `torch.compile`, with a batching rule), an `autograd.Function` around it (what
    `torch.func.grad` and `jacrev` need, since gradients registered on custom operators do not compose with them), and
    another one around the bare kernel of the device, for ordinary eager calls.

    Arguments are first the tensors, then plain numbers. A tensor has `core` trailing dimensions that belong to one
    problem, and any leading ones, which broadcast; `None` marks a tensor that all problems share (an edge list).
    """

    def __init__(
        self,
        name: str,
        twin: Callable[..., Tensor],
        core: tuple[int | None, ...],
        output_core: int,
        dtype: Callable[..., torch.dtype] | None,
    ) -> None:
        self.twin = twin
        self.dtype = dtype
        self.core = core
        self.output_core = output_core
        self.__name__ = twin.__name__
        self.__doc__ = twin.__doc__
        on_any = self._by_rows(twin)
        self._kernels = {"cpu": on_any, "cuda": on_any}
        self.library_op = torch.library.custom_op(name, on_any, mutates_args=())
        self.library_op.register_fake(self._fake)
        self.library_op.register_vmap(self._vmap)
        self._eager: type[Function] | None = None
        self._function: type[Function] | None = None

    def __call__(self, *args: Any) -> Tensor:
        """Apply the operator."""
        tensors = args[: len(self.core)]
        if is_eager(*tensors) and (kernel := self._kernels.get(tensors[0].device.type)):
            if self._eager is None or not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors)):
                return kernel(*args)
            return self._eager.apply(*args)
        if self._function is None or torch.compiler.is_compiling():
            return self.library_op(*args)
        return self._function.apply(*args)

    def cpu(self, kernel: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Attach the CPU kernel: same signature as the twin, and always exactly one leading dimension."""
        return self._attach("cpu", kernel)

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

    def _attach(self, device: str, kernel: Callable[..., Tensor]) -> Callable[..., Tensor]:
        self._kernels[device] = self._by_rows(kernel)
        self.library_op.register_kernel(device)(self._kernels[device])
        return kernel

    def backward(self, rule: Backward) -> Backward:
        """Attach the gradient.

        Args:
            rule: `rule(needs, grad, output, *args)` returns a gradient, or None, for each tensor argument; `needs` says
                which of them are wanted.
        """
        tensors = len(self.core)
        library_op = self.library_op

        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
            ctx.save_for_backward(*inputs[:tensors], output)
            ctx.numbers = inputs[tensors:]

        def apply_rule(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
            *inputs, output = ctx.saved_tensors
            return (*rule(ctx.needs_input_grad, grad, output, *inputs, *ctx.numbers), *[None] * len(ctx.numbers))

        def eager_forward(ctx: Any, *args: Any) -> Tensor:
            output = self._kernels[args[0].device.type](*args)
            setup_context(ctx, args, output)
            return output

        eager = {"forward": staticmethod(eager_forward), "backward": staticmethod(apply_rule)}
        self._eager = type(f"{self.__name__}_eager", (Function,), eager)
        library_op.register_autograd(apply_rule, setup_context=setup_context)
        members = {
            "generate_vmap_rule": True,
            "forward": staticmethod(lambda *args: library_op(*args)),
            "setup_context": staticmethod(setup_context),
            "backward": staticmethod(apply_rule),
        }
        self._function = type(f"{self.__name__}_function", (Function,), members)
        return rule

    def _leading(self, tensors: tuple[Tensor, ...]) -> torch.Size:
        """The batch dimensions that the leading dimensions of all tensors broadcast to."""
        leads = [t.shape[: t.dim() - c] for t, c in zip(tensors, self.core, strict=True) if c is not None]
        longest = max(leads, key=len)
        if all(not lead or lead == longest for lead in leads):
            return longest
        return torch.broadcast_shapes(*leads)

    def _by_rows(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The function on arguments laid out as one contiguous row per problem, its result in the caller's shape."""

        @functools.wraps(function)
        def on_rows(*args: Any) -> Tensor:
            tensors, numbers = args[: len(self.core)], args[len(self.core) :]
            lead = self._leading(tensors)
            rows = []
            for tensor, core in zip(tensors, self.core, strict=True):
                if core is not None:
                    event = tensor.shape[tensor.dim() - core :]
                    if tensor.shape[: tensor.dim() - core] != lead:
                        tensor = tensor.expand(lead + event)
                    tensor = tensor.reshape(lead.numel(), *event).contiguous()
                rows.append(tensor)
            output = function(*rows, *numbers)
            return output.reshape(lead + output.shape[1:])

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
        return self.library_op(*moved, *numbers), 0


def operator(
    name: str, *, core: tuple[int | None, ...], output_core: int = 1, dtype: Callable[..., torch.dtype] | None = None
) -> Callable[[Callable[..., Tensor]], Operator]:
    """Turn a pure-torch function into an `Operator`; see there for `core`.

    Args:
        name: The operator's name, with its namespace.
        core: For each tensor argument, how many dimensions one problem has.
        output_core: The same for the result.
        dtype: `dtype(*args)` is the result's, if that is not the first argument's.
    """
    return lambda twin: Operator(name, twin, core, output_core, dtype)
