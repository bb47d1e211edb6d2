"""argmax s·x - Σ φ(x_i) over {x in [0, 1]^n} or {x in [0, 1]^n, Σx = k}, to fifty digits, by a bracketed search.

The optimum is x_i = r(s_i + ν) with r = (φ')⁻¹ clipped to [0, 1]. Σ r(s_i + ν) grows with ν, so the multiplier is
bisected, with a Newton step wherever one stays in the bracket and halves it at least.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath

from brute_force import MP, Vector

STEP = MP.mpf(10) ** -15  # of the difference quotients: their truncation error ends near it
RESOLUTION = MP.mpf(10) ** -50  # of the multiplier

Response = Callable[[mpmath.mpf], tuple[mpmath.mpf, mpmath.mpf]]  # z to r(z) and r'(z)


def euclidean(z: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    """φ = x²/2."""
    return min(MP.one, max(MP.zero, z)), MP.one if 0 < z < 1 else MP.zero


def categorical(z: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    """φ = x log x - x."""
    if z >= 0:
        return MP.one, MP.zero
    x = MP.exp(z)
    return x, x


def binary(z: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    """φ = x log x + (1 - x) log(1 - x)."""
    e = MP.exp(-abs(z))
    x = (1 if z >= 0 else e) / (1 + e)
    return x, e / (1 + e) ** 2


def tsallis(alpha: mpmath.mpf) -> Response:
    """φ = (x^α - x)/(α(α - 1)), for α ≠ 1."""
    alpha = MP.mpf(alpha)
    beta = alpha - 1

    def response(z: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
        w = beta * z + 1 / alpha  # x^β
        if w <= 0:
            return (MP.zero if beta > 0 else MP.one), MP.zero
        x = w ** (1 / beta)
        return (MP.one, MP.zero) if x >= 1 else (x, x / w)

    return response


tsallis_three_halves = tsallis(MP.mpf("1.5"))


def exponential_cost(z: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    """φ = exp(x)."""
    if z <= 1:
        return MP.zero, MP.zero
    x = MP.log(z)
    return (MP.one, MP.zero) if x >= 1 else (x, 1 / z)


@dataclass(frozen=True)
class Separable:
    """The optimum for one response r over the cube, or over its slice Σx = total."""

    response: Response
    total: int | None

    def value(self, s: Vector) -> Vector:
        present = [v for v in s if v != MP.ninf]
        if self.total is None:
            nu = MP.zero
        elif len(present) == self.total:
            return [MP.zero if v == MP.ninf else MP.one for v in s]
        else:
            nu = self._multiplier(present, self.total)
        return [MP.zero if v == MP.ninf else self.response(v + nu)[0] for v in s]

    def slopes(self, s: Vector, g: Vector) -> tuple[Vector, Vector]:
        """The one-sided derivatives of the solution along g: t·J g."""
        return one_sided_slopes(self.value, s, g)

    def _multiplier(self, s: Vector, total: int) -> mpmath.mpf:
        slack = MP.log(len(s)) + 40  # far enough, for every response, that Σ < 1 at the low end and Σ = n at the high
        low, high = -max(s) - slack, -min(s) + slack
        nu, step = (low + high) / 2, high - low
        while abs(step) > RESOLUTION:
            responses = [self.response(v + nu) for v in s]
            excess = MP.fsum(x for x, _ in responses) - total
            if excess == 0:
                return nu
            low, high = (low, nu) if excess > 0 else (nu, high)
            slope = MP.fsum(d for _, d in responses)
            newton = nu - excess / slope if slope > 0 else MP.inf
            target = newton if low < newton < high and 2 * abs(newton - nu) < abs(step) else (low + high) / 2
            nu, step = target, target - nu
        return nu


@dataclass(frozen=True)
class BoundedOptimum:
    """The optimum over the cube, or over the slice of the bound that its sum is beyond."""

    response: Response
    low: int
    high: int

    def value(self, s: Vector) -> Vector:
        free = Separable(self.response, None).value(s)
        bound = min(max(sum(free), self.low), self.high)
        return free if bound == sum(free) else Separable(self.response, int(bound)).value(s)

    def slopes(self, s: Vector, g: Vector) -> tuple[Vector, Vector]:
        return one_sided_slopes(self.value, s, g)


def one_sided_slopes(value: Callable[[Vector], Vector], s: Vector, g: Vector) -> tuple[Vector, Vector]:
    """The derivatives of x(s + h g) in h at 0 from either side, which differ where the solution has a kink."""
    here = value(s)
    ahead = value([v + STEP * d for v, d in zip(s, g, strict=True)])
    behind = value([v - STEP * d for v, d in zip(s, g, strict=True)])
    forward = [(b - a) / STEP for a, b in zip(here, ahead, strict=True)]
    backward = [(b - a) / STEP for a, b in zip(behind, here, strict=True)]
    return backward, forward
