from itertools import combinations
from math import comb

import torch
from torch import Tensor

from sstricks.functional import chain_k_subset_sample
from sstricks.functional.checks import check_k, check_n
from sstricks.ops import chain_k_subset
from sstricks.regularizers import ExponentialFamilyEntropy, Regularizer
from sstricks.solvers.frank_wolfe import register_frank_wolfe
from sstricks.solvers.registry import register_solver
from sstricks.structures.structure import Structure


class ChainKSubset(Structure):
    r"""The subsets of k out of n items in a row, with the pairs of neighbours that are both chosen (App. B.5, eq. 44).

    .. math:: \mathcal{X} = \{ x \in \{0, 1\}^{2n-1} : \textstyle\sum_{i \le n} x_i = k, \
              x_{n+i} = x_i x_{i+1} \text{ for } 1 \le i < n \}

    The first n coordinates are the items, the other n − 1 the pairs (i, i + 1). An item that is masked is never chosen,
    so its pairs are zero as well, masked or not: sequences of different lengths share a batch by masking the items
    beyond their ends. A pair that is masked while its items are not leaves the embeddings in which it is zero: its two
    items are never both chosen. Of two embeddings that are equally good, the argmax is the one with the first item in
    which they differ.

    Args:
        n: The number of items.
        k: How many of them are chosen, 1 ≤ k ≤ n.
        mask: False where an item or a pair is absent, shape (*batch, 2n − 1); some embedding must remain.

    Raises:
        ValueError: k is not a size of subsets of n items, or the mask leaves no embedding.

    Example:
        >>> sst.ChainKSubset(3, 2).argmax(torch.tensor([1.0, 0.0, 0.5, 1.0, 0.0]))
        tensor([1., 1., 0., 1., 0.])
    """

    def __init__(self, n: int, k: int, mask: Tensor | None = None) -> None:
        n = check_n(n)
        k = check_k(k, n)
        super().__init__((2 * n - 1,), mask, at_least=k)
        self.n = n
        self.k = k
        if mask is not None:
            self._check_not_empty("mask")

    def _arguments(self) -> str:
        return f"{self.n}, {self.k}"

    def _empty(self) -> tuple[str, str, str]:
        return (
            f"a row that leaves no subset of k = {self.k} items",
            "at least one embedding in every row",
            "Unmask items; where a pair is masked, its two items are never chosen together.",
        )

    def _argmax(self, u: Tensor) -> Tensor:
        return chain_k_subset.chain_argmax(u, self.k)

    def _contains(self, x: Tensor) -> Tensor:
        items, pairs = x[..., : self.n], x[..., self.n :]
        return (items.sum(-1) == self.k) & (pairs == items[..., 1:] * items[..., :-1]).all(-1)

    def _candidates(self) -> int:
        return comb(self.n, self.k)

    def _support(self) -> Tensor:
        chosen = torch.tensor(list(combinations(range(self.n), self.k)))
        items = torch.zeros(len(chosen), self.n).scatter(-1, chosen, 1.0)
        return torch.cat([items, items[:, 1:] * items[:, :-1]], -1)

    def _log_partition(self, u: Tensor) -> Tensor:
        return chain_k_subset.log_partition(u, self.k)

    def _sample(self, u: Tensor, generator: torch.Generator | None) -> Tensor:
        return chain_k_subset_sample(u, self.k, generator=generator)


@register_solver(ChainKSubset, ExponentialFamilyEntropy)
def _(chain: ChainKSubset, f: Regularizer, u: Tensor) -> Tensor:
    return chain_k_subset.marginals(u, chain.k)


register_frank_wolfe(ChainKSubset)
