from collections.abc import Callable
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from sstricks.experiments.field_guide.picture import INK, POINT, Picture


@dataclass(frozen=True)
class Sentence(Picture):
    """Words, marked as a pen marks them; a bridge between two words is the coordinate of their pair.

    Attributes:
        words: the first coordinates; those that follow, if any, are the pairs of neighbours.
    """

    words: tuple[str, ...]
    size = (10.5, 0.62)
    stacked = True

    def paint(self, axis: Axes, weights: Tensor, color: str) -> None:
        """Mark the words, and the gaps between them.

        Args:
            axis: where to draw.
            weights: how strongly.
            color: of the pen.
        """
        self._mark(axis, weights.clamp(0, 1), weights, color, lambda value: f"{value:.2f}")

    def paint_utility(self, axis: Axes, u: Tensor) -> None:
        """Mark by utility, and print it.

        Args:
            axis: where to draw.
            u: the utility.
        """
        items = u[: len(self.words)]
        height = (u - items.min()) / (items.max() - items.min())
        # Utilities of pairs are on no scale of the items': what is positive is drawn.
        pairs = u[len(self.words) :].clamp(min=0)
        shade = torch.cat([height[: len(self.words)], pairs / max([1.0, *pairs.tolist()])]) * 0.45
        self._mark(axis, shade, u, INK, lambda value: f"{value:+z.1f}")

    def _mark(self, axis: Axes, shade: Tensor, values: Tensor, color: str, text: Callable[[float], str]) -> None:
        n = len(self.words)
        widths = [len(word) + 3.2 for word in self.words]
        left = [sum(widths[:i]) for i in range(n)]
        for word, x, width, alpha, value in zip(
            self.words, left, widths, shade.tolist(), values.tolist(), strict=False
        ):
            axis.add_patch(
                Rectangle(
                    (x + 0.75, 0.42),
                    width - 1.5,
                    0.44,
                    facecolor=(*_rgb(color), alpha),
                    edgecolor="#DDDDDD",
                    linewidth=0.8,
                    zorder=2,
                )
            )
            ink = "#FFFFFF" if alpha > 0.55 and color == POINT else INK
            axis.annotate(word, (x + width / 2, 0.63), ha="center", va="center", fontsize=10, color=ink, zorder=3)
            axis.annotate(text(value), (x + width / 2, 0.2), ha="center", va="center", fontsize=7.5, color=INK)
        for i, alpha in enumerate(shade[n:].tolist()):
            edge = left[i + 1]
            axis.plot(
                [edge - 0.75, edge + 0.75],
                [0.64, 0.64],
                color=(*_rgb(color), alpha),
                linewidth=7,
                solid_capstyle="butt",
                zorder=1,
            )
        axis.set_xlim(0, sum(widths))
        axis.set_ylim(0, 1)
        axis.set_axis_off()


def _rgb(color: str) -> tuple[float, float, float]:
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue
