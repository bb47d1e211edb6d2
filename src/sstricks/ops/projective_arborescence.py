r"""The exponential family of projective trees, p(T) ∝ exp(Σ_{e∈T} u_e): log Z, marginals, and their derivative (B.8).

A tree is projective if the descendants of every node are a stretch of nodes. Eisner's grammar builds each such tree
from stretches i…j in exactly one way. With w = exp u, write R(i, j) for the total weight of the ways in which i heads
all of i+1…j, L(i, j) for those in which j heads all of i…j−1, and →, ← for the same with i and j joined by an edge:

.. math:: B(i, j) = \sum_{k=i}^{j-1} R(i, k) L(k+1, j), \quad
          {\to}(i, j) = w_{ij} B(i, j), \quad {\leftarrow}(i, j) = w_{ji} B(i, j), \\
          R(i, j) = \sum_{k=i+1}^{j} {\to}(i, k) R(k, j), \quad
          L(i, j) = \sum_{k=i}^{j-1} L(i, k) {\leftarrow}(k, j), \quad R(i, i) = L(i, i) = 1

where k is the last descendant of i before those of j; the farthest dependent of i; that of j. Z = R(0, n−1). Absent
edges have w = 0. Nodes without any edge are left out beforehand, and the others numbered anew.

**Marginals.** Keep the shares p of the terms in each sum, the probabilities of the divisions of a span given that the
tree has that span. From the whole sentence down, the probability of a span goes to the two parts of its divisions in
these shares; what arrives at →(i, j) is P(i → j ∈ T). Sums and products of numbers in [0, 1] only: the error is a few n
multiples of the machine's epsilon. For the shares to be that exact at utilities of any size, weights are mantissas
with exponents of their own: products multiply the one and add the other, and sums scale by powers of two.

**Derivative** in the direction g. Let a be d log of a span's weight: then for every sum, and every share,

.. math:: a = \sum_k p_k (a_{k1} + a_{k2}), \quad dp_k = p_k (a_{k1} + a_{k2} - a), \quad
          a_{\to}(i, j) = g_{ij} + a_B(i, j)

and the way down is differentiated by the product rule. The a are means of g over trees, so nothing grows with u. The
Jacobian is a Hessian, that of log Z, hence symmetric: the backward pass is this derivative in the direction of the
incoming gradient.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sstricks.ops.gradients import attach_gradients
from sstricks.ops.operator import operator
from sstricks.ops.projective_chart import check_feasible, edge_ends
from sstricks.ops.projective_passes import inside, outside, tangent
from sstricks.ops.threads import over_rows


def _launch(kernel: Callable[..., None], out: Tensor, nodes: int, tables: int, *rows: Tensor) -> Tensor:
    """Call a kernel that keeps as many tables of divisions."""
    from sstricks.ops.kernels.floats import LANES

    feasible = torch.empty(len(out), dtype=torch.bool)
    splits = (nodes**3 - nodes) // 6  # and as many of R and L each
    work = 5.0 * tables * splits + 40.0 * nodes**2
    args = (nodes, *(row.numpy() for row in rows), out.numpy(), feasible.numpy())
    over_rows(kernel, len(out), work, *args, step=LANES, scratch=tables * splits * LANES)
    check_feasible(feasible)
    return out


@operator("sstricks::projective_arborescence_marginals", core=(1,))
def marginals(u: Tensor, nodes: int) -> Tensor:
    """The marginals P(e ∈ T), shape (*batch, (n−1)²), of the exponential family with parameters u (B.8, eq. 8).

    Args:
        u: Natural parameters, shape (*batch, (n−1)²); −∞ is an absent edge.
        nodes: The number of nodes n; one without any edge is padding and is skipped.

    Raises:
        ValueError: Some row has no projective tree.
    """
    work = inside(u, nodes)
    check_feasible(work.feasible)
    x = outside(work, work.shares, nodes)
    # Rounding errors must not leave anything to doubt where a node can have one head only.
    to = edge_ends(nodes, u.device)[1]
    total = x.new_zeros(len(x), nodes).index_add(-1, to, x)[..., to]
    return x / torch.where(total > 0, total, 1.0)


@operator("sstricks::projective_arborescence_marginals_jvp", core=(1, 1))
def marginals_jvp(u: Tensor, g: Tensor, nodes: int) -> Tensor:
    """The derivative of `marginals` in the direction g, shape (*batch, (n−1)²)."""
    work = inside(u, nodes)
    check_feasible(work.feasible)
    return tangent(work, g, nodes)


@operator("sstricks::projective_arborescence_log_partition", core=(1,), output_core=0)
def log_partition(u: Tensor, nodes: int) -> Tensor:
    """The log-partition function log Σ_T exp(Σ_{e∈T} u_e) over the projective trees, shape (*batch)."""
    work = inside(u, nodes)
    check_feasible(work.feasible)
    return work.log_z


@marginals.cpu
def _(u: Tensor, nodes: int) -> Tensor:
    from sstricks.ops.kernels.projective_arborescence import marginals as kernel

    return _launch(kernel, torch.empty_like(u), nodes, 3, u)


@marginals_jvp.cpu
def _(u: Tensor, g: Tensor, nodes: int) -> Tensor:
    from sstricks.ops.kernels.projective_arborescence_jvp import marginals_jvp as kernel

    return _launch(kernel, torch.empty_like(u), nodes, 6, u, g)


@log_partition.cpu
def _(u: Tensor, nodes: int) -> Tensor:
    from sstricks.ops.kernels.projective_arborescence import log_partition as kernel

    return _launch(kernel, u.new_empty(len(u)), nodes, 3, u)


attach_gradients(marginals, marginals_jvp, log_partition, lambda u, g, nodes: tangent(inside(u, nodes), g, nodes))
