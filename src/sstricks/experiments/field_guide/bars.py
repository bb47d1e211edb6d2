from dataclasses import dataclass

from matplotlib.axes import Axes
from torch import Tensor

from sstricks.experiments.field_guide.picture import FAINT, INK, Picture


@dataclass(frozen=True)
class Bars(Picture):
    """Named items, each with a bar as long as its coordinate.

    Attributes:
        names: of the coordinates.
    """

    names: tuple[str, ...]
    size = (2.3, 2.0)

    def paint(self, axis: Axes, weights: Tensor, color: str) -> None:
        """Draw bars from 0 to 1, with their numbers.

        Args:
            axis: where to draw.
            weights: their lengths.
            color: of the bars.
        """
        axis.set_xlim(0, 1.28)
        axis.barh(self.names, [1] * len(self.names), height=0.62, color="#EEEEEE")
        axis.barh(self.names, weights.tolist(), height=0.62, color=color)
        for place, weight in enumerate(weights.tolist()):
            axis.annotate(f"{weight:.2f}", (1.03, place), va="center", fontsize=8, color=INK)
        self._finish(axis)

    def paint_utility(self, axis: Axes, u: Tensor) -> None:
        """Draw signed bars, with their numbers.

        Args:
            axis: where to draw.
            u: their lengths.
        """
        reach = 1.45 * float(u.abs().max())
        axis.set_xlim(-reach, reach)
        axis.barh(self.names, u.tolist(), height=0.62, color=INK)
        axis.axvline(0, color=FAINT, linewidth=0.8)
        for place, value in enumerate(u.tolist()):
            axis.annotate(
                f"{value:+z.1f}",
                (value, place),
                (3 if value >= 0 else -3, 0),
                textcoords="offset points",
                ha="left" if value >= 0 else "right",
                va="center",
                fontsize=8,
                color=INK,
            )
        self._finish(axis)

    def _finish(self, axis: Axes) -> None:
        axis.set_ylim(len(self.names) - 0.5, -0.5)
        axis.set_xticks([])
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0, labelsize=9)
