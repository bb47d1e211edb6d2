import torch
from torch import Tensor

from sstricks.functional.checks import chain_subset_size
from sstricks.functional.utility import from_working, to_working
from sstricks.ops import chain_k_subset
from sstricks.ops.k_subset import distinct_rows


def chain_k_subset_argmax(u: Tensor, k: int) -> Tensor:
    """The best subset of k items with the pairs of neighbours in it (App. B.5), shape (*batch, 2n − 1), in O(nk).

    Among equals, the subset with the lower items: of two, the one that holds the first item in which they differ.

    Args:
        u: Utilities of the n items and then of the n − 1 pairs of neighbours, shape (*batch, 2n − 1); −∞ is an absent
            coordinate.
        k: The size of the subsets, 1 ≤ k ≤ n.

    Returns:
        A vertex, shape and dtype of u, without gradient.

    Raises:
        ValueError: u is no tensor of 2n − 1 floating numbers each, k is not from 1 to n, or some row has no vertex.

    Example:
        >>> F.chain_k_subset_argmax(torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 5.0, 0.0]), 2)
        tensor([0., 1., 1., 0., 0., 1., 0.])
    """
    k = chain_subset_size(u, k)
    return from_working(chain_k_subset.chain_argmax(to_working(u.detach()), k), u.dtype)


def chain_k_subset_marginals(u: Tensor, k: int) -> Tensor:
    """The marginals of p(x) ∝ exp(uᵀx) over correlated k-subsets (App. B.5, eq. 8), shape (*batch, 2n − 1), in O(nk).

    Exact at any range of u. Arguments and errors are those of `chain_k_subset_argmax`.

    Example:
        >>> F.chain_k_subset_marginals(torch.zeros(5), 2)
        tensor([0.6667, 0.6667, 0.6667, 0.3333, 0.3333])
    """
    k = chain_subset_size(u, k)
    return from_working(chain_k_subset.marginals(to_working(u), k), u.dtype)


def chain_k_subset_log_partition(u: Tensor, k: int) -> Tensor:
    """The log-partition function log Σ exp(uᵀx) over correlated k-subsets (App. B.5), shape (*batch).

    Arguments and errors are those of `chain_k_subset_marginals`, which is its gradient.

    Example:
        >>> F.chain_k_subset_log_partition(torch.zeros(7), 2).exp()
        tensor(6.)
    """
    k = chain_subset_size(u, k)
    return from_working(chain_k_subset.log_partition(to_working(u), k), u.dtype)


def chain_k_subset_sample(u: Tensor, k: int, *, generator: torch.Generator | None = None) -> Tensor:
    """One exact sample of p(x) ∝ exp(uᵀx) over correlated k-subsets for each row, shape (*batch, 2n − 1).

    Args:
        u: Natural parameters of the n items and the n − 1 pairs, shape (*batch, 2n − 1).
        k: The size of the subsets.
        generator: What to draw from instead of torch's default generator.

    Returns:
        Vertices, shape and dtype of u, without gradient.

    Raises:
        ValueError: As for `chain_k_subset_argmax`.

    Example:
        >>> F.chain_k_subset_sample(torch.tensor([0.0, 0.0, 0.0, 1e4, 0.0]), 2)
        tensor([1., 1., 0., 1., 0.])
    """
    k = chain_subset_size(u, k)
    u_in, u = u, to_working(u.detach())
    shape = (*u.shape[:-1], (u.shape[-1] + 1) // 2)
    uniform = torch.rand(shape, dtype=u.dtype, device=u.device, generator=generator)
    # On the CPU, rows that are merely repeated go through the recursion once.
    repeated = u.device.type == "cpu" and distinct_rows(u).shape != u.shape
    sample = chain_k_subset.sample.twin if repeated else chain_k_subset.sample
    return from_working(sample(u, uniform, k), u_in.dtype)
