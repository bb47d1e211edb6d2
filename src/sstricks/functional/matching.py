from collections.abc import Callable

from torch import Tensor

from sstricks.errors import check_tensor, invalid
from sstricks.functional.checks import check_coordinates
from sstricks.functional.utility import from_working, to_working
from sstricks.ops.assignment import assignment
from sstricks.ops.costs import BINARY, CATEGORICAL, EUCLIDEAN
from sstricks.ops.matching import matching_softmax


def _matched(function: Callable[[Tensor, bool, bool], Tensor], u: Tensor, partial: bool, dustbins: bool) -> Tensor:
    """The function of a table with no more rows than columns, which its transpose is otherwise."""
    check_coordinates(u, depth=2)
    v = to_working(u)
    if dustbins and (partial or min(u.shape[-2:]) == 1):
        found = "True, and partial=True" if partial else f"True, and u of shape {tuple(u.shape)}"
        raise invalid("dustbins", found, "one of both, and two rows and columns", "Dustbins are the last ones.")
    wide = u.shape[-2] <= u.shape[-1]
    return from_working(function(v, partial, dustbins) if wide else function(v.mT, partial, dustbins).mT, u.dtype)


def maximum_matching(u: Tensor, *, partial: bool = False, dustbins: bool = False) -> Tensor:
    """The indicator matrix of the matching with the largest sum of utilities (App. B.6), shape (*batch, n, m).

    Args:
        u: Utilities, shape (*batch, n, m).
        partial: Whether any row and column may stay unmatched; else the fewer of them are all matched.
        dustbins: Whether the last row and the last column are dustbins, see `sst.Matching`.

    Returns:
        A matching, shape (*batch, n, m), without gradient. Ties go to the lower coordinates.

    Raises:
        ValueError: Some table has no matching; a pair has a row or column without a dustbin.

    Example:
        >>> F.maximum_matching(torch.tensor([[3.0, 2.0], [2.0, 0.0]]))
        tensor([[0., 1.],
                [1., 0.]])
    """
    return _matched(assignment, check_tensor("u", u).detach(), partial, dustbins)


def birkhoff_projection(u: Tensor, *, partial: bool = False, dustbins: bool = False) -> Tensor:
    """The Euclidean projection onto the matching polytope (App. B.6), shape (*batch, n, m).

    For a square table these are the doubly stochastic matrices. Arguments and errors are those of `maximum_matching`.

    Example:
        >>> F.birkhoff_projection(torch.tensor([[0.5, 0.0], [0.0, 0.5]]))
        tensor([[0.7500, 0.2500],
                [0.2500, 0.7500]])
    """
    return _matched(lambda v, *kind: matching_softmax(v, EUCLIDEAN, *kind), u, partial, dustbins)


def sinkhorn(u: Tensor, *, partial: bool = False, dustbins: bool = False) -> Tensor:
    """The limit of Sinkhorn's algorithm, exp(u + a + b) with sums of one (App. B.6), shape (*batch, n, m).

    It maximises uᵀx − Σ(x log x − x) on the matching polytope. Arguments and errors are those of `maximum_matching`.

    Example:
        >>> F.sinkhorn(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        tensor([[0.7311, 0.2689],
                [0.2689, 0.7311]])
    """
    return _matched(lambda v, *kind: matching_softmax(v, CATEGORICAL, *kind), u, partial, dustbins)


def matching_sigmoid(u: Tensor, *, partial: bool = False, dustbins: bool = False) -> Tensor:
    """The binary-entropy relaxation σ(u + a + b) with sums of one (App. B.6), shape (*batch, n, m).

    It maximises uᵀx − Σ(x log x + (1−x) log(1−x)) on the matching polytope. Arguments and errors are those of
    `maximum_matching`.

    Example:
        >>> F.matching_sigmoid(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        tensor([[0.6225, 0.3775],
                [0.3775, 0.6225]])
    """
    return _matched(lambda v, *kind: matching_softmax(v, BINARY, *kind), u, partial, dustbins)
