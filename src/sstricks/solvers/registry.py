from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

from sstricks.errors import invalid
from sstricks.ops.oracles import Oracle
from sstricks.regularizers import ExponentialFamilyEntropy, Regularizer, SeparableRegularizer

# Finds argmax_{x ∈ conv 𝒳} uᵀx − f(x) from (structure, regularizer, u) for a scaled utility u = U/t (float64, absent
# coordinates −∞): a point of the shape and dtype of u, differentiable in u.
Solver = Callable[[Any, Any, Tensor], Tensor]
_S = TypeVar("_S", bound=Solver)


class NoSolverError(ValueError, LookupError):
    """No solver is registered for a structure and a regularizer."""


_Pair = tuple[type[Oracle], type[Regularizer]]
_solvers: dict[_Pair, Solver] = {}
_reasons: dict[_Pair, str] = {}
_iterations: dict[_Pair, str] = {}


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

    It serves the subclasses of both, unless they have a solver of their own; a class that overrides the `density` of a
    registered regularizer is another f, and is served by what is registered for `SeparableRegularizer`.

    The function gets the structure, the regularizer and the scaled utility u = U/t, and returns a point of
    the same shape and dtype that is differentiable in u. Whatever is registered is held to every law of the test suite.

    ::

        @register_solver(Path, sst.Euclidean)
        def _(path, f, u):
            return project_onto_paths(u, path.edges)

    Args:
        structure: The class of 𝒳.
        regularizer: The class of f.

    Raises:
        ValueError: One of them is not such a class, or what is registered cannot be called.
    """
    pair = _checked(structure, regularizer)

    def register(solver: _S) -> _S:
        check_solver(solver)
        _solvers[pair] = solver
        return solver

    return register


def _checked(structure: type[Oracle], regularizer: type[Regularizer]) -> _Pair:
    for argument, value, kind, example in (
        ("structure", structure, Oracle, "sst.OneHot"),
        ("regularizer", regularizer, Regularizer, "sst.Euclidean"),
    ):
        if not (isinstance(value, type) and issubclass(value, kind)):
            raise invalid(argument, repr(value), f"a class of {argument}s", f"Write the class itself, as in {example}.")
    return structure, regularizer


def declare_intractable(structure: type[Oracle], regularizer: type[Regularizer], reason: str) -> None:
    """Say why a pair cannot have a solver, for the error message."""
    _reasons[_checked(structure, regularizer)] = reason


def declare_iterative(structure: type[Oracle], regularizer: type[Regularizer], iteration: str) -> None:
    """Say that the solver of a pair iterates to a tolerance, and how, for the table of pairs."""
    _iterations[_checked(structure, regularizer)] = iteration


def look_up(structure: type[Oracle], regularizer: type[Regularizer]) -> Entry:
    """What the registry knows of a pair, or else of the nearest pair of classes that they are derived from."""
    found = next((pair for pair in _nearest(structure, regularizer) if pair in _solvers), None)
    reasons = (_reasons[pair] for pair in _nearest(structure, regularizer) if pair in _reasons)
    if found is None:
        return Entry(None, None, next(reasons, None))
    return Entry(_solvers[found], _iterations.get(found), next(reasons, None))


def _nearest(structure: type[Oracle], regularizer: type[Regularizer]) -> Iterator[_Pair]:
    """The pairs of classes whose solver would serve, the structure's own first."""
    density = getattr(regularizer, "density", None)
    theirs = [f for f in regularizer.__mro__ if f is SeparableRegularizer or getattr(f, "density", density) is density]
    for kind in structure.__mro__:
        yield from ((kind, f) for f in theirs)  # pyright: ignore[reportReturnType]


def registered_pairs() -> list[tuple[type[Oracle], type[Regularizer]]]:
    """All pairs (𝒳, f) of registered classes that have a solver, if only by the base class of f."""
    structures, regularizers = (dict.fromkeys(kinds) for kinds in zip(*_solvers, strict=True))
    return [(s, f) for s in structures for f in regularizers if look_up(s, f).solver is not None]


def find_solver(structure: Oracle, regularizer: Regularizer) -> Solver:
    """The registered solver of a pair.

    Raises:
        NoSolverError: There is none; the message says why, and what is registered for this structure.
    """
    pair = type(structure), type(regularizer)
    if pair in _solvers:  # as nearly always
        return _solvers[pair]
    if not isinstance(regularizer, Regularizer):
        raise NoSolverError(
            f"regularizer: found {regularizer!r}, expected an instance of a regularizer such as sst.Euclidean()."
        )
    entry = look_up(*pair)
    if entry.solver is not None:
        return entry.solver
    theirs = ", ".join(dict.fromkeys(f.__name__ for s, f in _solvers if isinstance(structure, s)))
    general = "sst.FrankWolfe(), or " if isinstance(regularizer, SeparableRegularizer) else ""
    raise NoSolverError(
        f"regularizer: found {pair[1].__name__} on {pair[0].__name__}, for which there is no solver: "
        f"{entry.reason or 'nobody has registered a solver for this pair'}. Registered for {pair[0].__name__}: "
        f"{theirs or 'none'}. {'Choose one of these, or pass' if theirs else 'Pass'} solver=: {general}"
        "any callable (structure, regularizer, scaled utility) -> point of conv X."
    )


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
    reason = look_up(kind, ExponentialFamilyEntropy).reason or "nobody has written it for this structure"
    return NoSolverError(
        f"{wanted}: found {kind.__name__}, whose exponential family has no {wanted}: {reason}. "
        "Use the argmax of perturbed utilities (sst.StochasticArgmaxTrick) for random vertices."
    )
