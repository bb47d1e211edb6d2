"""The bespoke relaxations that the paper compares with (Sec. 6): each differentiable, none of them of the form (6)."""

from sstricks.baselines.gumbel_sinkhorn import gumbel_sinkhorn, truncated_sinkhorn
from sstricks.baselines.l2x import l2x
from sstricks.baselines.neural_sort import neural_sort, stochastic_neural_sort
from sstricks.baselines.perturb_and_parse import perturb_and_parse, relaxed_eisner
from sstricks.baselines.soft_sub import soft_sub

__all__ = [
    "gumbel_sinkhorn",
    "l2x",
    "neural_sort",
    "perturb_and_parse",
    "relaxed_eisner",
    "soft_sub",
    "stochastic_neural_sort",
    "truncated_sinkhorn",
]
