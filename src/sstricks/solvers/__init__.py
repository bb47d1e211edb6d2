"""How to find the soft argmax: the (𝒳, f) registry."""

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
    "NoSolverError",
    "Solver",
    "declare_intractable",
    "declare_iterative",
    "find_solver",
    "look_up",
    "register_solver",
    "registered_pairs",
]
