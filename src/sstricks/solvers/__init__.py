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
    "Entry",
    "ConvergenceWarning",
    "FiniteDifference",
    "FrankWolfe",
    "NoSolverError",
    "Solution",
    "Solver",
    "declare_intractable",
    "declare_iterative",
    "find_solver",
    "look_up",
    "duality_gap",
    "find_solver",
    "register_frank_wolfe",
    "register_solver",
    "registered_pairs",
]
