from dataclasses import dataclass

from matplotlib.axes import Axes
from torch import Tensor

from sstricks.experiments.field_guide.picture import INK, LEAST, Picture, visible


@dataclass(frozen=True)
class Bipartite(Picture):
    """Two columns of names, and lines between them as wide and as dark as their coordinates.

    Attributes:
        rows: the names on the left.
        columns: the names on the right.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    size = (2.35, 2.1)

    def paint(self, axis: Axes, weights: Tensor, color: str) -> None:
        """Draw the lines that have weight.

        Args:
            axis: where to draw.
            weights: shape (rows, columns).
            color: of the lines.
        """
        left = _spread(len(self.rows))
        right = _spread(len(self.columns))
        for i, row in enumerate(weights.tolist()):
            for j, weight in enumerate(row):
                if weight > LEAST:
                    width, alpha = visible(weight)
                    axis.plot(
                        [0, 1],
                        [left[i], right[j]],
                        color=color,
                        linewidth=width,
                        alpha=alpha,
                        solid_capstyle="butt",
                        zorder=1 + weight,
                    )
        for x, places, names, side in ((0, left, self.rows, "right"), (1, right, self.columns, "left")):
            axis.scatter([x] * len(places), places, s=34, color="#FFFFFF", edgecolors=INK, linewidths=1.1, zorder=3)
            for y, name in zip(places, names, strict=True):
                axis.annotate(
                    name,
                    (x, y),
                    (-6 if side == "right" else 6, 0),
                    textcoords="offset points",
                    ha=side,
                    va="center",
                    fontsize=8.5,
                    color=INK,
                )
        axis.set_xlim(-0.62, 1.62)
        axis.set_ylim(0, 1)
        axis.set_axis_off()


def _spread(count: int) -> list[float]:
    return [1 - (i + 0.5) / count for i in range(count)]
