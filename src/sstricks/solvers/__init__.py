"""How to find the soft argmax: the (𝒳, f) registry."""

from sstricks.errors import ConvergenceWarning
from sstricks.solvers.finite_difference import FiniteDifference
from sstricks.solvers.frank_wolfe import FrankWolfe, Solution, register_frank_wolfe
from sstricks.solvers.gap import duality_gap
from sstricks.solvers.registry import (
    NoSolverError,
    Solver,
    declare_intractable,
    find_solver,
    register_solver,
    registered_pairs,
)

__all__ = [
    "ConvergenceWarning",
    "FiniteDifference",
    "FrankWolfe",
    "NoSolverError",
    "Solution",
    "Solver",
    "declare_intractable",
    "duality_gap",
    "find_solver",
    "register_frank_wolfe",
    "register_solver",
    "registered_pairs",
]
