"""Stochastic softmax tricks: differentiable samples of subsets, trees and other structures, for PyTorch.

After Paulus, Choi, Tarlow, Krause, Maddison: Gradient Estimation with Stochastic Softmax Tricks (NeurIPS 2020).
"""

from importlib.metadata import version

from sstricks import functional
from sstricks.regularizers import (
    BinaryEntropy,
    CategoricalEntropy,
    Euclidean,
    ExponentialFamilyEntropy,
    Regularizer,
    SeparableRegularizer,
)
from sstricks.solvers import NoSolverError, Solver, register_solver, registered_pairs
from sstricks.structures import KSubset, Matching, OneHot, SpanningTree, Structure, Subset
from sstricks.tricks import Draw, StochasticArgmaxTrick, StochasticSoftmaxTrick, StraightThrough
from sstricks.utilities import Logistic, Masked, NegativeExponential, Sorting

__version__ = version("sstricks")

__all__ = [
    "BinaryEntropy",
    "CategoricalEntropy",
    "Draw",
    "Euclidean",
    "ExponentialFamilyEntropy",
    "KSubset",
    "Logistic",
    "Masked",
    "Matching",
    "NegativeExponential",
    "NoSolverError",
    "OneHot",
    "Regularizer",
    "SeparableRegularizer",
    "Solver",
    "Sorting",
    "SpanningTree",
    "StochasticArgmaxTrick",
    "StochasticSoftmaxTrick",
    "StraightThrough",
    "Structure",
    "Subset",
    "functional",
    "register_solver",
    "registered_pairs",
]
