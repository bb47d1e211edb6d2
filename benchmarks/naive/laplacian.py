"""Spanning-tree marginals as the derivative of a log-determinant (App. B.7, eqs. 47–50; clipping of App. D.2)."""

import torch
from torch import Tensor


def log_partition(u: Tensor, edges: Tensor, num_nodes: int) -> Tensor:
    """Log det of the Laplacian without the row and column that the largest edge starts from, for u (*batch, E)."""
    i, j = edges
    flat = u.new_zeros(*u.shape[:-1], num_nodes * num_nodes).index_copy(-1, i * num_nodes + j, u.exp())
    upper = flat.unflatten(-1, (num_nodes, num_nodes))
    weights = upper + upper.mT
    laplacian = torch.diag_embed(weights.sum(-1)) - weights
    removed = i[u.argmax(-1)]
    kept = torch.arange(num_nodes - 1).expand(*u.shape[:-1], -1)
    kept = kept + (kept >= removed.unsqueeze(-1))
    rows = laplacian.gather(-2, kept.unsqueeze(-1).expand(*kept.shape, num_nodes))
    minor = rows.gather(-1, kept.unsqueeze(-2).expand(*kept.shape[:-1], num_nodes - 1, num_nodes - 1))
    return torch.logdet(minor)


def marginals(u: Tensor, edges: Tensor, num_nodes: int, clip: float | None = 15.0) -> Tensor:
    """The gradient of `log_partition`, kept on the graph: its own backward pass is autograd's double backward.

    With `clip`, utilities are first raised to within `clip` of the largest, as the paper does in training.
    """
    with torch.enable_grad():
        theta = u if u.requires_grad else u.detach().requires_grad_()
        top = theta.amax(-1, keepdim=True)
        theta = (theta if clip is None else torch.maximum(theta, top - clip)) - top
        log_z = log_partition(theta, edges, num_nodes)
        return torch.autograd.grad(log_z.sum(), theta, create_graph=True)[0]
