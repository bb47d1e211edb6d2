"""How to find the soft argmax: the (𝒳, f) registry."""

from sstricks.errors import ConvergenceWarning
from sstricks.solvers.finite_difference import FiniteDifference
from sstricks.solvers.frank_wolfe import FrankWolfe, Solution, register_frank_wolfe
from sstricks.solvers.gap import duality_gap
from sstricks.solvers.registry import (
    Entry,
    NoSolverError,
    Solver,
    declare_intractable,
    declare_iterative,
    find_solver,
    look_up,
    register_solver,
    registered_pairs,
)

__all__ = [
    "ConvergenceWarning",
    "Entry",
    "FiniteDifference",
    "FrankWolfe",
    "NoSolverError",
    "Solution",
    "Solver",
    "declare_intractable",
    "declare_iterative",
    "duality_gap",
    "find_solver",
    "look_up",
    "register_frank_wolfe",
    "register_solver",
    "registered_pairs",
]
