"""Log Z of the spanning trees of complete graphs and its gradient, from one small graph to one of 400 nodes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import sstricks as sst
from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.score import forward_backward, partition_judge
from benchmarks.spanning_tree import utilities

WORK = "log Z of spanning trees fwd+bwd"
SIZES = ((10, 1), (10, 128), (50, 1), (50, 8), (100, 1), (100, 8), (200, 1), (400, 1), (400, 4))
# nodes; beyond that the truth takes many seconds
JUDGED = 100


def run(seconds: float) -> list[Row]:
    """Hold every contest of this subject."""
    return [row for size in SIZES for row in log_partition(*size).hold(seconds)]


def log_partition(num_nodes: int, batch: int) -> Contest:
    """Log Z of utilities of range 1, which every contender can stand, and its gradient."""
    trees = sst.SpanningTree.complete(num_nodes)
    u = utilities(batch, trees.edges, num_nodes, 1.0)
    judge = _judge(u, trees.edges, num_nodes) if num_nodes <= JUDGED else None
    ones = torch.ones(batch)
    contenders = [
        Contender(OURS, forward_backward(trees.log_partition, u, ones)),
        Contender.installed(
            "torch-struct NonProjectiveDependencyCRF",
            "torch_struct",
            "torch-struct==0.5",
            lambda: forward_backward(lambda v: _torch_struct(v, trees.edges, num_nodes), u, ones),
        ),
        Contender.installed("JAX, jitted slogdet", "jax", "jax", lambda: _jax(u, trees.edges, num_nodes)),
        Contender("yardstick: LAPACK's inverse, float64", _inverse(u, trees.edges, num_nodes)),
    ]
    return Contest(WORK, {"nodes": num_nodes, "batch": batch}, contenders, judge=judge)


def _judge(u: Tensor, edges: Tensor, num_nodes: int) -> Callable[[Any], dict[str, float | None]]:
    """Judge what has a gradient, on the first two examples."""
    g = torch.randn(u[:2].shape, generator=torch.Generator().manual_seed(1))
    score = partition_judge(u[:2], g, edges, num_nodes)
    return lambda output: score((output[0][:2], output[1][:2])) if isinstance(output, tuple) else {}


def _torch_struct(u: Tensor, edges: Tensor, num_nodes: int) -> Tensor:
    """Directed trees with symmetric weights and a uniform root, of which each undirected tree gives n."""
    import torch_struct

    flat = u.new_zeros(len(u), num_nodes * num_nodes).index_copy(-1, edges[0] * num_nodes + edges[1], u)
    upper = flat.unflatten(-1, (num_nodes, num_nodes))
    log_z = torch_struct.NonProjectiveDependencyCRF(upper + upper.mT, multiroot=False).partition
    return log_z - torch.tensor(num_nodes).log()


def _jax(u: Tensor, edges: Tensor, num_nodes: int) -> Callable[[], tuple[Tensor, Tensor]]:
    """Compiled for this shape, with the utilities on its device: what SynJax does for such trees."""
    import jax
    import jax.numpy as jnp

    i, j = jnp.asarray(edges.numpy())
    leaf = jnp.asarray(u.numpy())

    def total(v: Any) -> tuple[Any, Any]:
        upper = jnp.zeros((len(v), num_nodes, num_nodes), v.dtype).at[:, i, j].set(jnp.exp(v))
        weights = upper + upper.mT
        laplacian = weights.sum(-1)[:, :, None] * jnp.eye(num_nodes, dtype=v.dtype) - weights
        log_z = jnp.linalg.slogdet(laplacian[:, 1:, 1:])[1]
        return log_z.sum(), log_z

    step = jax.jit(jax.value_and_grad(total, has_aux=True))

    def call() -> tuple[Tensor, Tensor]:
        (_, log_z), gradient = jax.block_until_ready(step(leaf))
        return torch.from_dlpack(log_z), torch.from_dlpack(gradient)

    return call


def _inverse(u: Tensor, edges: Tensor, num_nodes: int) -> Callable[[], Tensor]:
    """The inverses of the reduced Laplacians, which are given; no gradient."""
    i, j = edges
    weights = torch.zeros(len(u), num_nodes, num_nodes, dtype=torch.float64)
    weights[:, i, j] = weights[:, j, i] = u.double().exp()
    reduced = (torch.diag_embed(weights.sum(-1)) - weights)[:, 1:, 1:].contiguous()
    return lambda: torch.linalg.inv(reduced)
