from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch
from torch import Tensor

from sstricks.experiments.field_guide.picture import INK, LEAST, Picture, visible


@dataclass(frozen=True)
class Arcs(Picture):
    """A sentence, and arcs above it from each head to its dependents.

    Attributes:
        edges: LongTensor (2, E), head and dependent; node 0 is the root.
        words: of the nodes, with a name for the root.
    """

    edges: Tensor
    words: tuple[str, ...]
    size = (2.75, 1.45)

    def paint(self, axis: Axes, weights: Tensor, color: str) -> None:
        """Draw the arcs that have weight.

        Args:
            axis: where to draw.
            weights: of the edges.
            color: of the arcs.
        """
        for head, dependent, weight in zip(*self.edges.tolist(), weights.tolist(), strict=True):
            if weight > LEAST:
                width, alpha = visible(weight)
                # An arc ends at the middle of a word and begins beside it, so that none looks like a continued one.
                shift = 0.22 if dependent > head else -0.22
                axis.add_patch(
                    FancyArrowPatch(
                        (head + shift, 0),
                        (dependent, 0),
                        arrowstyle="-|>,head_length=0.5,head_width=0.25",
                        mutation_scale=4 + 5 * weight,
                        connectionstyle=f"arc3,rad={-0.6 if dependent > head else 0.6}",
                        shrinkA=1,
                        shrinkB=0,
                        linewidth=0.65 * width,
                        color=color,
                        alpha=alpha,
                        zorder=1 + weight,
                    )
                )
        for node, word in enumerate(self.words):
            axis.annotate(word, (node, -0.14), ha="center", va="top", fontsize=7.5, color=INK)
        axis.set_xlim(-0.5, len(self.words) - 0.5)
        axis.set_ylim(-0.5, 1.9)
        axis.set_axis_off()
