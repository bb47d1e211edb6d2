from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sstricks.experiments.listops import gate_kernels as kernels
from sstricks.experiments.runs.hidden_numbers import array_of, over_rows

_NANOSECONDS = 50  # of each loop, for one row


class GatedUnit(nn.GRUCell):
    """torch's gated recurrent unit, with fewer passes over memory on a CPU.

    Args:
        hidden: h, the size of inputs and states.
        precision: the dtype of the matrix products, by default the parameters' own.
    """

    def __init__(self, hidden: int, precision: torch.dtype | None = None) -> None:
        super().__init__(hidden, hidden)
        self.precision = precision

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next states: inputs (N, h) and states (N, h), by default zero -> (N, h)."""
        dtype = self.weight_ih.dtype if self.precision is None else self.precision
        if hx is None or input.device.type != "cpu" or dtype not in (torch.bfloat16, self.weight_ih.dtype):
            with torch.autocast(input.device.type, dtype, enabled=self.precision is not None):
                return super().forward(input, hx).to(input.dtype)
        return _Gated.apply(input, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, dtype)


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        nodes: Tensor,
        weight_i: Tensor,
        weight_s: Tensor,
        bias_i: Tensor,
        bias_s: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        rows, hidden = nodes.shape
        x, h, wi, ws = (tensor.contiguous().to(dtype) for tensor in (inputs, nodes, weight_i, weight_s))
        i, s = map(array_of, (x @ wi.T, h @ ws.T))
        gates, state, new = (nodes.new_empty(rows, width) for width in (2 * hidden, hidden, hidden))
        over_rows(kernels.reset_and_update, rows, _NANOSECONDS, i, s, array_of(bias_i + bias_s), array_of(gates))
        gates.sigmoid_()
        biases = array_of(bias_i), array_of(bias_s)
        over_rows(kernels.candidate, rows, _NANOSECONDS, i, s, *biases, *map(array_of, (gates, state, new)))
        new.tanh_()
        ctx.save_for_backward(x, h, nodes, wi, ws, gates, state, new)
        return torch.lerp(new, nodes, gates[:, hidden:])

    # With r = sigmoid(i_r + s_r), z = sigmoid(i_z + s_z), n = tanh(i_n + r s_n), where i = W x + b and s = V h + c, the
    # output is n + z (h - n). Given g, its gradient:
    #   dn = g (1 - z) (1 - n^2)      dr = dn s_n r (1 - r)      dz = g (h - n) z (1 - z)
    #   di = (dr, dz, dn)             ds = (dr, dz, r dn)
    #   dx = W^T di     dh = z g + V^T ds     dW = di x^T     dV = ds h^T     db = di     dc = ds
    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  # once_differentiable makes ctx positional
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        grad = grad_outputs[0].contiguous()
        x, h, nodes, wi, ws, gates, state, new = ctx.saved_tensors
        rows, hidden = nodes.shape
        grad_i, grad_s = (x.new_empty(rows, 3 * hidden) for _ in range(2))
        grad_nodes = torch.empty_like(grad)
        tensors = (grad, nodes.contiguous(), gates, state, new, grad_i, grad_s, grad_nodes)
        over_rows(kernels.backward, rows, 2 * _NANOSECONDS, *map(array_of, tensors))
        exact = grad.dtype
        return (
            (grad_i @ wi).to(exact),
            grad_nodes.add_(grad_s @ ws),
            (grad_i.T @ x).to(exact),
            (grad_s.T @ h).to(exact),
            grad_i.sum(0, dtype=exact),
            grad_s.sum(0, dtype=exact),
            None,
        )
