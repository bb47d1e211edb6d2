"""The mathematics: tensors in, tensors out, any leading batch dimensions, any floating dtype.

Every function takes scaled utilities u = U/t, in which −∞ marks an absent coordinate; `scaled_utility` makes them.
"""

from sstricks.functional.arborescence import (
    arborescence_log_partition,
    arborescence_marginals,
    arborescence_sample,
    exponential_arborescence,
    maximum_arborescence,
)
from sstricks.functional.chain_k_subset import (
    chain_k_subset_argmax,
    chain_k_subset_log_partition,
    chain_k_subset_marginals,
    chain_k_subset_sample,
)
from sstricks.functional.gumbel_softmax import gumbel_softmax
from sstricks.functional.k_subset import (
    capped_simplex,
    capped_softmax,
    k_subset_log_partition,
    k_subset_marginals,
    k_subset_sample,
    k_subset_sigmoid,
    top_k,
)
from sstricks.functional.matching import birkhoff_projection, matching_sigmoid, maximum_matching, sinkhorn
from sstricks.functional.path import maximum_path, path_log_partition, path_marginals, path_sample
from sstricks.functional.permutahedron import soft_rank, soft_sort
from sstricks.functional.projective_arborescence import (
    maximum_projective_arborescence,
    projective_arborescence_log_partition,
    projective_arborescence_marginals,
    projective_arborescence_sample,
    projective_edges,
)
from sstricks.functional.spanning_tree import (
    maximum_spanning_tree,
    spanning_tree_log_partition,
    spanning_tree_marginals,
    spanning_tree_sample,
)
from sstricks.functional.utility import from_working, scaled_utility, to_working, working_dtype

__all__ = [
    "arborescence_log_partition",
    "arborescence_marginals",
    "arborescence_sample",
    "birkhoff_projection",
    "capped_simplex",
    "capped_softmax",
    "chain_k_subset_argmax",
    "chain_k_subset_log_partition",
    "chain_k_subset_marginals",
    "chain_k_subset_sample",
    "exponential_arborescence",
    "from_working",
    "gumbel_softmax",
    "k_subset_log_partition",
    "k_subset_marginals",
    "k_subset_sample",
    "k_subset_sigmoid",
    "matching_sigmoid",
    "maximum_arborescence",
    "maximum_matching",
    "maximum_path",
    "maximum_projective_arborescence",
    "maximum_spanning_tree",
    "path_log_partition",
    "path_marginals",
    "path_sample",
    "projective_arborescence_log_partition",
    "projective_arborescence_marginals",
    "projective_arborescence_sample",
    "projective_edges",
    "scaled_utility",
    "sinkhorn",
    "soft_rank",
    "soft_sort",
    "spanning_tree_log_partition",
    "spanning_tree_marginals",
    "spanning_tree_sample",
    "to_working",
    "top_k",
    "working_dtype",
]
