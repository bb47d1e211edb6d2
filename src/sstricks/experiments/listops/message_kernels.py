"""Compiled loops between the matrix products of message passing over a list of links.

Links are sorted by sentence. ``starts[s]`` is the first link of sentence s of a chunk; row r of the hidden matrices
belongs to link ``starts[0] + r``. Sentences share no node, so each call may treat any range of them, at the same time
as others. Hidden rows are those of ``runs.hidden_numbers``.
"""

from typing import Any

import numpy as np

from sstricks.experiments.runs.hidden_numbers import compile_loop, put_row, widen


@compile_loop
def first_layer(
    begin: Any, end: Any, starts: Any, senders: Any, receivers: Any, sent: Any, received: Any, hidden: Any
) -> None:
    """hidden[r] = relu(sent[senders] + received[receivers]) for (N, h) twice into (R, h)."""
    width = sent.shape[1]
    zero, values = sent.dtype.type(0), np.empty(width, sent.dtype)
    for link in range(starts[begin], starts[end]):
        sender, receiver = np.uint64(senders[link]), np.uint64(receivers[link])
        for j in range(width):
            values[j] = max(sent[sender, j] + received[receiver, j], zero)
        put_row(values, hidden, np.uint64(link - starts[0]))


@compile_loop
def gather(begin: Any, end: Any, starts: Any, receivers: Any, weights: Any, product: Any, bias: Any, out: Any) -> None:
    """out[receivers] += weights * relu(product + bias)."""
    width = out.shape[1]
    zero = out.dtype.type(0)
    for link in range(starts[begin], starts[end]):
        row, receiver, weight = np.uint64(link - starts[0]), np.uint64(receivers[link]), weights[link]
        for j in range(width):
            out[receiver, j] += weight * max(widen(product[row, j]) + bias[j], zero)


@compile_loop
def gather_backward(
    begin: Any,
    end: Any,
    starts: Any,
    receivers: Any,
    weights: Any,
    grad: Any,
    bias: Any,
    product: Any,
    grad_weights: Any,
    grad_bias: Any,
) -> None:
    """Overwrite the product by its gradient, set those of the weights and of each sentence's bias (B, h')."""
    width = grad.shape[1]
    zero, values = grad.dtype.type(0), np.empty(width, grad.dtype)
    for sentence in range(begin, end):
        grad_bias[sentence] = zero
        for link in range(starts[sentence], starts[sentence + 1]):
            row, receiver, weight = np.uint64(link - starts[0]), np.uint64(receivers[link]), weights[link]
            total = zero
            for j in range(width):
                value = widen(product[row, j]) + bias[j]
                passed = grad[receiver, j] if value > zero else zero
                total += passed * value
                values[j] = weight * passed
                grad_bias[sentence, j] += weight * passed
            put_row(values, product, row)
            grad_weights[link] = total


@compile_loop
def first_layer_backward(
    begin: Any,
    end: Any,
    starts: Any,
    senders: Any,
    receivers: Any,
    hidden: Any,
    grad_hidden: Any,
    grad_sent: Any,
    grad_received: Any,
) -> None:
    """Add the gradients of the rows to their senders' and receivers', where hidden > 0."""
    width = grad_sent.shape[1]
    zero = grad_sent.dtype.type(0)
    for link in range(starts[begin], starts[end]):
        row, sender, receiver = np.uint64(link - starts[0]), np.uint64(senders[link]), np.uint64(receivers[link])
        for j in range(width):
            passed = widen(grad_hidden[row, j]) if hidden[row, j] > 0 else zero
            grad_sent[sender, j] += passed
            grad_received[receiver, j] += passed
