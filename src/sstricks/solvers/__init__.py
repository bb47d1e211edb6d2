"""How to find the soft argmax: the (𝒳, f) registry."""

from sstricks.solvers.registry import (
    NoSolverError,
    Solver,
    declare_intractable,
    find_solver,
    register_solver,
    registered_pairs,
)

__all__ = [
    "NoSolverError",
    "Solver",
    "declare_intractable",
    "find_solver",
    "register_solver",
    "registered_pairs",
]
