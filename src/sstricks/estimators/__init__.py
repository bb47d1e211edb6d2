"""Score-function estimators: surrogates whose gradient estimates that of an expected loss (App. C.1)."""

from sstricks.estimators.action import Action, draw_action
from sstricks.estimators.leave_one_out import RLOO, leave_one_out
from sstricks.estimators.moving_average import MovingAverage
from sstricks.estimators.nvil import NVIL
from sstricks.estimators.reinforce import Reinforce

__all__ = ["NVIL", "RLOO", "Action", "MovingAverage", "Reinforce", "draw_action", "leave_one_out"]
