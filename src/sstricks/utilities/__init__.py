"""Random utilities U beyond torch's own Gumbel and Normal, and their divergences."""

from sstricks.utilities.logistic import Logistic
from sstricks.utilities.masked import Masked
from sstricks.utilities.negative_exponential import NegativeExponential
from sstricks.utilities.sorting import Sorting

__all__ = ["Logistic", "Masked", "NegativeExponential", "Sorting"]
