"""The two tricks: a structure, a random utility, and for the soft one a regularizer and a temperature."""

from sstricks.tricks.argmax import StochasticArgmaxTrick
from sstricks.tricks.draw import Draw
from sstricks.tricks.softmax import StochasticSoftmaxTrick
from sstricks.tricks.straight_through import StraightThrough

__all__ = ["Draw", "StochasticArgmaxTrick", "StochasticSoftmaxTrick", "StraightThrough"]
