"""argmax s·x - Σ φ(x_i) over the convex hull of listed vertices, to fifty digits, for ranges of ordinary size.

An interior-point method in float64, over the weights of all vertices, says which vertices lie on the optimal face;
Newton's method on that face, in mpmath, gives the digits; and the conditions of optimality over all vertices, together
with weights of the face that give the point, prove that it was the right one.
"""

from __future__ import annotations

from dataclasses import dataclass

import mpmath
import numpy as np
from scipy.optimize import nnls

from brute_force import MP, Vector
from exact_optimum import Response, binary, categorical, euclidean, exponential_cost, tsallis_three_halves


def _euclidean(x: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    return x, x * 0 + 1


def _categorical(x: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    return mpmath.log(x), 1 / x


def _binary(x: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    return mpmath.log(x / (1 - x)), 1 / x + 1 / (1 - x)


def _tsallis(x: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    root = mpmath.sqrt(x)
    return 2 * (root - 1) + mpmath.mpf(2) / 3, 1 / root if root > 0 else mpmath.inf


def _exponential(x: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    return mpmath.exp(x), mpmath.exp(x)


def _float_binary(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.log(x / (1 - x)), 1 / x + 1 / (1 - x)


# φ' and φ''
SLOPES = {
    euclidean: _euclidean,
    categorical: _categorical,
    binary: _binary,
    tsallis_three_halves: _tsallis,
    exponential_cost: _exponential,
}
FLOAT_SLOPES = {
    euclidean: lambda x: (x, np.ones_like(x)),
    categorical: lambda x: (np.log(x), 1 / x),
    binary: lambda x: _float_binary(np.minimum(x, 1 - 1e-15)),
    tsallis_three_halves: lambda x: (2 * (np.sqrt(x) - 1) + 2 / 3, 1 / np.sqrt(x)),
    exponential_cost: lambda x: (np.exp(x), np.exp(x)),
}
# Where φ' is infinite, so that no coordinate that can vary is there; and where φ'' is, which Newton steps may not pass.
STEEP = {euclidean: (), categorical: (0,), binary: (0, 1), tsallis_three_halves: (), exponential_cost: ()}
BOUNDS = STEEP | {tsallis_three_halves: (0,)}
PROOF = MP.mpf(10) ** -40


@dataclass(frozen=True, eq=False)
class HullOptimum:
    """The optimum for one response (φ')⁻¹ over conv of the rows of ``vertices``."""

    vertices: np.ndarray
    response: Response

    def value(self, s: Vector) -> Vector:
        return self._solve(s)[0]

    def slopes(self, s: Vector, g: Vector) -> tuple[Vector, Vector]:
        """dx = B (BᵀHB)⁻¹ Bᵀ g on the optimal face, twice: for optima that are not at a kink."""
        x, basis, kept = self._solve(s)
        dx = [MP.zero] * len(s)
        if basis.shape[1]:
            curvature = [self._slope(x[i])[1] if row.any() else MP.one for i, row in zip(kept, basis, strict=True)]
            dz = _newton(basis, curvature, [g[i] for i in kept])
            for i, row in zip(kept, basis, strict=True):
                dx[i] = MP.fsum(int(b) * z for b, z in zip(row, dz, strict=True) if b)
        return dx, dx

    def _slope(self, x: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
        with mpmath.workdps(MP.dps):
            slope, curvature = SLOPES[self.response](mpmath.mpf(x))
        return MP.mpf(slope), MP.mpf(curvature)

    def _solve(self, s: Vector) -> tuple[Vector, np.ndarray, np.ndarray]:
        """The optimum, a basis of the directions of its face, and the coordinates that this is about."""
        absent = np.array([v == MP.ninf for v in s])
        kept = np.flatnonzero(~absent)
        vertices = self.vertices[~self.vertices[:, absent].any(-1)][:, kept]
        present = [s[i] for i in kept]
        # Absolute size does not matter where all vertices are of one size, and would cost digits.
        shift = sorted(present)[len(present) // 2] if len(set(vertices.sum(-1).tolist())) == 1 else MP.zero
        present = [v - shift for v in present]
        slack = self._slack(vertices, np.array([float(v) for v in present]))
        for tolerance in (1e-5, 1e-4, 1e-6, 1e-3, 1e-7, 1e-2, 1e-8):
            face = vertices[slack <= tolerance]
            x, basis = self._on_face(face, present)
            if x is not None and self._proved(x, vertices, face, present):
                whole = [MP.zero] * len(s)
                for i, v in zip(kept, x, strict=True):
                    whole[i] = v
                return whole, basis, kept
        raise ArithmeticError(f"no face proved optimal for {[float(v) for v in s]}")

    def _slack(self, vertices: np.ndarray, s: np.ndarray) -> np.ndarray:
        """How far each vertex is from being the best for the gradient at the optimum, by a barrier method."""
        v = vertices.astype(float)
        free = (v.min(0) == 0) & (v.max(0) == 1)
        v, s = v[:, free], s[free]
        weights = np.full(len(v), 1 / len(v))
        barrier = 1.0
        gradient = np.zeros(len(v))
        while barrier > 1e-14:
            for _ in range(30):
                slope, curvature = FLOAT_SLOPES[self.response](weights @ v)
                gradient = v @ (s - slope)
                # In units of each weight, so that the matrix is well conditioned.
                matrix = (v * curvature) @ v.T * np.outer(weights, weights) + barrier * np.eye(len(v))
                sides = np.stack([weights * gradient + barrier, weights], -1)
                step, unit = np.linalg.solve(matrix, sides).T
                step = step - unit * (weights @ step) / (weights @ unit)
                weights = weights * (1 + step * min(1.0, 0.9 / np.abs(step).max(initial=1e-300)))
                weights /= weights.sum()
                if np.abs(step).max(initial=0.0) < 1e-6:
                    break
            barrier /= 5
        return gradient.max() - gradient

    def _on_face(self, face: np.ndarray, s: Vector) -> tuple[Vector | None, np.ndarray]:
        """Newton's method on the affine hull of the face, from its centre."""
        ahead = (face[1:] - face[0]).T.astype(int)
        basis = _independent(ahead)
        x = [MP.mpf(int(c)) / len(face) for c in face.sum(0)]
        for _ in range(300):
            if not basis.shape[1]:
                return x, basis
            free = basis.any(-1)
            slopes = [self._slope(v) if f else (MP.zero, MP.one) for v, f in zip(x, free, strict=True)]
            pull = [v - d if f else MP.zero for v, (d, _), f in zip(s, slopes, free, strict=True)]
            dz = _newton(basis, [c for _, c in slopes], pull)
            dx = [MP.fsum(int(b) * z for b, z in zip(row, dz, strict=True) if b) for row in basis]
            length = MP.one
            for v, d, f in zip(x, dx, free, strict=True):
                for end in BOUNDS[self.response] if f else ():
                    if (d < 0 and end == 0) or (d > 0 and end == 1):
                        length = min(length, MP.mpf("0.95") * (end - v) / d)
            x = [v + length * d for v, d in zip(x, dx, strict=True)]
            if max(abs(d) for d in dx) < MP.mpf(10) ** -52:
                return x, basis
        return None, basis

    def _proved(self, x: Vector, vertices: np.ndarray, face: np.ndarray, s: Vector) -> bool:
        """Whether no vertex is better for the gradient than those of the face, of which x is a mixture."""
        free = (vertices.min(0) == 0) & (vertices.max(0) == 1)
        if any(f and any((v <= 0, v >= 1)[end] for end in STEEP[self.response]) for v, f in zip(x, free, strict=True)):
            return False
        pull = [v - self._slope(c)[0] if f else MP.zero for v, c, f in zip(s, x, free, strict=True)]
        values = [MP.fsum(p for p, b in zip(pull, row, strict=True) if b) for row in vertices]
        here = MP.fsum(p * c for p, c in zip(pull, x, strict=True))
        scale = 1 + max(abs(p) for p in pull)
        system = np.vstack([face.T, np.ones(len(face))])
        residual = nnls(system.astype(float), np.array([float(c) for c in x] + [1.0]))[1]
        return max(values) - here <= PROOF * scale and residual < 1e-9


def _newton(basis: np.ndarray, curvature: Vector, pull: Vector) -> Vector:
    columns = [[(i, int(b)) for i, b in enumerate(column) if b] for column in basis.T]
    matrix = MP.matrix(len(columns))
    for j, first in enumerate(columns):
        for k, second in enumerate(columns):
            other = dict(second)
            matrix[j, k] = MP.fsum(b * other[i] * curvature[i] for i, b in first if i in other)
    side = MP.matrix([MP.fsum(b * pull[i] for i, b in column) for column in columns])
    return list(MP.lu_solve(matrix, side))


def _independent(columns: np.ndarray) -> np.ndarray:
    chosen: list[int] = []
    for j in range(columns.shape[1]):
        if np.linalg.matrix_rank(columns[:, [*chosen, j]].astype(float)) > len(chosen):
            chosen.append(j)
    return columns[:, chosen]
