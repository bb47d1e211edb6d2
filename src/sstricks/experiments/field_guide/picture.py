"""How a point of a polytope looks: as the thing it is a relaxation of, not as an array."""

from abc import ABC, abstractmethod

from matplotlib.axes import Axes
from torch import Tensor

# Okabe and Ito's blue for points of the polytope, which darkness and width repeat; black for utilities.
POINT, INK, FAINT = "#0072B2", "#222222", "#8A8A8A"
LEAST = 0.01


class Picture(ABC):
    """Draws points of conv 𝒳, and utilities, of one structure."""

    size: tuple[float, float] = (2.5, 2.3)
    """Of a panel, in inches."""
    stacked: bool = False
    """Whether panels stand below instead of beside each other."""

    @abstractmethod
    def paint(self, axis: Axes, weights: Tensor, color: str) -> None:
        """Draw what has these weights in [0, 1].

        Args:
            axis: where to draw.
            weights: one for each coordinate; what has none is not seen.
            color: of what is weighted.
        """

    def paint_point(self, axis: Axes, x: Tensor) -> None:
        """Draw a point of conv 𝒳.

        Args:
            axis: where to draw.
            x: the point.
        """
        self.paint(axis, x, POINT)

    def paint_utility(self, axis: Axes, u: Tensor) -> None:
        """Draw a utility: the largest as if it were 1, the least as if it were 0.

        Args:
            axis: where to draw.
            u: the utility.
        """
        self.paint(axis, (u - u.min()) / (u.max() - u.min()), INK)


def visible(weight: float) -> tuple[float, float]:
    """The width and the opacity of a line that stands for a weight: thin ones stay visible.

    Args:
        weight: in [0, 1].
    """
    return 0.8 + 3.7 * weight, min(1.0, max(0.0, weight)) ** 0.75
