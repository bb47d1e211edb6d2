from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

from sstricks.errors import invalid
from sstricks.ops.oracles import Oracle
from sstricks.regularizers import ExponentialFamilyEntropy, Regularizer

# Finds argmax_{x ∈ conv 𝒳} uᵀx − f(x) from (structure, regularizer, u) for a scaled utility u = U/t (float64, absent
# coordinates −∞): a point of the shape and dtype of u, differentiable in u.
Solver = Callable[[Any, Any, Tensor], Tensor]
_S = TypeVar("_S", bound=Solver)


class NoSolverError(ValueError, LookupError):
    """There is no direct solver for a structure and a regularizer."""


_solvers: dict[tuple[type[Oracle], type[Regularizer]], Solver] = {}
_reasons: dict[tuple[type[Oracle], type[Regularizer]], str] = {}
_iterations: dict[tuple[type[Oracle], type[Regularizer]], str] = {}


class Entry(NamedTuple):
    """What the registry knows of a pair (𝒳, f)."""

    solver: Solver | None
    """None if none is registered."""
    iteration: str | None
    """The name of the iteration, for a solver that stops at a tolerance; None for a direct one."""
    reason: str | None
    """Why there cannot be a solver, where that is known."""


def register_solver(structure: type[Oracle], regularizer: type[Regularizer]) -> Callable[[_S], _S]:
    """Register a function as the solver of a pair (𝒳, f), as `torch.distributions.kl.register_kl` does for divergences.

    It serves the structure's subclasses too, unless they have one of their own.

    The function gets the structure, the regularizer and the scaled utility u = U/t, and returns a point of
    the same shape and dtype that is differentiable in u. Whatever is registered is held to every law of the test suite.

    ::

        @register_solver(Path, sst.Euclidean)
        def _(path, f, u):
            return project_onto_paths(u, path.edges)
    """

    def register(solver: _S) -> _S:
        _solvers[structure, regularizer] = solver
        return solver

    return register


def declare_intractable(structure: type[Oracle], regularizer: type[Regularizer], reason: str) -> None:
    """Say why a pair cannot have a solver, for the error message."""
    _reasons[structure, regularizer] = reason


def declare_iterative(structure: type[Oracle], regularizer: type[Regularizer], iteration: str) -> None:
    """Say that the solver of a pair iterates to a tolerance, and how, for the table of pairs."""
    _iterations[structure, regularizer] = iteration


def look_up(structure: type[Oracle], regularizer: type[Regularizer]) -> Entry:
    """What the registry knows of a pair, registered or not."""
    pair = structure, regularizer
    return Entry(_solvers.get(pair), _iterations.get(pair), _reasons.get(pair))


def registered_pairs() -> list[tuple[type[Oracle], type[Regularizer]]]:
    """All pairs (𝒳, f) that have a direct solver."""
    return list(_solvers)


def find_solver(structure: Oracle, regularizer: Regularizer) -> Solver:
    """The registered solver of a pair.

    Raises:
        NoSolverError: There is none; the message says why, and what is registered for this structure.
    """
    pair = type(structure), type(regularizer)
    for kind in pair[0].__mro__:
        if (kind, pair[1]) in _solvers:
            return _solvers[kind, pair[1]]
    if not isinstance(regularizer, Regularizer):
        raise NoSolverError(
            f"regularizer: found {regularizer!r}, expected an instance of a regularizer such as sst.Euclidean()."
        )
    theirs = ", ".join(f.__name__ for s, f in _solvers if isinstance(structure, s))
    reason = _reason(structure, pair[1], "nobody has registered a solver for this pair")
    raise NoSolverError(
        f"regularizer: found {pair[1].__name__} on {pair[0].__name__}, for which there is no solver: {reason}. "
        f"Registered for {pair[0].__name__}: {theirs or 'none'}. "
        f"{'Choose one of these, or pass' if theirs else 'Pass'} solver=: sst.FrankWolfe() for a separable "
        "regularizer, or any callable (structure, regularizer, scaled utility) -> point of conv X."
    )


def _reason(structure: Oracle, regularizer: type[Regularizer], otherwise: str) -> str:
    known = (_reasons.get((kind, regularizer)) for kind in type(structure).__mro__)
    return next(filter(None, known), otherwise)


def solver_for(structure: Oracle, regularizer: Regularizer, solver: Solver | None) -> Solver:
    """The solver that was given for a pair, or the registered one.

    Raises:
        NoSolverError: None was given, and none is registered.
        ValueError: What was given cannot be called with a problem.
    """
    if solver is None:
        return find_solver(structure, regularizer)
    check_solver(solver)
    return solver


def check_solver(solver: object) -> None:
    """Raise unless `solver` can be called with a problem, which a class cannot."""
    if isinstance(solver, type) or not callable(solver):
        raise invalid(
            "solver",
            repr(solver),
            "a callable (structure, regularizer, scaled utility) -> point of conv X",
            "Pass an instance, as in solver=sst.FrankWolfe().",
        )


def no_family(structure: Oracle, wanted: str) -> NoSolverError:
    """The complaint about something of the exponential family that a structure does not have."""
    kind = type(structure)
    reason = _reason(structure, ExponentialFamilyEntropy, "nobody has written it for this structure")
    return NoSolverError(
        f"{wanted}: found {kind.__name__}, whose exponential family has no {wanted}: {reason}. "
        "Use the argmax of perturbed utilities (sst.StochasticArgmaxTrick) for random vertices."
    )
