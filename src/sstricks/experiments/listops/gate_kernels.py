"""Compiled loops between the matrix products and the sigmoids of a gated recurrent unit, each over a range of rows.

Products come from the input's side (``i``) and from the state's (``s``), three blocks of h columns each: reset, update,
new. They are hidden numbers of ``runs.hidden_numbers``.
"""

from typing import Any

import numpy as np

from sstricks.experiments.runs.hidden_numbers import compile_loop, put_row, widen


@compile_loop
def reset_and_update(begin: Any, end: Any, i: Any, s: Any, bias: Any, gates: Any) -> None:
    """gates = i + s + bias, of the first two blocks."""
    width = gates.shape[1]
    for row in range(np.uint64(begin), np.uint64(end)):
        for j in range(width):
            gates[row, j] = widen(i[row, j]) + widen(s[row, j]) + bias[j]


@compile_loop
def candidate(begin: Any, end: Any, i: Any, s: Any, bias_i: Any, bias_s: Any, gates: Any, state: Any, new: Any) -> None:
    """state = s + bias and new = i + bias + reset * state, of the last block."""
    width = new.shape[1]
    skip = 2 * width
    for row in range(np.uint64(begin), np.uint64(end)):
        for j in range(width):
            state[row, j] = widen(s[row, skip + j]) + bias_s[skip + j]
            new[row, j] = widen(i[row, skip + j]) + bias_i[skip + j] + gates[row, j] * state[row, j]


@compile_loop
def backward(
    begin: Any,
    end: Any,
    grad: Any,
    nodes: Any,
    gates: Any,
    state: Any,
    new: Any,
    grad_i: Any,
    grad_s: Any,
    grad_nodes: Any,
) -> None:
    """The gradients of both products, and of the nodes but for what comes through the products."""
    width = new.shape[1]
    one = new.dtype.type(1)
    to_i, to_s = np.empty(3 * width, new.dtype), np.empty(3 * width, new.dtype)
    for row in range(np.uint64(begin), np.uint64(end)):
        for j in range(width):
            g, r, z, n = grad[row, j], gates[row, j], gates[row, width + j], new[row, j]
            dn = g * (one - z) * (one - n * n)
            dr = dn * state[row, j] * r * (one - r)
            dz = g * (nodes[row, j] - n) * z * (one - z)
            to_i[j] = to_s[j] = dr
            to_i[width + j] = to_s[width + j] = dz
            to_i[2 * width + j] = dn
            to_s[2 * width + j] = dn * r
            grad_nodes[row, j] = g * z
        put_row(to_i, grad_i, row)
        put_row(to_s, grad_s, row)
