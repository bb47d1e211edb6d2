import torch
from torch import Tensor

from sstricks.functional.checks import subset_size
from sstricks.functional.utility import from_working, to_working
from sstricks.ops import k_subset, separable


def top_k(u: Tensor, k: int) -> Tensor:
    """The indicator vector of the k largest coordinates (App. B.4), shape (*batch, n); ties go to the lower index.

    Args:
        u: Utilities, shape (*batch, n); −∞ is an absent coordinate.
        k: The size of the subsets, 1 ≤ k ≤ n; at least so many coordinates must be present.

    Returns:
        A subset, shape and dtype of u, without gradient.

    Raises:
        ValueError: u is no tensor of floating numbers, or k is not from 1 to n.

    Example:
        >>> F.top_k(torch.tensor([1.0, 3.0, 1.0, 2.0]), 3)
        tensor([1., 1., 0., 1.])
    """
    k = subset_size(u, k)
    return separable.top_k(u.detach(), k)


def capped_simplex(u: Tensor, k: int) -> Tensor:
    """The Euclidean projection of u onto {x ∈ [0, 1]ⁿ : Σx = k} (App. B.4), shape (*batch, n).

    It maximises uᵀx − ½‖x‖² there. Arguments and errors are those of `top_k`.

    Example:
        >>> F.capped_simplex(torch.tensor([2.0, 0.5, 0.2]), 2)
        tensor([1.0000, 0.6500, 0.3500])
    """
    k = subset_size(u, k)
    return from_working(separable.capped_simplex(to_working(u), k), u.dtype)


def capped_softmax(u: Tensor, k: int) -> Tensor:
    """The categorical-entropy relaxation min(1, exp(u + ν)), Σ = k (App. B.4), shape (*batch, n).

    It maximises uᵀx − Σ(x log x − x) on Σx = k. Arguments and errors are those of `top_k`.

    Example:
        >>> F.capped_softmax(torch.tensor([2.0, 0.5, 0.5]), 2)
        tensor([1.0000, 0.5000, 0.5000])
    """
    k = subset_size(u, k)
    return from_working(separable.capped_softmax(to_working(u), k), u.dtype)


def k_subset_sigmoid(u: Tensor, k: int) -> Tensor:
    """The binary-entropy relaxation σ(u + ν), Σ = k (App. B.4), shape (*batch, n).

    It maximises uᵀx − Σ(x log x + (1−x) log(1−x)) on Σx = k. Arguments and errors are those of `top_k`.

    Example:
        >>> F.k_subset_sigmoid(torch.tensor([1.0, 0.0, -1.0, 0.0]), 2)
        tensor([0.7311, 0.5000, 0.2689, 0.5000])
    """
    k = subset_size(u, k)
    return from_working(separable.k_subset_sigmoid(to_working(u), k), u.dtype)


def k_subset_marginals(u: Tensor, k: int) -> Tensor:
    """The marginals of p(x) ∝ exp(uᵀx) on Σx = k (App. B.4, eq. 8), shape (*batch, n), in O(nk).

    Exact at any range of u. Arguments and errors are those of `top_k`.

    Example:
        >>> F.k_subset_marginals(torch.tensor([0.0, 0.0, 0.0, 0.0]), 1)
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    k = subset_size(u, k)
    return from_working(k_subset.marginals(to_working(u), k_subset.exactly(u, k), k), u.dtype)


def k_subset_log_partition(u: Tensor, k: int) -> Tensor:
    """The log-partition function log Σ exp(uᵀx) over Σx = k (App. B.4), shape (*batch).

    Arguments and errors are those of `k_subset_marginals`, which is its gradient.

    Example:
        >>> F.k_subset_log_partition(torch.zeros(4), 2).exp()
        tensor(6.)
    """
    k = subset_size(u, k)
    return from_working(k_subset.log_partition(to_working(u), k_subset.exactly(u, k), k), u.dtype)


def k_subset_sample(u: Tensor, k: int, *, generator: torch.Generator | None = None) -> Tensor:
    """One exact sample of p(x) ∝ exp(uᵀx) on Σx = k for each row (App. B.4), shape (*batch, n).

    Args:
        u: Natural parameters, shape (*batch, n).
        k: The size of the subsets.
        generator: What to draw from instead of torch's default generator.

    Returns:
        Subsets, shape and dtype of u, without gradient.

    Raises:
        ValueError: As for `top_k`.

    Example:
        >>> F.k_subset_sample(torch.tensor([1e4, 0.0, 1e4]), 2)
        tensor([1., 0., 1.])
    """
    k = subset_size(u, k)
    v = to_working(u.detach())
    return from_working(k_subset.draw(v, k_subset.exactly(v, k), k, generator), u.dtype)
