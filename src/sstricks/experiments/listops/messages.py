"""Messages along the links of a batch, weighted and summed at their receivers, without ever holding all of them."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from sstricks.experiments.listops import message_kernels as kernels
from sstricks.experiments.listops.links import Links
from sstricks.experiments.runs.hidden_numbers import array_of, over_rows

_CHUNK = 4096  # links at once, whose hidden rows stay in the cache
_ROUND = 512  # hidden rows come in multiples: oneDNN compiles, and keeps, a bfloat16 product for each number of rows
_NANOSECONDS = 10  # of each loop, for one link


def messages(
    sent: Tensor, received: Tensor, links: Links, matrix: Tensor, bias: Tensor, precision: torch.dtype | None = None
) -> Tensor:
    r"""What every node receives along weighted links from a two-layer message network whose first layer is given.

    .. math:: y_r = \sum_{s \to r} w_{sr} \, \mathrm{relu}(W \, \mathrm{relu}(a_s + b_r) + c)

    On a CPU the links are computed chunk by chunk, forward and again backward, and never stored; elsewhere this is
    :func:`plain_messages`.

    Args:
        sent: :math:`a`, (N, h).
        received: :math:`b`, (N, h).
        links: M of them between the N nodes, with their weights :math:`w`.
        matrix: :math:`W`, (h', h).
        bias: :math:`c`, (h',).
        precision: The dtype of the products with :math:`W`, by default its own.

    Returns:
        (N, h').
    """
    dtype = matrix.dtype if precision is None else precision
    if sent.device.type != "cpu" or dtype not in (torch.bfloat16, matrix.dtype):
        return plain_messages(sent, received, links, matrix, bias, precision)
    return _Messages.apply(
        sent, received, links.weights, matrix, bias, links.senders, links.receivers, links.starts, dtype
    )


def plain_messages(
    sent: Tensor, received: Tensor, links: Links, matrix: Tensor, bias: Tensor, precision: torch.dtype | None = None
) -> Tensor:
    """:func:`messages` in torch's own operations, on any device and differentiable any number of times.

    Args:
        sent: (N, h).
        received: (N, h).
        links: M of them.
        matrix: (h', h).
        bias: (h',).
        precision: The dtype of the products.

    Returns:
        (N, h').
    """
    dtype = matrix.dtype if precision is None else precision
    hidden = (sent[links.senders] + received[links.receivers]).relu().to(dtype)
    out = (F.linear(hidden, matrix.to(dtype)).to(matrix.dtype) + bias).relu()
    zero = out.new_zeros(len(sent), len(matrix))
    return zero.index_add(0, links.receivers, links.weights.unsqueeze(-1) * out)


class _Messages(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        sent: Tensor,
        received: Tensor,
        weights: Tensor,
        matrix: Tensor,
        bias: Tensor,
        senders: Tensor,
        receivers: Tensor,
        starts: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.save_for_backward(sent, received, weights, matrix, bias, senders, receivers, starts)
        ctx.dtype = dtype
        sent, received = sent.contiguous(), received.contiguous()
        out = torch.zeros(len(sent), len(matrix), dtype=sent.dtype)
        chunks = _Chunks(starts, senders, receivers, matrix, dtype)
        a, b, w, c, y = map(array_of, (sent, received, weights, bias, out))
        for part in chunks:
            _, product = part.products(a, b)
            part.run(kernels.gather, chunks.receivers, w, array_of(product), c, y)
        return out

    # With h = relu(a_s + b_r) and q = W h + c, the output is y_r = sum_s w_sr relu(q). Given g = dL/dy:
    #   dL/dw_sr = g_r . relu(q)      dq = w_sr g_r [q > 0]       dL/dc = sum dq       dL/dW = sum dq h^T
    #   dh = W^T dq [h > 0]           dL/da_s = sum_r dh          dL/db_r = sum_s dh
    # h and q are computed again: a matrix product in the cache costs less than a hundred megabytes of memory traffic.
    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  # once_differentiable makes ctx positional
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        grad = grad_outputs[0].contiguous()
        sent, received, weights, matrix, bias, senders, receivers, starts = ctx.saved_tensors
        sent, received = sent.contiguous(), received.contiguous()
        grad_sent, grad_received, grad_weights = map(torch.zeros_like, (sent, received, weights))
        grad_matrix, bias_parts = torch.zeros_like(matrix), bias.new_empty(len(starts) - 1, len(bias))
        chunks = _Chunks(starts, senders, receivers, matrix, ctx.dtype)
        a, b, w, c, g = map(array_of, (sent, received, weights, bias, grad))
        grad_a, grad_b, grad_w, grad_c = map(array_of, (grad_sent, grad_received, grad_weights, bias_parts))
        for part in chunks:
            hidden, product = part.products(a, b)
            h, q, parts = array_of(hidden), array_of(product), grad_c[part.begin : part.end]
            part.run(kernels.gather_backward, chunks.receivers, w, g, c, q, grad_w, parts)
            grad_matrix += product.T @ hidden
            grad_hidden = torch.mm(product, chunks.matrix, out=chunks.grad_hidden[: part.rows])
            ends = chunks.senders, chunks.receivers
            part.run(kernels.first_layer_backward, *ends, h, array_of(grad_hidden), grad_a, grad_b)
        grad_bias = bias_parts.sum(0)
        return grad_sent, grad_received, grad_weights, grad_matrix, grad_bias, None, None, None, None


class _Chunks:
    """The links of a batch, cut between sentences into parts that share their working memory."""

    def __init__(self, starts: Tensor, senders: Tensor, receivers: Tensor, matrix: Tensor, dtype: torch.dtype) -> None:
        self.starts, self.senders, self.receivers = map(array_of, (starts, senders, receivers))
        self.matrix = matrix.detach().to(dtype)
        self.bounds = self._cut(starts.tolist())
        out_width, width = matrix.shape
        most = _rounded(max(int(self.starts[end] - self.starts[begin]) for begin, end in pairwise(self.bounds)))
        self.hidden = torch.empty(most, width, dtype=dtype)
        self.product = torch.empty(most, out_width, dtype=dtype)
        self.grad_hidden = torch.empty_like(self.hidden)

    def __iter__(self) -> "Iterator[_Part]":
        for begin, end in pairwise(self.bounds):
            yield _Part(self, begin, end)

    @staticmethod
    def _cut(starts: list[int]) -> list[int]:
        bounds = [0]
        for sentence in range(1, len(starts)):
            if starts[sentence] - starts[bounds[-1]] > _CHUNK and bounds[-1] < sentence - 1:
                bounds.append(sentence - 1)
        return [*bounds, len(starts) - 1]


class _Part:
    """A range of sentences whose hidden rows are in working memory together."""

    def __init__(self, chunks: _Chunks, begin: int, end: int) -> None:
        self.chunks, self.begin, self.end = chunks, begin, end
        self.starts = chunks.starts[begin : end + 1]
        self.links = int(self.starts[-1] - self.starts[0])
        self.rows = _rounded(self.links)

    def products(self, sent: np.ndarray, received: np.ndarray) -> tuple[Tensor, Tensor]:
        """The hidden rows, and their products with the matrix; rows beyond the links are zero in both."""
        chunks = self.chunks
        hidden = chunks.hidden[: self.rows]
        hidden[self.links :] = 0
        self.run(kernels.first_layer, chunks.senders, chunks.receivers, sent, received, array_of(hidden))
        return hidden, torch.mm(hidden, chunks.matrix.T, out=chunks.product[: self.rows])

    def run(self, kernel: Callable[..., None], *arrays: np.ndarray) -> None:
        """A loop over all links, by as many threads as it is worth."""
        sentences = self.end - self.begin
        over_rows(kernel, sentences, _NANOSECONDS * self.links / sentences, self.starts, *arrays)


def _rounded(links: int) -> int:
    return -(-links // _ROUND) * _ROUND
