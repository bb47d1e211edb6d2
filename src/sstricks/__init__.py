"""Stochastic softmax tricks: differentiable samples of subsets, trees and other structures, for PyTorch.

After Paulus, Choi, Tarlow, Krause, Maddison: Gradient Estimation with Stochastic Softmax Tricks (NeurIPS 2020).
"""

from importlib.metadata import version

from sstricks import baselines, estimators, functional, nn
from sstricks.diagnosis import diagnose
from sstricks.distributions import ExponentialFamily
from sstricks.losses import FenchelYoungLoss, PerturbedFenchelYoungLoss
from sstricks.regularizers import (
    BinaryEntropy,
    CategoricalEntropy,
    Euclidean,
    ExponentialFamilyEntropy,
    Regularizer,
    SeparableRegularizer,
    TsallisEntropy,
)
from sstricks.solvers import (
    ConvergenceWarning,
    FiniteDifference,
    FrankWolfe,
    NoSolverError,
    Solver,
    duality_gap,
    register_solver,
    registered_pairs,
)
from sstricks.structures import (
    Arborescence,
    BoundedSubset,
    ChainKSubset,
    KSubset,
    LinearOracle,
    Matching,
    OneHot,
    Path,
    Permutahedron,
    ProjectiveArborescence,
    SpanningTree,
    Structure,
    Subset,
)
from sstricks.tricks import Draw, StochasticArgmaxTrick, StochasticSoftmaxTrick, StraightThrough
from sstricks.utilities import ChainUtility, Gumbel, Logistic, Masked, NegativeExponential, Sorting

__version__ = version("sstricks")

__all__ = [
    "Arborescence",
    "BinaryEntropy",
    "BoundedSubset",
    "CategoricalEntropy",
    "ChainKSubset",
    "ChainUtility",
    "ConvergenceWarning",
    "Draw",
    "Euclidean",
    "ExponentialFamily",
    "ExponentialFamilyEntropy",
    "FenchelYoungLoss",
    "FiniteDifference",
    "FrankWolfe",
    "Gumbel",
    "KSubset",
    "LinearOracle",
    "Logistic",
    "Masked",
    "Matching",
    "NegativeExponential",
    "NoSolverError",
    "OneHot",
    "Path",
    "Permutahedron",
    "PerturbedFenchelYoungLoss",
    "ProjectiveArborescence",
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
    "TsallisEntropy",
    "baselines",
    "diagnose",
    "duality_gap",
    "estimators",
    "functional",
    "nn",
    "register_solver",
    "registered_pairs",
]
