"""Messages along all pairs, weighted and summed at their receivers, without ever holding all of them."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from sstricks.experiments.nri import message_kernels as kernels
from sstricks.experiments.nri.pairs import pair_sum
from sstricks.experiments.runs.hidden_numbers import array_of

_CHUNK = (
    5760 * 256
)  # hidden numbers at once: large enough for torch's threads to share a product, small enough for a cache


def messages(
    sent: Tensor, received: Tensor, weights: Tensor, matrix: Tensor, bias: Tensor, precision: torch.dtype | None = None
) -> Tensor:
    r"""What every node receives along weighted edges from a two-layer message network whose first layer is given.

    .. math:: y_r = \sum_{s \ne r} w_{sr} \, \mathrm{relu}(W \, \mathrm{relu}(a_s + b_r) + c)

    On a CPU the pairs are computed chunk by chunk, forward and again backward, and never stored; elsewhere this is
    :func:`plain_messages`.

    Args:
        sent: :math:`a`, (B, T, n, h).
        received: :math:`b`, (B, T, n, h).
        weights: :math:`w`, (B, n(n-1)), in the order of ``pairs.directed_edges``.
        matrix: :math:`W`, (h', h).
        bias: :math:`c`, (h',).
        precision: The dtype of the products with :math:`W`, by default its own.

    Returns:
        (B, T, n, h').
    """
    dtype = matrix.dtype if precision is None else precision
    if sent.device.type != "cpu" or dtype not in (torch.bfloat16, matrix.dtype):
        return plain_messages(sent, received, weights, matrix, bias, precision)
    return _Messages.apply(sent, received, weights, matrix, bias, dtype)


def plain_messages(
    sent: Tensor, received: Tensor, weights: Tensor, matrix: Tensor, bias: Tensor, precision: torch.dtype | None = None
) -> Tensor:
    """:func:`messages` in torch's own operations, on any device and differentiable any number of times.

    Args:
        sent: (B, T, n, h).
        received: (B, T, n, h).
        weights: (B, n(n-1)).
        matrix: (h', h).
        bias: (h',).
        precision: The dtype of the products.

    Returns:
        (B, T, n, h').
    """
    batch, frames, num_nodes, _ = sent.shape
    dtype = matrix.dtype if precision is None else precision
    hidden = pair_sum(sent.flatten(0, 1), received.flatten(0, 1)).relu().to(dtype)
    out = (F.linear(hidden, matrix.to(dtype)).to(matrix.dtype) + bias).relu()
    by_row = weights.unflatten(-1, (num_nodes - 1, num_nodes))
    return torch.einsum("bkr,btkrh->btrh", by_row, out.unflatten(0, (batch, frames)))


class _Messages(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, sent: Tensor, received: Tensor, weights: Tensor, matrix: Tensor, bias: Tensor, dtype: torch.dtype
    ) -> Tensor:
        ctx.save_for_backward(sent, received, weights, matrix, bias)
        ctx.dtype = dtype
        a, b, w = _by_frame(sent, received, weights)
        w2, c = matrix.detach().to(dtype), array_of(bias)
        out = torch.empty(*a.shape[:2], len(matrix), dtype=a.dtype)
        scratch = _Scratch(a.shape, matrix, dtype)
        for chunk in scratch.chunks():
            _, product = scratch.products(a[chunk], b[chunk], w2)
            kernels.gather(array_of(product), c, array_of(w[chunk]), array_of(out[chunk]))
        return out.view(*sent.shape[:-1], len(matrix))

    # With h = relu(a_s + b_r) and q = W h + c, the output is y_r = sum_s w_sr relu(q). Given g = dL/dy:
    #   dL/dw_sr = g_r . relu(q), summed over frames      dq = w_sr g_r [q > 0]       dL/dc = sum dq
    #   dL/dW = sum dq h^T       dh = W^T dq [h > 0]       dL/da_s = sum_r dh          dL/db_r = sum_s dh
    # h and q are computed again: a matrix product in the cache costs less than a hundred megabytes of memory traffic.
    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  # once_differentiable makes ctx positional
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        sent, received, weights, matrix, bias = ctx.saved_tensors
        a, b, w = _by_frame(sent, received, weights)
        w2, c = matrix.detach().to(ctx.dtype), array_of(bias)
        g = grad.flatten(0, 1).contiguous()
        grad_a, grad_b, grad_w = torch.empty_like(a), torch.empty_like(b), torch.empty_like(w)
        grad_matrix, grad_bias = torch.zeros_like(matrix), torch.zeros_like(bias)
        scratch = _Scratch(a.shape, matrix, ctx.dtype)
        for chunk in scratch.chunks():
            hidden, product = scratch.products(a[chunk], b[chunk], w2)
            weights_and_grads = (
                array_of(w[chunk]),
                array_of(product),
                array_of(grad_w[chunk]),
                array_of(grad_bias),
            )
            kernels.gather_backward(array_of(g[chunk]), c, *weights_and_grads)
            grad_matrix += product.T @ hidden
            grad_hidden = torch.mm(product, w2, out=scratch.grad_hidden[: len(product)])
            kernels.first_layer_backward(
                array_of(grad_hidden),
                array_of(hidden),
                array_of(grad_a[chunk]),
                array_of(grad_b[chunk]),
            )
        grad_weights = grad_w.unflatten(0, sent.shape[:2]).sum(1)
        return grad_a.view_as(sent), grad_b.view_as(received), grad_weights, grad_matrix, grad_bias, None


class _Scratch:
    """The matrices of one chunk of frames, used again for each."""

    def __init__(self, shape: torch.Size, matrix: Tensor, dtype: torch.dtype) -> None:
        self.frames, num_nodes, _ = shape
        out_width, width = matrix.shape
        self.rows = num_nodes * (num_nodes - 1)
        self.step = max(1, min(self.frames, _CHUNK // (self.rows * max(width, out_width))))
        self.hidden = torch.empty(self.step * self.rows, width, dtype=dtype)
        self.product = torch.empty(self.step * self.rows, out_width, dtype=dtype)
        self.grad_hidden = torch.empty_like(self.hidden)

    def chunks(self) -> Iterator[slice]:
        """The chunks, in order."""
        return (slice(start, start + self.step) for start in range(0, self.frames, self.step))

    def products(self, a: Tensor, b: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden rows of a chunk, and their products with the matrix."""
        hidden = self.hidden[: len(a) * self.rows]
        kernels.first_layer(array_of(a), array_of(b), array_of(hidden))
        return hidden, torch.mm(hidden, matrix.T, out=self.product[: len(hidden)])


def _by_frame(sent: Tensor, received: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    by_frame = weights.detach().unsqueeze(1).expand(-1, sent.shape[1], -1).flatten(0, 1)
    return sent.detach().flatten(0, 1).contiguous(), received.detach().flatten(0, 1).contiguous(), by_frame
