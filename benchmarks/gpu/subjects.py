"""The structures at the sizes of the targets, and small enough to be checked at every extreme."""

from collections.abc import Callable
from dataclasses import dataclass, field

import sstricks as sst

EF, EUCLIDEAN = sst.ExponentialFamilyEntropy(), sst.Euclidean()
CATEGORICAL, BINARY = sst.CategoricalEntropy(), sst.BinaryEntropy()
SEPARABLE = (EUCLIDEAN, CATEGORICAL, BINARY)
ARGMAX = "argmax"


@dataclass(frozen=True)
class Subject:
    """A structure; `cells` are its works with their targets in milliseconds, None where there is none."""

    full: Callable[[], sst.Structure]
    small: tuple[Callable[[], sst.Structure], ...]
    rows: int
    cells: dict[str, float | None]
    relaxations: tuple[sst.Regularizer, ...] = (EF,)
    slow: tuple[str, ...] = field(default=())
    """Works that are measured for one batch only."""

    @property
    def sizes(self) -> tuple[Callable[[], sst.Structure], ...]:
        """All that are checked; the largest has the most to compile."""
        return (self.full, *self.small)


def name_of(regularizer: sst.Regularizer) -> str:
    return type(regularizer).__name__


NAMES = {name_of(f): f for f in (EF, *SEPARABLE)}
EF_NAME, EUCLIDEAN_NAME, CATEGORICAL_NAME, BINARY_NAME = NAMES

SUBJECTS: dict[str, Subject] = {
    "one_hot": Subject(
        lambda: sst.OneHot(350),
        (lambda: sst.OneHot(5), lambda: sst.OneHot(1)),
        100,
        {EF_NAME: None, EUCLIDEAN_NAME: 0.3, BINARY_NAME: 0.3, ARGMAX: 0.1},
        (EF, *SEPARABLE),
    ),
    "k_subset": Subject(
        lambda: sst.KSubset(350, 10),
        (lambda: sst.KSubset(5, 2), lambda: sst.KSubset(6, 5), lambda: sst.KSubset(3, 3), lambda: sst.KSubset(700, 60)),
        100,
        {EF_NAME: 0.4, EUCLIDEAN_NAME: 0.3, CATEGORICAL_NAME: 0.3, BINARY_NAME: 0.3, ARGMAX: 0.1, "sample": None},
        (EF, *SEPARABLE),
    ),
    "chain_k_subset": Subject(
        lambda: sst.ChainKSubset(350, 10),
        (lambda: sst.ChainKSubset(5, 2), lambda: sst.ChainKSubset(1, 1), lambda: sst.ChainKSubset(40, 20)),
        100,
        {EF_NAME: 0.6, ARGMAX: 0.2, "sample": None},
    ),
    "spanning_tree_10": Subject(
        lambda: sst.SpanningTree.complete(10),
        (lambda: sst.SpanningTree.complete(2), lambda: sst.SpanningTree.complete(4)),
        128,
        {EF_NAME: 0.15, ARGMAX: None, "sample": None},
        slow=("sample",),
    ),
    "spanning_tree_50": Subject(
        lambda: sst.SpanningTree.complete(50),
        (lambda: sst.SpanningTree.complete(5),),
        100,
        {EF_NAME: 0.5, ARGMAX: 0.12},
    ),
    "arborescence_50": Subject(
        lambda: sst.Arborescence.complete(50),
        (lambda: sst.Arborescence.complete(4), lambda: sst.Arborescence.complete(12, root=3)),
        100,
        {EF_NAME: 0.6, ARGMAX: 0.5},
    ),
    "projective_20": Subject(
        lambda: sst.ProjectiveArborescence(20),
        (lambda: sst.ProjectiveArborescence(4), lambda: sst.ProjectiveArborescence(2)),
        100,
        {EF_NAME: 0.6, ARGMAX: 0.3},
    ),
    "matching_20": Subject(
        lambda: sst.Matching(20),
        (lambda: sst.Matching(3), lambda: sst.Matching(1)),
        128,
        {ARGMAX: 0.5, CATEGORICAL_NAME: 1.5},
        (CATEGORICAL,),
        slow=(CATEGORICAL_NAME, ARGMAX),
    ),
    "matching_100": Subject(
        lambda: sst.Matching(100), (lambda: sst.Matching(8),), 128, {ARGMAX: 8.0}, (), slow=(ARGMAX,)
    ),
}
