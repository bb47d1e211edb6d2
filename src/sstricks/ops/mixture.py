from typing import NamedTuple

from torch import Tensor


class Mixture(NamedTuple):
    """Where the method has stopped, row by row."""

    point: Tensor
    """x, shape (rows, n)."""
    pull: Tensor
    """u − ∇f(x), as the oracle wants it: −∞ on absent coordinates, and above all others on those that are 1."""
    gap: Tensor
    """The duality gap, shape (rows,)."""
    floor: Tensor
    """The rounding error of the gap."""
    steps: Tensor
    """How many steps it took."""
    vertices: Tensor
    """The active vertices, shape (rows, slots, n); empty slots are zero."""
    weights: Tensor
    """Their weights, shape (rows, slots)."""

    def short(self, tol: float) -> Tensor:
        """Which rows stopped short of a tolerance, for other reasons than rounding."""
        return self.gap > tol + 64 * self.floor
