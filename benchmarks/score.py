"""Judges: how far an output is from the truth, for the whole gradient or for a sample that fits into a second."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import truth

Errors = dict[str, float | None]
Judge = Callable[[tuple[Tensor, Tensor]], Errors]
LONG = np.longdouble


def tree_judge(u: Tensor, g: Tensor, edges: Tensor, num_nodes: int, sampled: int = 30) -> Judge:
    """Judge (marginals, vector–Jacobian product with g) on `sampled` edges of each of the first two examples."""
    pairs = edges.numpy()
    chosen = np.random.default_rng(0).permutation(pairs.shape[1])[:sampled]

    def solve(values: NDArray[np.longdouble]) -> NDArray[np.longdouble]:
        return np.stack([truth.spanning_tree(row, pairs, num_nodes, chosen) for row in values])

    return _judge(u[:2], g[:2], chosen, solve)


def projective_judge(u: Tensor, g: Tensor, edges: Tensor, sampled: int = 10) -> Judge:
    """Judge (marginals, vector–Jacobian product with g) on `sampled` edges of each of the first two examples."""
    pairs = edges.numpy()
    chosen = np.random.default_rng(0).permutation(pairs.shape[1])[:sampled]

    def solve(values: NDArray[np.longdouble]) -> NDArray[np.longdouble]:
        return np.stack([truth.projective(row, pairs, chosen) for row in values])

    return _judge(u[:2], g[:2], chosen, solve)


def subset_judge(u: Tensor, g: Tensor, k: int) -> Judge:
    """Judge (marginals, vector–Jacobian product with g) on the first four examples."""
    return _judge(u[:4], g[:4], np.arange(u.shape[-1]), lambda values: truth.k_subset(values, k))


def rank_judge(u: Tensor, g: Tensor) -> Judge:
    """Judge (Euclidean soft ranks, vector–Jacobian product with g) on the first example."""
    return _judge(u[:1], g[:1], np.arange(u.shape[-1]), truth.ranks)


def chain_judge(u: Tensor, g: Tensor, k: int) -> Judge:
    """Judge (marginals, vector–Jacobian product with g) on the first four examples."""
    return _judge(u[:4], g[:4], np.arange(u.shape[-1]), lambda values: truth.chain_k_subset(values, k))


def partition_judge(u: Tensor, g: Tensor, edges: Tensor, num_nodes: int, *, directed: bool = False) -> Judge:
    """Judge log Z of each row of u (batch, E) and its derivative in the direction g."""
    i, j = edges.numpy()

    def solve(values: NDArray[np.longdouble]) -> NDArray[np.longdouble]:
        nets = np.full((len(values), num_nodes, num_nodes), -np.inf, dtype=LONG)
        nets[:, i, j] = values
        if not directed:
            nets[:, j, i] = values
        return np.stack([truth.log_partition(net) for net in nets])

    return _value_judge(u, g, solve)


def path_judge(u: Tensor, g: Tensor, edges: Tensor, sink: int) -> Judge:
    """Judge log Z of the first two examples, of paths from node 0, and its derivative in the direction g."""

    def solve(values: NDArray[np.longdouble]) -> NDArray[np.longdouble]:
        return np.stack([truth.paths(row, edges.numpy(), sink) for row in values])

    score = _value_judge(u[:2], g[:2], solve)
    return lambda output: score((output[0][:2], output[1][:2]))


def _value_judge(u: Tensor, g: Tensor, solve: Callable[[NDArray[np.longdouble]], NDArray[np.longdouble]]) -> Judge:
    at, along = u.numpy().astype(LONG), g.numpy().astype(LONG)
    value = solve(at)
    slope = (solve(at + truth.STEP * along) - solve(at - truth.STEP * along)) / (2 * truth.STEP)

    def score(output: tuple[Tensor, Tensor]) -> Errors:
        log_z, gradient = (part.double().numpy() for part in output)
        return {"value": _worst(log_z - value), "along g": _worst((gradient * along).sum(-1) - slope)}

    return score


def weight_judge(u: Tensor, best: Tensor) -> Callable[[Tensor], Errors]:
    """Judge a vertex by the largest utility it loses against the truth `best`, in float64."""
    optimum = (u.double() * best.double()).sum(-1)
    return lambda x: {"utility lost": float((optimum - (u.double() * x.double()).sum(-1)).abs().max())}


def _judge(
    u: Tensor,
    g: Tensor,
    chosen: NDArray[np.int64],
    solve: Callable[[NDArray[np.longdouble]], NDArray[np.longdouble]],
) -> Judge:
    # the Jacobian is symmetric: the product with g is the derivative in the direction g
    at, along = u.detach().numpy().astype(LONG), g.numpy().astype(LONG)
    value = solve(at)
    slope = (solve(at + truth.STEP * along) - solve(at - truth.STEP * along)) / (2 * truth.STEP)

    def score(output: tuple[Tensor, Tensor]) -> Errors:
        x, gradient = (part.detach()[: len(at)].double().numpy()[:, chosen] for part in output)
        return {"value": _worst(x - value), "gradient": _worst(gradient - slope)}

    return score


def _worst(difference: NDArray[np.longdouble]) -> float | None:
    """Return the largest absolute entry; None for not-a-number, which JSON cannot say."""
    worst = float(np.abs(difference).max())
    return worst if np.isfinite(worst) else None


def forward_backward(solve: Callable[[Tensor], Tensor], u: Tensor, g: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
    """Return a call that evaluates x = solve(u) and the product of g with its Jacobian."""
    leaf = u.clone().requires_grad_()

    def call() -> tuple[Tensor, Tensor]:
        x = solve(leaf)
        (gradient,) = torch.autograd.grad(x, leaf, g)
        return x.detach(), gradient

    return call
