"""Compiled loops between the matrix products of message passing; each makes one pass over a chunk in the cache.

A chunk is C frames of n nodes; its pairs are the P = n(n-1) rows per frame of ``pairs.directed_edges``. Hidden rows are
those of ``runs.hidden_numbers``. All loops are serial and release the GIL.
"""

from typing import Any

import numpy as np

from sstricks.experiments.runs.hidden_numbers import compile_loop, put_row, widen


@compile_loop
def first_layer(sent: Any, received: Any, hidden: Any) -> None:
    """hidden[(c, k, r)] = relu(sent[c, s] + received[c, r]) for (C, n, h) twice into (CP, h)."""
    frames, nodes, width = sent.shape
    zero, values = sent.dtype.type(0), np.empty(width, sent.dtype)
    row = np.uint64(0)
    for c in range(frames):
        for k in range(1, nodes):
            for r in range(nodes):
                s = (r + k) % nodes
                for j in range(width):
                    values[j] = max(sent[c, s, j] + received[c, r, j], zero)
                put_row(values, hidden, row)
                row += np.uint64(1)


@compile_loop
def gather(product: Any, bias: Any, weights: Any, out: Any) -> None:
    """out[c, r] = sum over k of weights[c, (k, r)] relu(product[(c, k, r)] + bias)."""
    frames, nodes, width = out.shape
    zero = out.dtype.type(0)
    row = np.uint64(0)
    for c in range(frames):
        out[c] = 0
        for k in range(nodes - 1):
            for r in range(nodes):
                weight = weights[c, k * nodes + r]
                for j in range(width):
                    out[c, r, j] += weight * max(widen(product[row, j]) + bias[j], zero)
                row += np.uint64(1)


@compile_loop
def gather_backward(grad: Any, bias: Any, weights: Any, product: Any, grad_weights: Any, grad_bias: Any) -> None:
    """Overwrite ``product`` by its gradient, set that of the weights (C, P) and add to that of the bias."""
    frames, nodes, width = grad.shape
    zero, values = grad.dtype.type(0), np.empty(width, grad.dtype)
    row = np.uint64(0)
    for c in range(frames):
        for k in range(nodes - 1):
            for r in range(nodes):
                weight = weights[c, k * nodes + r]
                total = zero
                for j in range(width):
                    value = widen(product[row, j]) + bias[j]
                    passed = grad[c, r, j] if value > zero else zero
                    total += passed * value
                    grad_bias[j] += weight * passed
                    values[j] = weight * passed
                put_row(values, product, row)
                grad_weights[c, k * nodes + r] = total
                row += np.uint64(1)


@compile_loop
def first_layer_backward(grad_hidden: Any, hidden: Any, grad_sent: Any, grad_received: Any) -> None:
    """Sum the gradients of the pairs (CP, h) at their senders and at their receivers, where hidden > 0."""
    frames, nodes, width = grad_sent.shape
    zero = grad_sent.dtype.type(0)
    row = np.uint64(0)
    for c in range(frames):
        grad_sent[c] = 0
        grad_received[c] = 0
        for k in range(1, nodes):
            for r in range(nodes):
                s = (r + k) % nodes
                for j in range(width):
                    passed = widen(grad_hidden[row, j]) if hidden[row, j] > 0 else zero
                    grad_sent[c, s, j] += passed
                    grad_received[c, r, j] += passed
                row += np.uint64(1)
