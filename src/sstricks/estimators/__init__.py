"""Estimators of the gradient of an expected loss, by samples that carry a gradient or by scores.

Those of `Estimator` take a structure and its parameters θ; see docs/estimators.md for which to take when.
"""

from sstricks.estimators.action import Action, draw_action
from sstricks.estimators.argmax_gradients import AIMLE, IMLE, SPIGOT, Blackbox, Identity
from sstricks.estimators.estimator import Estimator, Law, Sampler
from sstricks.estimators.leave_one_out import RLOO, leave_one_out
from sstricks.estimators.marginal import MarginalStraightThrough
from sstricks.estimators.moving_average import MovingAverage
from sstricks.estimators.nvil import NVIL
from sstricks.estimators.one_hot import GumbelRao, ReinMax
from sstricks.estimators.perturbed import PerturbedArgmax
from sstricks.estimators.reinforce import Reinforce
from sstricks.estimators.relax import RELAX
from sstricks.estimators.relaxation import Relaxation
from sstricks.estimators.score import ScoreFunction
from sstricks.estimators.sparse import SparseMarginalization

__all__ = [
    "AIMLE",
    "IMLE",
    "NVIL",
    "RELAX",
    "RLOO",
    "SPIGOT",
    "Action",
    "Blackbox",
    "Estimator",
    "GumbelRao",
    "Identity",
    "Law",
    "MarginalStraightThrough",
    "MovingAverage",
    "PerturbedArgmax",
    "ReinMax",
    "Reinforce",
    "Relaxation",
    "Sampler",
    "ScoreFunction",
    "SparseMarginalization",
    "draw_action",
    "leave_one_out",
]
