"""Random utilities U beyond those of torch, and their divergences."""

from sstricks.utilities import divergences as divergences
from sstricks.utilities.chain import ChainUtility
from sstricks.utilities.gumbel import Gumbel
from sstricks.utilities.logistic import Logistic
from sstricks.utilities.masked import Masked
from sstricks.utilities.negative_exponential import NegativeExponential
from sstricks.utilities.sorting import Sorting

__all__ = ["ChainUtility", "Gumbel", "Logistic", "Masked", "NegativeExponential", "Sorting"]
