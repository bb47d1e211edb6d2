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
    size = (2.75, 1.75)

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
                # Ends stand apart so that arcs to both sides of a word are told apart.
                shift = 0.1 if dependent > head else -0.1
                axis.add_patch(
                    FancyArrowPatch(
                        (head + shift, 0),
                        (dependent - shift, 0),
                        arrowstyle="-|>,head_length=0.5,head_width=0.25",
                        mutation_scale=4 + 5 * weight,
                        connectionstyle=f"arc3,rad={-0.55 if dependent > head else 0.55}",
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
        axis.set_ylim(-0.6, 0.31 * len(self.words))
        axis.set_axis_off()
