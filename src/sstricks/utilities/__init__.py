"""Random utilities U beyond torch's own Gumbel and Normal, and their divergences."""

from sstricks.utilities import divergences as divergences
from sstricks.utilities.chain import ChainUtility
from sstricks.utilities.logistic import Logistic
from sstricks.utilities.masked import Masked
from sstricks.utilities.negative_exponential import NegativeExponential
from sstricks.utilities.sorting import Sorting

__all__ = ["ChainUtility", "Logistic", "Masked", "NegativeExponential", "Sorting"]
