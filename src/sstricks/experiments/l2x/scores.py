"""How good a selection of words is, and what chance would score (8.3)."""

import math

from torch import Tensor


def subset_precision(selected: Tensor, relevant: Tensor) -> Tensor:
    """The share of the selected words that lie in sentences about the aspect.

    Args:
        selected: bool (B, L), at least one in each row.
        relevant: bool (B, L).

    Returns:
        In [0, 1], shape (B,).

    Example:
        >>> subset_precision(torch.tensor([[True, True, False]]), torch.tensor([[True, False, True]]))
        tensor([0.5000], dtype=torch.float64)
    """
    return (selected & relevant).sum(-1).double() / selected.sum(-1)


def run_length(selected: Tensor) -> Tensor:
    """The mean length of the runs of selected words.

    Args:
        selected: bool (B, L), at least one in each row.

    Returns:
        At least 1, shape (B,).

    Example:
        >>> run_length(torch.tensor([[True, True, True, False, True]]))
        tensor([2.], dtype=torch.float64)
    """
    starts = selected[:, 0].long() + (selected[:, 1:] & ~selected[:, :-1]).sum(-1)
    return selected.sum(-1).double() / starts


def chance_precision(relevant: Tensor, lengths: Tensor) -> Tensor:
    """The expected precision of words that are chosen at random: the share of relevant ones.

    Args:
        relevant: bool (B, L).
        lengths: words of each review, (B,).

    Returns:
        In [0, 1], shape (B,).
    """
    return relevant.sum(-1).double() / lengths


def chance_run_length(length: int, k: int) -> float:
    r"""The expected mean run length of k words that are chosen at random.

    .. math:: E[k / R], \qquad P(R = r) = \binom{k-1}{r-1} \binom{n-k+1}{r} \Big/ \binom{n}{k}

    Args:
        length: n, words of the review.
        k: how many are chosen; all of them if there are fewer.

    Returns:
        At least 1.

    Example:
        >>> chance_run_length(3, 2)  # 110 and 011 have one run of 2, 101 has two of 1
        1.6666666666666667
    """
    k = min(k, length)
    ways = [math.comb(k - 1, runs - 1) * math.comb(length - k + 1, runs) for runs in range(1, k + 1)]
    return sum(k / runs * way for runs, way in enumerate(ways, start=1)) / math.comb(length, k)
