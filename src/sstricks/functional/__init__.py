"""The mathematics: tensors in, tensors out, any leading batch dimensions, any floating dtype.

Every function takes scaled utilities u = U/t, in which −∞ marks an absent coordinate; `scaled_utility` makes them.
"""

from sstricks.functional.k_subset import (
    capped_simplex,
    capped_softmax,
    k_subset_log_partition,
    k_subset_marginals,
    k_subset_sigmoid,
    top_k,
)
from sstricks.functional.matching import birkhoff_projection, matching_sigmoid, maximum_matching, sinkhorn
from sstricks.functional.spanning_tree import (
    maximum_spanning_tree,
    spanning_tree_log_partition,
    spanning_tree_marginals,
)
from sstricks.functional.utility import from_working, scaled_utility, to_working, working_dtype

__all__ = [
    "birkhoff_projection",
    "capped_simplex",
    "capped_softmax",
    "from_working",
    "k_subset_log_partition",
    "k_subset_marginals",
    "k_subset_sigmoid",
    "matching_sigmoid",
    "maximum_matching",
    "maximum_spanning_tree",
    "scaled_utility",
    "sinkhorn",
    "spanning_tree_log_partition",
    "spanning_tree_marginals",
    "to_working",
    "top_k",
    "working_dtype",
]
